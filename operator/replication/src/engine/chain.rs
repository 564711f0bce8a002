//! Two chains of versions of one key, the source's and the destination's: which version is a copy of which, what is to be
//! put on top, and what the destination has beyond. Pure.
//!
//! Versions can be added at the top only. So what is missing below a newer one stays missing: to add it would put something
//! older in the place of something newer.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::record::{Record, Seen};
use crate::wire::{ETag, Entry, Version};

/// Above so many pairs that would have to be compared, versions are matched as they come: still right, and perhaps fewer.
const CELLS: usize = 1 << 20;

/// One version, or a delete marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Empty where it is not known yet.
    pub id: Box<str>,
    /// Bytes.
    pub size: u64,
    pub etag: ETag,
    /// By its store's clock, in milliseconds since 1970.
    pub modified: i64,
    pub is_marker: bool,
}

/// One content, as both stores name it where they name it differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    pub source: ETag,
    pub destination: ETag,
}

/// The newest version that was replicated, and what else is known of the versions of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newest {
    /// Id of the version at the source, and of its copy at the destination; empty where the store did not say.
    pub source: Box<str>,
    pub destination: Box<str>,
    pub pairs: Vec<Pair>,
}

/// What makes the destination's chain the source's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Of each version of the source, its copy.
    pub copies: Vec<Option<usize>>,
    /// Versions of the source that go on top, in this order.
    pub append: Vec<usize>,
    /// Versions of the destination that are no copy of any.
    pub extra: Vec<usize>,
    /// The source's newest is there already, and somebody else's lies on top of it: it goes on top again.
    pub again: bool,
    /// Versions of the source that are missing below newer ones.
    pub missing: u64,
    /// So many of the source's and of the destination's were looked at before, and what is no copy there is none.
    settled: (usize, usize),
}

impl Steps {
    /// Of both sides one that has no counterpart, of one size: they may be the same, and be named differently.
    pub fn doubts<'a>(
        &'a self,
        source: &'a [Link],
        destination: &'a [Link],
    ) -> impl Iterator<Item = (usize, usize)> + 'a {
        let (old, until) = self.settled;
        let alone = (old..source.len()).filter(|s| self.copies[*s].is_none() && !source[*s].is_marker);
        alone.flat_map(move |s| {
            let extra = self.extra.iter().copied().filter(move |d| *d >= until);
            let fits = move |d: &usize| !destination[*d].is_marker && destination[*d].size == source[s].size;
            extra.filter(fits).map(move |d| (s, d))
        })
    }
}

impl Link {
    /// As it was listed.
    #[must_use]
    pub fn of(version: Version) -> Self {
        let Entry { size, etag, modified, version: id, .. } = version.entry;
        Self { id: id.unwrap_or_default(), size, etag, modified, is_marker: version.is_marker }
    }

    /// As it is kept on record.
    #[must_use]
    pub fn seen(&self) -> Seen {
        Seen { size: self.size, etag: self.etag.clone(), modified: self.modified }
    }

    /// The same content, as far as both stores tell.
    #[must_use]
    pub fn is_copied_by(&self, there: &Link, pairs: &[Pair]) -> bool {
        if self.is_marker || there.is_marker {
            return self.is_marker == there.is_marker;
        }
        let same = self.etag == there.etag && !self.etag.is_empty();
        let known = || pairs.iter().any(|p| p.source == self.etag && p.destination == there.etag);
        self.size == there.size && (same || known())
    }
}

/// What is known of two chains from before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    /// A run was about to write, and did not live to say whether it has: what is there is the beginning of what is wanted.
    Begun,
    /// So many of the source's, the oldest, were all that there was, and the copy of the newest of them ends so many of the
    /// destination's. Of objects that were replicated without their history no more is known than that.
    Upto(usize, usize),
    /// The same, and all of them were compared.
    Settled(usize, usize),
    /// The newest that was replicated was deleted for good at the source: no more than so many of the source's are older, and
    /// its copy ends so many of the destination's.
    Lost(usize, usize),
}

