//! A department's budget, kept over all of its namespaces by compare-and-swap: invariant 1.
//!
//! What a namespace may come to use is its *commitment*: the largest of what the ledger reserves for it, what its
//! quota says (`spec.hard`), what admission enforces (`status.hard`) and what is used (`status.used`). The sum of
//! commitments never grows beyond the budget, whatever crashes, whoever else acts, and however old what was read is:
//!
//! - *Make*: a quota begins with zero. A request to create has no version that could fence it, so it must not matter
//!   when it lands, nor in which namespace of that name.
//! - *Grow*: reserve in the ledger under a new promise (compare-and-swap on the department, which holds the budget
//!   too), then write the quota under the version that was read **before** that, carrying the promise. What the ledger
//!   reserves already is granted at once; of everything else, what the quota shows may be another's by now.
//! - *Shrink*: lower the quota, carrying the promise as it stands. Release only what the quota, with that very promise
//!   in it, shows to be neither enforced nor used: whoever made the promise can no longer write it.
//! - A namespace whose use is not known lets nobody grow.
//!
//! It rests on three things: admission charges a quota by compare-and-swap on it; kube-controller-manager's
//! recalculation never takes `used` below what exists (kubernetes issue 123434 says that it can, for a moment); and
//! quotas were read, and writes of quotas ended, after the budget began to bound the resource: a quota that says nothing
//! of a resource has no entry that could show it to whoever has read too early.
//!
//! `tests/ledger_model` runs this very code through every order of events that a few namespaces and two operators have.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// Amounts by resource, in billionths of the unit.
pub type Amounts = BTreeMap<String, i128>;

/// What is reserved for one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    pub reserved: Amounts,
    /// The version of the department under which the last promise to grow was made. Never used twice.
    pub promise: String,
}

/// Reservations by namespace.
pub type Ledger = BTreeMap<String, Entry>;

/// A quota as it was read; it may be old.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    pub version: String,
    /// The promise that its last writer put into it.
    pub promise: String,
    pub spec: Amounts,
    /// `status.hard`: what admission compares with. `None` until the quota controller has filled it.
    pub enforced: Option<Amounts>,
    /// `status.used`.
    pub used: Option<Amounts>,
}

/// One of the department's namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Namespace {
    /// What is granted. `None`: nobody knows any more; it keeps what it has.
    pub wanted: Option<Amounts>,
    /// It had a life before Tripod: what it uses is unknown until a quota has counted it.
    pub adopted: bool,
    /// Seconds since the epoch; where two can't both grow, the older one does.
    pub since: i64,
    pub quota: Option<Quota>,
}

/// What was read: the quotas before the ledger is written, the namespaces that are gone after the department was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub budget: Amounts,
    /// Of the department: budget and ledger are compared and swapped as one.
    pub version: String,
    pub ledger: Ledger,
    pub namespaces: BTreeMap<String, Namespace>,
    /// Namespaces of the ledger that are known not to exist any more. Looked for since `version` was there: had one been
    /// made again and granted something since, the ledger could not be written.
    pub gone: BTreeSet<String>,
}

/// A quota to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QuotaWrite {
    pub namespace: String,
    /// Only if it still has this version; `None`: only if it does not exist.
    pub at: Option<String>,
    pub hard: Amounts,
    pub promise: String,
}

/// Why a namespace does not grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub resource: String,
    /// What is wanted beyond what is reserved for it.
    pub more: i128,
    /// What of the budget neither its own reservation nor any other's commitment takes; `None` while one is unknown.
    pub free: Option<i128>,
}

/// What to do: the ledger first, and only when that was written, the quotas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub ledger: Option<Ledger>,
    pub quotas: Vec<QuotaWrite>,
    /// By namespace, the first resource that does not fit.
    pub refused: BTreeMap<String, Refusal>,
}

impl Quota {
    /// Whether admission enforces what the spec says.
    #[must_use]
    pub fn is_enforced(&self) -> bool {
        self.enforced.as_ref() == Some(&self.spec) && self.used.is_some()
    }
}

