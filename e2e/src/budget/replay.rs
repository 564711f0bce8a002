//! The changes in the order in which they happened, and after each of them a look at whether the budget holds.
//!
//! A lowered budget takes nothing back: what was committed stays, and may be used. So beside the budget there is an
//! *allowance*: the budget, or what was committed when it was lowered and has not been given back since, whichever is
//! more. It only rises when the budget is raised. Three things are never seen:
//!
//! - the commitment grows, and is more than the budget after it;
//! - the sum of what the quotas count as used is more than the allowance;
//! - the sum of what pods that have not ended ask for is more than the allowance.

use std::collections::{BTreeMap, BTreeSet};

use super::amount::{Amounts, show};

/// A change, with the version that the whole cluster had after it: versions order the changes of all kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub version: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A pod by namespace and name, and what it asks for now: nothing when it has ended or is gone.
    Pod { key: String, asks: Amounts },
    /// A quota by its namespace; `None`: it is gone.
    Quota { namespace: String, quota: Option<Quota> },
    /// The department, with what its ledger reserves by namespace.
    Department { budget: Amounts, reserved: BTreeMap<String, Amounts> },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    pub spec: Amounts,
    pub enforced: Amounts,
    pub used: Amounts,
}

/// What was found, over all resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What must not be; empty when the budget held.
    pub violations: Vec<String>,
    /// By resource: the most by which quotas' use exceeded the allowance. Not above zero when the budget held.
    pub used_over: Amounts,
    /// The same of what pods ask for.
    pub asked_over: Amounts,
    /// By resource: how often the commitment grew.
    pub grown: BTreeMap<String, usize>,
    /// Quotas whose spec was changed.
    pub quota_changes: usize,
    pub budget_changes: usize,
    /// How often a quota counted less than the pods of its namespace ask for: kubernetes issue 123434.
    pub undercounted: usize,
    /// What pods ask for at the end.
    pub asked: Amounts,
}

#[derive(Default)]
struct Replay {
    pods: BTreeMap<String, Amounts>,
    quotas: BTreeMap<String, Quota>,
    budget: Amounts,
    reserved: BTreeMap<String, Amounts>,
    allowance: Amounts,
    findings: Findings,
}

/// Replays the changes; `resources` are those that pods ask for and the department has a budget for. Until the department
/// is seen nothing is judged.
#[must_use]
pub fn replay(mut events: Vec<Event>, resources: &[&str]) -> Findings {
    events.sort_by_key(|event| event.version);
    events.dedup();
    let mut replay = Replay::default();
    for event in events {
        replay.step(event, resources);
    }
    for resource in resources {
        replay.findings.asked.insert((*resource).to_owned(), sum(replay.pods.values(), resource));
    }
    replay.findings
}

fn amount(of: &Amounts, resource: &str) -> i128 {
    of.get(resource).copied().unwrap_or(0)
}

fn sum<'a>(all: impl Iterator<Item = &'a Amounts>, resource: &str) -> i128 {
    all.map(|amounts| amount(amounts, resource)).sum()
}

impl Replay {
    fn step(&mut self, event: Event, resources: &[&str]) {
        let known = !self.budget.is_empty();
        let before: Vec<i128> = resources.iter().map(|r| self.committed(r)).collect();
        let version = event.version;
        let what = self.apply(event.what);
        if self.budget.is_empty() {
            return;
        }
        for (resource, before) in resources.iter().zip(before) {
            let (budget, after) = (amount(&self.budget, resource), self.committed(resource));
            if known && after > before {
                *self.findings.grown.entry((*resource).to_owned()).or_default() += 1;
                if after > budget {
                    self.violation(version, &what, resource, "committed", after, budget);
                }
            }
            let allowance = match self.allowance.get(*resource) {
                Some(allowance) => budget.max(after.min(*allowance)),
                // What was there before the first look is not judged.
                None => budget.max(after),
            };
            self.allowance.insert((*resource).to_owned(), allowance);
            self.compare(version, &what, resource, allowance);
        }
    }

    /// Takes a change in, and names it.
    fn apply(&mut self, what: What) -> String {
        match what {
            What::Pod { key, asks } => {
                let name = format!("pod {key}");
                if asks.is_empty() {
                    self.pods.remove(&key)
                } else {
                    self.pods.insert(key, asks)
                };
                name
            }
            What::Quota { namespace, quota } => {
                let name = format!("quota of {namespace}");
                let before = self.quotas.get(&namespace).map(|q| &q.spec);
                self.findings.quota_changes += usize::from(before != quota.as_ref().map(|q| &q.spec));
                match quota {
                    Some(quota) => self.quotas.insert(namespace, quota),
                    None => self.quotas.remove(&namespace),
                };
                name
            }
            What::Department { budget, reserved } => {
                self.findings.budget_changes += usize::from(!self.budget.is_empty() && self.budget != budget);
                (self.budget, self.reserved) = (budget, reserved);
                "department".to_owned()
            }
        }
    }

    /// For each namespace the most of what is reserved, written, enforced and used.
    fn committed(&self, resource: &str) -> i128 {
        let namespaces: BTreeSet<&String> = self.quotas.keys().chain(self.reserved.keys()).collect();
        let most = |namespace: &&String| {
            let reserved = self.reserved.get(*namespace).map_or(0, |r| amount(r, resource));
            let quota = self.quotas.get(*namespace);
            quota.map_or(reserved, |q| {
                [&q.spec, &q.enforced, &q.used]
                    .into_iter()
                    .map(|a| amount(a, resource))
                    .fold(reserved, i128::max)
            })
        };
        namespaces.iter().map(most).sum()
    }

    fn compare(&mut self, version: u64, what: &str, resource: &str, allowance: i128) {
        let used = sum(self.quotas.values().map(|q| &q.used), resource);
        let asked = sum(self.pods.values(), resource);
        let rises = |over: &mut Amounts, sum: i128| {
            let most = over.entry(resource.to_owned()).or_insert(sum - allowance);
            let rises = sum - allowance > *most;
            *most = (*most).max(sum - allowance);
            // Told once for each new height.
            sum > allowance && rises
        };
        let used_rises = rises(&mut self.findings.used_over, used);
        let asked_rises = rises(&mut self.findings.asked_over, asked);
        if used_rises {
            self.violation(version, what, resource, "used", used, allowance);
        }
        if asked_rises {
            self.violation(version, what, resource, "asked for by pods", asked, allowance);
        }
        if what.starts_with("pod ") && self.counts_too_little(what, resource) {
            self.findings.undercounted += 1;
        }
    }

    /// A pod is charged before it exists, so its quota never counts less than there is.
    fn counts_too_little(&self, what: &str, resource: &str) -> bool {
        let Some((namespace, _)) = what.trim_start_matches("pod ").split_once('/') else { return false };
        let prefix = format!("{namespace}/");
        let asked =
            sum(self.pods.iter().filter(|(key, _)| key.starts_with(&prefix)).map(|(_, a)| a), resource);
        self.quotas.get(namespace).is_some_and(|quota| amount(&quota.used, resource) < asked)
    }

    fn violation(&mut self, version: u64, what: &str, resource: &str, word: &str, is: i128, may: i128) {
        let (is, may) = (show(resource, is), show(resource, may));
        self.findings
            .violations
            .push(format!("version {version}, {what}: {resource} {word} is {is}, {may} may be"));
    }
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
