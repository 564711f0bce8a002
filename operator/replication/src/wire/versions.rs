//! Pages of all versions and delete markers, parsed as they are; whether a bucket keeps versions; and deletions of one.

use http::Method;
use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};

use super::call::{Call, between, header};
use super::list::{character, decoded, moment};
use super::{Condition, ETag, Entry, Wire};
use crate::StoreError;

/// One version of an object, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its id is always there: `null` for what was written while the bucket kept no versions.
    pub entry: Entry,
    pub is_marker: bool,
    /// Whether it is the current one of its key.
    pub is_latest: bool,
}

/// Up to a thousand of them: keys in order, of each key the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    pub versions: Vec<Version>,
    /// Whether more may follow.
    pub truncated: bool,
    /// Where the next page goes on, if the store has said so: a key, and a version of it.
    pub next: Option<(String, Option<String>)>,
    /// What the store's clock showed, in milliseconds since 1970.
    pub now: Option<i64>,
}

/// Whether a bucket keeps what was overwritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Never,
    Enabled,
    /// What there was is kept, and what is overwritten from now on is not.
    Suspended,
}

impl Wire {
    /// One page of all versions under a prefix, behind a key, or behind a version of it.
    ///
    /// # Errors
    /// What a call can fail with; and where the answer is no listing.
    pub async fn versions(
        &self,
        bucket: &str,
        prefix: &str,
        after: Option<(&str, Option<&str>)>,
    ) -> Result<Versions, StoreError> {
        // In the order of their names: as they are signed.
        let mut query = Vec::with_capacity(5);
        query.push(("encoding-type", "url"));
        if let Some((key, _)) = after {
            query.push(("key-marker", key));
        }
        query.push(("prefix", prefix));
        if let Some((_, Some(version))) = after {
            query.push(("version-id-marker", version));
        }
        query.push(("versions", ""));
        let (headers, body) = self.ask(Call { query: &query, ..Call::new(Method::GET, bucket, "") }).await?;
        let parsed = parse(&body).map_err(|detail| StoreError::Unreachable {
            endpoint: self.endpoint().to_owned(),
            detail: format!("bucket {bucket:?} was answered with what is no listing of versions: {detail}"),
        });
        let mut page = parsed?;
        page.now = header(&headers, "date").and_then(moment);
        Ok(page)
    }

    /// Whether a bucket keeps versions, and what the store's clock showed, in milliseconds since 1970. A store that does not
    /// know the question keeps none.
    ///
    /// # Errors
    /// What a call can fail with.
    pub async fn versioning(&self, bucket: &str) -> Result<(Versioning, Option<i64>), StoreError> {
        let call = Call { query: &[("versioning", "")], ..Call::new(Method::GET, bucket, "") };
        let (headers, body) = match self.ask(call).await {
            Err(StoreError::Unsupported { .. }) => return Ok((Versioning::Never, None)),
            answer => answer?,
        };
        let text = String::from_utf8_lossy(&body);
        let versioning = match between(&text, "<Status>", "</Status>") {
            Some("Enabled") => Versioning::Enabled,
            Some("Suspended") => Versioning::Suspended,
            _ => Versioning::Never,
        };
        Ok((versioning, header(&headers, "date").and_then(moment)))
    }

