//! Jumps: levels that change from one day to the next and stay. A granted expansion is one; growth and spikes are none.

use super::trend::{DEVIATION, FEWEST_PAIRS, Point, pairs, slope};
use super::{ROUNDING, median};

/// Points that a jump needs on each side.
const SIDE: usize = 5;

/// Lifts what was before a jump to what is after it.
pub(super) fn take_out(points: &mut [Point]) {
    let mut rest = points.to_vec();
    for _ in 0..3 {
        let Some((at, height)) = largest_jump(&rest) else {
            points.copy_from_slice(&rest);
            return;
        };
        rest[..at].iter_mut().for_each(|p| p.y += height);
        rest[at..].iter_mut().for_each(|p| p.piece += 1);
    }
}

/// Where a jump is that is neither noise, nor growth, nor a curve: its first point, and its height.
fn largest_jump(points: &[Point]) -> Option<(usize, f64)> {
    let all = pairs(points);
    let jump = |at: usize| {
        let same_side: Vec<_> = all.iter().copied().filter(|(i, j)| *j < at || *i >= at).collect();
        if same_side.len() < FEWEST_PAIRS {
            return None;
        }
        let slope = slope(points, &same_side, 1.0);
        let flat: Vec<f64> = points.iter().map(|p| p.y - slope * p.x).collect();
        let (before, after) = (&flat[at.saturating_sub(14)..at], &flat[at..flat.len().min(at + 14)]);
        let (low, high) = (median(before.to_vec()), median(after.to_vec()));
        let height = high - low;
        let rests = before.iter().map(|v| (v - low).abs()).chain(after.iter().map(|v| (v - high).abs()));
        let noise = DEVIATION * median(rests.collect());
        let rounding = ROUNDING * flat.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
        // A curve takes its time; a jump is all there within three days.
        let near = median(after[..3].to_vec()) - median(before[before.len() - 3..].to_vec());
        let sharp = near * height.signum() >= 0.6 * height.abs();
        let large = height.abs() > (4.0 * noise).max(14.0 * slope.abs()).max(rounding);
        let week = |side: &[f64]| side.iter().sum::<f64>() / f64::from(u8::try_from(side.len()).unwrap_or(1));
        let edge = week(&after[..after.len().min(7)]) - week(&before[before.len().saturating_sub(7)..]);
        (sharp && large).then_some((at, height, edge.abs()))
    };
    let places = SIDE..(points.len() + 1).saturating_sub(SIDE);
    let best = places.filter_map(jump).max_by(|a, b| a.2.total_cmp(&b.2));
    best.map(|(at, height, _)| (at, height))
}