impl Known {
    /// From what is on record.
    #[must_use]
    pub fn of(source: &[Link], destination: &[Link], record: Option<&Record>, is_begun: bool) -> Self {
        let otherwise = if is_begun { Self::Begun } else { Self::Nothing };
        let Some(record) = record else { return otherwise };
        let newest = record.newest.as_deref();
        let named = |links: &[Link], id: Option<&str>| {
            let id = id.filter(|id| !id.is_empty())?;
            links.iter().position(|link| *link.id == *id)
        };
        let is = |link: &Link, seen: &Seen| link.size == seen.size && link.etag == seen.etag;
        let moment = record.source.modified;
        let old = match newest {
            Some(newest) if !newest.source.is_empty() => named(source, Some(&newest.source)),
            _ => source.iter().position(|link| is(link, &record.source) && link.modified == moment),
        };
        let there = match newest {
            Some(newest) if !newest.destination.is_empty() => named(destination, Some(&newest.destination)),
            _ => destination.iter().rposition(|link| is(link, &record.destination)),
        };
        // What was written in parts is dated by when that began.
        let is_dated = |link: &Link| link.is_marker || matches!(link.etag, ETag::Md5(_));
        let is_newer = |link: &Link| is_dated(link) && link.modified > moment;
        match (old, there) {
            (Some(old), Some(there)) if newest.is_some() => Self::Settled(old + 1, there + 1),
            (Some(old), Some(there)) => Self::Upto(old + 1, there + 1),
            (None, Some(there)) => {
                Self::Lost(source.iter().position(is_newer).unwrap_or(source.len()), there + 1)
            }
            (_, None) => otherwise,
        }
    }
}

/// What is to be done. Both chains have the oldest first; `mirror`: what the destination has beyond is going to be deleted.
#[must_use]
pub fn steps(source: &[Link], destination: &[Link], pairs: &[Pair], known: Known, mirror: bool) -> Steps {
    let same = |s: usize, d: usize| source[s].is_copied_by(&destination[d], pairs);
    let (long, there) = (source.len(), destination.len());
    // All that is there is the beginning of what is wanted.
    let is_beginning = there <= long && (0..there).all(|n| same(n, n));
    let is_current =
        known == Known::Nothing && !is_beginning && long > 0 && there > 0 && same(long - 1, there - 1);
    let mut steps = Steps::default();
    let mut copies = vec![None; long];
    let mut least = 0;
    match known {
        Known::Nothing | Known::Begun if is_beginning => (0..there).for_each(|n| copies[n] = Some(n)),
        Known::Nothing => align(&mut copies, 0..long, 0..there, &same, is_current),
        Known::Begun => written(&mut copies, 0..long, 0..there, &same),
        Known::Upto(old, until) | Known::Settled(old, until) => {
            let (old, until) = (old.min(long), until.min(there));
            if matches!(known, Known::Settled(..)) {
                steps.settled = (old, until);
            }
            align(&mut copies, 0..old, 0..until, &same, true);
            written(&mut copies, old..long, until..there, &same);
            least = old;
        }
        Known::Lost(most, until) => {
            let (most, until) = (most.min(long), until.min(there));
            align(&mut copies, 0..most, 0..until.saturating_sub(1), &same, false);
            let old = copies.iter().rposition(Option::is_some).map_or(0, |top| top + 1);
            written(&mut copies, old..long, until..there, &same);
            steps.settled = (old, until);
        }
    }
    let top = copies.iter().rposition(Option::is_some).map_or(0, |top| top + 1);
    let from = if is_current { long } else { top.max(least) };
    steps.append = (from..long).collect();
    let mut is_copy = vec![false; there];
    for copy in copies.iter().flatten() {
        is_copy[*copy] = true;
    }
    steps.extra = (0..there).filter(|d| !is_copy[*d]).collect();
    steps.missing = copies[..from].iter().filter(|copy| copy.is_none()).count() as u64;
    let is_covered = from == long && is_copy.last() == Some(&false);
    // Below what is going to be deleted it is current again by itself, if it is there.
    let is_there = mirror && copies.last().is_some_and(Option::is_some);
    if is_covered && !is_there && long > 0 {
        steps.again = true;
        steps.append = vec![long - 1];
    }
    steps.copies = copies;
    steps
}

