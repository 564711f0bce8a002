//! Objects that are written in parts.

use std::fmt::Write as _;

use bytes::Bytes;
use http::Method;

use super::call::{Call, Patience, between, refused, unescaped};
use super::object::Written;
use super::{About, Condition, ETag, Outgoing, Passed, Wire};
use crate::StoreError;

impl Wire {
    /// Begins.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn create_upload(&self, bucket: &str, key: &str, about: &About) -> Result<String, StoreError> {
        let mut call = Call { query: &[("uploads", "")], ..Call::new(Method::POST, bucket, key) };
        about.apply(&mut call.headers);
        let (_, body) = self.ask(call).await?;
        let text = String::from_utf8_lossy(&body);
        between(&text, "<UploadId>", "</UploadId>").map(unescaped).ok_or_else(|| {
            self.target(bucket, key).broke_off("an upload was begun, and the answer does not name it")
        })
    }

    /// Sends one part, and says what the store calls it.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn upload_part(
        &self,
        (bucket, key): (&str, &str),
        (upload, number): (&str, u32),
        body: Outgoing,
        passed: Passed,
    ) -> Result<ETag, StoreError> {
        let number = number.to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload)];
        let call = Call { query: &query, ..Call::new(Method::PUT, bucket, key) };
        let answer = self.send(call, body, Patience::While(passed)).await?;
        Ok(Written::of(answer.headers()).etag)
    }

    /// Makes an object of the parts.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] where the condition does not hold; else what a call can fail with.
    pub async fn complete_upload(
        &self,
        (bucket, key): (&str, &str),
        upload: &str,
        etags: &[ETag],
        condition: &Condition,
    ) -> Result<Written, StoreError> {
        let mut body =
            "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">".to_owned();
        for (n, etag) in (1..).zip(etags) {
            // Writing to a String does not fail.
            let _ = write!(body, "<Part><PartNumber>{n}</PartNumber><ETag>\"{etag}\"</ETag></Part>");
        }
        body.push_str("</CompleteMultipartUpload>");
        let query = [("uploadId", upload)];
        let mut call = Call { query: &query, ..Call::new(Method::POST, bucket, key) };
        condition.apply(&mut call.headers);
        let (headers, body) = self.ask_with(call, Bytes::from(body)).await?;
        let text = String::from_utf8_lossy(&body);
        // A store may find out that it failed after it has said 200.
        if text.contains("<Error>") || !text.contains("CompleteMultipartUploadResult") {
            let status = http::StatusCode::INTERNAL_SERVER_ERROR;
            return Err(refused(self.target(bucket, key), status, &body));
        }
        let etag = between(&text, "<ETag>", "</ETag>").map(unescaped).unwrap_or_default();
        Ok(Written { etag: ETag::new(&etag), ..Written::of(&headers) })
    }

    /// Throws the parts away. That there is no such upload is success.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn abort_upload(&self, bucket: &str, key: &str, upload: &str) -> Result<(), StoreError> {
        let query = [("uploadId", upload)];
        match self.ask(Call { query: &query, ..Call::new(Method::DELETE, bucket, key) }).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Uploads of one object that were begun and neither completed nor thrown away.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn uploads(&self, bucket: &str, key: &str) -> Result<Vec<String>, StoreError> {
        let query = [("prefix", key), ("uploads", "")];
        let (_, body) = self.ask(Call { query: &query, ..Call::new(Method::GET, bucket, "") }).await?;
        let text = String::from_utf8_lossy(&body);
        let uploads = text.split("<Upload>").skip(1).filter_map(|upload| {
            let of = |open, close| between(upload, open, close).map(unescaped);
            (of("<Key>", "</Key>")? == key).then(|| of("<UploadId>", "</UploadId>"))?
        });
        Ok(uploads.collect())
    }
}
