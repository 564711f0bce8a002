//! Pages of a listing, parsed as they are: a million keys are a thousand pages, and most of what an idle run does.

use std::borrow::Cow;

use http::Method;
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};
use serde::{Deserialize, Serialize};

use super::call::{Call, header};
use super::{ETag, Wire};
use crate::StoreError;

/// One object of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub key: String,
    /// Bytes.
    pub size: u64,
    pub etag: ETag,
    /// By the clock of its store, in milliseconds since 1970; 0 where the store does not say. Only ever compared with
    /// what the same store said before.
    pub modified: i64,
    /// Which version it is, where that was listed; else it is the current one.
    pub version: Option<Box<str>>,
}

impl Entry {
    /// One of which nothing is known yet.
    pub(super) fn empty() -> Self {
        Self { key: String::new(), size: 0, etag: ETag::new(""), modified: 0, version: None }
    }
}

/// Up to a thousand of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// Whether more may follow.
    pub truncated: bool,
    /// Where the next page goes on, if the store has said so.
    pub token: Option<String>,
    /// What the store's clock showed, in milliseconds since 1970.
    pub now: Option<i64>,
}

impl Wire {
    /// One page of the current objects under a prefix, in the order of the bytes of their keys, after a key.
    ///
    /// # Errors
    /// What a call can fail with; and where the answer is no listing.
    pub async fn list(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        token: Option<&str>,
    ) -> Result<Page, StoreError> {
        self.list_some(bucket, prefix, after.filter(|_| token.is_none()), token, None).await
    }

    /// The first object under a prefix behind a key: to find out where keys are, without listing them.
    ///
    /// # Errors
    /// As [`Wire::list`].
    pub async fn first_after(
        &self,
        bucket: &str,
        prefix: &str,
        after: &str,
    ) -> Result<Option<Entry>, StoreError> {
        let after = Some(after).filter(|after| !after.is_empty());
        let page = self.list_some(bucket, prefix, after, None, Some("1")).await?;
        Ok(page.entries.into_iter().next())
    }

    async fn list_some(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<&str>,
        token: Option<&str>,
        most: Option<&str>,
    ) -> Result<Page, StoreError> {
        // In the order of their names: as they are signed.
        let mut query = Vec::with_capacity(6);
        if let Some(token) = token {
            query.push(("continuation-token", token));
        }
        query.push(("encoding-type", "url"));
        query.push(("list-type", "2"));
        query.extend(most.map(|most| ("max-keys", most)));
        query.push(("prefix", prefix));
        query.extend(after.map(|after| ("start-after", after)));
        let (headers, body) = self.ask(Call { query: &query, ..Call::new(Method::GET, bucket, "") }).await?;
        let parsed = parse(&body).map_err(|detail| StoreError::Unreachable {
            endpoint: self.endpoint().to_owned(),
            detail: format!("bucket {bucket:?} was answered with what is no listing: {detail}"),
        });
        let mut page = parsed?;
        page.now = header(&headers, "date").and_then(moment);
        Ok(page)
    }
}

/// A `Date` header.
pub(crate) fn moment(text: &str) -> Option<i64> {
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(time.as_millisecond())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Key,
    Size,
    ETag,
    Modified,
    Truncated,
    Token,
    Encoding,
}

fn field(name: &str, inside: bool) -> Option<Field> {
    Some(match (name, inside) {
        ("Key", true) => Field::Key,
        ("Size", true) => Field::Size,
        ("ETag", true) => Field::ETag,
        ("LastModified", true) => Field::Modified,
        ("IsTruncated", false) => Field::Truncated,
        ("NextContinuationToken", false) => Field::Token,
        ("EncodingType", false) => Field::Encoding,
        _ => return None,
    })
}