/// The longest common subsequence; `from_top`: whatever else, the newest of both are the same one.
fn align(
    copies: &mut [Option<usize>],
    source: Range<usize>,
    destination: Range<usize>,
    same: &impl Fn(usize, usize) -> bool,
    from_top: bool,
) {
    let (mut low, mut high) = (source.start, source.end);
    let (mut low_there, mut high_there) = (destination.start, destination.end);
    if from_top {
        while high > low && high_there > low_there && same(high - 1, high_there - 1) {
            (high, high_there) = (high - 1, high_there - 1);
            copies[high] = Some(high_there);
        }
    }
    while low < high && low_there < high_there && same(low, low_there) {
        copies[low] = Some(low_there);
        (low, low_there) = (low + 1, low_there + 1);
    }
    let (rows, columns) = (high - low, high_there - low_there);
    if rows.saturating_mul(columns) > CELLS {
        return as_they_come(copies, low..high, low_there..high_there, same);
    }
    // How many can be matched from here to the end of both.
    let at = |row: usize, column: usize| row * (columns + 1) + column;
    let mut longest = vec![0_u32; (rows + 1) * (columns + 1)];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            longest[at(row, column)] = if same(low + row, low_there + column) {
                longest[at(row + 1, column + 1)] + 1
            } else {
                longest[at(row + 1, column)].max(longest[at(row, column + 1)])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    while row < rows && column < columns {
        if same(low + row, low_there + column) {
            copies[low + row] = Some(low_there + column);
            (row, column) = (row + 1, column + 1);
        } else if longest[at(row + 1, column)] > longest[at(row, column + 1)] {
            row += 1;
        } else {
            column += 1;
        }
    }
}

/// What a run has written that nobody heard of: in order, and without gaps, beside what the source has deleted since.
fn written(
    copies: &mut [Option<usize>],
    source: Range<usize>,
    mut destination: Range<usize>,
    same: &impl Fn(usize, usize) -> bool,
) {
    for s in source {
        let Some(d) = destination.clone().find(|d| same(s, *d)) else { return };
        copies[s] = Some(d);
        destination.start = d + 1;
    }
}

/// Each with the next that is the same.
fn as_they_come(
    copies: &mut [Option<usize>],
    source: Range<usize>,
    mut destination: Range<usize>,
    same: &impl Fn(usize, usize) -> bool,
) {
    for s in source {
        if let Some(d) = destination.clone().find(|d| same(s, *d)) {
            copies[s] = Some(d);
            destination.start = d + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;
    use crate::engine::record::Proof;

    const LETTERS: [char; 4] = ['a', 'b', 'c', '-'];

    /// A letter is a content; a dash is a marker.
    fn chain(text: &str) -> Vec<Link> {
        let link = |(n, c): (usize, char)| Link {
            id: n.to_string().into(),
            size: 1,
            etag: ETag::new(&c.to_string()),
            modified: 0,
            is_marker: c == '-',
        };
        text.chars().enumerate().map(link).collect()
    }

    fn text(chain: &[Link]) -> String {
        chain.iter().map(|link| if link.is_marker { "-".to_owned() } else { link.etag.to_string() }).collect()
    }

    /// What the destination has after the steps.
    fn applied(source: &[Link], destination: &[Link], mirror: bool) -> (Steps, Vec<Link>) {
        apply(source, destination, Known::Nothing, mirror)
    }

    fn apply(source: &[Link], destination: &[Link], known: Known, mirror: bool) -> (Steps, Vec<Link>) {
        let steps = steps(source, destination, &[], known, mirror);
        let stays = |n: &usize| !(mirror && steps.extra.contains(n));
        let kept = (0..destination.len()).filter(stays).map(|n| destination[n].clone());
        let added = steps.append.iter().map(|s| source[*s].clone());
        let after = kept.chain(added).collect();
        (steps, after)
    }

    #[test]
    fn what_is_done_about_two_chains() {
        // Source, destination, what it has afterwards without and with deletions, and what is missing for good.
        for (source, destination, kept, mirrored, missing) in [
            ("abc", "", "abc", "abc", 0),
            ("abc", "ab", "abc", "abc", 0),
            ("a-b-", "a", "a-b-", "a-b-", 0),
            ("aa", "a", "aa", "aa", 0),
            ("abab", "ab", "abab", "abab", 0),
            // Deleted for good at the source, at either end.
            ("ac", "abc", "abc", "ac", 0),
            ("a", "ab", "aba", "a", 0),
            ("a-", "a-b", "a-b-", "a-", 0),
            // Written by somebody else.
            ("ab", "xab", "xab", "ab", 0),
            ("abc", "axb", "axbc", "abc", 0),
            ("ab", "ab-", "ab-b", "ab", 0),
            // Gone at the destination, below what is newer: nothing older takes its place.
            ("abc", "c", "c", "c", 2),
            ("abc", "bc", "bc", "bc", 1),
            ("aba", "ba", "ba", "ba", 1),
            ("abcd", "bc", "bcd", "bcd", 1),
            // Of two of the same the older one is too many: the current one stays as it is.
            ("a", "aa", "aa", "a", 0),
            ("", "ab", "ab", "", 0),
            ("", "", "", "", 0),
        ] {
            let (source, destination) = (chain(source), chain(destination));
            let of = (text(&source), text(&destination));
            let (steps, after) = applied(&source, &destination, false);
            assert_eq!((text(&after).as_str(), steps.missing), (kept, missing), "{of:?}");
            let (steps, after) = applied(&source, &destination, true);
            assert_eq!((text(&after).as_str(), steps.missing), (mirrored, missing), "{of:?}");
        }
        let twice = steps(&chain("a"), &chain("aa"), &[], Known::Nothing, true);
        assert_eq!((twice.copies, twice.extra), (vec![Some(1)], vec![0]));
    }

    /// What the source deleted for good, and the same content again: alone the two chains do not tell.
    #[test]
    fn what_is_known_from_before_tells_a_copy_from_a_later_one_of_the_same() {
        let after = |known| {
            let (steps, after) = apply(&chain("axa"), &chain("za"), known, false);
            (text(&after), steps.missing)
        };
        assert_eq!(after(Known::Nothing), ("za".to_owned(), 2));
        assert_eq!(after(Known::Begun), ("zaxa".to_owned(), 0));
        assert_eq!(after(Known::Upto(1, 2)), ("zaxa".to_owned(), 0));
        // The marker that was written was deleted for good since: it is not the one that came after the others.
        let begun = apply(&chain("ab-"), &chain("-"), Known::Begun, true);
        assert_eq!((text(&begun.1).as_str(), begun.0.missing), ("ab-", 0));
        // All of it was there, and was taken away at the destination: nothing older takes the place of what is newer.
        assert_eq!(after(Known::Upto(3, 2)), ("za".to_owned(), 2));
        // Even if what is left looks like a beginning.
        let left = apply(&chain("aba"), &chain("a"), Known::Upto(3, 1), false);
        assert_eq!((text(&left.1).as_str(), left.0.missing), ("a", 2));
        // Deleted for good at the source: what is the same came later.
        let lost = apply(&chain("xa"), &chain("za"), Known::Lost(2, 2), true);
        assert_eq!((text(&lost.1).as_str(), lost.0.missing), ("xa", 0));
        let lost = apply(&chain("abc"), &chain("axd"), Known::Lost(1, 3), true);
        assert_eq!((text(&lost.1).as_str(), lost.0.missing), ("abc", 0));
        let foreign = apply(&chain("ab"), &chain("abx"), Known::Upto(2, 2), false);
        assert_eq!((text(&foreign.1).as_str(), foreign.0.again), ("abxb", true));
        // The newest is not there any more, and something else is.
        let lost = apply(&chain("ab"), &chain("ax"), Known::Upto(2, 1), true);
        assert_eq!(text(&lost.1), "ab");
    }

    #[test]
    fn what_is_on_record_is_found_in_both_chains() {
        let dated = |text: &str| {
            let mut chain = chain(text);
            (1..).zip(&mut chain).for_each(|(n, link)| link.modified = n);
            chain
        };
        let seen = |etag: &str, modified| Seen { size: 1, etag: ETag::new(etag), modified };
        let known = |source: &str, destination: &str, newest: Seen, copy: &str, ids: Option<(&str, &str)>| {
            let ids = ids.map(|(source, destination)| {
                let (source, destination) = (source.into(), destination.into());
                Box::new(Newest { source, destination, pairs: Vec::new() })
            });
            let destination = chain(destination);
            let copy = seen(copy, 0);
            let record = Record {
                key: "k".into(),
                source: newest,
                destination: copy,
                proof: Proof::ETag,
                newest: ids,
            };
            Known::of(&dated(source), &destination, Some(&record), false)
        };
        // By their ids, which in these chains are their places.
        assert_eq!(known("---", "--", seen("", 9), "", Some(("1", "1"))), Known::Settled(2, 2));
        assert_eq!(known("axa", "axa", seen("a", 9), "a", Some(("0", "0"))), Known::Settled(1, 1));
        assert_eq!(known("ab", "ab", seen("b", 2), "b", Some(("1", "7"))), Known::Nothing);
        // By what the stores called them; the newest was deleted for good at the source.
        assert_eq!(known("abc", "ab", seen("b", 2), "b", None), Known::Upto(2, 2));
        assert_eq!(known("--", "-b", seen("b", 1), "b", None), Known::Lost(1, 2));
        assert_eq!(known("--", "-b", seen("b", 1), "b", Some(("9", "1"))), Known::Lost(1, 2));
        // Not an MD5: nobody knows when it became current.
        assert_eq!(known("ac", "ab", seen("b", 1), "b", Some(("9", "1"))), Known::Lost(2, 2));
        assert_eq!(known("ab", "a", seen("b", 2), "b", None), Known::Nothing);
        assert_eq!(Known::of(&[], &[], None, true), Known::Begun);
    }

    #[test]
    fn what_may_be_a_copy_is_looked_at_once() {
        let (source, destination) = (chain("a-b"), chain("x-y"));
        let doubts = |known| {
            let steps = steps(&source, &destination, &[], known, true);
            steps.doubts(&source, &destination).collect::<Vec<_>>()
        };
        assert_eq!(doubts(Known::Begun), [(0, 0), (0, 2), (2, 0), (2, 2)]);
        assert_eq!(doubts(Known::Upto(2, 2)).len(), 4);
        assert_eq!(doubts(Known::Settled(2, 2)), [(2, 2)]);
        assert_eq!(doubts(Known::Settled(3, 3)), []);
    }

    #[test]
    fn contents_are_the_same_by_their_names_or_by_what_is_known_of_them() {
        let pair = Pair { source: ETag::new("a"), destination: ETag::new("x") };
        let (source, destination) = (chain("ab"), chain("x"));
        assert_eq!(steps(&source, &destination, &[pair], Known::Nothing, false).append, [1]);
        assert_eq!(steps(&source, &destination, &[], Known::Nothing, false).append, [0, 1]);
        let unnamed = Link { etag: ETag::new(""), ..chain("a").remove(0) };
        assert!(!unnamed.is_copied_by(&unnamed, &[]));
    }

    fn random(random: &mut Rng, most: usize) -> Vec<Link> {
        let text: String = (0..random.usize(..=most)).map(|_| random.choice(LETTERS).unwrap()).collect();
        chain(&text)
    }

    /// With random chains: the current version ends right, the rest in order; what was done needs not be done again.
    #[test]
    fn any_chain_becomes_the_sources() {
        let mut rng = Rng::with_seed(7);
        for _ in 0..20_000 {
            let source = random(&mut rng, 7);
            let mut destination =
                if rng.bool() { random(&mut rng, 7) } else { source[..rng.usize(..=source.len())].to_vec() };
            if rng.bool() {
                let foreign = Link { etag: ETag::new("x"), is_marker: false, ..chain("x").remove(0) };
                destination.insert(rng.usize(..=destination.len()), foreign);
            }
            let of = (text(&source), text(&destination));
            let (steps, after) = applied(&source, &destination, true);
            if steps.missing == 0 {
                assert_eq!(text(&after), of.0, "{of:?}");
                let (again, _) = applied(&source, &after, true);
                assert!(again.append.is_empty() && again.extra.is_empty(), "{of:?}");
            }
            assert_eq!(text(&after).chars().last(), of.0.chars().last(), "{of:?}");
            let (_, after) = applied(&source, &destination, false);
            assert!(text(&after).starts_with(&of.1), "{of:?}: something was taken away");
            if !source.is_empty() {
                assert_eq!(text(&after).chars().last(), of.0.chars().last(), "{of:?}");
                let (again, _) = applied(&source, &after, false);
                assert!(again.append.is_empty(), "{of:?}, then {:?}: {again:?}", text(&after));
            }
            // What is current is replaced by something newer only.
            if let (Some(wanted), Some(there)) = (source.last(), destination.last())
                && wanted.is_copied_by(there, &[])
                && !(destination.len() <= source.len() && of.0.starts_with(&of.1))
            {
                assert!(applied(&source, &destination, false).0.append.is_empty(), "{of:?}");
            }
        }
    }

    #[test]
    fn chains_of_any_length_are_matched() {
        let mut rng = Rng::with_seed(3);
        let source: String = (0..3000).map(|_| rng.choice(LETTERS).unwrap()).collect();
        // Too long, and nothing in common at either end.
        let (source, destination) = (chain(&format!("s{source}s")), chain(&format!("d{source}d")));
        let steps = steps(&source, &destination, &[], Known::Nothing, true);
        assert_eq!(steps.copies.iter().flatten().count(), 3000);
    }
}
