//! Whether a recovery point brought a change that is unusual for its system: more data new, or more files gone, than the points
//! before it have ever shown. Encryption by an attacker looks like that, and so does a slip of the hand.
//!
//! What a system does every day is not unusual: a volume whose dumps are written anew each night never raises an alarm.

use crate::manifest::{Part, PointManifest};

/// Points before this one that are compared with it.
pub const HISTORY: usize = 10;
/// Shares that are a mass of it, in per cent.
const MASS: u64 = 50;
/// Parts with fewer files or objects than this lose half of them every day.
const FEW: u64 = 16;
/// Parts of fewer bytes than this are written anew by chance.
const SMALL: u64 = 1 << 20;
/// Habits are known from so many points.
const HABIT: usize = 3;
/// A change is unusual that is so many times as large as what is usual.
const TIMES: u64 = 2;

/// What is said of one part of a point: its objects, a volume, a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measure {
    /// For people: `volume data`.
    part: String,
    /// Files or objects.
    entries: u64,
    bytes: u64,
    /// Bytes that the vault did not have before, where that was measured.
    added: Option<u64>,
}

fn measures(manifest: &PointManifest) -> Vec<Measure> {
    let objects = manifest.objects.iter().map(|part| (String::from("objects"), part));
    let volumes = manifest.volumes.iter().map(|(name, part)| (format!("volume {name}"), part));
    let archived = objects.chain(volumes).map(|(part, of)| Measure {
        part,
        entries: of.files,
        bytes: of.bytes,
        added: of.added,
    });
    let buckets = manifest.buckets.iter().map(|(name, of)| Measure {
        part: format!("bucket {name}"),
        entries: of.objects,
        bytes: of.bytes,
        added: of.added,
    });
    archived.chain(buckets).collect()
}

/// What is unusual, in words, one for each part that is. `before`: the points before it, the newest first.
#[must_use]
pub fn judge(manifest: &PointManifest, before: &[PointManifest]) -> Vec<String> {
    let before: Vec<Vec<Measure>> = before.iter().take(HISTORY).map(measures).collect();
    let mut words = Vec::new();
    for now in measures(manifest) {
        let history: Vec<&Measure> =
            before.iter().filter_map(|point| point.iter().find(|measure| measure.part == now.part)).collect();
        let found = [gone(&now, &history), rewritten(&now, &history)];
        words.extend(found.into_iter().flatten().map(|what| format!("{}: {what}", now.part)));
    }
    words.extend(missing(&measures(manifest), &before));
    words
}

/// Parts of the newest point before that this one does not have: a volume or bucket that was deleted, or that the policy does not
/// name any more. In either case nobody may have meant it.
fn missing(now: &[Measure], before: &[Vec<Measure>]) -> Vec<String> {
    let Some(newest) = before.first() else { return Vec::new() };
    let is_here = |part: &Measure| now.iter().any(|measure| measure.part == part.part);
    let lost = newest.iter().filter(|part| !is_here(part)).filter(|lost| {
        let nothing = Measure { entries: 0, bytes: 0, added: None, ..(*lost).clone() };
        let at =
            |point: &Vec<Measure>| point.iter().find(|m| m.part == lost.part).unwrap_or(&nothing).clone();
        let history: Vec<Measure> = before.iter().map(at).collect();
        gone(&nothing, &history.iter().collect::<Vec<_>>()).is_some()
    });
    lost.map(|lost| {
        format!("{}: it is not in the point any more, and had {} entries", lost.part, lost.entries)
    })
    .collect()
}

/// What of the newest point before is not there any more, by count.
fn gone(now: &Measure, history: &[&Measure]) -> Option<String> {
    let newest = history.first()?;
    let share = share_gone(newest.entries, now.entries);
    let pairs = history.windows(2).map(|pair| share_gone(pair[1].entries, pair[0].entries));
    let unusual = newest.entries >= FEW && share >= MASS && share > usual(pairs) * TIMES;
    unusual.then(|| format!("{share} % are gone: of {} there are {} left", newest.entries, now.entries))
}

fn share_gone(before: u64, now: u64) -> u64 {
    percent(before.saturating_sub(now), before)
}

/// How much of it the vault did not have before.
fn rewritten(now: &Measure, history: &[&Measure]) -> Option<String> {
    let share_of = |measure: &Measure| measure.added.map(|added| percent(added, measure.bytes));
    let share = share_of(now)?;
    let known: Vec<u64> = history.iter().filter_map(|measure| share_of(measure)).collect();
    let usual = usual(known.iter().copied());
    let unusual = known.len() >= HABIT && now.bytes >= SMALL && share >= MASS && share > usual * TIMES;
    unusual.then(|| format!("{share} % of its bytes are new, where {usual} % are usual"))
}

/// The second largest: one event does not make a habit.
fn usual(shares: impl Iterator<Item = u64>) -> u64 {
    let mut shares: Vec<u64> = shares.collect();
    shares.sort_unstable_by(|a, b| b.cmp(a));
    shares.get(1).copied().unwrap_or(0)
}

/// Nothing of nothing is nothing. Never more than a hundred.
fn percent(part: u64, of: u64) -> u64 {
    let share = u128::from(part) * 100 / u128::from(of).max(1);
    u64::try_from(share).unwrap_or(100).min(100)
}

/// How much was new is known only where there was something to compare with: the first point of a part is all new.
pub(crate) fn forget_first(manifest: &mut PointManifest, before: &[PointManifest]) {
    if let Some(part) = &mut manifest.objects
        && is_first(part, before.iter().filter_map(|point| point.objects.as_ref()))
    {
        part.added = None;
    }
    for (name, part) in &mut manifest.volumes {
        if is_first(part, before.iter().filter_map(|point| point.volumes.get(name))) {
            part.added = None;
        }
    }
    for (name, part) in &mut manifest.buckets {
        part.added = part.added.filter(|_| before.iter().any(|point| point.buckets.contains_key(name)));
    }
}

