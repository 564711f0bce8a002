//! Objects that are sent in parts.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use http::header::{HeaderName, HeaderValue};
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::answer::{Escaped, Failure, Reply, bare, set, xml};
use super::clock::write_iso;
use super::content::Content;
use super::digest::Digests;
use super::elements::elements;
use super::receive::Received;
use super::request::Request;
use super::state::Version;
use super::write::{condition, kept, tags_of};
use super::{Shared, lock};

/// One that was begun.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) initiated: Timestamp,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) tags: Vec<(String, String)>,
    pub(super) parts: BTreeMap<usize, Part>,
}

/// One part of it.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) content: Content,
    pub(super) digests: Digests,
    pub(super) etag: String,
    pub(super) modified: Timestamp,
}

pub(super) fn create(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    lock::check(store.read().bucket(&request.bucket)?, &request.headers, store.clock.now())?;
    let upload = Upload {
        key: request.key.clone(),
        initiated: store.clock.now(),
        headers: kept(&request.headers),
        tags: tags_of(request)?,
        parts: BTreeMap::new(),
    };
    let mut state = store.write();
    let id = state.id();
    state.bucket_mut(&request.bucket)?.uploads.insert(id.clone(), upload);
    Ok(xml(format!(
        "<InitiateMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
         </InitiateMultipartUploadResult>",
        request.bucket,
        Escaped(&request.key),
    )))
}

pub(super) fn upload_part(
    store: &Shared,
    request: &Request,
    received: Received,
) -> Result<Response<Reply>, Failure> {
    if !store.options.no_checksums {
        received.verify(&request.headers)?;
    }
    let number = request.number("partNumber")?.filter(|number| (1..=10_000).contains(number));
    let number = number.ok_or_else(|| Failure::invalid("Part numbers go from 1 to 10000."))?;
    let etag = store.naming.single(&received.digests);
    let mut response = bare(StatusCode::OK);
    set(&mut response, "etag", &format!("\"{etag}\""));
    for (name, value) in &received.digests.named {
        set(&mut response, name, value);
    }
    let modified = store.clock.now();
    let part = Part { content: received.content, digests: received.digests, etag, modified };
    let mut state = store.write();
    let uploads = &mut state.bucket_mut(&request.bucket)?.uploads;
    let upload = request.query("uploadId").and_then(|id| uploads.get_mut(id));
    let upload = upload.filter(|upload| upload.key == request.key).ok_or_else(no_such_upload)?;
    if upload.headers.iter().any(|(name, _)| name.as_str().starts_with("x-amz-object-lock-"))
        && request.header("content-md5").is_none()
        && part.digests.named.is_empty()
    {
        return Err(Failure::new(
            400,
            "InvalidRequest",
            "Content-MD5 is required with Object Lock parameters",
        ));
    }
    upload.parts.insert(number, part);
    Ok(response)
}

pub(super) fn complete(
    store: &Shared,
    request: &Request,
    received: &Received,
) -> Result<Response<Reply>, Failure> {
    let id = request.query("uploadId").unwrap_or_default();
    let named = elements(&received.content.to_bytes(), "Part")?;
    let (parts, initiated, headers, tags) = {
        let state = store.read();
        let uploads = &state.bucket(&request.bucket)?.uploads;
        let upload = uploads.get(id).filter(|upload| upload.key == request.key).ok_or_else(no_such_upload)?;
        let parts = chosen(store, upload, &named)?;
        (parts, upload.initiated, upload.headers.clone(), upload.tags.clone())
    };
    let digests: Vec<&Digests> = parts.iter().map(|part| &part.digests).collect();
    let whole = Digests::combined(digests.iter().copied());
    let expected = request.header("x-amz-checksum-crc64nvme").filter(|_| !store.options.no_checksums);
    if expected.is_some_and(|expected| whole.checksums().iter().any(|(_, value)| value != expected)) {
        return Err(Failure::new(400, "BadDigest", "The checksum is not that of the parts."));
    }
    let content = Content::joined(parts.iter().map(|part| &part.content));
    // S3 dates an object by when its upload was begun.
    let version = Version::new(content, store.naming.parts(&digests), &whole, initiated);
    let parts = parts.iter().map(|part| part.content.size()).collect();
    let version = Version { headers, tags, parts, ..version };
    let condition = condition(store, request)?;
    let mut state = store.write();
    if !state.bucket(&request.bucket)?.uploads.contains_key(id) {
        return Err(no_such_upload());
    }
    let version = state.put((&request.bucket, &request.key), version, &condition, store.clock.now())?;
    state.bucket_mut(&request.bucket)?.uploads.remove(id);
    let mut response = xml(format!(
        "<CompleteMultipartUploadResult><Bucket>{}</Bucket><Key>{}</Key><ETag>&quot;{}&quot;</ETag>\
         </CompleteMultipartUploadResult>",
        request.bucket,
        Escaped(&request.key),
        version.etag,
    ));
    if version.id != "null" {
        set(&mut response, "x-amz-version-id", &version.id);
    }
    Ok(response)
}

