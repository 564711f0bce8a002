//! Two chains of versions of one key, the source's and the destination's: which version is a copy of which, what is to be
//! put on top, and what the destination has beyond. Pure.
//!
//! Versions can be added at the top only. So what is missing below a newer one stays missing: to add it would put something
//! older in the place of something newer.

use serde::{Deserialize, Serialize};

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
}

impl Link {
    /// As it was listed.
    #[must_use]
    pub fn of(version: Version) -> Self {
        let Entry { size, etag, modified, version: id, .. } = version.entry;
        Self { id: id.unwrap_or_default(), size, etag, modified, is_marker: version.is_marker }
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

/// What is to be done. Both chains have the oldest first; `mirror`: what the destination has beyond is going to be deleted.
#[must_use]
pub fn steps(source: &[Link], destination: &[Link], pairs: &[Pair], mirror: bool) -> Steps {
    let same = |s: usize, d: usize| source[s].is_copied_by(&destination[d], pairs);
    let (long, there) = (source.len(), destination.len());
    // Begun, and not ended: all that is there is the beginning of what is wanted.
    let is_beginning = there <= long && (0..there).all(|n| same(n, n));
    let is_current = long > 0 && there > 0 && same(long - 1, there - 1);
    let copies: Vec<Option<usize>> = if is_beginning {
        (0..long).map(|n| (n < there).then_some(n)).collect()
    } else {
        align(long, there, &same, is_current)
    };
    let top = copies.iter().rposition(Option::is_some).map_or(0, |top| top + 1);
    let from = if is_current && !is_beginning { long } else { top };
    let mut steps = Steps { append: (from..long).collect(), ..Steps::default() };
    let mut is_copy = vec![false; there];
    for copy in copies.iter().flatten() {
        is_copy[*copy] = true;
    }
    steps.extra = (0..there).filter(|d| !is_copy[*d]).collect();
    steps.missing = copies[..from].iter().filter(|copy| copy.is_none()).count() as u64;
    let is_covered = from == long && is_copy.last() == Some(&false);
    if is_covered && !mirror && long > 0 {
        steps.again = true;
        steps.append = vec![long - 1];
    }
    steps.copies = copies;
    steps
}

/// The longest common subsequence; `from_top`: whatever else, the newest of both are the same one.
fn align(
    long: usize,
    there: usize,
    same: &impl Fn(usize, usize) -> bool,
    from_top: bool,
) -> Vec<Option<usize>> {
    let mut copies = vec![None; long];
    let (mut low, mut high, mut high_there) = (0, long, there);
    if from_top {
        while high > 0 && high_there > 0 && same(high - 1, high_there - 1) {
            (high, high_there) = (high - 1, high_there - 1);
            copies[high] = Some(high_there);
        }
    }
    while low < high && low < high_there && same(low, low) {
        copies[low] = Some(low);
        low += 1;
    }
    let (rows, columns) = (high - low, high_there - low);
    if rows.saturating_mul(columns) > CELLS {
        as_they_come(&mut copies, low..high, low..high_there, same);
        return copies;
    }
    // How many can be matched from here to the end of both.
    let at = |row: usize, column: usize| row * (columns + 1) + column;
    let mut longest = vec![0_u32; (rows + 1) * (columns + 1)];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            longest[at(row, column)] = if same(low + row, low + column) {
                longest[at(row + 1, column + 1)] + 1
            } else {
                longest[at(row + 1, column)].max(longest[at(row, column + 1)])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    while row < rows && column < columns {
        if same(low + row, low + column) {
            copies[low + row] = Some(low + column);
            (row, column) = (row + 1, column + 1);
        } else if longest[at(row + 1, column)] > longest[at(row, column + 1)] {
            row += 1;
        } else {
            column += 1;
        }
    }
    copies
}

/// Each with the next that is the same.
fn as_they_come(
    copies: &mut [Option<usize>],
    source: std::ops::Range<usize>,
    mut destination: std::ops::Range<usize>,
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
        let steps = steps(source, destination, &[], mirror);
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
        let twice = steps(&chain("a"), &chain("aa"), &[], true);
        assert_eq!((twice.copies, twice.extra), (vec![Some(1)], vec![0]));
    }

    #[test]
    fn contents_are_the_same_by_their_names_or_by_what_is_known_of_them() {
        let pair = Pair { source: ETag::new("a"), destination: ETag::new("x") };
        let (source, destination) = (chain("ab"), chain("x"));
        assert_eq!(steps(&source, &destination, &[pair], false).append, [1]);
        assert_eq!(steps(&source, &destination, &[], false).append, [0, 1]);
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
        let steps = steps(&source, &destination, &[], true);
        assert_eq!(steps.copies.iter().flatten().count(), 3000);
    }
}
