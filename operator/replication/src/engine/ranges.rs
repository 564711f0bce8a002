//! The key space in parts of about the same size, cut where segments of the manifest end; and what is done of each.

use std::sync::{Arc, Mutex, PoisonError};

use super::listing::Range;
use super::record::Described;

/// A part of the key space, with its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) range: Range,
    pub(super) segments: Vec<Described>,
}

/// Cuts into so many parts, or fewer; together they are the whole key space.
pub(super) fn split(segments: &[Described], parts: usize) -> Vec<Part> {
    let total: u64 = segments.iter().map(|s| u64::from(s.count)).sum();
    let share = (total / parts.max(1) as u64).max(1);
    let mut split = vec![Part { range: Range::default(), segments: Vec::new() }];
    let (mut count, mut last) = (0, "");
    for segment in segments {
        let Some(part) = split.last_mut() else { break };
        // Not between two that overlap: those are of the same keys.
        if count >= share && segment.first.as_str() > last {
            part.range.until = Some(last.to_owned());
            split.push(Part {
                range: Range { after: Some(last.to_owned()), until: None },
                segments: vec![segment.clone()],
            });
            count = 0;
        } else {
            part.segments.push(segment.clone());
        }
        last = last.max(&segment.last);
        count += u64::from(segment.count);
    }
    split
}

/// What is done of all parts.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Mutex<Vec<Done>>>);

#[derive(Debug)]
struct Done {
    now: Vec<Described>,
    before: Vec<Described>,
    whole: bool,
}

impl Progress {
    pub(super) fn new(parts: &[Part]) -> Self {
        let before = |part: &Part| Done { now: Vec::new(), before: part.segments.clone(), whole: false };
        Self(Arc::new(Mutex::new(parts.iter().map(before).collect())))
    }

    /// A part has these segments now; it is `whole`, or what it had before counts for the rest.
    pub(super) fn publish(&self, part: usize, segments: Vec<Described>, whole: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = all.get_mut(part) {
            (done.now, done.whole) = (segments, whole);
        }
    }

    /// The segments that count, in order.
    pub(super) fn segments(&self) -> Vec<Described> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counting = Vec::new();
        for Done { now, before, whole } in all.iter() {
            counting.extend(now.iter().cloned());
            if !whole {
                let until = now.last().map(|s| s.last.as_str());
                let left = before.iter().filter(|s| until.is_none_or(|until| s.last.as_str() > until));
                counting.extend(left.cloned());
            }
        }
        counting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::record::Description;

    fn segment(first: &str, last: &str) -> Described {
        let name = format!("{first}{last}");
        Arc::new(Description { name, first: first.into(), last: last.into(), count: 10 })
    }

    #[test]
    fn parts_are_the_whole_and_never_cut_an_overlap() {
        let segments = [segment("a", "c"), segment("b", "f"), segment("g", "h"), segment("i", "k")];
        let parts = split(&segments, 4);
        assert_eq!(parts.iter().map(|p| p.segments.len()).sum::<usize>(), 4);
        assert_eq!(parts[0].range, Range { after: None, until: Some("f".into()) });
        assert_eq!(parts[0].segments.len(), 2);
        assert_eq!(parts.last().unwrap().range, Range { after: Some("h".into()), until: None });
        assert_eq!(split(&[], 4), [Part { range: Range::default(), segments: Vec::new() }]);
    }

    #[test]
    fn what_is_not_done_yet_is_as_it_was() {
        let before = [segment("a", "c"), segment("d", "f"), segment("g", "h")];
        let progress = Progress::new(&split(&before, 1));
        assert_eq!(progress.segments(), before);
        progress.publish(0, vec![segment("a", "b"), segment("c", "e")], false);
        assert_eq!(
            progress.segments(),
            [segment("a", "b"), segment("c", "e"), segment("d", "f"), segment("g", "h")]
        );
        progress.publish(0, vec![segment("a", "e")], true);
        assert_eq!(progress.segments(), [segment("a", "e")]);
    }
}
