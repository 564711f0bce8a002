//! What is asked: an operation of S3 and what it is about, from a request in path style.

use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::answer::Failure;

/// Operations of S3, by the names that S3 gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    ListBuckets,
    CreateBucket,
    HeadBucket,
    DeleteBucket,
    GetBucketLocation,
    GetBucketVersioning,
    PutBucketVersioning,
    GetObjectLockConfiguration,
    GetBucketTagging,
    ListObjectsV2,
    ListObjectVersions,
    ListMultipartUploads,
    GetObject,
    HeadObject,
    PutObject,
    CopyObject,
    DeleteObject,
    DeleteObjects,
    CreateMultipartUpload,
    UploadPart,
    CompleteMultipartUpload,
    AbortMultipartUpload,
    ListParts,
    GetObjectTagging,
    PutObjectTagging,
    DeleteObjectTagging,
    PutObjectRetention,
    PutObjectLegalHold,
    /// What this store does not know.
    Other,
}

impl Operation {
    /// How many there are.
    pub(super) const COUNT: usize = Self::Other as usize + 1;

    /// Whether it may need space.
    pub(super) fn writes(self) -> bool {
        use Operation::{
            CompleteMultipartUpload, CopyObject, CreateMultipartUpload, PutObject, PutObjectTagging,
            UploadPart,
        };
        matches!(
            self,
            PutObject
                | CopyObject
                | UploadPart
                | CreateMultipartUpload
                | CompleteMultipartUpload
                | PutObjectTagging
        )
    }
}

/// Sub-resources that would be taken for something else if they were overlooked.
const UNKNOWN: [&str; 19] = [
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "encryption",
    "inventory",
    "lifecycle",
    "logging",
    "metrics",
    "notification",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "replication",
    "requestPayment",
    "restore",
    "website",
];

/// Bytes of a key.
const LONGEST: usize = 1024;

/// A request without its body.
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) headers: HeaderMap,
    query: Vec<(String, String)>,
}

impl Request {
    pub(super) fn parse(parts: Parts) -> Result<Self, Failure> {
        let path = parts.uri.path();
        let path = path.strip_prefix('/').unwrap_or(path);
        let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
        let query = match parts.uri.query() {
            Some(query) => pairs(query)?,
            None => Vec::new(),
        };
        let key = decoded(key)?;
        if key.len() > LONGEST {
            return Err(Failure::new(400, "KeyTooLongError", "Your key is too long"));
        }
        let mut request = Self {
            operation: Operation::Other,
            bucket: decoded(bucket)?,
            key,
            headers: parts.headers,
            query,
        };
        request.operation = match (request.bucket.is_empty(), request.key.is_empty()) {
            (true, _) if parts.method == Method::GET => Operation::ListBuckets,
            (true, _) => Operation::Other,
            (_, true) => request.on_bucket(&parts.method),
            _ => request.on_object(&parts.method),
        };
        if request.query.iter().any(|(name, _)| UNKNOWN.contains(&name.as_str())) {
            request.operation = Operation::Other;
        }
        Ok(request)
    }

    fn on_bucket(&self, method: &Method) -> Operation {
        let asks = |name| self.query(name).is_some();
        match *method {
            Method::GET if asks("location") => Operation::GetBucketLocation,
            Method::GET if asks("versioning") => Operation::GetBucketVersioning,
            Method::GET if asks("object-lock") => Operation::GetObjectLockConfiguration,
            Method::GET if asks("tagging") => Operation::GetBucketTagging,
            Method::GET if asks("uploads") => Operation::ListMultipartUploads,
            Method::GET if asks("versions") => Operation::ListObjectVersions,
            Method::GET if self.query("list-type") == Some("2") => Operation::ListObjectsV2,
            Method::HEAD => Operation::HeadBucket,
            Method::PUT if asks("versioning") => Operation::PutBucketVersioning,
            Method::PUT if asks("object-lock") || asks("tagging") => Operation::Other,
            Method::PUT => Operation::CreateBucket,
            Method::DELETE if asks("tagging") => Operation::Other,
            Method::DELETE => Operation::DeleteBucket,
            Method::POST if asks("delete") => Operation::DeleteObjects,
            _ => Operation::Other,
        }
    }

    fn on_object(&self, method: &Method) -> Operation {
        let asks = |name| self.query(name).is_some();
        let copies = || self.headers.contains_key("x-amz-copy-source");
        match *method {
            Method::GET | Method::HEAD if asks("retention") || asks("legal-hold") => Operation::Other,
            Method::GET if asks("tagging") => Operation::GetObjectTagging,
            Method::GET if asks("uploadId") => Operation::ListParts,
            Method::GET => Operation::GetObject,
            Method::HEAD => Operation::HeadObject,
            Method::PUT if asks("tagging") => Operation::PutObjectTagging,
            Method::PUT if asks("retention") => Operation::PutObjectRetention,
            Method::PUT if asks("legal-hold") => Operation::PutObjectLegalHold,
            Method::PUT if asks("uploadId") && copies() => Operation::Other,
            Method::PUT if asks("uploadId") => Operation::UploadPart,
            Method::PUT if copies() => Operation::CopyObject,
            Method::PUT => Operation::PutObject,
            Method::POST if asks("uploads") => Operation::CreateMultipartUpload,
            Method::POST if asks("uploadId") => Operation::CompleteMultipartUpload,
            Method::DELETE if asks("tagging") => Operation::DeleteObjectTagging,
            Method::DELETE if asks("uploadId") => Operation::AbortMultipartUpload,
            Method::DELETE => Operation::DeleteObject,
            _ => Operation::Other,
        }
    }

    /// A parameter; empty, where it has no value.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a number.
    pub(super) fn number(&self, name: &str) -> Result<Option<usize>, Failure> {
        let Some(value) = self.query(name) else { return Ok(None) };
        let number =
            value.parse().map_err(|_| Failure::invalid(format!("{name} is {value:?}, not a number")))?;
        Ok(Some(number))
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Who asks, as the signature has it.
    pub(super) fn access_key_id(&self) -> Option<&str> {
        let scope = match self.headers.get(AUTHORIZATION) {
            Some(value) => value.to_str().ok()?.split_once("Credential=")?.1,
            None => self.query("X-Amz-Credential")?,
        };
        scope.split('/').next()
    }
}

/// Names with values of a query, or of the tags in a header.
pub(super) fn pairs(query: &str) -> Result<Vec<(String, String)>, Failure> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(&name.replace('+', " "))?, decoded(&value.replace('+', " "))?))
    };
    query.split('&').filter(|p| !p.is_empty()).map(pair).collect()
}

pub(super) fn decoded(text: &str) -> Result<String, Failure> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded.map(Into::into).map_err(|_| Failure::invalid(format!("{text:?} is not UTF-8")))
}
