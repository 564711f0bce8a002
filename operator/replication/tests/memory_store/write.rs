//! What changes objects: PUT, copies, deletions, tags.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};

use super::answer::{Escaped, Failure, Reply, bare, set, xml};
use super::clock::write_iso;
use super::digest::Digests;
use super::elements::elements;
use super::receive::Received;
use super::request::{Request, decoded, pairs};
use super::state::{Condition, Deleted, Version};
use super::{Conditions, Shared, lock};

/// Headers that are kept with an object, beside its metadata.
const KEPT: [&str; 11] = [
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
];

/// What is kept of the headers of a write, by name.
pub(super) fn kept(headers: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let keeps = |name: &HeaderName| KEPT.contains(&name.as_str()) || name.as_str().starts_with("x-amz-meta-");
    let mut kept: Vec<_> = headers
        .iter()
        .filter(|(name, value)| keeps(name) && value.as_bytes() != b"STANDARD")
        .filter_map(|(name, value)| Some((name.clone(), unframed(name, value)?)))
        .collect();
    if !headers.contains_key(CONTENT_TYPE) {
        kept.push((CONTENT_TYPE, HeaderValue::from_static("binary/octet-stream")));
    }
    kept.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    kept
}

/// `aws-chunked` is how a body was sent, not what it is.
fn unframed(name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
    match value.to_str() {
        Ok(text) if name == CONTENT_ENCODING && text.contains("aws-chunked") => {
            let rest: Vec<&str> = text.split(',').map(str::trim).filter(|e| *e != "aws-chunked").collect();
            HeaderValue::from_str(&rest.join(",")).ok().filter(|value| !value.is_empty())
        }
        _ => Some(value.clone()),
    }
}

/// Tags that are sent with an object.
pub(super) fn tags_of(request: &Request) -> Result<Vec<(String, String)>, Failure> {
    request.header("x-amz-tagging").map_or(Ok(Vec::new()), pairs)
}

/// The condition of a write, as far as this store knows conditions.
pub(super) fn condition(store: &Shared, request: &Request) -> Result<Condition, Failure> {
    let text = |name: &str| request.header(name).map(|etag| etag.trim_matches('"').to_owned());
    let (absent, matches) = (request.header("if-none-match") == Some("*"), text("if-match"));
    match store.options.conditions {
        Conditions::Ignored => Ok(Condition::default()),
        Conditions::Refused if absent || matches.is_some() => {
            Err(Failure::unsupported("Conditional writes are not implemented."))
        }
        Conditions::OnlyAbsent => Ok(Condition { absent, matches: None }),
        Conditions::Honoured | Conditions::Refused => Ok(Condition { absent, matches }),
    }
}

pub(super) fn put(store: &Shared, request: &Request, received: Received) -> Result<Response<Reply>, Failure> {
    if !store.options.no_checksums {
        received.verify(&request.headers)?;
    }
    let now = store.clock.now();
    {
        let state = store.read();
        let bucket = state.bucket(&request.bucket)?;
        lock::check(bucket, &request.headers, now)?;
        lock::check_digest(bucket, &request.headers)?;
    }
    let Received { content, digests, .. } = received;
    let version = Version::new(content, store.naming.single(&digests), &digests, now);
    let tags = if store.options.no_tags { Vec::new() } else { tags_of(request)? };
    let version = Version { headers: kept(&request.headers), tags, ..version };
    let condition = condition(store, request)?;
    let version = store.write().put((&request.bucket, &request.key), version, &condition, now)?;
    let mut response = bare(StatusCode::OK);
    set(&mut response, "etag", &format!("\"{}\"", version.etag));
    if version.id != "null" {
        set(&mut response, "x-amz-version-id", &version.id);
    }
    for (name, value) in &digests.named {
        set(&mut response, name, value);
    }
    Ok(response)
}

pub(super) fn copy(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let source = request.header("x-amz-copy-source").unwrap_or_default();
    let (path, id) = match source.split_once("?versionId=") {
        Some((path, id)) => (path, Some(id)),
        None => (source, None),
    };
    let path = decoded(path.strip_prefix('/').unwrap_or(path))?;
    let (bucket, key) = path.split_once('/').ok_or_else(|| Failure::invalid("The source has no key."))?;
    let replaces = request.header("x-amz-metadata-directive") == Some("REPLACE");
    if (bucket, key) == (&request.bucket, &request.key) && !replaces && id.is_none() {
        return Err(Failure::new(400, "InvalidRequest", "A copy onto itself must change something."));
    }
    let source = store.read().bucket(bucket)?.version(key, id)?.clone();
    let expected = request.header("x-amz-copy-source-if-match").map(|etag| etag.trim_matches('"'));
    if expected.is_some_and(|etag| etag != source.etag) {
        return Err(Failure::precondition());
    }
    let content = source.content.clone().ok_or_else(Failure::no_such_key)?;
    let now = store.clock.now();
    let digests = Digests::of(store.options.etags, content.pieces());
    let replaces_tags = request.header("x-amz-tagging-directive") == Some("REPLACE");
    let version = Version {
        headers: if replaces { kept(&request.headers) } else { source.headers.clone() },
        tags: if replaces_tags { tags_of(request)? } else { source.tags.clone() },
        ..Version::new(content, store.naming.single(&digests), &digests, now)
    };
    let condition = condition(store, request)?;
    let version = store.write().put((&request.bucket, &request.key), version, &condition, now)?;
    let mut modified = String::new();
    write_iso(version.modified, &mut modified);
    let mut response = xml(format!(
        "<CopyObjectResult><LastModified>{modified}</LastModified><ETag>&quot;{}&quot;</ETag></CopyObjectResult>",
        version.etag
    ));
    if version.id != "null" {
        set(&mut response, "x-amz-version-id", &version.id);
    }
    Ok(response)
}

