//! Which volume claims have their files taken.

use std::collections::BTreeMap;

use kube::core::{Selector, SelectorExt};
use tripod_crds::backup_policy::{Exclude, Include};

use super::{Fate, Reason, selector};

/// A volume claim of the namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub bound: bool,
}

/// What a policy chooses among claims, ready to be asked.
#[derive(Clone, Debug)]
pub struct ClaimRules<'a> {
    include: &'a Include,
    exclude: &'a Exclude,
    selector: Selector,
}

impl<'a> ClaimRules<'a> {
    /// # Errors
    /// Names the field that can't be read.
    pub fn new(include: &'a Include, exclude: &'a Exclude) -> Result<Self, String> {
        let selector = match &include.volume_selector {
            Some(given) => selector(given, "spec.include.volumeSelector")?,
            None => Selector::default(),
        };
        Ok(Self { include, exclude, selector })
    }

    /// What becomes of the files of a claim. Pure, total.
    #[must_use]
    pub fn claim(&self, claim: &Claim) -> Fate {
        let is_platforms = claim.labels.get("app.kubernetes.io/managed-by").is_some_and(|by| by == "tripod");
        if !self.include.volumes {
            Fate::LeftOut(Reason::VolumesOff)
        } else if is_platforms {
            // Made from a snapshot, for the point that is being taken.
            Fate::LeftOut(Reason::Platform)
        } else if self.exclude.volumes.contains(&claim.name) {
            Fate::LeftOut(Reason::VolumeExcluded)
        } else if !self.selector.matches(&claim.labels) {
            Fate::LeftOut(Reason::VolumeNotSelected)
        } else if !claim.bound {
            Fate::LeftOut(Reason::NotBound)
        } else {
            Fate::Taken
        }
    }
}