    /// Deletes one version for good. That there is none is success.
    ///
    /// # Errors
    /// What a call can fail with; [`StoreError::Denied`] where it is locked.
    pub async fn delete_version(&self, bucket: &str, key: &str, version: &str) -> Result<(), StoreError> {
        let query = [("versionId", version)];
        match self.ask(Call { query: &query, ..Call::new(Method::DELETE, bucket, key) }).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// Puts a delete marker on top, and says its id.
    ///
    /// # Errors
    /// [`StoreError::Mismatch`] where the condition does not hold, at a store that knows conditions of deletions; else what a
    /// call can fail with.
    pub async fn mark_deleted(
        &self,
        bucket: &str,
        key: &str,
        condition: &Condition,
    ) -> Result<Option<String>, StoreError> {
        let mut call = Call::new(Method::DELETE, bucket, key);
        // That there is none is no condition of a deletion.
        if matches!(condition, Condition::Is(_)) {
            condition.apply(&mut call.headers);
        }
        let (headers, _) = self.ask(call).await?;
        Ok(header(&headers, "x-amz-version-id").map(str::to_owned))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Key,
    Id,
    Latest,
    Size,
    ETag,
    Modified,
    Truncated,
    NextKey,
    NextId,
    Encoding,
}

fn field(name: &str, inside: bool) -> Option<Field> {
    Some(match (name, inside) {
        ("Key", true) => Field::Key,
        ("VersionId", true) => Field::Id,
        ("IsLatest", true) => Field::Latest,
        ("Size", true) => Field::Size,
        ("ETag", true) => Field::ETag,
        ("LastModified", true) => Field::Modified,
        ("IsTruncated", false) => Field::Truncated,
        ("NextKeyMarker", false) => Field::NextKey,
        ("NextVersionIdMarker", false) => Field::NextId,
        ("EncodingType", false) => Field::Encoding,
        _ => return None,
    })
}

/// A page while it is read.
#[derive(Default)]
struct Reading {
    page: Versions,
    version: Option<Version>,
    next_key: Option<String>,
    next_id: Option<String>,
    encoded: bool,
}

fn parse(xml: &[u8]) -> Result<Versions, String> {
    let xml = std::str::from_utf8(xml).map_err(|_| "it is not UTF-8".to_owned())?;
    let mut reader = Reader::from_str(xml);
    let mut reading = Reading::default();
    let (mut root, mut ended) = (false, false);
    let (mut at, mut text) = (None, String::new());
    loop {
        match reader.read_event().map_err(|e| e.to_string())? {
            Event::Start(tag) => match tag.local_name().as_ref() {
                kind @ ("Version" | "DeleteMarker") => {
                    let is_marker = kind == "DeleteMarker";
                    reading.version = Some(Version { entry: Entry::empty(), is_marker, is_latest: false });
                }
                "ListVersionsResult" => root = true,
                name => {
                    at = field(name, reading.version.is_some());
                    text.clear();
                }
            },
            Event::Text(piece) if at.is_some() => {
                text.push_str(&piece.xml_content(XmlVersion::Implicit1_0));
            }
            Event::GeneralRef(name) if at.is_some() => text.push(character(&name)?),
            Event::End(tag) => match tag.local_name().as_ref() {
                "Version" | "DeleteMarker" => reading.page.versions.extend(reading.version.take()),
                "ListVersionsResult" => ended = true,
                _ => {
                    if let Some(at) = at.take() {
                        reading.keep(at, std::mem::take(&mut text))?;
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
    reading.finish()
}

impl Reading {
    fn keep(&mut self, at: Field, text: String) -> Result<(), String> {
        match (at, &mut self.version) {
            (Field::Key, Some(version)) => version.entry.key = text,
            (Field::Id, Some(version)) => version.entry.version = Some(text.into()),
            (Field::Latest, Some(version)) => version.is_latest = text == "true",
            (Field::Size, Some(version)) => {
                version.entry.size = text.parse().map_err(|_| format!("a size of {text:?}"))?;
            }
            (Field::ETag, Some(version)) => version.entry.etag = ETag::new(&text),
            (Field::Modified, Some(version)) => {
                let moment = text.parse::<jiff::Timestamp>();
                version.entry.modified = moment.map_or(0, jiff::Timestamp::as_millisecond);
            }
            (Field::Truncated, None) => self.page.truncated = text == "true",
            (Field::NextKey, None) => self.next_key = Some(text),
            (Field::NextId, None) => self.next_id = Some(text),
            (Field::Encoding, None) => self.encoded = text == "url",
            _ => {}
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Versions, String> {
        if self.encoded {
            for version in &mut self.page.versions {
                version.entry.key = decoded(&version.entry.key)?;
            }
            self.next_key = self.next_key.map(|key| decoded(&key)).transpose()?;
        }
        for Version { entry, is_marker, .. } in &mut self.page.versions {
            if entry.key.is_empty() {
                return Err("a version without a key".to_owned());
            }
            if entry.version.as_ref().is_none_or(|id| id.is_empty()) {
                return Err(format!("a version of {:?} without an id", entry.key));
            }
            if *is_marker {
                (entry.size, entry.etag) = (0, ETag::new(""));
            }
        }
        let id = self.next_id.filter(|id| !id.is_empty());
        self.page.next = self.next_key.filter(|key| !key.is_empty()).map(|key| (key, id));
        Ok(self.page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_markers_are_read_in_the_order_in_which_they_are_listed() {
        let xml = br#"<?xml version="1.0"?><ListVersionsResult xmlns="x"><Name>b</Name><KeyMarker>x</KeyMarker>
            <EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextKeyMarker>a+b%2F</NextKeyMarker>
            <NextVersionIdMarker>v1</NextVersionIdMarker>
            <DeleteMarker><Key>a+b</Key><VersionId>v2</VersionId><IsLatest>true</IsLatest>
            <LastModified>1970-01-01T00:00:02Z</LastModified><Owner><ID>x</ID></Owner></DeleteMarker>
            <Version><Key>a+b</Key><VersionId>v&amp;1</VersionId><IsLatest>false</IsLatest><Size>7</Size>
            <LastModified>1970-01-01T00:00:01.5Z</LastModified><ETag>&quot;e&quot;</ETag></Version></ListVersionsResult>"#;
        let entry = |size, etag, modified, id: &str| Entry {
            key: "a b".into(),
            size,
            etag: ETag::new(etag),
            modified,
            version: Some(id.into()),
        };
        let marker = Version { entry: entry(0, "", 2000, "v2"), is_marker: true, is_latest: true };
        let version = Version { entry: entry(7, "e", 1500, "v&1"), is_marker: false, is_latest: false };
        let next = Some(("a b/".to_owned(), Some("v1".to_owned())));
        let page = Versions { versions: vec![marker, version], truncated: true, next, now: None };
        assert_eq!(parse(xml).unwrap(), page);
    }

    #[test]
    fn half_a_page_and_what_has_no_name_are_errors() {
        for wrong in [
            "<ListVersionsResult><Version><Key>a</Key>",
            "<ListBucketResult></ListBucketResult>",
            "<ListVersionsResult><Version><VersionId>v</VersionId></Version></ListVersionsResult>",
            "<ListVersionsResult><Version><Key>a</Key></Version></ListVersionsResult>",
        ] {
            assert!(parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
