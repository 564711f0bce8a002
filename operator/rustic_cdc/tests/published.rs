//! It answers as the published crate does.

use proptest::collection::vec;
use proptest::prelude::*;
use published::RollingHash64 as _;
use rustic_cdc::{Polynom, Polynom64, Rabin64, RollingHash64};

/// Of degree 53, as those of repositories are.
fn divisor() -> impl Strategy<Value = Polynom64> {
    (0..1_u64 << 53).prop_map(|low| low | (1 << 53) | 1)
}

proptest! {
    #[test]
    fn a_division_leaves_the_same(dividend: u64, by in 1_u64..) {
        prop_assert_eq!(dividend.degree(), published::Polynom::degree(&dividend));
        prop_assert_eq!(dividend.modulo(&by), published::Polynom::modulo(&dividend, &by));
    }

    #[test]
    fn every_hash_is_the_same(
        by in divisor(),
        bits in 4_u32..8,
        // Each time the window is filled anew, after what went through it before.
        files in vec((vec(any::<u8>(), 0..300), vec(any::<u8>(), 0..600)), 1..4),
    ) {
        let mut ours = Rabin64::new_with_polynom(bits, &by);
        let mut theirs = published::Rabin64::new_with_polynom(bits, &by);
        for (ahead, rest) in files {
            let filled = ours.reset_and_prefill_window(&mut ahead.iter().copied());
            prop_assert_eq!(filled, theirs.reset_and_prefill_window(&mut ahead.iter().copied()));
            prop_assert_eq!(ours.hash, theirs.hash);
            for byte in rest {
                ours.slide(byte);
                theirs.slide(byte);
                prop_assert_eq!(*ours.get_hash(), theirs.hash);
            }
        }
        ours.reset();
        theirs.reset();
        let mut ahead = (0..=255_u8).chain(0..=255);
        prop_assert_eq!(ours.prefill_window(&mut ahead.clone()), theirs.prefill_window(&mut ahead));
        prop_assert_eq!(ours.hash, theirs.hash);
    }
}
