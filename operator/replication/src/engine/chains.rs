//! The chains of both sides and the manifest, merged by key: in order, one at a time.

use super::chain::{Known, Link, Newest, Pair, Steps, steps};
use super::journal;
use super::listing::Range;
use super::manifest::Reader;
use super::merge::{Records, first};
use super::record::{Described, Proof, Record};
use super::versions::{Chain, Chains};
use super::{Filter, Side};
use crate::StoreError;

/// Keys of one range.
pub(super) struct ChainMerge {
    source: Chains,
    destination: Chains,
    records: Records,
    journal: journal::Cursor,
    filter: Filter,
}

/// What is known of one key.
#[derive(Clone, Debug)]
pub(super) struct Both {
    pub(super) key: String,
    /// The oldest first.
    pub(super) source: Vec<Link>,
    pub(super) destination: Vec<Link>,
    pub(super) record: Option<Record>,
    /// A run was about to write here, and did not live to say whether it has.
    pub(super) is_begun: bool,
    /// Was listed in more than one answer, and is to be listed again before anything is done.
    pub(super) is_torn: bool,
}

/// What a key came to.
pub(super) enum Merged {
    Both(Both),
    /// Left out by the filter; what is on record stays on record.
    LeftOut(Option<Record>),
}

impl ChainMerge {
    /// `segments` are those of the range.
    pub(super) fn open(
        (source, destination): (&Side, &Side),
        range: &Range,
        manifest: Reader,
        segments: Vec<Described>,
        journal: &journal::Left,
        filter: Filter,
    ) -> Self {
        Self {
            journal: journal.cursor(&manifest),
            source: Chains::open(source.clone(), range.clone()),
            destination: Chains::open(destination.clone(), range.clone()),
            records: Records::open(manifest, segments, range),
            filter,
        }
    }

    /// The source's clock at its last page.
    pub(super) fn source_now(&self) -> Option<i64> {
        self.source.now
    }

    /// The next key; none after the last. Whoever waits for this may stop waiting.
    ///
    /// # Errors
    /// When a side can't be listed, or the manifest can't be read: then nothing more can be said about any key.
    pub(super) async fn next(&mut self) -> Result<Option<Merged>, StoreError> {
        let source = self.source.peek().await?.map(|chain| chain.key.as_str());
        let destination = self.destination.peek().await?.map(|chain| chain.key.as_str());
        let record = self.records.peek().await?.map(|record| record.key.as_str());
        let Some((key, is_at)) = first([source, destination, record]) else { return Ok(None) };
        let [at_source, at_destination, on_record] = is_at;
        let wants_key = self.filter.wants_key(key);
        let is_begun = at_destination && wants_key && self.journal.has(key).await?;
        let key = key.to_owned();
        // From here on nothing is waited for.
        let source = if at_source { self.source.take() } else { None };
        let destination = if at_destination { self.destination.take() } else { None };
        let record = if on_record { self.records.take() } else { None };
        // That one was left out when only some were replicated says nothing of versions.
        let record = record.filter(|record| record.proof != Proof::LeftOut);
        if !wants_key {
            return Ok(Some(Merged::LeftOut(record)));
        }
        let is_torn = [&source, &destination].into_iter().flatten().any(|chain| chain.is_torn);
        let links = |chain: Option<Chain>| chain.map(|chain| chain.links).unwrap_or_default();
        let (source, destination) = (links(source), links(destination));
        Ok(Some(Merged::Both(Both { key, source, destination, record, is_begun, is_torn })))
    }
}

impl Both {
    /// Contents that the stores name differently.
    pub(super) fn pairs(&self) -> &[Pair] {
        let newest = self.record.as_ref().and_then(|record| record.newest.as_ref());
        newest.map(|newest| newest.pairs.as_slice()).unwrap_or_default()
    }

    /// What is to be done.
    pub(super) fn steps(&self, mirror: bool) -> Steps {
        let known = Known::of(&self.source, &self.destination, self.record.as_ref(), self.is_begun);
        steps(&self.source, &self.destination, self.pairs(), known, mirror)
    }

    /// Whether what the destination has under this key is a copy: what never was is left alone.
    pub(super) fn is_ours(&self) -> bool {
        !self.source.is_empty() || self.record.is_some() || self.is_begun
    }
}

/// What is on record of a key from now on, when all is done; nothing, where the source has no version of it.
pub(super) fn recorded(
    key: &str,
    (source, destination): (&[Link], &[Link]),
    pairs: &[Pair],
    proof: Proof,
) -> Option<Record> {
    let newest = source.last()?;
    let copy = destination.iter().rev().find(|there| newest.is_copied_by(there, pairs))?;
    let names = |pair: &&Pair| {
        source.iter().any(|link| link.etag == pair.source)
            && destination.iter().any(|link| link.etag == pair.destination)
    };
    let pairs = pairs.iter().filter(names).cloned().collect();
    let (source, destination) = (newest.seen(), copy.seen());
    let newest = Newest { source: newest.id.clone(), destination: copy.id.clone(), pairs };
    Some(Record { key: key.to_owned(), source, destination, proof, newest: Some(newest.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ETag;

    fn link(etag: &str) -> Link {
        Link { id: "1".into(), size: 1, etag: ETag::new(etag), modified: 5, is_marker: false }
    }

    #[test]
    fn what_is_on_record_is_what_a_later_run_needs() {
        let pair =
            |source, destination| Pair { source: ETag::new(source), destination: ETag::new(destination) };
        let pairs = [pair("a", "x"), pair("gone", "y")];
        let both = (&[link("a"), link("b")][..], &[link("x"), link("b"), link("x")][..]);
        let record = recorded("k", both, &pairs, Proof::Read).unwrap();
        assert_eq!((record.source.etag, record.destination.etag), (ETag::new("b"), ETag::new("b")));
        assert_eq!(record.newest.unwrap().pairs, pairs[..1]);
        assert_eq!(recorded("k", (&[link("a")], &[link("b")]), &[], Proof::Read), None);
        assert_eq!(recorded("k", (&[], &[link("b")]), &[], Proof::Read), None);
    }
}
