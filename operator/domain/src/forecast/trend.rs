//! Growth and level of what is left without season and jumps, and how sure they are.

use super::{Course, WINDOW_DAYS, days, median};

/// From a median of distances to a standard deviation, were it a normal distribution.
pub(super) const DEVIATION: f64 = 1.4826;
/// Pairs below which a slope says nothing.
pub(super) const FEWEST_PAIRS: usize = 7;
/// How often the noise is shuffled.
const REPLICAS: usize = 200;
/// Of so many replicas, one looks at the newest days only.
pub(super) const NEWEST: usize = 5;
/// Days that stay together when noise is shuffled, as it lingers.
const BLOCK: usize = 14;
/// What is left over is less than the noise was, as the line has followed some of it. Found with simulated series.
const WIDER: f64 = 1.25;
/// Standard deviations that two slopes have to be apart to contradict each other.
const SURE: f64 = 4.5;
/// What counts alone in every fifth replica: were it so that what was before does not matter.
const NEWEST_DAYS: i64 = WINDOW_DAYS / 2;
/// What tells the level: half a window, as the newest regime may be no longer.
const LEVEL_DAYS: i64 = WINDOW_DAYS / 2;

/// Today's level, today's growth a day, and what a day's growth is of that of the day before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) level: f64,
    pub(super) slope: f64,
    /// 1: a straight line; less: growth fades.
    pub(super) pace: f64,
}

impl Path {
    /// What it grows by from today to a day, which may be past.
    pub(super) fn growth(&self, day: f64) -> f64 {
        self.slope * stretch(day, self.pace)
    }
}

/// The days to a day, each as long as its growth is in terms of today's.
fn stretch(day: f64, pace: f64) -> f64 {
    // Is it 1? Close to it the quotient has no digits left.
    if (pace - 1.0).abs() < 1e-6 { day } else { (pace.powf(day) - 1.0) / pace.ln() }
}

/// A known day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    /// Days from today, not positive.
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) weekday: usize,
    /// Counts the jumps before it.
    pub(super) piece: usize,
}

/// The points that tell how it grows now, and its pace. Where the newer half of the window contradicts the older,
/// either growth has changed one day, and what was before does not count, or its pace is not 1: what leaves less over.
pub(super) fn newest_regime(points: &[Point]) -> (&[Point], f64) {
    let week = |weeks: i32| points.partition_point(|p| p.x <= -7.0 * f64::from(weeks));
    if !contradicts(points, week(6)) {
        return (points, 1.0);
    }
    let turns = (2..=10).map(week).filter_map(|at| {
        let (older, newer) = points.split_at(at);
        Some((&points[at..], 1.0, left_over(older, 1.0)? + left_over(newer, 1.0)?))
    });
    let bends = (-20..=10).filter(|step| *step != 0).filter_map(|step| {
        let pace = 1.0 + 0.002 * f64::from(step);
        // In doubt, the earlier end: growth that gathers pace needs less to be believed.
        let doubt = if pace > 1.0 { 0.95 } else { 1.03 };
        Some((points, pace, doubt * left_over(points, pace)?))
    });
    let best = turns.chain(bends).min_by(|a, b| a.2.total_cmp(&b.2));
    best.map_or((points, 1.0), |(points, pace, _)| (points, pace))
}

/// Whether both sides of a point grow so differently that noise can't be why.
fn contradicts(points: &[Point], at: usize) -> bool {
    let (older, newer) = points.split_at(at);
    let (Some(was), Some(is)) = (line(older, 1.0), line(newer, 1.0)) else { return false };
    let rest = [rests(older, was), rests(newer, is)].concat();
    let error = noise(rest) * (1.0 / spread(older) + 1.0 / spread(newer)).sqrt();
    (is.slope - was.slope).abs() > SURE * error
}

/// What is left over beside the line of this pace, in all; `None`: there are too few points for a line.
fn left_over(points: &[Point], pace: f64) -> Option<f64> {
    Some(rests(points, line(points, pace)?).iter().map(|rest| rest.abs()).sum())
}

fn line(points: &[Point], pace: f64) -> Option<Path> {
    let pairs = pairs(points);
    (pairs.len() >= 2 * FEWEST_PAIRS).then(|| fit(points, &pairs, pace))
}

/// The standard deviation of what is left over; larger where a day's noise lingers, as then it tells less.
fn noise(rest: Vec<f64>) -> f64 {
    let deviation = DEVIATION * median(rest.iter().map(|r| r.abs()).collect());
    let clipped: Vec<f64> = rest.into_iter().map(|r| r.clamp(-3.0 * deviation, 3.0 * deviation)).collect();
    let squares: f64 = clipped.iter().map(|r| r * r).sum();
    let products: f64 = clipped.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let lingers = if squares > 0.0 { (products / squares).clamp(0.0, 0.9) } else { 0.0 };
    deviation * ((1.0 + lingers) / (1.0 - lingers)).sqrt()
}

