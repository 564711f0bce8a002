//! What a grant's use over a window says, by dated rules: too little, fit, too much, or that nobody can say.

use jiff::Timestamp;
use tripod_crds::supervision_policy::{SupervisionPolicySpec, Threshold};
use tripod_crds::utilisation_report::UseVerdict;

use crate::supervision_policy::is_effective;

/// What the verdict over one resource rests on. Amounts in billionths of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub average: Option<i128>,
    pub peak: Option<i128>,
    pub readings: i64,
    /// How many there could be in the whole window, the time before the system came to be included.
    pub of: i64,
    pub granted: Option<i128>,
}

/// Low needs a low average, a low peak, and enough readings; without those, nothing is said. A grant of nothing is
/// neither used too little nor too much.
#[must_use]
pub fn judge(evidence: &Evidence, threshold: Threshold, minimum_coverage: i64) -> UseVerdict {
    let (Some(average), Some(peak)) = (evidence.average, evidence.peak) else { return UseVerdict::Unknown };
    if evidence.of <= 0 || evidence.readings * 100 < minimum_coverage * evidence.of {
        return UseVerdict::Unknown;
    }
    let Some(granted) = evidence.granted else { return UseVerdict::Unknown };
    if granted <= 0 {
        return if peak > 0 { UseVerdict::High } else { UseVerdict::Fit };
    }
    let share = |percent: i64| granted * i128::from(percent);
    if average * 100 > share(threshold.high_average) {
        UseVerdict::High
    } else if average * 100 < share(threshold.low_average) && peak * 100 < share(threshold.low_peak) {
        UseVerdict::Low
    } else {
        UseVerdict::Fit
    }
}

/// Over all resources: one that needs more comes first, and where something is unknown nobody is called idle.
#[must_use]
pub fn overall(each: impl IntoIterator<Item = UseVerdict>) -> UseVerdict {
    let each: Vec<UseVerdict> = each.into_iter().collect();
    [UseVerdict::High, UseVerdict::Unknown, UseVerdict::Low, UseVerdict::Fit]
        .into_iter()
        .find(|verdict| each.contains(verdict))
        .unwrap_or(UseVerdict::Unknown)
}

/// An amount that would have covered the peak, with room, rounded up to something that people would ask for.
#[must_use]
pub fn enough(peak: i128, headroom: i64, step: i128) -> i128 {
    let with_room = peak * i128::from(100 + headroom);
    let parts = 100 * step.max(1);
    (with_room + parts - 1).div_euclid(parts) * step.max(1)
}

/// The policy that applies to a department, out of all, which come with their names. One that is not effective yet
/// applies to nobody.
#[must_use]
pub fn policy_for<'a>(
    department: &str,
    now: Timestamp,
    policies: impl Iterator<Item = (&'a str, &'a SupervisionPolicySpec)>,
) -> Option<(&'a str, &'a SupervisionPolicySpec)> {
    let names = |spec: &SupervisionPolicySpec| spec.departments.iter().any(|d| d == department);
    policies
        .filter(|(_, spec)| spec.departments.is_empty() || names(spec))
        .filter(|(_, spec)| is_effective(spec, now))
        .min_by_key(|(name, spec)| (!names(spec), *name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CPU: Threshold = Threshold { low_average: 30, low_peak: 60, high_average: 50 };

    fn of(average: i128, peak: i128, readings: i64) -> Evidence {
        Evidence { average: Some(average), peak: Some(peak), readings, of: 1000, granted: Some(1000) }
    }

    #[test]
    fn the_table() {
        for (average, peak, readings, expected) in [
            (100, 200, 1000, UseVerdict::Low),
            (100, 200, 900, UseVerdict::Low),
            // Too little was read.
            (100, 200, 899, UseVerdict::Unknown),
            (900, 950, 100, UseVerdict::Unknown),
            // A low average with a high peak is used.
            (100, 600, 1000, UseVerdict::Fit),
            (299, 599, 1000, UseVerdict::Low),
            (300, 400, 1000, UseVerdict::Fit),
            (500, 900, 1000, UseVerdict::Fit),
            (501, 900, 1000, UseVerdict::High),
            (0, 0, 1000, UseVerdict::Low),
        ] {
            let said = judge(&of(average, peak, readings), CPU, 90);
            assert_eq!(said, expected, "average {average}, peak {peak}, {readings} readings");
        }
        let nothing_granted = Evidence { granted: Some(0), ..of(0, 0, 1000) };
        assert_eq!(judge(&nothing_granted, CPU, 90), UseVerdict::Fit);
        assert_eq!(judge(&Evidence { granted: None, ..nothing_granted }, CPU, 90), UseVerdict::Unknown);
    }

    #[test]
    fn one_unknown_and_nobody_is_idle() {
        use UseVerdict::{Fit, High, Low, Unknown};
        assert_eq!(overall([Low, Fit]), Low);
        assert_eq!(overall([Low, Unknown]), Unknown);
        assert_eq!(overall([Low, High, Unknown]), High);
        assert_eq!(overall([Fit, Fit]), Fit);
        assert_eq!(overall([]), Unknown);
    }

    #[test]
    fn the_policy_that_names_the_department_is_before_the_one_for_all() {
        let policy = |departments: &[&str]| -> SupervisionPolicySpec {
            serde_json::from_value(serde_json::json!({
                "source": {"title": "t", "effective": "2026-01-01"}, "departments": departments,
                "thresholds": {"cpu": {"lowAverage": 30, "lowPeak": 60, "highAverage": 50}}}))
            .unwrap()
        };
        let (all, two, ours) = (policy(&[]), policy(&["a", "b"]), policy(&["b"]));
        let policies = [("all", &all), ("z-two", &two), ("b-only", &ours)];
        let now = "2026-11-25T00:00:00Z".parse().unwrap();
        let applies = |department| policy_for(department, now, policies.into_iter()).unwrap().0;
        assert_eq!((applies("a"), applies("b"), applies("c")), ("z-two", "b-only", "all"));
        assert!(policy_for("c", now, [("b-only", &ours)].into_iter()).is_none());
        let before = "2025-12-31T00:00:00Z".parse().unwrap();
        assert!(policy_for("a", before, policies.into_iter()).is_none());
    }

    proptest! {
        /// However the readings are thinned out, nobody becomes idle who is not.
        #[test]
        fn missing_readings_never_make_idle(readings in 0i64..1000, average in 0i128..1500, extra in 0i128..1500) {
            let full = judge(&of(average, average + extra, 1000), CPU, 90);
            let thin = judge(&of(average, average + extra, readings), CPU, 90);
            prop_assert!(thin == full || thin == UseVerdict::Unknown);
        }

        #[test]
        fn enough_is_enough(peak in 0i128..1 << 80, headroom in 0i64..500) {
            let step = 100_000_000;
            let to = enough(peak, headroom, step);
            prop_assert!(to * 100 >= peak * i128::from(100 + headroom) && to % step == 0);
            prop_assert!((to - step) * 100 < peak * i128::from(100 + headroom) || to == 0);
        }
    }
}
