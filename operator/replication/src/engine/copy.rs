//! One object from one store to another, and the proof that it arrived. What breaks off is begun again with the GET: a
//! body on its way can't be sent twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use super::gate::Gate;
use super::manifest::Reader;
use super::parts;
use super::record::{Proof, Record, Seen};
use super::setback::{Setback, at_destination, at_source, busy, damaged, source_or_destination};
use super::tags::Asked;
use super::{Lacking, Limits, Losses, Options, Side};
use crate::StoreError;
use crate::rate::Pace;
use crate::wire::{About, Condition, Digests, ETag, Entry, Found, Outgoing, Part, Written, of_bytes};

/// Up to this size an object is held in memory between its GET and its PUT; larger ones are passed on as they come.
const SMALL: u64 = 64 << 10;
/// Where a store names no storage class.
const STANDARD: &str = "STANDARD";
/// Times one object is tried.
const ATTEMPTS: u32 = 5;

/// What is shared by all copies of a run.
pub(super) struct Copier {
    pub(super) source: Side,
    pub(super) destination: Side,
    pub(super) manifest: Reader,
    pub(super) gate: Gate,
    /// Bytes a second.
    pub(super) pace: Option<Pace>,
    /// Requests a second.
    pub(super) requests: Option<Pace>,
    pub(super) losses: Losses,
    pub(super) limits: Limits,
    /// By what the source calls them.
    pub(super) storage_classes: BTreeMap<String, String>,
    pub(super) knows: Knows,
    pub(super) doubts: parts::Doubts,
    pub(super) asked: Option<Asked>,
}

/// What the stores turned out not to know.
#[derive(Debug)]
pub(super) struct Knows {
    /// The destination refuses conditional writes.
    pub(super) conditions: AtomicBool,
    /// The source gives parts by number.
    pub(super) parts: AtomicBool,
    /// The source keeps tags.
    pub(super) tags: AtomicBool,
    /// The destination keeps tags.
    pub(super) keeps_tags: bool,
}

impl Knows {
    /// All that is not known to be lacking.
    pub(super) fn but(lacking: Lacking) -> Self {
        Self {
            conditions: (!lacking.conditions).into(),
            parts: (!lacking.parts).into(),
            tags: true.into(),
            keeps_tags: !lacking.tags,
        }
    }
}

/// What became of one object.
#[derive(Debug)]
pub(super) enum Copied {
    Whole {
        record: Record,
        bytes: u64,
        /// What the destination calls this version.
        version: Option<String>,
    },
    /// It was deleted at the source in the meantime.
    Gone,
    /// It was overwritten at the source in the meantime, and lacks the tags that are asked for.
    LeftOut,
}

/// An object under way: as it is known at the moment.
pub(super) struct Wanted {
    pub(super) key: String,
    pub(super) seen: Seen,
    /// Which version of the source's; else the current one.
    pub(super) version: Option<Box<str>>,
    pub(super) condition: Condition,
}

impl Copier {
    pub(super) fn new(
        source: &Side,
        destination: &Side,
        manifest: Reader,
        options: &Options,
        limits: Limits,
    ) -> Self {
        Self {
            source: source.clone(),
            destination: destination.clone(),
            manifest,
            gate: Gate::new(options.at_once),
            pace: options.pace.clone(),
            requests: options.requests.clone(),
            losses: Losses::default(),
            storage_classes: options.storage_classes.clone(),
            knows: Knows::but(options.lacking),
            limits,
            doubts: parts::Doubts::default(),
            asked: Asked::of(&options.filter),
        }
    }

