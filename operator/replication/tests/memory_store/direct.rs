//! The store without HTTP: what a test prepares, and what it looks at afterwards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{HeaderName, HeaderValue};
use jiff::SignedDuration;

use super::answer::Failure;
use super::content::{Content, Flip};
use super::digest::Digests;
use super::fault::Faults;
use super::request::Operation;
use super::state::{Became, Bucket, BucketOptions, Condition, Version};
use super::synthetic::Synthetic;
use super::write::kept;
use super::{Credential, MemoryStore, Order};

/// An object that a test puts there.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// One part for each; a single one is written whole.
    parts: Vec<Content>,
    in_parts: bool,
    headers: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    begun: Option<SignedDuration>,
}

impl NewObject {
    pub fn new(content: impl Into<Content>) -> Self {
        Self {
            parts: vec![content.into()],
            in_parts: false,
            headers: Vec::new(),
            tags: Vec::new(),
            begun: None,
        }
    }

    /// As if it had been uploaded in these parts, of any size.
    pub fn in_parts<C: Into<Content>>(parts: impl IntoIterator<Item = C>) -> Self {
        let parts = parts.into_iter().map(Into::into).collect();
        Self { parts, in_parts: true, headers: Vec::new(), tags: Vec::new(), begun: None }
    }

    /// A header that is kept with it, like `content-type` or `x-amz-meta-a`.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Its upload was begun so long ago, and it is dated by that.
    pub fn begun(mut self, ago: SignedDuration) -> Self {
        self.begun = Some(ago);
        self
    }

    pub fn tag(mut self, key: &str, value: &str) -> Self {
        self.tags.push((key.to_owned(), value.to_owned()));
        self
    }
}

/// Everything in a bucket: versions of each key, the current one last.
pub type Snapshot = BTreeMap<String, Vec<Arc<Version>>>;

/// They panic where a bucket or an object is missing: that is a mistake of the test.
impl MemoryStore {
    pub fn create_bucket(&self, name: &str, options: BucketOptions) {
        let bucket = Bucket::new(options, self.shared.clock.now());
        self.shared.write().buckets.insert(name.to_owned(), bucket);
    }

    /// A bucket that is only listed and read, of any size.
    pub fn create_synthetic_bucket(&self, name: &str, synthetic: Synthetic) {
        let mut bucket = Bucket::new(BucketOptions::default(), self.shared.clock.now());
        bucket.synthetic = Some(synthetic);
        self.shared.write().buckets.insert(name.to_owned(), bucket);
    }

    /// Writes an object, whether there is one or not.
    pub fn put(&self, bucket: &str, key: &str, content: impl Into<Content>) -> Arc<Version> {
        self.put_object(bucket, key, NewObject::new(content))
    }

    /// Writes an object with what is kept beside it.
    pub fn put_object(&self, bucket: &str, key: &str, object: NewObject) -> Arc<Version> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let digests: Vec<Digests> =
            object.parts.iter().map(|part| Digests::of(shared.options.etags, part.pieces())).collect();
        let digests: Vec<&Digests> = digests.iter().collect();
        let content = Content::joined(&object.parts);
        let version = match &digests[..] {
            [one] if !object.in_parts => Version::new(content, shared.naming.single(one), one, now),
            parts => {
                let whole = Digests::combined(parts.iter().copied());
                let version = Version::new(content, shared.naming.parts(parts), &whole, now);
                Version { parts: object.parts.iter().map(Content::size).collect(), ..version }
            }
        };
        let headers = object.headers.iter().map(|(name, value)| {
            let name = HeaderName::try_from(name.as_str()).expect("the name of a header");
            (name, HeaderValue::try_from(value.as_str()).expect("the value of a header"))
        });
        let modified = now - object.begun.unwrap_or_default();
        let version = Version { headers: kept(&headers.collect()), tags: object.tags, modified, ..version };
        must(shared.write().put((bucket, key), version, &Condition::default(), now))
    }

    /// Deletes as the bucket has it: with a delete marker, where it keeps versions.
    pub fn delete(&self, bucket: &str, key: &str) {
        let now = self.shared.clock.now();
        must(self.shared.write().delete((bucket, key), None, &Condition::default(), now));
    }

    /// Deletes one version for good.
    pub fn delete_version(&self, bucket: &str, key: &str, id: &str) {
        let now = self.shared.clock.now();
        must(self.shared.write().delete((bucket, key), Some(id), &Condition::default(), now));
    }

    /// Inverts a byte of the current version and lets its `ETag` and checksums be: a disk that rots.
    pub fn corrupt(&self, bucket: &str, key: &str, offset: usize) {
        let mut state = self.shared.write();
        let versions = must(state.bucket_mut(bucket)).objects.get_mut(key);
        let version = versions.and_then(|versions| versions.last_mut()).expect("an object to corrupt");
        let version = Arc::make_mut(version);
        version.content = version.content.as_ref().map(|content| content.flipped(Flip::at(offset)));
    }

    /// Whether it lists objects in another order than that of their keys.
    pub fn is_unordered(&self) -> bool {
        self.shared.options.order == Order::Backwards
    }

    /// What is current under a key.
    pub fn get(&self, bucket: &str, key: &str) -> Option<Arc<Version>> {
        must(self.shared.read().bucket(bucket)).current(key).cloned()
    }

    /// Everything in a bucket at this moment.
    pub fn snapshot(&self, bucket: &str) -> Snapshot {
        must(self.shared.read().bucket(bucket)).objects.clone()
    }

    /// What is current in a bucket at this moment.
    pub fn current(&self, bucket: &str) -> BTreeMap<String, Arc<Version>> {
        let state = self.shared.read();
        let bucket = must(state.bucket(bucket));
        let keys = bucket.objects.keys();
        keys.filter_map(|key| Some((key.clone(), bucket.current(key)?.clone()))).collect()
    }

    /// Uploads that were begun and neither completed nor aborted: key and id.
    pub fn unfinished_uploads(&self, bucket: &str) -> Vec<(String, String)> {
        let state = self.shared.read();
        let uploads = &must(state.bucket(bucket)).uploads;
        uploads.iter().map(|(id, upload)| (upload.key.clone(), id.clone())).collect()
    }

    /// What became current, in its order, since the store was started; empty without [`super::Options::history`].
    pub fn history(&self) -> Vec<Became> {
        self.shared.read().history.clone().unwrap_or_default()
    }

    /// Requests of an operation that have arrived.
    pub fn requests(&self, operation: Operation) -> u64 {
        self.shared.counts[operation as usize].load(Ordering::Relaxed)
    }

    /// Requests of any operation that have arrived.
    pub fn all_requests(&self) -> u64 {
        self.shared.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Counts from 0 again.
    pub fn reset_requests(&self) {
        for count in &self.shared.counts {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// What goes wrong here on purpose.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// How far the clock of the store is off from now on.
    pub fn set_clock_offset(&self, offset: SignedDuration) {
        self.shared.clock.set(offset);
    }

    /// From now on only requests with this access key id are answered, and as many of them; any with `None`.
    pub fn admit_only(&self, access_key_id: Option<&str>, requests: Option<u64>) {
        let credential = access_key_id.map(|id| Credential { access_key_id: id.to_owned(), left: requests });
        self.shared.set_credential(credential);
    }
}

fn must<T>(done: Result<T, Failure>) -> T {
    done.unwrap_or_else(|refusal| panic!("the store refuses: {refusal:?}"))
}
