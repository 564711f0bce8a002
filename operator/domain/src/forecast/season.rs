//! What days of the week have in common, taken for itself so that it is neither growth nor noise.

use super::median;
use super::trend::{Point, pairs, slope};

/// What each day of the week has beyond the week's mean; zeros where that would not explain most of the noise.
pub(super) fn season(points: &[Point]) -> [f64; 7] {
    const NONE: [f64; 7] = [0.0; 7];
    let rough = by_weekday(points, NONE, 3.0);
    if rough.iter().any(|values| values.len() < 3) {
        return NONE;
    }
    let middles = |by_weekday: &[Vec<f64>; 7]| {
        let medians = by_weekday.each_ref().map(|values| median(values.clone()));
        let mean = medians.iter().sum::<f64>() / 7.0;
        (medians, medians.map(|m| m - mean))
    };
    let (medians, season) = middles(&rough);
    let distance = |to: [f64; 7]| -> f64 {
        rough.iter().zip(to).flat_map(|(values, to)| values.iter().map(move |v| (v - to).abs())).sum()
    };
    if distance(medians) >= 0.6 * distance(NONE) {
        return NONE;
    }
    // Once more, now that a wider span can be looked at without the season in the way.
    middles(&by_weekday(points, season, 10.0)).1
}

/// By weekday, what each day has beyond the median of the days around it, neither growth nor season counted. Against
/// what is around it, so that no jump looks like a season.
fn by_weekday(points: &[Point], season: [f64; 7], reach: f64) -> [Vec<f64>; 7] {
    let slope = slope(points, &pairs(points), 1.0);
    let mut by_weekday: [Vec<f64>; 7] = Default::default();
    for point in points {
        let around = points.iter().filter(|p| (p.x - point.x).abs() <= reach);
        let around = median(around.map(|p| p.y - slope * p.x - season[p.weekday]).collect());
        by_weekday[point.weekday].push(point.y - slope * point.x - around);
    }
    by_weekday
}