/// The parts that a completion names, in their order.
fn chosen(store: &Shared, upload: &Upload, named: &[BTreeMap<String, String>]) -> Result<Vec<Part>, Failure> {
    let number = |part: &BTreeMap<String, String>| part.get("PartNumber").and_then(|n| n.parse().ok());
    let numbers: Vec<usize> = named.iter().map(|part| number(part).unwrap_or(0)).collect();
    if !numbers.is_sorted_by(|a, b| a < b) {
        return Err(Failure::new(400, "InvalidPartOrder", "Parts must be named in ascending order."));
    }
    let mut parts = Vec::with_capacity(named.len());
    for (n, (part, number)) in named.iter().zip(&numbers).enumerate() {
        let etag = part.get("ETag").map(|etag| etag.trim_matches('"'));
        let sent = upload.parts.get(number).filter(|part| etag.is_none_or(|etag| etag == part.etag));
        let sent = sent.ok_or_else(|| {
            Failure::new(400, "InvalidPart", format!("Part {number} was not sent, or has another ETag."))
        })?;
        if n + 1 < named.len() && sent.content.size() < store.options.min_part_size {
            return Err(Failure::new(400, "EntityTooSmall", format!("Part {number} is too small.")));
        }
        parts.push(sent.clone());
    }
    if parts.is_empty() {
        return Err(Failure::new(400, "MalformedXML", "No part is named."));
    }
    Ok(parts)
}

pub(super) fn abort(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let mut state = store.write();
    let uploads = &mut state.bucket_mut(&request.bucket)?.uploads;
    let removed = request.query("uploadId").and_then(|id| uploads.remove(id));
    removed.map(|_| bare(StatusCode::NO_CONTENT)).ok_or_else(no_such_upload)
}

pub(super) fn list_parts(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let state = store.read();
    let id = request.query("uploadId").unwrap_or_default();
    let upload = state.bucket(&request.bucket)?.uploads.get(id).ok_or_else(no_such_upload)?;
    let after = request.number("part-number-marker")?.unwrap_or(0);
    let limit = request.number("max-parts")?.unwrap_or(1000).min(store.options.page_size).min(1000);
    let (mut listed, mut last) = (String::new(), after);
    for (number, part) in upload.parts.range(after + 1..).take(limit) {
        listed.push_str("<Part><LastModified>");
        write_iso(part.modified, &mut listed);
        // To a String nothing fails.
        let _ = write!(
            listed,
            "</LastModified><PartNumber>{number}</PartNumber><ETag>&quot;{}&quot;</ETag><Size>{}</Size></Part>",
            part.etag,
            part.content.size()
        );
        last = *number;
    }
    let truncated = upload.parts.range(last + 1..).next().is_some();
    Ok(xml(format!(
        "<ListPartsResult><Bucket>{}</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
         <NextPartNumberMarker>{last}</NextPartNumberMarker><MaxParts>{limit}</MaxParts>\
         <IsTruncated>{truncated}</IsTruncated>{listed}</ListPartsResult>",
        request.bucket,
        Escaped(&request.key),
    )))
}

fn no_such_upload() -> Failure {
    Failure::new(404, "NoSuchUpload", "There is no such upload; it may have been ended or aborted.")
}