pub(super) fn delete(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let condition = condition(store, request)?;
    let target = (request.bucket.as_str(), request.key.as_str());
    let deleted = store.write().delete(target, request.query("versionId"), &condition, store.clock.now())?;
    let mut response = bare(StatusCode::NO_CONTENT);
    if let Some(version) = &deleted.version {
        set(&mut response, "x-amz-version-id", version);
    }
    if deleted.marker {
        set(&mut response, "x-amz-delete-marker", "true");
    }
    Ok(response)
}

pub(super) fn delete_many(
    store: &Shared,
    request: &Request,
    received: &Received,
) -> Result<Response<Reply>, Failure> {
    received.verify(&request.headers)?;
    let body = received.content.to_bytes();
    let quiet = elements(&body, "Delete")?.iter().any(|all| all.get("Quiet").is_some_and(|q| q == "true"));
    let objects = elements(&body, "Object")?;
    if objects.is_empty() || objects.len() > 1000 {
        return Err(Failure::new(
            400,
            "MalformedXML",
            "From one to a thousand objects can be deleted at once.",
        ));
    }
    let now = store.clock.now();
    let mut state = store.write();
    state.bucket(&request.bucket)?;
    let mut told = String::new();
    for object in &objects {
        let (key, id) = (object.get("Key").map_or("", String::as_str), object.get("VersionId"));
        let matches = object.get("ETag").map(|etag| etag.trim_matches('"').to_owned());
        let condition = Condition { absent: false, matches };
        match state.delete((&request.bucket, key), id.map(String::as_str), &condition, now) {
            Ok(deleted) if !quiet => told += &told_of(key, id, &deleted),
            Ok(_) => {}
            Err(refusal) => told += &refusal.element_for(key),
        }
    }
    Ok(xml(format!("<DeleteResult>{told}</DeleteResult>")))
}

fn told_of(key: &str, id: Option<&String>, deleted: &Deleted) -> String {
    let version = id.map(|id| format!("<VersionId>{}</VersionId>", Escaped(id))).unwrap_or_default();
    let marker = match &deleted.version {
        Some(id) if deleted.marker => {
            format!(
                "<DeleteMarker>true</DeleteMarker><DeleteMarkerVersionId>{}</DeleteMarkerVersionId>",
                Escaped(id)
            )
        }
        _ => String::new(),
    };
    format!("<Deleted><Key>{}</Key>{version}{marker}</Deleted>", Escaped(key))
}

pub(super) fn get_tags(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    let state = store.read();
    let version = state.bucket(&request.bucket)?.version(&request.key, request.query("versionId"))?;
    let tag = |(key, value): &(String, String)| {
        format!("<Tag><Key>{}</Key><Value>{}</Value></Tag>", Escaped(key), Escaped(value))
    };
    let tags: String = version.tags.iter().map(tag).collect();
    Ok(xml(format!("<Tagging><TagSet>{tags}</TagSet></Tagging>")))
}

pub(super) fn put_tags(
    store: &Shared,
    request: &Request,
    received: &Received,
) -> Result<Response<Reply>, Failure> {
    received.verify(&request.headers)?;
    let tags = elements(&received.content.to_bytes(), "Tag")?;
    let tags = tags.into_iter().filter_map(|mut tag| Some((tag.remove("Key")?, tag.remove("Value")?)));
    set_tags(store, request, &tags.collect::<Vec<_>>(), StatusCode::OK)
}

pub(super) fn delete_tags(store: &Shared, request: &Request) -> Result<Response<Reply>, Failure> {
    set_tags(store, request, &[], StatusCode::NO_CONTENT)
}

fn set_tags(
    store: &Shared,
    request: &Request,
    tags: &[(String, String)],
    status: StatusCode,
) -> Result<Response<Reply>, Failure> {
    let mut state = store.write();
    let bucket = state.bucket_mut(&request.bucket)?;
    let id = bucket.version(&request.key, request.query("versionId"))?.id.clone();
    let versions = bucket.objects.get_mut(&request.key).into_iter().flatten();
    for version in versions.filter(|version| version.id == id) {
        Arc::make_mut(version).tags = tags.to_vec();
    }
    let mut response = bare(status);
    if id != "null" {
        set(&mut response, "x-amz-version-id", &id);
    }
    Ok(response)
}
