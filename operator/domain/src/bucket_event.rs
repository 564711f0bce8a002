//! What stores send when something happens in a bucket: the JSON of S3, as AWS, MinIO, versitygw and Ceph write it. It is a
//! hint where to look, and never a fact.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde::Deserialize;

/// Something happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub bucket: String,
    /// What its key may be: stores do not agree on whether, and how, they encode it. Looking at a key that is none costs
    /// little; not to look at the right one costs the event.
    pub keys: BTreeSet<String>,
    /// It was deleted.
    pub is_gone: bool,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "Records", default)]
    records: Option<Vec<Record>>,
    /// MinIO's, of its one record: `bucket/key`.
    #[serde(rename = "Key", default)]
    key: Option<String>,
    #[serde(rename = "EventName", default)]
    event_name: Option<String>,
    /// Of a message that only tries the way.
    #[serde(rename = "Event", default)]
    event: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(default)]
    event_name: String,
    s3: Place,
}

#[derive(Deserialize)]
struct Place {
    bucket: Bucket,
    #[serde(default)]
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Default, Deserialize)]
struct Object {
    #[serde(default)]
    key: String,
}

/// The events of one message; none where it only tries the way.
///
/// # Errors
/// Says what it lacks.
pub fn parse(body: &[u8]) -> Result<Vec<Event>, String> {
    let body: Body = serde_json::from_slice(body).map_err(|e| format!("it is no event of S3: {e}"))?;
    match (body.records, body.key, body.event) {
        (Some(records), key, _) if !(records.is_empty() && key.is_some()) => {
            let events = records
                .into_iter()
                .filter_map(|record| event(record.s3.bucket.name, &record.s3.object.key, &record.event_name));
            Ok(events.collect())
        }
        (_, Some(key), _) => {
            let (bucket, key) =
                key.split_once('/').ok_or_else(|| format!("Key: {key:?} is no bucket with a key"))?;
            Ok(event(bucket.to_owned(), key, &body.event_name.unwrap_or_default()).into_iter().collect())
        }
        (_, None, Some(_)) => Ok(Vec::new()),
        (_, None, None) => Err("it has neither Records nor Key".to_owned()),
    }
}

/// `None` where it is about the bucket itself.
fn event(bucket: String, key: &str, name: &str) -> Option<Event> {
    let keys = readings(key);
    let is_gone = ["ObjectRemoved", "LifecycleExpiration"].iter().any(|gone| name.contains(gone));
    (!bucket.is_empty() && !keys.is_empty()).then_some(Event { bucket, keys, is_gone })
}

/// As it stands there, as a path is encoded, and as a form is.
fn readings(key: &str) -> BTreeSet<String> {
    let decoded = |key: &str| percent_decode_str(key).decode_utf8().ok().map(std::borrow::Cow::into_owned);
    let all = [Some(key.to_owned()), decoded(key), decoded(&key.replace('+', " "))];
    all.into_iter().flatten().filter(|key| !key.is_empty()).collect()
}

#[cfg(test)]
#[path = "bucket_event_tests.rs"]
mod tests;