    /// Copies until the destination holds what the source holds, or it can't be done.
    ///
    /// # Errors
    /// The last one.
    pub(super) async fn copy(&self, entry: Entry, condition: Condition) -> Result<Copied, StoreError> {
        let seen = Seen::of(&entry);
        let mut wanted = Wanted { seen, key: entry.key, version: entry.version, condition };
        let mut pause = self.source.wire.patience().pause;
        let (mut last, mut conditional) = (None, true);
        for attempt in 0..ATTEMPTS {
            match self.attempt(&wanted, attempt > 0).await {
                Ok(copied) => return Ok(copied),
                Err(Setback::Changed) => {
                    let version = wanted.version.as_deref();
                    let Some(now) = self.look(&self.source, &wanted.key, version).await? else {
                        return self.gone(&wanted.key);
                    };
                    if let Some(asked) = &self.asked
                        && !asked.are_on(&self.source, &wanted.key).await?
                    {
                        return Ok(Copied::LeftOut);
                    }
                    wanted.seen = now;
                    last = Some(busy(&self.source, &wanted.key));
                }
                Err(Setback::Replaced) => {
                    let there = self.look(&self.destination, &wanted.key, None).await?;
                    // The answer to our own write may have been lost.
                    if let Some(there) = there.as_ref().filter(|there| is_copy(&wanted.seen, there)) {
                        self.lock_again(&wanted.key, wanted.version.as_deref(), None).await?;
                        return Ok(whole(&wanted, there.clone(), Proof::ETag, None));
                    }
                    wanted.condition = self.other_condition(&wanted, there)?;
                    last = Some(busy(&self.destination, &wanted.key));
                }
                Err(Setback::Failed(error)) if error.is_transient() => {
                    self.gate.struggles();
                    last = Some(error);
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(Setback::Failed(StoreError::Unsupported { .. })) if conditional => {
                    conditional = false;
                    self.knows.conditions.store(false, Ordering::Relaxed);
                }
                Err(Setback::Failed(error)) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| busy(&self.source, &wanted.key)))
    }

    /// Listed, and not there.
    fn gone(&self, key: &str) -> Result<Copied, StoreError> {
        if key.contains(char::REPLACEMENT_CHARACTER) {
            let from = &self.source;
            return Err(StoreError::Other {
                what: format!("{}/{}", from.bucket, from.key(key)),
                detail: format!(
                    "{} lists a key that it can't write in XML, and does not encode it; rename it at the source",
                    from.wire.endpoint()
                ),
            });
        }
        Ok(Copied::Gone)
    }

    /// On what to write after the condition did not hold, when this is there.
    fn other_condition(&self, wanted: &Wanted, there: Option<Seen>) -> Result<Condition, StoreError> {
        let Some(there) = there else { return Ok(Condition::Absent) };
        if wanted.condition == Condition::Is(there.etag.clone()) {
            // It does hold. This store gets conditions wrong, and is written to without.
            self.knows.conditions.store(false, Ordering::Relaxed);
        }
        if wanted.condition == Condition::Absent && is_path(&wanted.key) {
            let to = &self.destination;
            return Err(StoreError::Other {
                what: format!("{}/{}", to.bucket, to.key(&wanted.key)),
                detail: format!(
                    "is not listed at {} and yet is there: it takes this key for that of another object; rename it at the source",
                    to.wire.endpoint()
                ),
            });
        }
        Ok(Condition::Is(there.etag))
    }

    /// Size and `ETag` of what is there now.
    async fn look(&self, side: &Side, key: &str, version: Option<&str>) -> Result<Option<Seen>, StoreError> {
        let at = side.key(key);
        let part = Part { version, ..Part::default() };
        let head = side.wire.persist(|| side.wire.head(&side.bucket, &at, part)).await?;
        Ok(head.map(|(headers, _)| {
            let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default();
            // The moment is left open: of a listing and of a header stores give it in different precision.
            Seen {
                size: text("content-length").parse().unwrap_or(0),
                etag: ETag::new(text("etag")),
                modified: 0,
            }
        }))
    }

    /// Once. `again`: what the source's `ETag`s say is believed no longer.
    pub(super) async fn attempt(&self, wanted: &Wanted, again: bool) -> Result<Copied, Setback> {
        self.request().await;
        if let ETag::Parts(_, count) = wanted.seen.etag
            && let Some(written) = parts::copy(self, wanted, count).await.map_err(source_or_destination)?
        {
            return self.prove(wanted, written, None).await;
        }
        let key = self.source.key(&wanted.key);
        let version = wanted.version.as_deref();
        let only = Part { is: Some(&wanted.seen.etag), version, ..Part::default() };
        let found = self.source.wire.get(&self.source.bucket, &key, only).await.map_err(at_source)?;
        if found.length != wanted.seen.size {
            return Err(Setback::Changed);
        }
        let about = self.described((&key, version), &found.about).await?;
        let (written, passed) = if found.length <= SMALL {
            self.put_small(wanted, about, found, again).await?
        } else {
            self.put_streamed(wanted, about, found, again).await?
        };
        self.prove(wanted, written, Some(passed)).await
    }

    /// A request more, at the pace of the link.
    pub(super) async fn request(&self) {
        if let Some(requests) = &self.requests {
            requests.one().await;
        }
    }

    /// What belongs to the object beside its content, tags too.
    pub(super) async fn described(
        &self,
        (key, version): (&str, Option<&str>),
        about: &About,
    ) -> Result<About, StoreError> {
        let mut about = about.clone();
        let class = about.storage_class.as_deref().unwrap_or(STANDARD);
        if let Some(class) = self.storage_classes.get(class) {
            about = about.with_storage_class(class);
        } else if class != STANDARD {
            self.losses.storage_class.fetch_add(1, Ordering::Relaxed);
        }
        if about.tags == 0 {
            return Ok(about);
        }
        let can_be_read = self.knows.tags.load(Ordering::Relaxed);
        let is_kept = self.knows.keeps_tags && self.limits.destination_tags;
        if !can_be_read || !is_kept {
            self.losses.tags.fetch_add(1, Ordering::Relaxed);
        }
        // What was found by a probe may be out of date: they are sent nevertheless.
        if !can_be_read || !self.limits.destination_tags {
            return Ok(about);
        }
        match self.source.wire.tags(&self.source.bucket, key, version).await {
            Ok(tags) => Ok(about.with_tags(&tags)),
            Err(StoreError::Unsupported { .. }) => {
                self.knows.tags.store(false, Ordering::Relaxed);
                if self.knows.keeps_tags {
                    self.losses.tags.fetch_add(1, Ordering::Relaxed);
                }
                Ok(about)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn condition(&self, wanted: &Wanted) -> Condition {
        if self.knows.conditions.load(Ordering::Relaxed) { wanted.condition.clone() } else { Condition::None }
    }

    async fn put_small(
        &self,
        wanted: &Wanted,
        about: About,
        found: Found,
        again: bool,
    ) -> Result<(Written, Digests), Setback> {
        let from = &self.source;
        let body = from.wire.rest(&from.bucket, &from.key(&wanted.key), found).await?;
        if let Some(wait) = self.pace.as_ref().and_then(|pace| pace.charge(body.len() as u64)) {
            tokio::time::sleep(wait).await;
        }
        let digests = of_bytes(&body, true);
        if let (ETag::Md5(expected), Some(md5)) = (&wanted.seen.etag, digests.md5)
            && *expected != md5
            && !again
            && self.source.etags.are_md5()
        {
            return Err(damaged(&self.source, &wanted.key, "what came is not what its ETag says").into());
        }
        let to = &self.destination;
        let (key, condition) = (to.key(&wanted.key), self.condition(wanted));
        let (about, lock) = self.protected(about, digests.md5.as_ref());
        let put = to.wire.put(&to.bucket, &key, &about, &condition, Outgoing::Whole(Some(body)), None);
        let written = put.await.map_err(at_destination)?;
        self.lock(&key, written.version.as_deref(), lock).await?;
        Ok((written, digests))
    }

    async fn put_streamed(
        &self,
        wanted: &Wanted,
        about: About,
        found: Found,
        with_md5: bool,
    ) -> Result<(Written, Digests), Setback> {
        let said = match &wanted.seen.etag {
            ETag::Md5(md5) if !with_md5 && self.source.etags.are_md5() => Some(md5),
            _ => None,
        };
        let (about, lock) = self.protected(about, said);
        let (body, passed) = self.source.wire.pass(found, with_md5, self.pace.clone());
        let to = &self.destination;
        let (key, condition) = (to.key(&wanted.key), self.condition(wanted));
        let written = to.wire.put(&to.bucket, &key, &about, &condition, body, Some(passed.clone())).await;
        let written = written.map_err(at_destination)?;
        self.lock(&key, written.version.as_deref(), lock).await?;
        let digests = passed
            .digests()
            .ok_or_else(|| damaged(to, &wanted.key, "was confirmed before all of it was sent"))?;
        Ok((written, digests))
    }

    /// Either both stores made the same digest, or the copy is read back, and the source once more.
    async fn prove(
        &self,
        wanted: &Wanted,
        written: Written,
        passed: Option<Digests>,
    ) -> Result<Copied, Setback> {
        let there = Seen { size: wanted.seen.size, etag: written.etag, modified: 0 };
        if is_copy(&wanted.seen, &there) {
            return Ok(whole(wanted, there, Proof::ETag, written.version));
        }
        // Of what it has just written a store may say another ETag than in its listing, or none.
        let there = self.look(&self.destination, &wanted.key, None).await?.ok_or(Setback::Replaced)?;
        if is_copy(&wanted.seen, &there) {
            return Ok(whole(wanted, there, Proof::ETag, written.version));
        }
        let copy = self.read(&self.destination, (&wanted.key, None), &there.etag).await;
        let copy = copy.map_err(at_destination)?;
        let proved = match (&wanted.seen.etag, passed) {
            (ETag::Md5(expected), _) if copy.md5 == Some(*expected) => true,
            (_, Some(passed)) if copy.crc64 != passed.crc64 || copy.bytes != passed.bytes => false,
            _ => {
                let which = (wanted.key.as_str(), wanted.version.as_deref());
                let original = self.read(&self.source, which, &wanted.seen.etag).await.map_err(at_source)?;
                let same = original.crc64 == copy.crc64 && original.bytes == copy.bytes;
                if same && matches!(wanted.seen.etag, ETag::Md5(_)) {
                    // Twice the same, and not what the ETag says: this store's are of something else.
                    self.source.etags.are_something_else();
                }
                same
            }
        };
        if !proved {
            return Err(damaged(&self.destination, &wanted.key, "was read back as something else").into());
        }
        Ok(whole(wanted, there, Proof::Read, written.version))
    }

    /// Digests of a whole object, or of one version of it.
    pub(super) async fn read(
        &self,
        side: &Side,
        (key, version): (&str, Option<&str>),
        etag: &ETag,
    ) -> Result<Digests, StoreError> {
        self.request().await;
        let at = side.key(key);
        let only = Part { is: (!etag.is_empty()).then_some(etag), version, ..Part::default() };
        let found = side.wire.get(&side.bucket, &at, only).await?;
        side.wire.digest(&side.bucket, &at, found).await
    }
}

/// Whether a store that keeps objects as files may take a key for that of another object.
fn is_path(key: &str) -> bool {
    key.split('/').rev().skip(1).any(str::is_empty) || key.split('/').any(|name| matches!(name, "." | ".."))
}

/// The same content, as far as digests of both stores tell.
fn is_copy(source: &Seen, there: &Seen) -> bool {
    source.etag == there.etag && source.size == there.size && !source.etag.is_empty()
}

fn whole(wanted: &Wanted, destination: Seen, proof: Proof, version: Option<String>) -> Copied {
    let source = wanted.seen.clone();
    let bytes = source.size;
    Copied::Whole {
        record: Record { key: wanted.key.clone(), source, destination, proof, newest: None },
        bytes,
        version,
    }
}
