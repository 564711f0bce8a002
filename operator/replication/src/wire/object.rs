//! Reading and writing objects: what S3 keeps beside the content, and on what condition something is replaced.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use percent_encoding::utf8_percent_encode;
use tokio::time::timeout;

use super::call::{Call, Patience, QUERY, between, header, unescaped};
use super::lock::Lock;
use super::{Digests, ETag, Outgoing, Passed, Passing, Wire};
use crate::StoreError;
use crate::error::chain;
use crate::rate::Pace;

/// Kept as they are. What a store makes by itself is not in it.
const KEPT: [&str; 7] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-website-redirect-location",
];
const METADATA: &str = "x-amz-meta-";

/// What S3 keeps beside the content of an object, as headers; tags are another call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    headers: BTreeMap<String, HeaderValue>,
    /// How many tags there are.
    pub tags: u32,
    /// `STANDARD` where the store does not say.
    pub storage_class: Option<String>,
    /// What protects it from deletion; sent only by [`About::locked`].
    pub lock: Lock,
}

impl About {
    /// From the headers of an answer.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let kept = |name: &HeaderName| KEPT.contains(&name.as_str()) || name.as_str().starts_with(METADATA);
        let mut about = Self {
            headers: headers
                .iter()
                .filter(|(name, _)| kept(name))
                .map(|(name, value)| (name.as_str().to_owned(), value.clone()))
                .collect(),
            tags: header(headers, "x-amz-tagging-count").and_then(|n| n.parse().ok()).unwrap_or(0),
            storage_class: header(headers, "x-amz-storage-class").map(str::to_owned),
            lock: Lock::of(headers),
        };
        // `aws-chunked` is how it was once sent, and some stores give it back.
        if let Some(encoding) = about.headers.get("content-encoding").and_then(|v| v.to_str().ok()) {
            let rest: Vec<&str> =
                encoding.split(',').map(str::trim).filter(|e| *e != "aws-chunked").collect();
            let rest = rest.join(",");
            match HeaderValue::from_str(&rest) {
                Ok(value) if !rest.is_empty() => about.headers.insert("content-encoding".to_owned(), value),
                _ => about.headers.remove("content-encoding"),
            };
        }
        about
    }

    /// With tags, which a write carries as one header.
    #[must_use]
    pub fn with_tags(self, tags: &[(String, String)]) -> Self {
        let pair = |(name, value): &(String, String)| {
            format!("{}={}", utf8_percent_encode(name, QUERY), utf8_percent_encode(value, QUERY))
        };
        self.with("x-amz-tagging", &tags.iter().map(pair).collect::<Vec<_>>().join("&"))
    }

    /// To be written with this storage class.
    #[must_use]
    pub fn with_storage_class(self, class: &str) -> Self {
        self.with("x-amz-storage-class", class)
    }

    /// To be refused by the store unless this is the MD5 of what it received: stores demand it where objects are locked.
    #[must_use]
    pub fn with_md5(self, md5: &[u8; 16]) -> Self {
        self.with("content-md5", &BASE64.encode(md5))
    }

    /// To be locked as it was, by the write itself.
    #[must_use]
    pub fn locked(mut self) -> Self {
        let lock = std::mem::take(&mut self.lock);
        lock.headers().into_iter().fold(self, |about, (name, value)| about.with(name, value))
    }

    /// Another header of a write.
    fn with(mut self, name: &str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name.to_owned(), value);
        }
        self
    }

    /// As headers of a write.
    pub(super) fn apply(&self, to: &mut HeaderMap) {
        for (name, value) in &self.headers {
            if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                to.insert(name, value.clone());
            }
        }
    }

    /// Names with values, as text.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }
}

/// On what an object may be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is none.
    Absent,
    /// It is still this one, by its `ETag`.
    Is(ETag),
    /// None: for stores that know no conditions.
    None,
}

