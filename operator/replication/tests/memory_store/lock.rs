//! Object lock: what a write may say of it, and what is set afterwards on a version.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use jiff::Timestamp;

use super::Shared;
use super::answer::{Failure, Reply, bare};
use super::elements::elements;
use super::receive::Received;
use super::request::Request;
use super::state::Bucket;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const HOLD: &str = "x-amz-object-lock-legal-hold";

/// Whether a write may be locked as its headers say.
pub(super) fn check(bucket: &Bucket, headers: &HeaderMap, now: Timestamp) -> Result<(), Failure> {
    let says = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let asks = [MODE, UNTIL, HOLD].iter().any(|name| says(name).is_some());
    if asks && bucket.options.object_lock.is_none() {
        return Err(no_lock());
    }
    if let Some(until) = says(UNTIL) {
        in_future(until, now)?;
    }
    if says(MODE).is_some() != says(UNTIL).is_some() {
        return Err(Failure::invalid("A mode and an end of retention belong together."));
    }
    Ok(())
}

/// Whether a body that is going to be locked is described: S3 takes it only with a digest.
pub(super) fn check_digest(bucket: &Bucket, headers: &HeaderMap) -> Result<(), Failure> {
    let Some(lock) = &bucket.options.object_lock else { return Ok(()) };
    let is_locked = lock.default.is_some() || headers.contains_key(MODE) || headers.contains_key(HOLD);
    if is_locked && !headers.keys().any(is_digest) {
        return Err(Failure::new(
            400,
            "InvalidRequest",
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters",
        ));
    }
    Ok(())
}

fn is_digest(name: &HeaderName) -> bool {
    let name = name.as_str();
    name == "content-md5" || name.starts_with("x-amz-checksum-") || name == "x-amz-trailer"
}

fn in_future(until: &str, now: Timestamp) -> Result<(), Failure> {
    match until.parse::<Timestamp>() {
        Ok(until) if until > now => Ok(()),
        _ => Err(Failure::invalid("The retain until date must be in the future!")),
    }
}

fn no_lock() -> Failure {
    Failure::new(400, "InvalidRequest", "Bucket is missing Object Lock Configuration")
}

pub(super) fn put_retention(
    store: &Shared,
    request: &Request,
    received: &Received,
) -> Result<Response<Reply>, Failure> {
    let said = elements(&received.content.to_bytes(), "Retention")?;
    let of = |name: &str| said.first().and_then(|said| said.get(name)).cloned().unwrap_or_default();
    in_future(&of("RetainUntilDate"), store.clock.now())?;
    set(store, request, received, &[(MODE, of("Mode")), (UNTIL, of("RetainUntilDate"))])
}

pub(super) fn put_legal_hold(
    store: &Shared,
    request: &Request,
    received: &Received,
) -> Result<Response<Reply>, Failure> {
    let said = elements(&received.content.to_bytes(), "LegalHold")?;
    let status = said.first().and_then(|said| said.get("Status")).cloned().unwrap_or_default();
    set(store, request, received, &[(HOLD, status)])
}

fn set(
    store: &Shared,
    request: &Request,
    received: &Received,
    values: &[(&'static str, String)],
) -> Result<Response<Reply>, Failure> {
    if !request.headers.keys().any(is_digest) {
        return Err(Failure::new(
            400,
            "InvalidRequest",
            "Missing required header for this request: Content-MD5",
        ));
    }
    received.verify(&request.headers)?;
    let mut state = store.write();
    let bucket = state.bucket_mut(&request.bucket)?;
    if bucket.options.object_lock.is_none() {
        return Err(no_lock());
    }
    let id = bucket.version(&request.key, request.query("versionId"))?.id.clone();
    for version in bucket.objects.get_mut(&request.key).into_iter().flatten().filter(|v| v.id == id) {
        let version = Arc::make_mut(version);
        for (name, value) in values {
            version.headers.retain(|(n, _)| n != name);
            if let Ok(value) = HeaderValue::from_str(value) {
                version.headers.push((HeaderName::from_static(name), value));
            }
        }
        version.headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    }
    Ok(bare(StatusCode::OK))
}
