//! Keys that a run was about to copy, written down before it does. What a killed run has copied without recording it is then
//! known to be ours: it may be deleted when the source has it no more, where somebody else's may not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::manifest::Reader;
use super::touched::Touched;
use crate::StoreError;

/// After so long no request of a run that has ended lands any more: stores give up on those that say nothing much sooner.
const LATE: Duration = Duration::from_hours(1);
const FOLDER: &str = "journal/";
/// Behind each key. Text has no such byte.
const END: u8 = 0xff;

/// The name of a run that begins now, unlike that of any other.
pub(super) fn name_of_run() -> String {
    format!("{:032x}{:08x}", now(), std::process::id())
}

/// Nanoseconds since 1970.
pub(super) fn now() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos())
}

fn began(name: &str) -> Option<u128> {
    u128::from_str_radix(name.get(..32)?, 16).ok()
}

/// Written by one part of a run.
#[derive(Debug)]
pub(super) struct Writer {
    place: Reader,
    /// Unlike any other run's.
    run: String,
    part: usize,
    pages: u64,
}

impl Writer {
    pub(super) fn new(place: Reader, run: String, part: usize) -> Self {
        Self { place, run, part, pages: 0 }
    }

    /// These are about to be copied; they are behind all that came before. Returns the name of their page.
    pub(super) async fn about_to_copy<'a>(
        &mut self,
        keys: impl Iterator<Item = &'a str>,
    ) -> Result<String, StoreError> {
        let mut page = Vec::new();
        for key in keys {
            page.extend_from_slice(key.as_bytes());
            page.push(END);
        }
        let name = format!("{FOLDER}{}-{:02}-{:012}", self.run, self.part, self.pages);
        self.pages += 1;
        self.place.write(&name, Bytes::from(page)).await?;
        Ok(name)
    }
}

/// What earlier runs have left.
#[derive(Clone, Debug, Default)]
pub(super) struct Left {
    /// Pages of each writer, in order.
    writers: Vec<Vec<String>>,
    /// Copied key by key.
    pub(super) touched: Arc<Touched>,
}

impl Left {
    pub(super) async fn find(place: &Reader) -> Result<Self, StoreError> {
        let mut writers: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in place.names(FOLDER).await? {
            if let Some((writer, _)) = name.rsplit_once('-') {
                writers.entry(writer.to_owned()).or_default().push(name.clone());
            }
        }
        let mut writers: Vec<_> = writers.into_values().collect();
        for pages in &mut writers {
            pages.sort();
        }
        let touched = Arc::new(Touched::find(place).await?);
        Ok(Self { writers, touched })
    }

    /// Only what was copied key by key: for those who ask what is there, and not whose it is.
    pub(super) async fn notes(place: &Reader) -> Result<Self, StoreError> {
        Ok(Self { writers: Vec::new(), touched: Arc::new(Touched::find(place).await?) })
    }

    /// Without what some writers have left, by their names.
    pub(super) fn without(mut self, is_meant: impl Fn(&str) -> bool) -> Self {
        let name = |page: &String| page.strip_prefix(FOLDER).is_some_and(&is_meant);
        self.writers.retain(|pages| !pages.first().is_some_and(name));
        self
    }

    /// Forgets what runs have left that began before a moment, in nanoseconds since 1970. Not sooner: a request of a run
    /// that was killed, or that nobody waited for any longer, may land when all is over.
    pub(super) async fn forget(&self, place: &Reader, before: u128) -> Result<(), StoreError> {
        let old =
            |page: &&String| page.strip_prefix(FOLDER).and_then(began).is_none_or(|began| began < before);
        for page in self.writers.iter().flatten().filter(old) {
            place.remove(page).await?;
        }
        Ok(())
    }

    /// Forgets what is over: no request of it lands any more.
    pub(super) async fn forget_over(&self, place: &Reader) -> Result<(), StoreError> {
        self.forget(place, now().saturating_sub(LATE.as_nanos())).await
    }

    pub(super) fn cursor(&self, place: &Reader) -> Cursor {
        let streams = self.writers.iter().map(|pages| Stream {
            pages: pages.clone().into_iter(),
            keys: Vec::new().into_iter(),
            next: None,
        });
        Cursor { place: place.clone(), streams: streams.collect() }
    }
}

/// Asked for keys in their order.
#[derive(Debug)]
pub(super) struct Cursor {
    place: Reader,
    streams: Vec<Stream>,
}

#[derive(Debug)]
struct Stream {
    pages: std::vec::IntoIter<String>,
    keys: std::vec::IntoIter<String>,
    next: Option<String>,
}

impl Cursor {
    /// Whether an earlier run was about to copy this key.
    pub(super) async fn has(&mut self, key: &str) -> Result<bool, StoreError> {
        let mut has = false;
        for stream in &mut self.streams {
            has |= stream.has(&self.place, key).await?;
        }
        Ok(has)
    }
}

impl Stream {
    async fn has(&mut self, place: &Reader, key: &str) -> Result<bool, StoreError> {
        loop {
            match &self.next {
                Some(next) if next.as_str() >= key => return Ok(next == key),
                _ => self.next = self.keys.next(),
            }
            if self.next.is_none() {
                let Some(page) = self.pages.as_slice().first() else { return Ok(false) };
                // One that is gone was cleared by another run: then its keys are on record.
                let bytes = place.read(page).await?.unwrap_or_default();
                let keys = bytes.split(|byte| *byte == END).filter(|key| !key.is_empty());
                let keys: Vec<String> = keys.map(|key| String::from_utf8_lossy(key).into_owned()).collect();
                self.keys = keys.into_iter();
                self.pages.next();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::manifest::{Manifest, Place};

    #[tokio::test]
    async fn keys_of_all_writers_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::open(Place::Folder(folder.path().to_owned()), "a to b").await.unwrap();
        let place = manifest.reader();
        let mut first = Writer::new(place.clone(), name_of_run(), 0);
        first.about_to_copy(["a", "c"].into_iter()).await.unwrap();
        first.about_to_copy(["e\n目", "g\0a"].into_iter()).await.unwrap();
        Writer::new(place.clone(), name_of_run(), 1).about_to_copy(["b"].into_iter()).await.unwrap();
        let mut cursor = Left::find(&place).await.unwrap().cursor(&place);
        let mut found = Vec::new();
        for key in ["a", "aa", "b", "c", "d", "e\n目", "f", "g", "g\0a"] {
            if cursor.has(key).await.unwrap() {
                found.push(key);
            }
        }
        assert_eq!(found, ["a", "b", "c", "e\n目", "g\0a"]);
        let left = Left::find(&place).await.unwrap();
        left.forget(&place, 0).await.unwrap();
        assert!(Left::find(&place).await.unwrap().cursor(&place).has("b").await.unwrap());
        left.forget(&place, now()).await.unwrap();
        assert!(!Left::find(&place).await.unwrap().cursor(&place).has("b").await.unwrap());
    }
}
