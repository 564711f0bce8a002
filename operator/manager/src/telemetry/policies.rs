//! Series of BackupPolicies: how old what is proved at each centre is, and may be. What a pass shows of a policy replaces all that
//! the pass before showed, so that nothing outlives what it tells of: an alert on a policy that is gone would never end.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// A policy at a centre.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Standing {
    namespace: String,
    policy: String,
    centre: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
struct OfPolicy {
    namespace: String,
    policy: String,
}

/// What is shown of one centre. Times are seconds since 1970, spans are seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtCentre {
    /// When the data of the newest proved point was taken.
    pub verified_at: Option<i64>,
    /// How old that may be.
    pub objective: Option<i64>,
    /// When a point was last restored and checked with success.
    pub proven_at: Option<i64>,
    /// How old that may be.
    pub proof_objective: Option<i64>,
    /// Whether the last restore test passed.
    pub test_passed: Option<bool>,
}

/// What is shown of one policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// By name of the centre.
    pub centres: BTreeMap<String, AtCentre>,
    /// When the newest point was taken that brought an unusual change.
    pub unusual_at: Option<i64>,
}

/// Of all policies.
#[derive(Debug, Default)]
pub struct Policies {
    verified_at: Family<Standing, Gauge>,
    objective: Family<Standing, Gauge>,
    proven_at: Family<Standing, Gauge>,
    proof_objective: Family<Standing, Gauge>,
    test_passed: Family<Standing, Gauge>,
    unusual_at: Family<OfPolicy, Gauge>,
    /// A family does not say which series it has.
    shown: Mutex<BTreeMap<OfPolicy, Shown>>,
}

impl Policies {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "When the data of the newest recovery point was taken that is proved to be at a centre; its age is the RPO";
        let name = "recovery_point_newest_verified_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, self.verified_at.clone());
        let help = "How old the newest proved data at a centre may be";
        registry.register_with_unit("recovery_point_objective", help, Unit::Seconds, self.objective.clone());
        let help =
            "When a recovery point at a centre was last restored in isolation and checked with success";
        let name = "restore_proven_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, self.proven_at.clone());
        let help = "How old the newest proof may be that a centre's recovery points can be restored";
        let name = "restore_proof_objective";
        registry.register_with_unit(name, help, Unit::Seconds, self.proof_objective.clone());
        let help = "1 where the last restore test at a centre passed, 0 where it did not";
        registry.register("restore_test_success", help, self.test_passed.clone());
        let help = "When the newest recovery point was taken that brought a change unusual for its system";
        let name = "recovery_point_unusual_change_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, self.unusual_at.clone());
    }

    /// Shows this of a policy, and nothing else.
    pub fn show(&self, namespace: &str, policy: &str, now: Shown) {
        let of = OfPolicy { namespace: namespace.into(), policy: policy.into() };
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let before = shown.remove(&of).unwrap_or_default();
        for centre in before.centres.keys().filter(|centre| !now.centres.contains_key(*centre)) {
            self.at_centre(&of, centre, &AtCentre::default());
        }
        for (centre, at) in &now.centres {
            self.at_centre(&of, centre, at);
        }
        set(&self.unusual_at, &of, now.unusual_at);
        if now != Shown::default() {
            shown.insert(of, now);
        }
    }

    /// The policy is gone.
    pub fn forget(&self, namespace: &str, policy: &str) {
        self.show(namespace, policy, Shown::default());
    }

    fn at_centre(&self, of: &OfPolicy, centre: &str, at: &AtCentre) {
        let (namespace, policy) = (of.namespace.clone(), of.policy.clone());
        let standing = Standing { namespace, policy, centre: centre.to_owned() };
        set(&self.verified_at, &standing, at.verified_at);
        set(&self.objective, &standing, at.objective);
        set(&self.proven_at, &standing, at.proven_at);
        set(&self.proof_objective, &standing, at.proof_objective);
        set(&self.test_passed, &standing, at.test_passed.map(i64::from));
    }
}

fn set<S>(family: &Family<S, Gauge>, of: &S, value: Option<i64>)
where
    S: Clone + std::hash::Hash + Eq,
{
    match value {
        Some(value) => drop(family.get_or_create(of).set(value)),
        None => drop(family.remove(of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(policies: &Policies) -> String {
        let (mut registry, mut out) = (Registry::with_prefix("tripod"), String::new());
        policies.register(&mut registry);
        prometheus_client::encoding::text::encode_registry(&mut out, &registry).unwrap();
        out
    }

    #[test]
    fn what_is_not_shown_any_more_has_no_series() {
        let policies = Policies::default();
        let at = AtCentre { verified_at: Some(7), test_passed: Some(false), ..AtCentre::default() };
        let all = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), at)).collect();
        let shown = |names| Shown { centres: all(names), unusual_at: Some(9) };
        policies.show("health-web", "web", shown(&["remote", "same-city"]));
        let labels = "namespace=\"health-web\",policy=\"web\"";
        let series = [
            format!(
                "tripod_recovery_point_newest_verified_timestamp_seconds{{{labels},centre=\"remote\"}} 7"
            ),
            format!("tripod_restore_test_success{{{labels},centre=\"same-city\"}} 0"),
            format!("tripod_recovery_point_unusual_change_timestamp_seconds{{{labels}}} 9"),
        ];
        assert!(series.iter().all(|line| text(&policies).contains(line)), "{}", text(&policies));
        policies.show("health-web", "web", shown(&["remote"]));
        assert!(text(&policies).contains("remote") && !text(&policies).contains("same-city"));
        policies.forget("health-web", "web");
        assert!(!text(&policies).contains("health-web"), "{}", text(&policies));
    }
}