impl Condition {
    pub(super) fn apply(&self, to: &mut HeaderMap) {
        match self {
            Self::Absent => {
                to.insert(http::header::IF_NONE_MATCH, HeaderValue::from_static("*"));
            }
            Self::Is(etag) => {
                if let Ok(value) = HeaderValue::from_str(&format!("\"{etag}\"")) {
                    to.insert(http::header::IF_MATCH, value);
                }
            }
            Self::None => {}
        }
    }
}

/// An object that is being read.
pub struct Found {
    pub about: About,
    /// Bytes that will come; the whole object or what was asked for of it.
    pub length: u64,
    pub etag: ETag,
    /// Of a part that was asked for: how many there are.
    pub parts: Option<u32>,
    pub(super) body: Incoming,
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Found")
            .field("etag", &self.etag.to_string())
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// What a write came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub etag: ETag,
    pub version: Option<String>,
}

impl Written {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self {
            etag: ETag::new(header(headers, "etag").unwrap_or_default()),
            version: header(headers, "x-amz-version-id").map(str::to_owned),
        }
    }
}

/// What is read of an object.
#[derive(Clone, Copy, Debug, Default)]
pub struct Part<'a> {
    /// Only if it is still this one, by its `ETag`.
    pub is: Option<&'a ETag>,
    /// A part of an object that was written in parts, from 1.
    pub number: Option<u32>,
    /// First and last byte.
    pub range: Option<(u64, u64)>,
    /// Of this version; else of the current one.
    pub version: Option<&'a str>,
}

impl Wire {
    /// Begins to read an object.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] where it is another one than was asked for; else what a call can fail with.
    pub async fn get(&self, bucket: &str, key: &str, part: Part<'_>) -> Result<Found, StoreError> {
        let answer = self.read(Method::GET, bucket, key, part).await?;
        if part.range.is_some() && answer.status() != StatusCode::PARTIAL_CONTENT {
            return Err(self.unsupported("ranges of an object"));
        }
        let (head, body) = answer.into_parts();
        let headers = &head.headers;
        let length = header(headers, "content-length").and_then(|n| n.parse().ok()).ok_or_else(|| {
            self.target(bucket, key).broke_off("the answer does not say how long the object is")
        })?;
        Ok(Found {
            about: About::of(headers),
            length,
            etag: Written::of(headers).etag,
            parts: header(headers, "x-amz-mp-parts-count").and_then(|n| n.parse().ok()),
            body,
        })
    }

    async fn read(
        &self,
        method: Method,
        bucket: &str,
        key: &str,
        part: Part<'_>,
    ) -> Result<http::Response<Incoming>, StoreError> {
        let mut call = Call::new(method, bucket, key);
        if let Some(etag) = part.is {
            Condition::Is(etag.clone()).apply(&mut call.headers);
        }
        if let Some((first, last)) = part.range {
            let value = HeaderValue::from_str(&format!("bytes={first}-{last}"));
            call.headers.extend(value.ok().map(|v| (http::header::RANGE, v)));
        }
        let number = part.number.map(|n| n.to_string());
        let number = number.iter().map(|n| ("partNumber", n.as_str()));
        let query: Vec<(&str, &str)> = number.chain(part.version.map(|id| ("versionId", id))).collect();
        call.query = &query;
        self.send(call, Outgoing::Whole(None), Patience::Answer).await
    }

