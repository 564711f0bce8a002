//! Simulated series: a signal, noise on it, days that are missing. Nothing here was measured anywhere.

use tripod_domain::forecast::HORIZON_DAYS;

pub const TODAY: i64 = 20_000;
/// Days of history; more than the window, so that the window is what counts.
const HISTORY: i64 = 120;

/// One series, and what becomes of it.
pub struct Simulated {
    pub known: Vec<(i64, i128)>,
    pub budget: i128,
    /// The first day, counted from today, on which the signal is at the budget.
    pub reached: Option<u32>,
    /// The signal 30 days ahead, in units.
    pub in_30_days: f64,
}

/// What a series is drawn from.
struct Drawn {
    /// By day from today.
    signal: Box<dyn Fn(f64) -> f64>,
    /// In units; what a day of it leaves to the next (0 to 1).
    noise: f64,
    lingers: f64,
    /// Share of days with a spike, and how high spikes are.
    spikes: (f64, f64),
    /// Share of days that are unknown.
    missing: f64,
    /// Budget in units.
    budget: f64,
}

/// A way in which things go.
pub struct Family {
    pub name: &'static str,
    seed: u64,
    drawn: fn(&mut Random) -> Drawn,
}

pub const FAMILIES: [Family; 12] = [
    Family { name: "steady growth, noise", seed: 1, drawn: steady },
    Family { name: "growth, noise that lingers", seed: 2, drawn: lingering },
    Family { name: "growth, weekly season", seed: 3, drawn: seasonal },
    Family { name: "growth, spikes", seed: 4, drawn: spiky },
    Family { name: "growth, one step", seed: 5, drawn: growth_with_step },
    Family { name: "no growth, one step", seed: 6, drawn: step_only },
    Family { name: "saturating", seed: 7, drawn: saturating },
    Family { name: "growth that has halved", seed: 11, drawn: halved },
    Family { name: "growth that accelerates", seed: 12, drawn: accelerating },
    Family { name: "growth, missing days", seed: 8, drawn: missing },
    Family { name: "flat, noise", seed: 9, drawn: flat },
    Family { name: "declining, noise", seed: 10, drawn: declining },
];

impl Family {
    pub fn draw(&self, seed: u64) -> Simulated {
        let mut random = Random(self.seed * 1_000_003 + seed);
        let drawn = (self.drawn)(&mut random);
        let (mut known, mut noise) = (Vec::new(), 0.0);
        for day in 1 - HISTORY..=0 {
            let fresh = (1.0 - drawn.lingers * drawn.lingers).sqrt();
            noise = drawn.lingers * noise + fresh * drawn.noise * random.normal();
            let spike = if random.unit() < drawn.spikes.0 { drawn.spikes.1 * random.unit() } else { 0.0 };
            if random.unit() >= drawn.missing {
                known.push((TODAY + day, amount((drawn.signal)(number(day)) + noise + spike)));
            }
        }
        let at = |ahead: u32| (drawn.signal)(f64::from(ahead));
        Simulated {
            known,
            budget: amount(drawn.budget),
            reached: (1..=HORIZON_DAYS).find(|ahead| at(*ahead) >= drawn.budget),
            in_30_days: at(30),
        }
    }
}

/// From 60 to 140 units today, growing by 0.2 to 1 percent of that a day, to a budget 20 to 180 days away.
fn steady(random: &mut Random) -> Drawn {
    let level = random.between(60.0, 140.0);
    let slope = level * random.between(0.002, 0.01);
    let budget = level + slope * random.between(20.0, 180.0);
    let noise = level * random.between(0.01, 0.05);
    let signal = Box::new(move |day| level + slope * day);
    Drawn { signal, noise, lingers: 0.0, spikes: (0.0, 0.0), missing: 0.0, budget }
}

fn lingering(random: &mut Random) -> Drawn {
    Drawn { lingers: 0.6, ..steady(random) }
}

/// Two days of the week have 20 to 50 percent less.
fn seasonal(random: &mut Random) -> Drawn {
    let drawn = steady(random);
    let dip = random.between(0.2, 0.5) * (drawn.signal)(0.0);
    let steady = drawn.signal;
    let weekend = move |day: f64| (day + number(TODAY)).rem_euclid(7.0) >= 5.0;
    let signal = Box::new(move |day| steady(day) - if weekend(day) { dip } else { 0.0 });
    Drawn { signal, ..drawn }
}