/// The sum of squared distances from the middle of each piece: what the slope's error falls with.
fn spread(points: &[Point]) -> f64 {
    let squares = |piece: &[Point]| -> f64 {
        let middle = piece[0].x.midpoint(piece[piece.len() - 1].x);
        piece.iter().map(|p| (p.x - middle).powi(2)).sum()
    };
    points.chunk_by(|a, b| a.piece == b.piece).map(squares).sum()
}

/// Days of one piece that are whole weeks apart: between them the season counts for nothing, kept or not.
pub(super) fn pairs(points: &[Point]) -> Vec<(usize, usize)> {
    let later = |i: usize| {
        let same =
            move |j: &usize| points[*j].weekday == points[i].weekday && points[*j].piece == points[i].piece;
        (i + 1..points.len()).filter(same).map(move |j| (i, j))
    };
    (0..points.len()).flat_map(later).collect()
}

/// The median slope, in terms of today's; without pairs nothing grows.
pub(super) fn slope(points: &[Point], pairs: &[(usize, usize)], pace: f64) -> f64 {
    let stretched: Vec<f64> = points.iter().map(|p| stretch(p.x, pace)).collect();
    let slope = |(i, j): &(usize, usize)| (points[*j].y - points[*i].y) / (stretched[*j] - stretched[*i]);
    median(pairs.iter().map(slope).collect())
}

/// The path of this pace that fits best.
pub(super) fn fit(points: &[Point], pairs: &[(usize, usize)], pace: f64) -> Path {
    settle(points, Path { level: 0.0, slope: slope(points, pairs, pace), pace })
}

/// With today's level: what the last weeks say, as far as they are after the last jump.
pub(super) fn settle(points: &[Point], path: Path) -> Path {
    let piece = points.last().map_or(0, |p| p.piece);
    let newest = points.iter().filter(|p| p.piece == piece && p.x > -days(LEVEL_DAYS));
    Path { level: median(newest.map(|p| p.y - path.growth(p.x)).collect()), ..path }
}

/// What is left over beside growth and the level of each piece.
fn rests(points: &[Point], path: Path) -> Vec<f64> {
    let rests = |piece: &[Point]| {
        let flat: Vec<f64> = piece.iter().map(|p| p.y - path.growth(p.x)).collect();
        let middle = median(flat.clone());
        flat.into_iter().map(move |v| v - middle)
    };
    points.chunk_by(|a, b| a.piece == b.piece).flat_map(rests).collect()
}

/// What else the days might have told, had the noise fallen otherwise. Whether what was seen to hold for long still does
/// nobody knows: in every fifth ([`NEWEST`]) only the newest weeks count, and growth stays what it is in them.
pub(super) fn replicas(points: &[Point], seen: Path, season: [f64; 7]) -> Vec<Course> {
    let newest = &points[points.partition_point(|p| p.x <= -days(NEWEST_DAYS))..];
    let all = Shaker::new(points, seen);
    let newest = line(newest, 1.0).map_or_else(|| all.clone(), |line| Shaker::new(newest, line));
    let mut state: u64 = 0x5452_4950_4f44;
    let replica = |number| if number % NEWEST == 0 { &newest } else { &all }.shake(season, &mut state);
    (0..REPLICAS).map(replica).collect()
}

/// What is shuffled: points, and what they leave over beside a path.
#[derive(Clone)]
struct Shaker<'a> {
    points: &'a [Point],
    pairs: Vec<(usize, usize)>,
    rests: Vec<f64>,
    pace: f64,
}

impl<'a> Shaker<'a> {
    fn new(points: &'a [Point], seen: Path) -> Self {
        Self { points, pairs: pairs(points), rests: rests(points, seen), pace: seen.pace }
    }

    fn shake(&self, season: [f64; 7], state: &mut u64) -> Course {
        let (rests, block) = (&self.rests, BLOCK.min(self.rests.len()));
        let mut noise = Vec::with_capacity(rests.len() + block);
        while noise.len() < rests.len() {
            let from = below(state, rests.len() - block + 1);
            noise.extend(rests[from..from + block].iter().map(|rest| WIDER * rest));
        }
        let season = shaken(season, self.points, &noise);
        let shaken = self.points.iter().zip(rests).zip(noise);
        let points: Vec<Point> =
            shaken.map(|((p, rest), noise)| Point { y: p.y - rest + noise, ..*p }).collect();
        Course { path: fit(&points, &self.pairs, self.pace), season }
    }
}

/// A season as it would have been seen with this noise; where none was seen, none.
fn shaken(season: [f64; 7], points: &[Point], noise: &[f64]) -> [f64; 7] {
    if season.iter().all(|beyond| *beyond == 0.0) {
        return season;
    }
    let mut by_weekday: [Vec<f64>; 7] = Default::default();
    points.iter().zip(noise).for_each(|(point, noise)| by_weekday[point.weekday].push(*noise));
    let shift = by_weekday.map(median);
    let mean = shift.iter().sum::<f64>() / 7.0;
    std::array::from_fn(|weekday| season[weekday] + shift[weekday] - mean)
}

/// The next number below `end` of a fixed sequence (SplitMix64).
fn below(state: &mut u64, end: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
}
