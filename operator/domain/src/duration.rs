//! Durations as Kubernetes writes them (`1h30m`, `11m40s`), in whole seconds.

use jiff::{SignedDuration, Timestamp};

/// Reads `2h`, `1h30m`, `45s`. Units in the order h, m, s, each at most once, at least one.
///
/// # Errors
/// Says which text was not a duration.
pub fn parse(text: &str) -> Result<SignedDuration, String> {
    let invalid = || format!("{text:?} is not a duration; write it like 30m, 2h or 1h30m");
    let mut seconds: i64 = 0;
    let mut number = String::new();
    let mut last_unit = i64::MAX;
    for c in text.chars() {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        let unit = match c {
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(invalid()),
        };
        let count: i64 = number.parse().map_err(|_| invalid())?;
        if unit >= last_unit {
            return Err(invalid());
        }
        seconds = count.checked_mul(unit).and_then(|s| seconds.checked_add(s)).ok_or_else(invalid)?;
        last_unit = unit;
        number.clear();
    }
    if !number.is_empty() || last_unit == i64::MAX {
        return Err(invalid());
    }
    Ok(SignedDuration::from_secs(seconds))
}

/// Writes whole seconds as `1h2m3s`, leaving out zero parts; nothing at all is `0s`. Negative counts as zero:
/// a clock that stepped back must not show as a debt.
#[must_use]
pub fn format(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".to_owned() } else { text.concat() }
}

/// The time from `earlier` to `later`, written.
#[must_use]
pub fn between(earlier: Timestamp, later: Timestamp) -> String {
    format(later.duration_since(earlier))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_what_is_not_a_duration() {
        for text in ["", "30", "m", "1m1h", "1h1h", "-1h", "1d", "99999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in 0i64..10_000_000) {
            let duration = SignedDuration::from_secs(seconds);
            prop_assert_eq!(parse(&format(duration)).unwrap(), duration);
        }
    }
}