fn parse(xml: &[u8]) -> Result<Page, String> {
    let xml = std::str::from_utf8(xml).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(xml);
    let mut page = Page::default();
    let (mut encoded, mut root, mut ended) = (false, false, false);
    let mut entry: Option<Entry> = None;
    let (mut at, mut text) = (None, String::new());
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(tag) => match tag.local_name().as_ref() {
                "Contents" => entry = Some(Entry::empty()),
                "ListBucketResult" => root = true,
                name => {
                    at = field(name, entry.is_some());
                    text.clear();
                }
            },
            Event::Text(piece) if at.is_some() => {
                text.push_str(&piece.xml_content(XmlVersion::Implicit1_0));
            }
            Event::GeneralRef(name) if at.is_some() => text.push(character(&name)?),
            Event::End(tag) => match tag.local_name().as_ref() {
                "Contents" => page.entries.extend(entry.take()),
                "ListBucketResult" => ended = true,
                _ => {
                    if let Some(at) = at.take() {
                        keep(at, std::mem::take(&mut text), &mut page, entry.as_mut(), &mut encoded)?;
                    }
                }
            },
            Event::Eof => break,
            _ => {}
        }
    }
    if !(root && ended) {
        return Err("it is not whole".to_owned());
    }
    if encoded {
        for entry in &mut page.entries {
            entry.key = decoded(&entry.key)?;
        }
    }
    if page.entries.iter().any(|entry| entry.key.is_empty()) {
        return Err("an object without a key".to_owned());
    }
    Ok(page)
}

fn keep(
    at: Field,
    text: String,
    page: &mut Page,
    entry: Option<&mut Entry>,
    encoded: &mut bool,
) -> Result<(), String> {
    match (at, entry) {
        (Field::Key, Some(entry)) => entry.key = text,
        (Field::Size, Some(entry)) => {
            entry.size = text.parse().map_err(|_| format!("a size of {text:?}"))?;
        }
        (Field::ETag, Some(entry)) => entry.etag = ETag::new(&text),
        (Field::Modified, Some(entry)) => {
            entry.modified = text.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond);
        }
        (Field::Truncated, None) => page.truncated = text == "true",
        (Field::Token, None) => page.token = Some(text),
        (Field::Encoding, None) => *encoded = text == "url",
        _ => {}
    }
    Ok(())
}

pub(super) fn character(name: &quick_xml::events::BytesRef<'_>) -> Result<char, String> {
    if let Some(character) = name.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(character);
    }
    Ok(match name.as_ref() {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        other => return Err(format!("the unknown entity {other}")),
    })
}

/// As in a form: a plus is a space.
pub(super) fn decoded(key: &str) -> Result<String, String> {
    if !key.contains(['%', '+']) {
        return Ok(key.to_owned());
    }
    let spaced: Cow<'_, str> = if key.contains('+') { key.replace('+', " ").into() } else { key.into() };
    let text =
        percent_decode_str(&spaced).decode_utf8().map_err(|_| format!("the key {key:?} is not UTF-8"))?;
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_is_meant() {
        let xml = br#"<?xml version="1.0"?><ListBucketResult xmlns="x"><Name>b</Name><EncodingType>url</EncodingType>
            <IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b</NextContinuationToken>
            <Contents><Key>a+b%2Bc%01</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>
            <ETag>&quot;e&#45;2&quot;</ETag><Size>7</Size><Owner><ID>x</ID></Owner></Contents></ListBucketResult>"#;
        let page = parse(xml).unwrap();
        let modified = 1_767_323_045_678;
        let key = "a b+c\u{1}".to_owned();
        let entry = Entry { key, size: 7, etag: ETag::new("e-2"), modified, version: None };
        assert_eq!(
            page,
            Page { entries: vec![entry], truncated: true, token: Some("a&b".into()), now: None }
        );
    }

    #[test]
    fn half_a_page_is_none() {
        assert!(parse(b"<ListBucketResult><Contents><Key>a</Key>").is_err());
        assert!(parse(b"<html></html>").is_err());
        assert!(parse(b"").is_err());
    }

    #[test]
    fn a_date_of_http_is_read() {
        assert_eq!(moment("Thu, 01 Jan 1970 00:00:01 GMT"), Some(1000));
    }
}
