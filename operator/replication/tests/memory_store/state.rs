//! What is in the store: buckets, keys, their versions, and the order in which they became current.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use jiff::{SignedDuration, Timestamp};

use super::answer::Failure;
use super::content::Content;
use super::digest::{Digests, mixed};
use super::multipart::Upload;
use super::synthetic::Synthetic;

/// Whether a bucket keeps what was overwritten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Versioning {
    #[default]
    Never,
    Enabled,
    Suspended,
}

/// What protects the versions of a bucket from deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// What new versions get that name nothing else: mode (`GOVERNANCE`, `COMPLIANCE`) and days.
    pub default: Option<(String, u32)>,
}

/// How a bucket is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketOptions {
    pub versioning: Versioning,
    pub object_lock: Option<ObjectLock>,
}

impl BucketOptions {
    /// One that keeps versions.
    pub fn versioned() -> Self {
        Self { versioning: Versioning::Enabled, object_lock: None }
    }
}

/// One version of an object, or a delete marker.
#[derive(Clone, Debug)]
pub struct Version {
    /// `null` where it was made without versioning.
    pub id: String,
    /// Without quotes; empty for a delete marker.
    pub etag: String,
    pub modified: Timestamp,
    /// `None`: a delete marker.
    pub content: Option<Content>,
    /// What is kept beside the content, as headers, by name: content type, metadata, storage class, lock.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub tags: Vec<(String, String)>,
    /// Bytes of each part; empty for what was written whole.
    pub parts: Vec<usize>,
    /// Header and value, as they are returned to those who ask for checksums.
    pub checksums: Vec<(&'static str, String)>,
}

impl Version {
    pub fn is_delete_marker(&self) -> bool {
        self.content.is_none()
    }

    /// Bytes.
    pub fn size(&self) -> usize {
        self.content.as_ref().map_or(0, Content::size)
    }

    /// What was kept under a name of a header, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).and_then(|(_, value)| value.to_str().ok())
    }

    fn locked(&self, now: Timestamp) -> bool {
        let until = self.header("x-amz-object-lock-retain-until-date").and_then(|d| d.parse().ok());
        until.is_some_and(|until: Timestamp| until > now)
            || self.header("x-amz-object-lock-legal-hold") == Some("ON")
    }
}

/// What became current under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Became {
    pub bucket: String,
    pub key: String,
    /// `None`: nothing any more.
    pub etag: Option<String>,
}

/// On what a write is done.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    /// There is no such object.
    pub(super) absent: bool,
    /// It has this `ETag`, or any with `*`.
    pub(super) matches: Option<String>,
}

/// What a deletion came to.
#[derive(Clone, Debug, Default)]
pub(super) struct Deleted {
    pub(super) version: Option<String>,
    pub(super) marker: bool,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) options: BucketOptions,
    pub(super) created: Timestamp,
    /// Versions of a key, the current one last. Never empty.
    pub(super) objects: BTreeMap<String, Vec<Arc<Version>>>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) synthetic: Option<Synthetic>,
}

impl Bucket {
    pub(super) fn new(options: BucketOptions, created: Timestamp) -> Self {
        let (objects, uploads) = (BTreeMap::new(), BTreeMap::new());
        Self { options, created, objects, uploads, synthetic: None }
    }

    /// What is current under a key, if it is an object.
    pub(super) fn current(&self, key: &str) -> Option<&Arc<Version>> {
        self.objects.get(key)?.last().filter(|version| !version.is_delete_marker())
    }

    /// Keys with their versions, from a bound on.
    pub(super) fn from(&self, start: Bound<&str>) -> impl Iterator<Item = (&String, &Vec<Arc<Version>>)> {
        self.objects.range::<str, _>((start, Bound::Unbounded))
    }

    /// A version that is to be read: the current one, or one by its id.
    pub(super) fn version(&self, key: &str, id: Option<&str>) -> Result<&Arc<Version>, Failure> {
        let versions = self.objects.get(key).map(Vec::as_slice).unwrap_or_default();
        let version = match id {
            None => versions.last().ok_or_else(Failure::no_such_key)?,
            Some(id) => versions
                .iter()
                .find(|version| version.id == id)
                .ok_or_else(|| Failure::new(404, "NoSuchVersion", "The specified version does not exist."))?,
        };
        if !version.is_delete_marker() {
            return Ok(version);
        }
        let refusal = match id {
            None => Failure::no_such_key(),
            Some(_) => Failure::new(405, "MethodNotAllowed", "This is a delete marker."),
        };
        Err(refusal.with("x-amz-delete-marker", "true").with("x-amz-version-id", &version.id))
    }
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) buckets: BTreeMap<String, Bucket>,
    ids: u64,
    /// If somebody wants to know.
    pub(super) history: Option<Vec<Became>>,
}

impl State {
    pub(super) fn bucket(&self, name: &str) -> Result<&Bucket, Failure> {
        self.buckets.get(name).ok_or_else(no_such_bucket)
    }

    pub(super) fn bucket_mut(&mut self, name: &str) -> Result<&mut Bucket, Failure> {
        self.buckets.get_mut(name).ok_or_else(no_such_bucket)
    }

    /// Ids are always the same for the same requests in the same order, and do not sort by time.
    pub(super) fn id(&mut self) -> String {
        self.ids += 1;
        format!("{:016x}{:016x}", mixed(self.ids), mixed(!self.ids))
    }

