//! Another cloud: when it is read, what its status says of it, and what it adds to what departments have here. What
//! can't be read is unknown, and unknown is every sum that it belongs to: no reading is not a zero.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use kube::config::Kubeconfig;
use tripod_crds::department::{BudgetLine, CloudShare};
use tripod_crds::{Cloud, CloudStatus};

use crate::conditions::{self, Verdict};
use crate::quantity;

pub use kubeconfig::read as kubeconfig;
pub use reading::{Gap, Part, Quota, Reading, Usage, departments};
pub use tripod_crds::cloud::CloudLine;

#[path = "cloud_kubeconfig.rs"]
mod kubeconfig;
#[path = "cloud_reading.rs"]
mod reading;

/// A cloud that could not be read is tried again after this long, or after its interval where that is shorter.
const RETRY: SignedDuration = SignedDuration::from_secs(15);
/// So many intervals after it was read, a reading says nothing any more.
const FRESH: i32 = 3;
/// The field that most of what goes wrong comes from.
const FIELD: &str = "spec.kubeconfigSecretRef";

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub cloud: Cloud,
    /// The kubeconfig, or why there is none that may be used, in words that name the Secret.
    pub kubeconfig: Result<Kubeconfig, String>,
    /// The version of the Secret that it was read from.
    pub version: String,
    /// The last look at the cloud that is remembered.
    pub last: Option<Look>,
    /// Clusters that are counted already, by the UID of their namespace `kube-system`: whose they are.
    pub counted: BTreeMap<String, String>,
}

/// A look at a cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// What was looked with: another description or another Secret is another cloud.
    pub with: String,
    pub at: Timestamp,
    /// Whether it was read.
    pub well: bool,
    /// Which cluster it is.
    pub cluster: Option<String>,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Look at it.
    Read,
    /// Its kubeconfig can't or must not be used: why.
    Refuse(String),
    /// The last look is new enough.
    Keep,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Read(Reading),
    /// The reason for a condition, and words that name the field.
    Failed {
        reason: String,
        message: String,
    },
    Kept,
}

impl Outcome {
    /// Nothing was read.
    pub fn failed(reason: &str, message: impl AsRef<str>) -> Self {
        Self::Failed { reason: reason.to_owned(), message: format!("{FIELD}: {}", message.as_ref()) }
    }
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    match (&seen.kubeconfig, &seen.last) {
        (Err(why), _) => Plan::Refuse(why.clone()),
        (Ok(_), Some(last)) if last.with == with(seen) && left(seen, last, now).is_some() => Plan::Keep,
        (Ok(_), _) => Plan::Read,
    }
}

fn with(seen: &Observed) -> String {
    format!("{}/{}", seen.cloud.metadata.generation.unwrap_or_default(), seen.version)
}

/// Seconds between two readings of this cloud, as a duration.
#[must_use]
pub fn interval(cloud: &Cloud) -> SignedDuration {
    SignedDuration::from_secs(cloud.spec.interval_seconds.clamp(10, 3600))
}

fn wait(cloud: &Cloud, well: bool) -> SignedDuration {
    if well { interval(cloud) } else { interval(cloud).min(RETRY) }
}

/// How long the last look is still new enough. One from the future is not.
fn left(seen: &Observed, last: &Look, now: Timestamp) -> Option<SignedDuration> {
    let (wait, since) = (wait(&seen.cloud, last.well), now.duration_since(last.at));
    (!since.is_negative() && since < wait).then(|| wait - since)
}

/// What is to be remembered of a pass once its status is written.
#[must_use]
pub fn look(seen: &Observed, outcome: &Outcome, now: Timestamp) -> Option<Look> {
    let (well, cluster) = match outcome {
        Outcome::Kept => return seen.last.clone(),
        Outcome::Failed { .. } => (false, None),
        Outcome::Read(reading) => (judge(seen, reading).holds, reading.cluster.clone()),
    };
    Some(Look { with: with(seen), at: now, well, cluster })
}

/// When to look again.
#[must_use]
pub fn again(seen: &Observed, outcome: &Outcome, now: Timestamp) -> SignedDuration {
    match (outcome, &seen.last) {
        (Outcome::Kept, Some(last)) => left(seen, last, now).unwrap_or(SignedDuration::ZERO),
        (outcome, _) => wait(&seen.cloud, matches!(outcome, Outcome::Read(_))),
    }
}

/// The status that follows. What was read before stays as history while nothing can be read.
#[must_use]
pub fn status(seen: &Observed, outcome: &Outcome, now: Timestamp) -> CloudStatus {
    let mut status = seen.cloud.status.clone().unwrap_or_default();
    let verdict = match outcome {
        Outcome::Kept => return status,
        Outcome::Failed { reason, message } => Verdict::no(reason, message),
        Outcome::Read(reading) => {
            let verdict = judge(seen, reading);
            if verdict.holds {
                status.read_at = Some(Time(Timestamp::from_second(now.as_second()).unwrap_or(now)));
                status.namespaces =
                    reading.namespaces.as_ref().ok().and_then(|n| i64::try_from(n.len()).ok());
                status.departments = departments(reading);
            }
            verdict
        }
    };
    let generation = seen.cloud.metadata.generation;
    status.observed_generation = generation;
    conditions::set(&mut status.conditions, "Ready", &verdict, generation, now);
    status
}

