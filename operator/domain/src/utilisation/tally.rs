//! All readings of one resource in one period: their sum and peak exactly, their distribution within one in a hundred.
//! Tallies of parts add up to the tally of the whole, whatever the order.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use sketches_ddsketch::DDSketch;

// One percent of error and at most 2,048 bins: the library's own defaults, which are the only ones that it can read back.
// So many bins reach from one to 10^17; no distribution of ours is wider.

/// Readings, added up.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Tally {
    readings: u32,
    sum: i128,
    peak: i128,
    sketch: DDSketch,
}

/// The way it is kept: whatever is in it can be had from the readings again.
#[derive(Serialize, Deserialize)]
struct Written {
    n: u32,
    sum: String,
    peak: String,
    sketch: String,
}

impl From<Tally> for Written {
    fn from(tally: Tally) -> Self {
        Self {
            n: tally.readings,
            sum: tally.sum.to_string(),
            peak: tally.peak.to_string(),
            sketch: tally.sketch_text(),
        }
    }
}

impl TryFrom<Written> for Tally {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let number = |text: &str| text.parse::<i128>().map_err(|_| format!("{text:?} is no whole number"));
        Self::restore(written.n, number(&written.sum)?, number(&written.peak)?, &written.sketch)
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { readings, sum, peak, .. } = self;
        write!(f, "Tally {{ readings: {readings}, sum: {sum}, peak: {peak} }}")
    }
}

impl Tally {
    /// From its parts.
    ///
    /// # Errors
    /// When they contradict each other, or the sketch is none.
    pub fn restore(readings: u32, sum: i128, peak: i128, sketch: &str) -> Result<Self, String> {
        let bytes = BASE64.decode(sketch).map_err(|error| format!("the sketch is not base64: {error}"))?;
        let read =
            DDSketch::from_java_bytes(&bytes).map_err(|error| format!("the sketch is none: {error}"))?;
        if read.count() != readings as usize {
            return Err(format!("the sketch has {} readings, and there are {readings}", read.count()));
        }
        let mut tally = Self { readings, sum, peak, ..Self::default() };
        tally.sketch.merge(&read).map_err(|error| format!("the sketch is another's: {error}"))?;
        Ok(tally)
    }

    /// One more reading. Negative ones are none.
    #[allow(clippy::cast_precision_loss, reason = "a sketch is right within one in a hundred")]
    pub fn add(&mut self, amount: i128) {
        if amount < 0 {
            return;
        }
        self.readings += 1;
        self.sum += amount;
        self.peak = self.peak.max(amount);
        self.sketch.add(amount as f64);
    }

    /// All readings of another, too.
    pub fn merge(&mut self, other: &Self) {
        self.readings += other.readings;
        self.sum += other.sum;
        self.peak = self.peak.max(other.peak);
        // Both were made by `default`: of one kind.
        let _ = self.sketch.merge(&other.sketch);
    }

    #[must_use]
    pub fn readings(&self) -> u32 {
        self.readings
    }

    #[must_use]
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// Rounded half up to a whole grain.
    #[must_use]
    pub fn average(&self, grain: i128) -> Option<i128> {
        let parts = i128::from(self.readings) * grain.max(1);
        (self.readings > 0).then(|| (2 * self.sum + parts).div_euclid(2 * parts) * grain.max(1))
    }

    #[must_use]
    pub fn peak(&self) -> Option<i128> {
        (self.readings > 0).then_some(self.peak)
    }

    /// 95 of 100 readings are not above it; never above the peak. Rounded to a whole grain.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "amounts are far below 2^127, and this is right within one in a hundred"
    )]
    pub fn p95(&self, grain: i128) -> Option<i128> {
        let value = self.sketch.quantile(0.95).ok().flatten()?;
        Some(((value / grain as f64).round() as i128 * grain).min(self.peak))
    }

    /// The distribution as text.
    #[must_use]
    pub fn sketch_text(&self) -> String {
        BASE64.encode(self.sketch.to_java_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[i128]) -> Tally {
        let mut tally = Tally::default();
        for value in values {
            tally.add(*value);
        }
        tally
    }

    proptest! {
        #[test]
        fn figures_are_those_of_the_readings(values in prop::collection::vec(0i128..4_000_000_000_000, 1..400)) {
            let tally = of(&values);
            let (n, sum) = (values.len() as i128, values.iter().sum::<i128>());
            prop_assert_eq!(tally.sum(), sum);
            prop_assert_eq!(tally.peak(), values.iter().max().copied());
            let average = tally.average(1).unwrap();
            prop_assert!((average * n - sum).abs() * 2 <= n);
            let mut sorted = values.clone();
            sorted.sort_unstable();
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            let exact = sorted[(0.95 * (sorted.len() as f64 - 1.0)) as usize];
            let p95 = tally.p95(1).unwrap();
            prop_assert!((p95 - exact).abs() <= exact / 99 + 1, "{} is not {}", p95, exact);
        }

        #[test]
        fn parts_add_up_to_the_whole(a in prop::collection::vec(0i128..1 << 60, 0..60), b in prop::collection::vec(0i128..1 << 60, 0..60)) {
            let mut merged = of(&a);
            merged.merge(&of(&b));
            let whole = of(&[a, b].concat());
            prop_assert_eq!(
                (merged.readings(), merged.sum(), merged.peak(), merged.p95(1)),
                (whole.readings(), whole.sum(), whole.peak(), whole.p95(1))
            );
        }

        #[test]
        fn what_is_kept_is_read_again(values in prop::collection::vec(0i128..1 << 70, 0..60)) {
            let tally = of(&values);
            let again: Tally = serde_json::from_str(&serde_json::to_string(&tally).unwrap()).unwrap();
            prop_assert_eq!(
                (again.readings(), again.sum(), again.peak(), again.p95(1)),
                (tally.readings(), tally.sum(), tally.peak(), tally.p95(1))
            );
            // It can go on.
            let mut more = again;
            more.add(7);
            more.merge(&tally);
            prop_assert_eq!(more.readings() as usize, 2 * values.len() + 1);
        }
    }

    #[test]
    fn what_is_no_tally_is_refused() {
        for text in [
            r#"{"n":1,"sum":"x","peak":"1","sketch":""}"#,
            r#"{"n":1,"sum":"1","peak":"1","sketch":"!"}"#,
            r#"{"n":1,"sum":"1","peak":"1","sketch":"AAAA"}"#,
        ] {
            assert!(serde_json::from_str::<Tally>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_read_says_nothing() {
        let none = Tally::default();
        assert_eq!((none.average(1), none.peak(), none.p95(1)), (None, None, None));
        assert_eq!(of(&[0, 0]).average(1), Some(0));
    }
}
