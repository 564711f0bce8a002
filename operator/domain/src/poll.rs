//! How long to wait before the next look at something that may or may not have changed.

use jiff::SignedDuration;

/// Looks in a row that found nothing, after one more.
#[must_use]
pub fn quiet(before: u32, found_something: bool) -> u32 {
    if found_something { 0 } else { before.saturating_add(1) }
}

/// From the beginning of a look to that of the next: the shortest after one that found something; after each that found
/// nothing it doubles, up to the longest.
#[must_use]
pub fn wait(shortest: SignedDuration, longest: SignedDuration, quiet: u32) -> SignedDuration {
    let doubled = 1_i32.checked_shl(quiet).filter(|times| *times > 0);
    doubled.map_or(longest, |times| shortest.saturating_mul(times)).min(longest).max(shortest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(n: i64) -> SignedDuration {
        SignedDuration::from_secs(n)
    }

    #[test]
    fn it_doubles_up_to_the_longest() {
        let waits =
            [0, 1, 2, 3, 4, 31, 32, u32::MAX].map(|quiet| wait(seconds(2), seconds(15), quiet).as_secs());
        assert_eq!(waits, [2, 4, 8, 15, 15, 15, 15, 15]);
        // Where both are the same, nothing depends on what was found.
        assert_eq!([0, 5].map(|quiet| wait(seconds(60), seconds(60), quiet)), [seconds(60); 2]);
    }

    proptest! {
        #[test]
        fn never_shorter_nor_longer_and_what_is_found_begins_anew(
            shortest in 2_i64..100_000,
            more in 0_i64..1_000_000,
            found in proptest::collection::vec(any::<bool>(), 1..80),
        ) {
            let (shortest, longest) = (seconds(shortest), seconds(shortest + more));
            let (mut in_a_row, mut before) = (0, shortest);
            for found in found {
                in_a_row = quiet(in_a_row, found);
                let now = wait(shortest, longest, in_a_row);
                prop_assert!(shortest <= now && now <= longest);
                let expected = if found { shortest } else { (before * 2).min(longest) };
                prop_assert_eq!(now, expected);
                before = now;
            }
        }
    }
}
