//! The changes in the order in which they happened, and after each of them a look at whether the budget holds.
//!
//! A namespace *holds* the most of what the ledger reserves for it, what its quota says and what admission enforces. What
//! is held and what is counted as used, whichever is more, is *committed*. A lowered budget takes nothing back: what was
//! committed stays, and may be used. So beside the budget there is an *allowance*: the budget, or what was committed when
//! it was lowered and has not been given back since, whichever is more. These are never seen:
//!
//! - what is held grows, and more than the budget is committed after it;
//! - a namespace gives back what was used whenever its quota was counted;
//! - a pod runs where no quota is enforced;
//! - more than the allowance is used or runs, but for what slipped through.
//!
//! What *slips through* is Kubernetes' own: its quota controller counts from a cache, and may forget a pod that was
//! charged a moment ago (kubernetes issue 123434). Then pods run beyond what their namespace holds, with one namespace as
//! with many. It is measured and told, and nothing else is put down to it.

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

/// What was found, over all resources. Amounts are by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// What must not be; empty when the budget held.
    pub violations: Vec<String>,
    /// The most by which quotas' use exceeded the allowance; below zero when it never did.
    pub used_over: Amounts,
    /// The same of what pods ask for.
    pub asked_over: Amounts,
    /// The most that pods asked for beyond what their namespaces hold.
    pub slipped: Amounts,
    /// The most by which either exceeded the allowance without what slipped through at that time.
    pub net_over: Amounts,
    /// How often more was held than before.
    pub grown: BTreeMap<String, usize>,
    /// Quotas whose spec was changed.
    pub quota_changes: usize,
    pub budget_changes: usize,
    /// How often a quota began to count less than the pods of its namespace ask for.
    pub undercounted: usize,
    /// What pods ask for at the end.
    pub asked: Amounts,
}

/// A quota, and the least that was counted since something else of it changed: whoever looked at it since saw no less.
#[derive(Default)]
struct Counted {
    quota: Quota,
    least: Amounts,
}

#[derive(Default)]
struct Replay {
    pods: BTreeMap<String, BTreeMap<String, Amounts>>,
    quotas: BTreeMap<String, Counted>,
    budget: Amounts,
    reserved: BTreeMap<String, Amounts>,
    allowance: Amounts,
    /// By resource and namespace, what was held after the change before.
    held: BTreeMap<(String, String), i128>,
    undercounted: BTreeSet<(String, String)>,
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
        replay.findings.asked.insert((*resource).to_owned(), replay.asked(resource));
    }
    replay.findings
}

fn amount(of: &Amounts, resource: &str) -> i128 {
    of.get(resource).copied().unwrap_or(0)
}

impl Counted {
    fn becomes(&mut self, quota: Quota) {
        if (&self.quota.spec, &self.quota.enforced) == (&quota.spec, &quota.enforced) {
            for (resource, least) in &mut self.least {
                *least = amount(&quota.used, resource).min(*least);
            }
        } else {
            self.least.clone_from(&quota.used);
        }
        self.quota = quota;
    }
}

impl Replay {
    fn step(&mut self, event: Event, resources: &[&str]) {
        let first = self.budget.is_empty();
        let at = format!("version {}, {}", event.version, self.apply(event.what));
        if self.budget.is_empty() {
            return;
        }
        let mut namespaces: BTreeSet<String> =
            self.quotas.keys().chain(self.reserved.keys()).cloned().collect();
        namespaces.extend(self.held.keys().map(|(_, namespace)| namespace.clone()));
        namespaces.extend(self.pods.keys().cloned());
        for resource in resources {
            let (mut before, mut after, mut committed, mut slipped, mut used) = (0, 0, 0, 0, 0);
            for namespace in &namespaces {
                let look = self.look(namespace, resource);
                self.judge(&at, namespace, resource, &look);
                before += look.held_before;
                after += look.held;
                committed += look.held.max(look.counted);
                slipped += (look.counted.max(look.asked) - look.held).max(0);
                used += look.counted;
            }
            let budget = amount(&self.budget, resource);
            if after > before && !first {
                *self.findings.grown.entry((*resource).to_owned()).or_default() += 1;
                if committed > budget {
                    self.violation(&at, resource, "committed", committed, budget);
                }
            }
            self.compare(&at, resource, &Sums { budget, committed, slipped, used });
        }
    }

    fn look(&mut self, namespace: &str, resource: &str) -> Look {
        let (held, asked) = (self.held(namespace, resource), self.asked_in(namespace, resource));
        let held_before = self.held.insert((resource.to_owned(), namespace.to_owned()), held).unwrap_or(0);
        let quota = self.quotas.get(namespace);
        Look {
            held,
            held_before,
            asked,
            counted: quota.map_or(0, |c| amount(&c.quota.used, resource)),
            least: quota.map_or(0, |c| amount(&c.least, resource)),
            enforced: quota.is_some_and(|c| c.quota.enforced.contains_key(resource)),
        }
    }