/// A repository of another master key has nothing of what the one before had.
fn is_first<'p>(part: &Part, mut earlier: impl Iterator<Item = &'p Part>) -> bool {
    !earlier.any(|of| of.key == part.key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const MIB: u64 = 1 << 20;

    /// A point with one volume of so many files and MiB, of which so many are new.
    fn point(files: u64, mib: u64, added: Option<u64>) -> PointManifest {
        let part = Part {
            snapshot: "ab".into(),
            key: "k".into(),
            files,
            bytes: mib * MIB,
            digest: "sha256:1".into(),
            added: added.map(|mib| mib * MIB),
        };
        PointManifest {
            version: crate::manifest::MANIFEST_VERSION,
            system: "health".into(),
            policy: "registration".into(),
            point: "p".into(),
            origin: "production".into(),
            taken_at: jiff::Timestamp::UNIX_EPOCH,
            completed_at: jiff::Timestamp::UNIX_EPOCH,
            objects: None,
            volumes: BTreeMap::from([("data".to_owned(), part)]),
            buckets: BTreeMap::new(),
            root_digest: String::new(),
            unusual: Vec::new(),
        }
    }

    fn calm(count: usize) -> Vec<PointManifest> {
        vec![point(100, 100, Some(2)); count]
    }

    #[test]
    fn what_an_attacker_does_is_unusual() {
        assert_eq!(
            judge(&point(100, 100, Some(98)), &calm(5)),
            ["volume data: 98 % of its bytes are new, where 2 % are usual"]
        );
        assert_eq!(
            judge(&point(9, 9, Some(0)), &calm(1)),
            ["volume data: 91 % are gone: of 100 there are 9 left"]
        );
        assert_eq!(judge(&point(0, 0, Some(0)), &calm(1)).len(), 1);
    }

    #[test]
    fn what_happens_every_day_is_not() {
        assert!(judge(&point(110, 104, Some(6)), &calm(5)).is_empty());
        let dumps = vec![point(20, 100, Some(95)); 3];
        assert!(judge(&point(20, 100, Some(97)), &dumps).is_empty());
        // A cache that is emptied each night.
        let nightly = [4, 80, 5, 90, 4, 85, 6].map(|files| point(files, 1, None));
        assert!(judge(&point(70, 8, None), &nightly).is_empty());
        assert!(judge(&point(6, 1, None), &nightly[1..]).is_empty());
        // Nothing is known yet of a young system.
        assert!(judge(&point(100, 100, Some(100)), &calm(2)).is_empty());
        assert!(judge(&point(100, 100, Some(100)), &[]).is_empty());
        let small = vec![point(3, 0, Some(0)); 5];
        assert!(judge(&point(3, 0, Some(0)), &small).is_empty());
    }

    #[test]
    fn a_volume_that_is_not_there_any_more_is_unusual_unless_it_comes_and_goes() {
        let none = PointManifest { volumes: BTreeMap::new(), ..point(0, 0, None) };
        let said = ["volume data: it is not in the point any more, and had 100 entries"];
        assert_eq!(judge(&none, &calm(1)), said);
        assert_eq!(judge(&none, &calm(5)), said);
        assert!(judge(&none, &[point(3, 1, None)]).is_empty(), "a few files");
        assert!(judge(&none, &[none.clone(), point(100, 100, None)]).is_empty(), "told before");
        let (there, gone) = (point(100, 100, None), none.clone());
        let comes_and_goes = [there.clone(), gone.clone(), there.clone(), gone, there];
        assert!(judge(&none, &comes_and_goes).is_empty());
    }

    #[test]
    fn one_alarm_does_not_silence_the_next() {
        let mut before = calm(5);
        before.insert(0, point(100, 100, Some(99)));
        assert_eq!(judge(&point(100, 100, Some(99)), &before).len(), 1);
        before.insert(0, point(100, 100, Some(99)));
        assert!(judge(&point(100, 100, Some(99)), &before).is_empty(), "by now it is a habit");
    }

    #[test]
    fn the_first_point_of_a_part_says_nothing_of_change() {
        let mut first = point(100, 100, Some(100));
        forget_first(&mut first, &[]);
        assert_eq!(first.volumes["data"].added, None);
        let mut second = point(100, 100, Some(1));
        forget_first(&mut second, &[first.clone()]);
        assert_eq!(second.volumes["data"].added, Some(MIB));
        let mut rotated = point(100, 100, Some(100));
        rotated.volumes.get_mut("data").unwrap().key = "another".into();
        forget_first(&mut rotated, &[first, second]);
        assert_eq!(rotated.volumes["data"].added, None);
    }

    proptest! {
        /// Whatever is measured: less change is never more unusual, and no share passes a hundred.
        #[test]
        fn less_is_never_more_unusual(
            files in 0..1000_u64, mib in 0..1000_u64, added in 0..2000_u64, less in 0..2000_u64,
            before in proptest::collection::vec((0..1000_u64, 0..1000_u64, proptest::option::of(0..1000_u64)), 0..12),
        ) {
            let before: Vec<_> = before.into_iter().map(|(f, m, a)| point(f, m, a)).collect();
            let (much, little) = (added.max(less), added.min(less));
            let count = |added| judge(&point(files, mib, Some(added)), &before).len();
            prop_assert!(count(little) <= count(much));
            prop_assert!(percent(added, mib) <= 100);
        }
    }
}
