//! Which kinds are restored, and in which order: what others need comes first.

use tripod_crds::restore::RestoreInclude;

/// A place in the order. Objects of one rank are created side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Accounts that pods run as.
    Account,
    /// What pods read.
    Configuration,
    /// Where their files are.
    Claim,
    /// How they find each other.
    Service,
    /// Custom resources: their controllers make the rest.
    Custom,
    /// What runs.
    Workload,
    /// What leads to it, scales it or guards it.
    Around,
    /// What protects it.
    Protection,
}

/// Ranks up to this one are created before volumes and buckets are filled, the others afterwards.
pub const LAST_BEFORE_FILLING: Rank = Rank::Service;

/// Why objects of a kind are not restored, unless the kind is asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftOut {
    /// Bounds and rights in a namespace are written by the platform alone.
    Platform,
    /// It has run: to create it is to run it again.
    Ran,
}

/// The rank of a kind (`deployments.apps`), or why it is left out.
///
/// # Errors
/// Why it is left out.
pub fn rank(kind: &str) -> Result<Rank, LeftOut> {
    Ok(match kind {
        "serviceaccounts" => Rank::Account,
        "configmaps" | "secrets" => Rank::Configuration,
        "persistentvolumeclaims" => Rank::Claim,
        "services" => Rank::Service,
        "deployments.apps" | "statefulsets.apps" | "daemonsets.apps" | "cronjobs.batch" => Rank::Workload,
        "ingresses.networking.k8s.io"
        | "horizontalpodautoscalers.autoscaling"
        | "poddisruptionbudgets.policy" => Rank::Around,
        "backuppolicies.tripod.cloud" => Rank::Protection,
        "jobs.batch" => return Err(LeftOut::Ran),
        "resourcequotas" | "limitranges" | "networkpolicies.networking.k8s.io" => {
            return Err(LeftOut::Platform);
        }
        _ if kind.ends_with(".rbac.authorization.k8s.io") || kind.ends_with(".tripod.cloud") => {
            return Err(LeftOut::Platform);
        }
        _ => Rank::Custom,
    })
}

/// The rank of a kind under what a restore asks for; `None`: its objects are left out. What is asked for by name is not left
/// out for what it is. Claims always have a rank: whether one is wanted depends on its volume.
#[must_use]
pub fn rank_of_wanted(include: &RestoreInclude, kind: &str) -> Option<Rank> {
    if kind == CLAIMS {
        return Some(Rank::Claim);
    }
    if !wants_kind(include, kind) {
        return None;
    }
    if names_kind(include, kind) { Some(rank(kind).unwrap_or(Rank::Workload)) } else { rank(kind).ok() }
}

/// The kind of volume claims.
pub const CLAIMS: &str = "persistentvolumeclaims";

/// Whether objects of a kind are asked for.
#[must_use]
pub fn wants_kind(include: &RestoreInclude, kind: &str) -> bool {
    let left_out = include.exclude_kinds.iter().any(|k| k == kind);
    include.objects && !left_out && (include.kinds.is_empty() || names_kind(include, kind))
}

/// Whether a kind is asked for by name.
#[must_use]
pub fn names_kind(include: &RestoreInclude, kind: &str) -> bool {
    include.kinds.iter().any(|k| k == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first() {
        let order = [
            "serviceaccounts",
            "secrets",
            "persistentvolumeclaims",
            "services",
            "databases.example.org",
            "statefulsets.apps",
            "ingresses.networking.k8s.io",
            "backuppolicies.tripod.cloud",
        ];
        let ranks: Vec<Rank> = order.iter().map(|kind| rank(kind).unwrap()).collect();
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
        // A controller that finds a volume half full may take it for whole.
        assert!(rank("databases.example.org").unwrap() > LAST_BEFORE_FILLING);
    }

    #[test]
    fn bounds_and_rights_are_the_platforms() {
        for kind in [
            "resourcequotas",
            "roles.rbac.authorization.k8s.io",
            "networkpolicies.networking.k8s.io",
            "restores.tripod.cloud",
        ] {
            assert_eq!(rank(kind), Err(LeftOut::Platform), "{kind}");
        }
        assert_eq!(rank("jobs.batch"), Err(LeftOut::Ran));
    }

    #[test]
    fn what_is_asked_for_decides_but_for_claims() {
        let of = |include: RestoreInclude, kind: &str| rank_of_wanted(&include, kind);
        let all = RestoreInclude::default();
        let named = RestoreInclude { kinds: vec!["jobs.batch".into()], ..all.clone() };
        let without = RestoreInclude { exclude_kinds: vec!["secrets".into()], ..all.clone() };
        let none = RestoreInclude { objects: false, ..all.clone() };
        assert_eq!(
            (of(all.clone(), "jobs.batch"), of(named.clone(), "jobs.batch")),
            (None, Some(Rank::Workload))
        );
        assert_eq!((of(named.clone(), "secrets"), of(without, "secrets")), (None, None));
        assert_eq!((of(all, "secrets"), of(none.clone(), "secrets")), (Some(Rank::Configuration), None));
        assert_eq!((of(named, CLAIMS), of(none, CLAIMS)), (Some(Rank::Claim), Some(Rank::Claim)));
    }
}