    /// What is wrong in one namespace, whatever is in the others.
    fn judge(&mut self, at: &str, namespace: &str, resource: &str, look: &Look) {
        if look.held < look.held_before.min(look.least) {
            let word = format!("held by {namespace}, which uses more,");
            self.violation(at, resource, &word, look.held, look.counted);
        }
        if look.asked > 0 && !look.enforced && at.contains(&format!("pod {namespace}/")) {
            self.violation(at, resource, &format!("of pods in {namespace}, without a quota,"), look.asked, 0);
        }
        let key = (resource.to_owned(), namespace.to_owned());
        if !look.enforced || look.counted >= look.asked {
            self.undercounted.remove(&key);
        } else if self.undercounted.insert(key) {
            self.findings.undercounted += 1;
        }
    }

    /// Takes a change in, and names it.
    fn apply(&mut self, what: What) -> String {
        match what {
            What::Pod { key, asks } => {
                let name = format!("pod {key}");
                let (namespace, pod) = key.split_once('/').unwrap_or(("", &key));
                let pods = self.pods.entry(namespace.to_owned()).or_default();
                if asks.is_empty() {
                    pods.remove(pod)
                } else {
                    pods.insert(pod.to_owned(), asks)
                };
                name
            }
            What::Quota { namespace, quota } => {
                let name = format!("quota of {namespace}");
                let before = self.quotas.get(&namespace).map(|c| &c.quota.spec);
                self.findings.quota_changes += usize::from(before != quota.as_ref().map(|q| &q.spec));
                match quota {
                    Some(quota) => self.quotas.entry(namespace).or_default().becomes(quota),
                    None => drop(self.quotas.remove(&namespace)),
                }
                name
            }
            What::Department { budget, reserved } => {
                self.findings.budget_changes += usize::from(!self.budget.is_empty() && self.budget != budget);
                (self.budget, self.reserved) = (budget, reserved);
                "department".to_owned()
            }
        }
    }

    fn held(&self, namespace: &str, resource: &str) -> i128 {
        let reserved = self.reserved.get(namespace).map_or(0, |r| amount(r, resource));
        self.quotas.get(namespace).map_or(reserved, |counted| {
            let quota = &counted.quota;
            reserved.max(amount(&quota.spec, resource)).max(amount(&quota.enforced, resource))
        })
    }

    fn asked_in(&self, namespace: &str, resource: &str) -> i128 {
        let pods = self.pods.get(namespace).into_iter().flatten();
        pods.map(|(_, asks)| amount(asks, resource)).sum()
    }

    fn asked(&self, resource: &str) -> i128 {
        self.pods.keys().map(|namespace| self.asked_in(namespace, resource)).sum()
    }

    fn compare(&mut self, at: &str, resource: &str, sums: &Sums) {
        // What was there before the first look is not judged.
        let before = self.allowance.get(resource).copied().unwrap_or(sums.committed);
        let allowance = sums.budget.max(sums.committed.min(before));
        self.allowance.insert(resource.to_owned(), allowance);
        let asked = self.asked(resource);
        most(&mut self.findings.slipped, resource, sums.slipped);
        most(&mut self.findings.net_over, resource, asked.max(sums.used) - sums.slipped - allowance);
        for (sum, word) in [(sums.used, "used"), (asked, "asked for by pods")] {
            let over =
                if word == "used" { &mut self.findings.used_over } else { &mut self.findings.asked_over };
            // Told once for each new height.
            if most(over, resource, sum - allowance) && sum > allowance + sums.slipped {
                self.violation(at, resource, word, sum, allowance);
            }
        }
    }

    fn violation(&mut self, at: &str, resource: &str, word: &str, is: i128, may: i128) {
        let (is, may) = (show(resource, is), show(resource, may));
        self.findings.violations.push(format!("{at}: {resource} {word} is {is}, {may} may be"));
    }
}

/// One namespace after a change, of one resource.
struct Look {
    held: i128,
    held_before: i128,
    /// What its pods ask for, and what its quota counts of that.
    asked: i128,
    counted: i128,
    least: i128,
    enforced: bool,
}

/// Over all namespaces, of one resource.
struct Sums {
    budget: i128,
    committed: i128,
    slipped: i128,
    used: i128,
}

/// Keeps the most; whether this is more than ever.
fn most(of: &mut Amounts, resource: &str, amount: i128) -> bool {
    let rises = of.get(resource).is_none_or(|most| amount > *most);
    if rises {
        of.insert(resource.to_owned(), amount);
    }
    rises
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