    /// Makes a version the current one. Its id is given here, and the default lock of its bucket.
    pub(super) fn put(
        &mut self,
        (bucket, key): (&str, &str),
        mut version: Version,
        condition: &Condition,
        now: Timestamp,
    ) -> Result<Arc<Version>, Failure> {
        let id = self.id();
        let target = self.bucket_mut(bucket)?;
        if target.synthetic.is_some() {
            return Err(Failure::unsupported("A synthetic bucket can't be written."));
        }
        check(target.current(key), condition)?;
        if target.options.versioning == Versioning::Enabled {
            version.id = id;
        } else {
            "null".clone_into(&mut version.id);
            forget_null(target, key);
        }
        lock(&mut version, target.options.object_lock.as_ref(), now);
        let version = Arc::new(version);
        target.objects.entry(key.to_owned()).or_default().push(version.clone());
        self.became(bucket, key, Some(&version.etag));
        Ok(version)
    }

    /// Deletes: with an id that version, without it what is current, as the bucket has it.
    pub(super) fn delete(
        &mut self,
        (bucket, key): (&str, &str),
        id: Option<&str>,
        condition: &Condition,
        now: Timestamp,
    ) -> Result<Deleted, Failure> {
        let new = self.id();
        let target = self.bucket_mut(bucket)?;
        if target.synthetic.is_some() {
            return Err(Failure::unsupported("A synthetic bucket can't be written."));
        }
        if condition.matches.is_some() && target.current(key).is_some() {
            check(target.current(key), condition)?;
        }
        let before = target.current(key).map(|version| version.id.clone());
        let deleted = match (id, target.options.versioning) {
            (Some(id), _) => remove(target, key, id, now)?,
            (None, Versioning::Never) => {
                forget_null(target, key);
                Deleted::default()
            }
            (None, versioning) => {
                let id = if versioning == Versioning::Enabled { new } else { "null".to_owned() };
                if versioning == Versioning::Suspended {
                    forget_null(target, key);
                }
                target.objects.entry(key.to_owned()).or_default().push(Arc::new(marker(&id, now)));
                Deleted { version: Some(id), marker: true }
            }
        };
        let after = target.current(key).map(|version| (version.id.clone(), version.etag.clone()));
        if before.as_ref() != after.as_ref().map(|(id, _)| id) {
            self.became(bucket, key, after.as_ref().map(|(_, etag)| etag.as_str()));
        }
        Ok(deleted)
    }

    fn became(&mut self, bucket: &str, key: &str, etag: Option<&str>) {
        if let Some(history) = &mut self.history {
            let (bucket, key) = (bucket.to_owned(), key.to_owned());
            history.push(Became { bucket, key, etag: etag.map(str::to_owned) });
        }
    }
}

impl Version {
    /// One that is not in a bucket yet.
    pub(super) fn new(content: Content, etag: String, digests: &Digests, modified: Timestamp) -> Self {
        Self {
            id: String::new(),
            etag,
            modified,
            content: Some(content),
            headers: Vec::new(),
            tags: Vec::new(),
            parts: Vec::new(),
            checksums: digests.checksums(),
        }
    }
}

fn marker(id: &str, modified: Timestamp) -> Version {
    Version {
        id: id.to_owned(),
        etag: String::new(),
        modified,
        content: None,
        headers: Vec::new(),
        tags: Vec::new(),
        parts: Vec::new(),
        checksums: Vec::new(),
    }
}

/// Whether what is there is what the request expects.
fn check(current: Option<&Arc<Version>>, condition: &Condition) -> Result<(), Failure> {
    if condition.absent && current.is_some() {
        return Err(Failure::precondition());
    }
    match (&condition.matches, current) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Failure::no_such_key()),
        (Some(etag), Some(current)) if etag == "*" || *etag == current.etag => Ok(()),
        _ => Err(Failure::precondition()),
    }
}

fn remove(bucket: &mut Bucket, key: &str, id: &str, now: Timestamp) -> Result<Deleted, Failure> {
    let mut deleted = Deleted { version: Some(id.to_owned()), marker: false };
    let Some(versions) = bucket.objects.get_mut(key) else { return Ok(deleted) };
    if let Some(at) = versions.iter().position(|version| version.id == id) {
        if versions[at].locked(now) {
            return Err(Failure::new(403, "AccessDenied", "The version is under object lock."));
        }
        deleted.marker = versions.remove(at).is_delete_marker();
    }
    if versions.is_empty() {
        bucket.objects.remove(key);
    }
    Ok(deleted)
}

/// There is at most one version without an id.
fn forget_null(bucket: &mut Bucket, key: &str) {
    if let Some(versions) = bucket.objects.get_mut(key) {
        versions.retain(|version| version.id != "null");
        if versions.is_empty() {
            bucket.objects.remove(key);
        }
    }
}

fn lock(version: &mut Version, lock: Option<&ObjectLock>, now: Timestamp) {
    const MODE: HeaderName = HeaderName::from_static("x-amz-object-lock-mode");
    const UNTIL: HeaderName = HeaderName::from_static("x-amz-object-lock-retain-until-date");
    let Some((mode, days)) = lock.and_then(|lock| lock.default.as_ref()) else { return };
    if version.header(MODE.as_str()).is_some() {
        return;
    }
    let until = now + SignedDuration::from_hours(24 * i64::from(*days));
    let values = (HeaderValue::from_str(mode), HeaderValue::from_str(&format!("{until:.3}")));
    if let (Ok(mode), Ok(until)) = values {
        version.headers.extend([(MODE, mode), (UNTIL, until)]);
        version.headers.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    }
}

fn no_such_bucket() -> Failure {
    Failure::new(404, "NoSuchBucket", "The specified bucket does not exist.")
}