    /// What is known of an object without reading it; `None` where there is none.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn head(
        &self,
        bucket: &str,
        key: &str,
        part: Part<'_>,
    ) -> Result<Option<(HeaderMap, About)>, StoreError> {
        match self.read(Method::HEAD, bucket, key, part).await {
            Ok(answer) => {
                let headers = answer.into_parts().0.headers;
                let about = About::of(&headers);
                Ok(Some((headers, about)))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads what is left of a small object into memory.
    ///
    /// # Errors
    /// When it breaks off, or is not as long as it said.
    pub async fn rest(&self, bucket: &str, key: &str, found: Found) -> Result<Bytes, StoreError> {
        let target = self.target(bucket, key);
        let (mut body, length) = (found.body, found.length);
        let mut read: Option<Bytes> = None;
        let mut more = BytesMut::new();
        loop {
            let frame = timeout(self.silence(), body.frame()).await;
            let Some(frame) = frame.map_err(|_| target.broke_off("nothing came"))? else { break };
            let Ok(data) = frame.map_err(|e| target.broke_off(&chain(&e)))?.into_data() else { continue };
            // Nearly always there is one frame, and it needs no copy.
            match &read {
                None => read = Some(data),
                Some(first) => {
                    if more.is_empty() {
                        more.extend_from_slice(first);
                    }
                    more.extend_from_slice(&data);
                }
            }
        }
        let whole = if more.is_empty() { read.unwrap_or_default() } else { more.freeze() };
        if whole.len() as u64 != length {
            return Err(target.broke_off(&format!("{} of {length} bytes came", whole.len())));
        }
        if let Some(lane) = &self.lane {
            lane.bytes(length).await;
        }
        Ok(whole)
    }

    /// Reads what is left of an object, and keeps nothing but its digests.
    ///
    /// # Errors
    /// When it breaks off, or is not as long as it said.
    pub async fn digest(&self, bucket: &str, key: &str, found: Found) -> Result<Digests, StoreError> {
        let target = self.target(bucket, key);
        let (mut body, passed) = Passing::new(found.body, found.length, true, self.silence(), None);
        self.lane.iter().for_each(|lane| body.goes_over(lane.clone()));
        let mut body = std::pin::pin!(Outgoing::Passing(Box::new(body)));
        while let Some(frame) = body.frame().await {
            frame.map_err(|e| target.broke_off(&chain(&e)))?;
        }
        passed.digests().ok_or_else(|| target.broke_off("it has no end"))
    }

    /// Makes what is left of an object a body for another store.
    #[must_use]
    pub fn pass(&self, found: Found, with_md5: bool, pace: Option<Pace>) -> (Outgoing, Passed) {
        let (mut passing, passed) = Passing::new(found.body, found.length, with_md5, self.silence(), pace);
        self.lane.iter().for_each(|lane| passing.goes_over(lane.clone()));
        (Outgoing::Passing(Box::new(passing)), passed)
    }

    /// Writes an object.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] where the condition does not hold; else what a call can fail with.
    pub async fn put(
        &self,
        bucket: &str,
        key: &str,
        about: &About,
        condition: &Condition,
        body: Outgoing,
        passed: Option<Passed>,
    ) -> Result<Written, StoreError> {
        let mut call = Call::new(Method::PUT, bucket, key);
        about.apply(&mut call.headers);
        condition.apply(&mut call.headers);
        let patience = passed.map_or(Patience::Answer, Patience::While);
        let answer = self.send(call, body, patience).await?;
        Ok(Written::of(answer.headers()))
    }

    /// Deletes an object: where the bucket keeps versions, a marker is put on top. That there is none is success.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), StoreError> {
        match self.ask(Call::new(Method::DELETE, bucket, key)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// The tags of an object, or of one version of it.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn tags(
        &self,
        bucket: &str,
        key: &str,
        version: Option<&str>,
    ) -> Result<Vec<(String, String)>, StoreError> {
        let query: Vec<_> =
            std::iter::once(("tagging", "")).chain(version.map(|id| ("versionId", id))).collect();
        let call = Call { query: &query, ..Call::new(Method::GET, bucket, key) };
        let (_, body) = self.ask(call).await?;
        let text = String::from_utf8_lossy(&body);
        let tags = text.split("<Tag>").skip(1).filter_map(|tag| {
            let of = |open, close| between(tag, open, close).map(unescaped);
            Some((of("<Key>", "</Key>")?, of("<Value>", "</Value>").unwrap_or_default()))
        });
        Ok(tags.collect())
    }

    pub(super) fn unsupported(&self, what: &str) -> StoreError {
        StoreError::Unsupported { endpoint: self.endpoint().to_owned(), detail: format!("no {what}") }
    }
}