fn amount(of: &Amounts, resource: &str) -> i128 {
    of.get(resource).copied().unwrap_or(0)
}

/// What a namespace may come to use of a resource; `None`: unknown.
#[must_use]
pub fn commitment(entry: Option<&Entry>, namespace: &Namespace, resource: &str) -> Option<i128> {
    let reserved = entry.map_or(0, |e| amount(&e.reserved, resource));
    let Some(quota) = &namespace.quota else { return (!namespace.adopted).then_some(reserved) };
    let promised = reserved.max(amount(&quota.spec, resource));
    match (&quota.enforced, &quota.used) {
        (Some(enforced), Some(used)) if enforced.contains_key(resource) => {
            Some(promised.max(enforced[resource]).max(amount(used, resource)))
        }
        // Counted, but not this resource: the budget bounds it since a moment ago.
        (Some(_), Some(_)) => None,
        // Members get their rights only when the status is filled, so nothing of ours is in it yet.
        _ => (!namespace.adopted).then_some(promised),
    }
}

/// The sum over all namespaces, those that only the ledger knows included; `None` while one is unknown.
#[must_use]
pub fn committed(ledger: &Ledger, namespaces: &BTreeMap<String, Namespace>, resource: &str) -> Option<i128> {
    let unseen = ledger.iter().filter(|(name, _)| !namespaces.contains_key(*name));
    let unseen: i128 = unseen.map(|(_, entry)| amount(&entry.reserved, resource)).sum();
    namespaces
        .iter()
        .map(|(name, namespace)| commitment(ledger.get(name), namespace, resource))
        .sum::<Option<i128>>()
        .map(|seen| seen + unseen)
}

/// Pure, total. The same state again plans nothing.
#[must_use]
pub fn plan(seen: &Seen) -> Plan {
    let mut ledger = seen.ledger.clone();
    ledger.retain(|name, _| !seen.gone.contains(name) || seen.namespaces.contains_key(name));
    for (name, namespace) in &seen.namespaces {
        if let (Some(entry), Some(quota)) = (ledger.get_mut(name), &namespace.quota) {
            release(entry, namespace, quota);
        }
    }
    ledger
        .retain(|name, entry| seen.namespaces.contains_key(name) || entry.reserved.values().any(|a| *a > 0));
    let mut plan = Plan::default();
    let mut oldest_first: Vec<(&String, &Namespace)> = seen.namespaces.iter().collect();
    oldest_first.sort_by_key(|(name, namespace)| (namespace.since, *name));
    for (name, namespace) in oldest_first {
        let Some(wanted) = &namespace.wanted else { continue };
        let refusal = grow(&mut ledger, seen, name, namespace, wanted);
        let entry = ledger.get(name).cloned().unwrap_or_default();
        let hard = hard(seen, namespace, wanted, &entry, refusal.is_some());
        plan.refused.extend(refusal.map(|refusal| (name.clone(), refusal)));
        if must_write(namespace, &entry, &hard) {
            let at = namespace.quota.as_ref().map(|q| q.version.clone());
            plan.quotas.push(QuotaWrite { namespace: name.clone(), at, hard, promise: entry.promise });
        }
    }
    plan.ledger = (ledger != seen.ledger).then_some(ledger);
    plan
}

/// Gives back what the quota shows to be free, if nobody can still write an older promise into it.
fn release(entry: &mut Entry, namespace: &Namespace, quota: &Quota) {
    let (Some(enforced), Some(used)) = (&quota.enforced, &quota.used) else { return };
    if quota.promise != entry.promise {
        return;
    }
    for (resource, reserved) in &mut entry.reserved {
        let wanted = namespace.wanted.as_ref().map_or(0, |w| amount(w, resource));
        let held = [&quota.spec, enforced, used].iter().map(|a| amount(a, resource)).max().unwrap_or(0);
        // Where it is not counted yet, nothing shows that it is free.
        if enforced.contains_key(resource) || !quota.spec.contains_key(resource) && wanted == 0 {
            *reserved = (*reserved).min(held.max(wanted));
        }
    }
    entry.reserved.retain(|_, reserved| *reserved > 0);
}

