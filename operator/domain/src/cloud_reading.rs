//! What was seen on another cloud, and what of it is whose. Each part may be missing on its own, and then what follows
//! from it is unknown, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tripod_crds::cloud::CloudLine;
use tripod_crds::quantities::Quantities;

use crate::ledger::Amounts;
use crate::quantity;

/// Resources of which use is known: what has a namespace has a line of these.
const MEASURED: [&str; 2] = ["requests.cpu", "requests.memory"];

/// Why a part was not read although the cloud answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gap {
    /// Its user has not this right, for instance `list pods`.
    Forbidden(String),
    /// That API is not served there.
    Absent,
    /// In words.
    Failed(String),
}

/// What pods really use, in billionths of a core and of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: i128,
    pub memory: i128,
}

/// A part of a reading.
pub type Part<T> = Result<T, Gap>;

/// The quota `tripod-budget` of a namespace, in billionths of the unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub hard: Amounts,
    /// `None` until it is counted.
    pub used: Option<Amounts>,
}

/// What one cloud showed at one time. Of namespaces, quotas and pods only those that belong to departments.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// UID of its namespace `kube-system`: which cluster it is.
    pub cluster: Option<String>,
    /// Namespaces with a department's label, and whose they are.
    pub namespaces: Part<BTreeMap<String, String>>,
    /// By namespace; only where both carry the label of the same department.
    pub quotas: Part<BTreeMap<String, Quota>>,
    /// What the running pods of a namespace use, or that one of them has no reading; a namespace without pods is absent.
    pub usage: Part<BTreeMap<String, Result<Usage, String>>>,
    /// `spec.budget` of the Departments there.
    pub budgets: Part<BTreeMap<String, Quantities>>,
}

impl Reading {
    /// Rights that are missing, and in words what else is.
    #[must_use]
    pub fn missing(&self) -> (Vec<String>, Vec<String>) {
        let gaps = [
            ("namespaces", self.namespaces.as_ref().err()),
            ("resourcequotas", self.quotas.as_ref().err()),
            ("metrics.k8s.io", self.usage.as_ref().err()),
            // A cloud without Tripod has no Departments, and lacks nothing.
            ("departments.tripod.cloud", self.budgets.as_ref().err().filter(|gap| **gap != Gap::Absent)),
        ];
        let (mut rights, mut others) = (Vec::new(), Vec::new());
        for (what, gap) in gaps.into_iter().filter_map(|(what, gap)| Some((what, gap?))) {
            match gap {
                Gap::Forbidden(right) => rights.push(right.clone()),
                Gap::Absent => {
                    others.push(format!("{what} is not served there, and what it would tell is unknown"));
                }
                Gap::Failed(why) => others.push(format!("{what} does not answer there: {why}")),
            }
        }
        (rights, others)
    }
}

/// What each department has there, by resource. Who has neither a namespace nor a Department there is absent.
#[must_use]
pub fn departments(reading: &Reading) -> BTreeMap<String, BTreeMap<String, CloudLine>> {
    let mut namespaces: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, department) in reading.namespaces.iter().flatten() {
        namespaces.entry(department).or_default().push(name);
    }
    for department in reading.budgets.iter().flat_map(BTreeMap::keys) {
        namespaces.entry(department).or_default();
    }
    let all = namespaces.iter();
    all.map(|(department, names)| ((*department).to_owned(), lines(reading, department, names))).collect()
}

fn lines(reading: &Reading, department: &str, namespaces: &[&str]) -> BTreeMap<String, CloudLine> {
    let quotas = |name: &&str| reading.quotas.as_ref().ok()?.get(*name);
    let budget = reading.budgets.as_ref().ok().and_then(|all| all.get(department));
    let usage = usage(reading, namespaces);
    let counted =
        namespaces.iter().filter_map(quotas).flat_map(|quota| quota.hard.keys().map(String::as_str));
    let budgeted = budget.into_iter().flatten().map(|(resource, _)| resource.as_str());
    let resources: BTreeSet<&str> = counted.chain(budgeted).chain(MEASURED).collect();
    // A namespace whose quota does not count a resource may have any amount of it.
    let sum = |of: &dyn Fn(&Quota) -> Option<i128>| -> Option<Quantity> {
        let parts = namespaces.iter().map(|name| quotas(name).and_then(of));
        add(parts).map(quantity::exact)
    };
    let line = |resource: &str| CloudLine {
        budget: budget.and_then(|budget| budget.get(resource).cloned()),
        granted: sum(&|quota| quota.hard.get(resource).copied()),
        requested: sum(&|quota| quota.used.as_ref()?.get(resource).copied()),
        used: usage.and_then(|usage| used_of(resource, usage)),
    };
    resources.into_iter().map(|resource| (resource.to_owned(), line(resource))).collect()
}

/// The sum over namespaces; one that is unknown makes it unknown.
fn usage(reading: &Reading, namespaces: &[&str]) -> Option<Usage> {
    let all = reading.usage.as_ref().ok()?;
    let of = |part: fn(&Usage) -> i128| {
        add(namespaces
            .iter()
            .map(|name| all.get(*name).map_or(Some(0), |usage| usage.as_ref().ok().map(part))))
    };
    Some(Usage { cpu: of(|usage| usage.cpu)?, memory: of(|usage| usage.memory)? })
}

/// What of the use a resource bounds, rounded to what people read.
fn used_of(resource: &str, usage: Usage) -> Option<Quantity> {
    match resource {
        "requests.cpu" | "limits.cpu" | "cpu" => Some(quantity::millicores(usage.cpu)),
        "requests.memory" | "limits.memory" | "memory" => Some(quantity::mebibytes(usage.memory)),
        _ => None,
    }
}

fn add(mut parts: impl Iterator<Item = Option<i128>>) -> Option<i128> {
    parts.try_fold(0i128, |sum, part| sum.checked_add(part?))
}
