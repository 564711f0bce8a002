//! In which order objects are created: what others need comes first.

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

/// The rank of a kind that was asked for by name.
#[must_use]
pub fn rank_of_wanted(kind: &str) -> Rank {
    rank(kind).unwrap_or(Rank::Workload)
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
        assert_eq!(rank_of_wanted("jobs.batch"), Rank::Workload);
    }
}
