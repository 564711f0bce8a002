//! GET and HEAD of an object: whole, a range, or a part.

use std::sync::Arc;

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, ETAG, HeaderValue, LAST_MODIFIED};
use http::{HeaderMap, Response, StatusCode};

use super::answer::{Failure, Reply, set};
use super::clock::http_date;
use super::request::Request;
use super::state::{Bucket, Version};
use super::{Options, synthetic};

/// Answers with an object, or with all but its content to HEAD.
pub(super) fn read(
    options: &Options,
    bucket: &Bucket,
    request: &Request,
    head: bool,
) -> Result<Response<Reply>, Failure> {
    let id = request.query("versionId");
    let version = match &bucket.synthetic {
        Some(synthetic) => Arc::new(synthetic::version(synthetic, &request.key)?),
        None => bucket.version(&request.key, id)?.clone(),
    };
    conditions(&version, &request.headers)?;
    let Some(content) = &version.content else { return Err(Failure::no_such_key()) };
    let wanted = wanted(options, &version, request)?;
    let (offset, length) = wanted.map_or((0, content.size()), |part| (part.offset, part.length));
    let mut response = Response::new(if head {
        Reply::empty()
    } else if wanted.is_some() {
        Reply::new(content.slice(offset, length))
    } else {
        Reply::new(content.clone())
    });
    let headers = response.headers_mut();
    headers.reserve(12 + version.headers.len());
    headers.extend(version.headers.iter().map(|(name, value)| (Some(name.clone()), value.clone())));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Ok(modified) = HeaderValue::from_str(&http_date(version.modified)) {
        headers.insert(LAST_MODIFIED, modified);
    }
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", version.etag)) {
        headers.insert(ETAG, etag);
    }
    if id.is_some() || version.id != "null" {
        set(&mut response, "x-amz-version-id", &version.id);
    }
    if !version.tags.is_empty() {
        set(&mut response, "x-amz-tagging-count", &version.tags.len().to_string());
    }
    match wanted {
        Some(part) => describe(&mut response, &version, part),
        None if request.header("x-amz-checksum-mode").is_some_and(|m| m.eq_ignore_ascii_case("enabled")) => {
            for (name, value) in version.checksums.iter().filter(|_| !options.no_checksums) {
                set(&mut response, name, value);
            }
            set(&mut response, "x-amz-checksum-type", "FULL_OBJECT");
        }
        None => {}
    }
    Ok(response)
}

/// A piece of an object.
#[derive(Clone, Copy)]
struct Piece {
    offset: usize,
    length: usize,
    by_part: bool,
}

fn describe(response: &mut Response<Reply>, version: &Version, piece: Piece) {
    if piece.length > 0 {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let (first, last) = (piece.offset, piece.offset + piece.length - 1);
        set(response, "content-range", &format!("bytes {first}-{last}/{}", version.size()));
    }
    if piece.by_part && !version.parts.is_empty() {
        set(response, "x-amz-mp-parts-count", &version.parts.len().to_string());
    }
}

fn conditions(version: &Version, headers: &HeaderMap) -> Result<(), Failure> {
    let lists = |name: &str| {
        let value = headers.get(name)?.to_str().ok()?;
        Some(value.split(',').map(|e| e.trim().trim_matches('"')).any(|e| e == "*" || e == version.etag))
    };
    if lists("if-match") == Some(false) {
        return Err(Failure::precondition());
    }
    if lists("if-none-match") == Some(true) {
        let same = Failure::new(304, "NotModified", "");
        return Err(same.with("etag", format!("\"{}\"", version.etag)));
    }
    Ok(())
}

fn wanted(options: &Options, version: &Version, request: &Request) -> Result<Option<Piece>, Failure> {
    if let Some(number) = request.number("partNumber")?.filter(|_| !options.no_part_number) {
        let whole = [version.size()];
        let parts = if version.parts.is_empty() { &whole } else { version.parts.as_slice() };
        let before = number.checked_sub(1).and_then(|before| Some((before, *parts.get(before)?)));
        let Some((before, length)) = before else {
            return Err(Failure::new(416, "InvalidPartNumber", "The object has fewer parts."));
        };
        let offset = parts[..before].iter().sum();
        return Ok(Some(Piece { offset, length, by_part: true }));
    }
    let Some(range) = request.header("range").and_then(|range| range.strip_prefix("bytes=")) else {
        return Ok(None);
    };
    let size = version.size();
    let invalid = || {
        let refusal = Failure::new(416, "InvalidRange", "The requested range is not satisfiable.");
        refusal.with("content-range", format!("bytes */{size}"))
    };
    // What is no range that S3 knows is ignored, as RFC 9110 has it.
    let Some((first, last)) = range.split_once('-') else { return Ok(None) };
    let (offset, end) = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) if first <= last => (first, last.saturating_add(1).min(size)),
        (Ok(first), Err(_)) if last.is_empty() => (first, size),
        (Err(_), Ok(0)) if first.is_empty() => return Err(invalid()),
        (Err(_), Ok(suffix)) if first.is_empty() => (size.saturating_sub(suffix), size),
        _ => return Ok(None),
    };
    if offset >= size {
        return Err(invalid());
    }
    Ok(Some(Piece { offset, length: end - offset, by_part: false }))
}