/// One day of fourteen has up to as much again.
fn spiky(random: &mut Random) -> Drawn {
    let drawn = steady(random);
    let height = (drawn.signal)(0.0);
    Drawn { spikes: (1.0 / 14.0, height), ..drawn }
}

/// An expansion of 20 to 60 percent, 8 to 70 days ago.
fn growth_with_step(random: &mut Random) -> Drawn {
    let drawn = steady(random);
    let height = random.between(0.2, 0.6) * (drawn.signal)(0.0);
    let since = -random.between(8.0, 70.0);
    let steady = drawn.signal;
    let signal = Box::new(move |day| steady(day) - if day < since { height } else { 0.0 });
    Drawn { signal, ..drawn }
}

fn step_only(random: &mut Random) -> Drawn {
    let drawn = growth_with_step(random);
    let (level, before) = ((drawn.signal)(0.0), 0.5 * (drawn.signal)(0.0));
    let since = -random.between(8.0, 70.0);
    let signal = Box::new(move |day| if day < since { before } else { level });
    Drawn { signal, budget: level * random.between(1.1, 1.5), ..drawn }
}

/// Growth that fades by 1 to 2 percent a day; half of the budgets lie beyond what it will ever reach.
fn saturating(random: &mut Random) -> Drawn {
    let (end, rate) = (random.between(100.0, 200.0), random.between(0.01, 0.02));
    let signal = move |day: f64| end * (1.0 - (-rate * (day + number(HISTORY))).exp());
    let within = signal(random.between(20.0, 120.0));
    let budget = if random.unit() < 0.5 { within } else { end * random.between(1.02, 1.2) };
    let noise = end * random.between(0.005, 0.02);
    Drawn { signal: Box::new(signal), noise, lingers: 0.0, spikes: (0.0, 0.0), missing: 0.0, budget }
}

/// From one day on, 15 to 45 days ago, it grows by half as much as before.
fn halved(random: &mut Random) -> Drawn {
    let drawn = steady(random);
    let since = -random.between(15.0, 45.0);
    let steady = drawn.signal;
    let slope = steady(1.0) - steady(0.0);
    let signal = Box::new(move |day: f64| steady(day) + slope * (since - day).min(0.0) / 2.0);
    let budget = signal(random.between(20.0, 180.0));
    Drawn { signal, budget, ..drawn }
}

/// By 0.5 to 1 percent a day of what there is.
fn accelerating(random: &mut Random) -> Drawn {
    let drawn = steady(random);
    let (level, rate) = ((drawn.signal)(0.0), random.between(0.005, 0.01));
    let signal = Box::new(move |day: f64| level * (rate * day).exp());
    let budget = signal(random.between(20.0, 120.0));
    Drawn { signal, budget, ..drawn }
}

fn missing(random: &mut Random) -> Drawn {
    Drawn { missing: 0.2, ..steady(random) }
}

fn flat(random: &mut Random) -> Drawn {
    let drawn = steady(random);
    let level = (drawn.signal)(0.0);
    Drawn { signal: Box::new(move |_| level), budget: level * random.between(1.1, 1.5), ..drawn }
}

fn declining(random: &mut Random) -> Drawn {
    let drawn = steady(random);
    let level = (drawn.signal)(0.0);
    let slope = level * random.between(0.001, 0.004);
    let signal = Box::new(move |day| level - slope * day);
    Drawn { signal, budget: level * random.between(1.1, 1.5), ..drawn }
}

/// A fixed sequence (SplitMix64).
struct Random(u64);

impl Random {
    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = u32::try_from((z ^ (z >> 31)) >> 32).expect("32 bits are left");
        f64::from(high) / 4_294_967_296.0
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Mean 0, deviation 1, near enough.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

/// Of a span of days.
pub fn number(days: i64) -> f64 {
    f64::from(i32::try_from(days).expect("days of a few years"))
}

/// Billionths.
#[allow(clippy::cast_possible_truncation)]
fn amount(units: f64) -> i128 {
    (units.max(0.0) * 1e9).round() as i128
}

#[allow(clippy::cast_precision_loss)]
pub fn units(amount: i128) -> f64 {
    amount as f64 / 1e9
}
