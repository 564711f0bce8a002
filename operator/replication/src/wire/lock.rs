//! Object lock: what protects a version from deletion, and how a store is told of it.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use md5::{Digest as _, Md5};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::Wire;
use super::call::{Call, between, header, unescaped};
use crate::StoreError;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const HOLD: &str = "x-amz-object-lock-legal-hold";

/// Until when a version can't be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub mode: String,
    /// As RFC 3339.
    pub until: String,
}

impl Retention {
    fn read(xml: &str) -> Option<Self> {
        let of = |open, close| between(xml, open, close).map(unescaped).filter(|text| !text.is_empty());
        let (mode, until) = (of("<Mode>", "</Mode>")?, of("<RetainUntilDate>", "</RetainUntilDate>")?);
        Some(Self { mode, until })
    }
}

/// What protects one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    pub retention: Option<Retention>,
    /// Nobody may delete it until the hold is lifted.
    pub hold: bool,
}

impl Lock {
    /// From the headers of an answer. Stores show it only to those who may read it.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| header(headers, name).map(str::to_owned);
        let retention = text(MODE).zip(text(UNTIL)).map(|(mode, until)| Retention { mode, until });
        Self { retention, hold: header(headers, HOLD) == Some("ON") }
    }

    /// Whether nothing protects it.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.retention.is_none() && !self.hold
    }

    /// As headers of a write.
    pub(super) fn headers(&self) -> Vec<(&'static str, &str)> {
        let retention = self.retention.iter();
        let retention = retention.flat_map(|r| [(MODE, r.mode.as_str()), (UNTIL, r.until.as_str())]);
        retention.chain(self.hold.then_some((HOLD, "ON"))).collect()
    }
}

impl Wire {
    /// Whether versions in a bucket can be locked. A store that does not know the question has no locks.
    ///
    /// # Errors
    /// What a call can fail with; [`StoreError::Denied`] where this may not be asked.
    pub async fn has_object_lock(&self, bucket: &str) -> Result<bool, StoreError> {
        let call = Call { query: &[("object-lock", "")], ..Call::new(Method::GET, bucket, "") };
        match self.ask(call).await {
            Ok((_, body)) => Ok(String::from_utf8_lossy(&body).contains("<ObjectLockEnabled>Enabled<")),
            Err(StoreError::NotFound { .. } | StoreError::Unsupported { .. } | StoreError::Other { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Locks a version, or the current one, until a moment. Again is no error.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn put_retention(
        &self,
        (bucket, key): (&str, &str),
        version: Option<&str>,
        retention: &Retention,
    ) -> Result<(), StoreError> {
        let body = format!(
            "<Retention xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Mode>{}</Mode>\
             <RetainUntilDate>{}</RetainUntilDate></Retention>",
            retention.mode, retention.until
        );
        self.put_lock((bucket, key), version, "retention", body).await
    }

    /// Until when a version, or the current one, is locked: asked for by itself, since some stores tell with a HEAD only of the
    /// current version. `None` where it never was.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn retention(
        &self,
        (bucket, key): (&str, &str),
        version: Option<&str>,
    ) -> Result<Option<Retention>, StoreError> {
        let query: Vec<_> =
            std::iter::once(("retention", "")).chain(version.map(|id| ("versionId", id))).collect();
        match self.ask(Call { query: &query, ..Call::new(Method::GET, bucket, key) }).await {
            Ok((_, body)) => Ok(Retention::read(&String::from_utf8_lossy(&body))),
            // Each store has its own word for a version without a lock.
            Err(StoreError::NotFound { .. } | StoreError::Unsupported { .. } | StoreError::Other { .. }) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Holds a version, or the current one. Again is no error.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn put_legal_hold(
        &self,
        (bucket, key): (&str, &str),
        version: Option<&str>,
    ) -> Result<(), StoreError> {
        let body =
            "<LegalHold xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>ON</Status></LegalHold>";
        self.put_lock((bucket, key), version, "legal-hold", body.to_owned()).await
    }

    async fn put_lock(
        &self,
        (bucket, key): (&str, &str),
        version: Option<&str>,
        what: &str,
        body: String,
    ) -> Result<(), StoreError> {
        let query: Vec<_> = std::iter::once((what, "")).chain(version.map(|id| ("versionId", id))).collect();
        let mut call = Call { query: &query, ..Call::new(Method::PUT, bucket, key) };
        if let Ok(value) = HeaderValue::from_str(&BASE64.encode(Md5::digest(&body))) {
            call.headers.insert("content-md5", value);
        }
        self.ask_with(call, Bytes::from(body)).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_store_says_of_a_lock_is_what_it_is_told() {
        let mut headers = HeaderMap::new();
        assert!(Lock::of(&headers).is_none());
        headers.insert(HOLD, HeaderValue::from_static("OFF"));
        assert!(Lock::of(&headers).is_none());
        let said = [(MODE, "GOVERNANCE"), (UNTIL, "2031-02-03T04:05:06.000Z"), (HOLD, "ON")];
        for (name, value) in said {
            headers.insert(name, HeaderValue::from_static(value));
        }
        assert_eq!(Lock::of(&headers).headers(), said);
        let xml = "<Retention xmlns=\"x\"><Mode>COMPLIANCE</Mode><RetainUntilDate>2031-02-03T00:00:00Z</RetainUntilDate></Retention>";
        let read = Retention { mode: "COMPLIANCE".into(), until: "2031-02-03T00:00:00Z".into() };
        assert_eq!(Retention::read(xml), Some(read));
        assert_eq!(Retention::read("<Retention><Mode></Mode></Retention>"), None);
        // A mode without an end is none.
        headers.remove(UNTIL);
        assert_eq!(Lock::of(&headers), Lock { retention: None, hold: true });
    }
}
