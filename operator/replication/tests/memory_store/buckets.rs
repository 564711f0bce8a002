//! What is asked of buckets themselves.

use http::{Response, StatusCode};

use super::Shared;
use super::answer::{Failure, Reply, bare, xml};
use super::clock::write_iso;
use super::elements::elements;
use super::receive::Received;
use super::request::Request;
use super::state::{Bucket, BucketOptions, ObjectLock, Versioning};

pub(super) fn list(store: &Shared) -> Response<Reply> {
    let mut buckets = String::new();
    for (name, bucket) in &store.read().buckets {
        buckets.extend(["<Bucket><Name>", name, "</Name><CreationDate>"]);
        write_iso(bucket.created, &mut buckets);
        buckets += "</CreationDate></Bucket>";
    }
    xml(format!(
        "<ListAllMyBucketsResult><Owner><ID>memory-store</ID></Owner><Buckets>{buckets}</Buckets>\
         </ListAllMyBucketsResult>"
    ))
}

pub(super) fn create(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let mut state = store.write();
    if state.buckets.contains_key(&request.bucket) {
        return Err(Failure::new(409, "BucketAlreadyOwnedByYou", "The bucket exists, and is yours."));
    }
    let locked = request.header("x-amz-bucket-object-lock-enabled") == Some("true");
    let options = BucketOptions {
        versioning: if locked { Versioning::Enabled } else { Versioning::Never },
        object_lock: locked.then_some(ObjectLock { default: None }),
    };
    state.buckets.insert(request.bucket.clone(), Bucket::new(options, store.clock.now()));
    Ok(bare(StatusCode::OK))
}

pub(super) fn head(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    store.read().bucket(&request.bucket).map(|_| bare(StatusCode::OK))
}

pub(super) fn delete(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let mut state = store.write();
    if !state.bucket(&request.bucket)?.objects.is_empty() {
        return Err(Failure::new(409, "BucketNotEmpty", "The bucket is not empty."));
    }
    state.buckets.remove(&request.bucket);
    Ok(bare(StatusCode::NO_CONTENT))
}

pub(super) fn location(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    store.read().bucket(&request.bucket).map(|_| xml("<LocationConstraint/>".to_owned()))
}

pub(super) fn get_versioning(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let status = match store.read().bucket(&request.bucket)?.options.versioning {
        Versioning::Never => "",
        Versioning::Enabled => "<Status>Enabled</Status>",
        Versioning::Suspended => "<Status>Suspended</Status>",
    };
    Ok(xml(format!("<VersioningConfiguration>{status}</VersioningConfiguration>")))
}

pub(super) fn put_versioning(
    store: &Shared,
    request: &Request,
    received: &Received,
) -> Result<Response<Reply>, Failure> {
    let said = elements(&received.content.to_bytes(), "VersioningConfiguration")?;
    let versioning = match said.first().and_then(|said| said.get("Status")).map(String::as_str) {
        Some("Enabled") => Versioning::Enabled,
        Some("Suspended") => Versioning::Suspended,
        _ => return Err(Failure::new(400, "MalformedXML", "The status is Enabled or Suspended.")),
    };
    let mut state = store.write();
    let options = &mut state.bucket_mut(&request.bucket)?.options;
    if options.object_lock.is_some() && versioning != Versioning::Enabled {
        return Err(Failure::new(409, "InvalidBucketState", "With object lock versions are always kept."));
    }
    options.versioning = versioning;
    Ok(bare(StatusCode::OK))
}

pub(super) fn get_object_lock(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let state = store.read();
    let Some(lock) = &state.bucket(&request.bucket)?.options.object_lock else {
        return Err(Failure::new(
            404,
            "ObjectLockConfigurationNotFoundError",
            "Object Lock configuration does not exist for this bucket",
        ));
    };
    let rule = lock.default.as_ref().map(|(mode, days)| {
        format!("<Rule><DefaultRetention><Mode>{mode}</Mode><Days>{days}</Days></DefaultRetention></Rule>")
    });
    Ok(xml(format!(
        "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{}</ObjectLockConfiguration>",
        rule.unwrap_or_default()
    )))
}

pub(super) fn get_tagging(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    store.read().bucket(&request.bucket)?;
    Err(Failure::new(404, "NoSuchTagSet", "The TagSet does not exist"))
}