/// Reserves what is wanted, all of it or nothing, and makes a new promise where a quota has to grow.
fn grow(
    ledger: &mut Ledger,
    seen: &Seen,
    name: &str,
    namespace: &Namespace,
    wanted: &Amounts,
) -> Option<Refusal> {
    let spec = namespace.quota.as_ref().map(|q| &q.spec);
    let grows = |(resource, wanted): (&String, &i128)| *wanted > spec.map_or(0, |s| amount(s, resource));
    if !wanted.iter().any(grows) || (namespace.adopted && namespace.quota.is_none()) {
        return None;
    }
    for (resource, wanted) in wanted {
        // Only the ledger is sure to be new: what the quota shows beyond it may have been given to another by now.
        let reserved = ledger.get(name).map_or(0, |e| amount(&e.reserved, resource));
        let more = wanted - reserved;
        if more <= 0 {
            continue;
        }
        let own = commitment(ledger.get(name), namespace, resource);
        let others = committed(ledger, &seen.namespaces, resource).zip(own).map(|(all, own)| all - own);
        let free = others.map(|others| amount(&seen.budget, resource) - others - reserved);
        if free.is_none_or(|free| free < more) {
            return Some(Refusal { resource: resource.clone(), more, free });
        }
    }
    // A request to make a quota has no version to be fenced by: it may land in a namespace that was made again since.
    // So it says zero, and growing is always a change of a quota that was read.
    namespace.quota.as_ref()?;
    let entry = ledger.entry(name.to_owned()).or_default();
    for (resource, wanted) in wanted {
        let reserved = entry.reserved.entry(resource.clone()).or_default();
        *reserved = (*reserved).max(*wanted);
    }
    entry.reserved.retain(|_, reserved| *reserved > 0);
    entry.promise.clone_from(&seen.version);
    None
}

/// What the quota is to say: never more than is reserved, and something of everything that the budget bounds.
fn hard(seen: &Seen, namespace: &Namespace, wanted: &Amounts, entry: &Entry, refused: bool) -> Amounts {
    let bounded: BTreeSet<&String> = seen.budget.keys().chain(wanted.keys()).collect();
    let limit = |resource: &String| {
        let wanted = amount(wanted, resource);
        let now = namespace.quota.as_ref().map_or(0, |q| amount(&q.spec, resource));
        let limit = if refused || namespace.quota.is_none() { wanted.min(now) } else { wanted };
        limit.min(amount(&entry.reserved, resource).max(if wanted <= now { limit } else { 0 }))
    };
    bounded.into_iter().map(|resource| (resource.clone(), limit(resource))).collect()
}

fn must_write(namespace: &Namespace, entry: &Entry, hard: &Amounts) -> bool {
    let Some(quota) = &namespace.quota else { return true };
    // Without the present promise in it nothing can be released: somebody might still write another.
    let fence = quota.promise != entry.promise
        && entry.reserved.iter().any(|(resource, reserved)| *reserved > amount(hard, resource));
    quota.spec != *hard || fence
}

/// Reads quantities; what can't be read is named.
///
/// # Errors
/// `field[resource]: "12x" is not a quantity`.
pub fn read(field: &str, quantities: &BTreeMap<String, Quantity>) -> Result<Amounts, String> {
    let read = |(resource, quantity): (&String, &Quantity)| {
        let amount = quantity::parse(quantity).map_err(|e| format!("{field}[{resource}]: {e}"))?;
        if amount < 0 {
            return Err(format!("{field}[{resource}]: {} is negative", quantity.0));
        }
        Ok((resource.clone(), amount))
    };
    quantities.iter().map(read).collect()
}

/// Writes amounts the way people read them, exactly.
#[must_use]
pub fn write(amounts: &Amounts) -> BTreeMap<String, Quantity> {
    amounts.iter().map(|(resource, amount)| (resource.clone(), quantity::exact(*amount))).collect()
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