/// Whether what was read may be counted, and what of it is missing.
fn judge(seen: &Observed, reading: &Reading) -> Verdict {
    let whose = reading.cluster.as_ref().and_then(|cluster| seen.counted.get(cluster));
    if let Some(whose) = whose {
        return Verdict::no(
            "KubeconfigInvalid",
            format!("{FIELD}: it leads to {whose}, which would be counted twice; describe each cluster once"),
        );
    }
    let (rights, others) = reading.missing();
    let mut words = Vec::new();
    if !rights.is_empty() {
        words.push(format!(
            "{FIELD}: its user may not {}; give it the ClusterRole of docs/examples/cloud.yaml there",
            rights.join(", nor ")
        ));
    }
    words.extend(others);
    let words = words.join("; ");
    if reading.namespaces.is_err() {
        return Verdict::no("Unauthorised", words);
    }
    if words.is_empty() {
        Verdict::yes("Read", "namespaces, quotas, pods and what they use were read")
    } else {
        Verdict::yes("PartlyRead", words)
    }
}

/// Why nothing is known of a cloud at the moment. The same for as long as it is so: every department shows it.
#[must_use]
pub fn unknown(cloud: &Cloud, now: Timestamp) -> Option<String> {
    let status = cloud.status.as_ref();
    let ready = status.and_then(|s| conditions::find(&s.conditions, "Ready"));
    let read_at = status.and_then(|s| s.read_at.as_ref()).map(|at| at.0);
    match (ready, read_at) {
        (Some(ready), _) if ready.status != "True" => {
            Some(format!("{}: see the conditions of Cloud {}", ready.reason, cloud.name_any()))
        }
        (Some(_), Some(at)) if now.duration_since(at) <= interval(cloud) * FRESH => None,
        (Some(_), Some(at)) => Some(format!("Stale: it was read last at {at}")),
        _ => Some("NotRead: it was not read yet".to_owned()),
    }
}

/// What a department has on each of the clouds. One that has nothing there has an empty map.
pub fn shares<'a>(
    department: &str,
    clouds: impl IntoIterator<Item = &'a Cloud>,
    now: Timestamp,
) -> BTreeMap<String, CloudShare> {
    let share = |cloud: &Cloud| {
        let unknown = unknown(cloud, now);
        let lines = cloud.status.as_ref().and_then(|s| s.departments.get(department));
        let resources = lines.filter(|_| unknown.is_none()).cloned().unwrap_or_default();
        (cloud.name_any(), CloudShare { unknown, resources })
    };
    clouds.into_iter().map(share).collect()
}

/// What a department has here and on all clouds together, for each resource of its own budget. A sum is absent when one
/// of its parts is unknown: that of a cloud that can't be read, or of a resource that nothing counts there.
#[must_use]
pub fn total(
    own: &BTreeMap<String, BudgetLine>,
    shares: &BTreeMap<String, CloudShare>,
) -> BTreeMap<String, CloudLine> {
    if shares.is_empty() {
        return BTreeMap::new();
    }
    let line = |(resource, own): (&String, &BudgetLine)| {
        let sum = |own: Option<&Quantity>, of: fn(&CloudLine) -> Option<&Quantity>| {
            let start = quantity::parse(own?).ok()?;
            let sum =
                shares.values().try_fold(start, |sum, share| sum.checked_add(part(share, resource, of)?));
            sum.map(quantity::exact)
        };
        let line = CloudLine {
            budget: sum(Some(&own.budget), |line| line.budget.as_ref()),
            granted: sum(own.committed.as_ref(), |line| line.granted.as_ref()),
            requested: sum(own.requested.as_ref(), |line| line.requested.as_ref()),
            used: sum(own.used.as_ref(), |line| line.used.as_ref()),
        };
        (resource.clone(), line)
    };
    own.iter().map(line).collect()
}

/// What one cloud adds.
fn part(share: &CloudShare, resource: &str, of: fn(&CloudLine) -> Option<&Quantity>) -> Option<i128> {
    if share.unknown.is_some() {
        return None;
    }
    if share.resources.is_empty() {
        return Some(0);
    }
    quantity::parse(of(share.resources.get(resource)?)?).ok()
}

/// The departments whose status says something else when a cloud has become another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Concerned {
    #[default]
    Nobody,
    These(BTreeSet<String>),
    All,
}

/// Whom a change of one cloud concerns; `None` is a cloud that is not there.
#[must_use]
pub fn concerned(before: Option<&Cloud>, after: Option<&Cloud>, now: Timestamp) -> Concerned {
    let (Some(before), Some(after)) = (before, after) else {
        return if before.is_some() == after.is_some() { Concerned::Nobody } else { Concerned::All };
    };
    if unknown(before, now) != unknown(after, now) {
        return Concerned::All;
    }
    if unknown(after, now).is_some() {
        return Concerned::Nobody;
    }
    let lines = |cloud: &Cloud, department: &String| {
        cloud.status.as_ref().and_then(|s| s.departments.get(department)).cloned()
    };
    let all = [before, after].into_iter().flat_map(|c| c.status.iter().flat_map(|s| s.departments.keys()));
    let these: BTreeSet<String> =
        all.filter(|name| lines(before, name) != lines(after, name)).cloned().collect();
    if these.is_empty() { Concerned::Nobody } else { Concerned::These(these) }
}

#[cfg(test)]
#[path = "cloud_tests.rs"]
mod tests;
