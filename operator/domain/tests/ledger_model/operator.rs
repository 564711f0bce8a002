//! One pass of an operator: what it has read goes through the real `ledger::plan`.

use std::cell::RefCell;
use std::collections::HashMap;

use tripod_domain::ledger::{self, Amounts, Namespace, Plan, Seen};

use crate::mutants::Mutant;
use crate::state::{DEAD, Entry, FRESH, Kind, Ledger, NAMESPACES, Quota, Read, Units, Write};

const RESOURCE: &str = "pods";
const NAMES: [&str; NAMESPACES] = ["a", "b", "c"];
const LIVE: &str = "live";
const OLD: &str = "old";

/// Per namespace what is granted; `None`: nobody knows.
pub type Wanted = [Option<Units>; NAMESPACES];

/// What a pass has before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pass {
    pub budget: Units,
    pub ledger: Ledger,
    pub read: [Read; NAMESPACES],
    /// Whether that is still its present version.
    pub live: [bool; NAMESPACES],
    pub gone: [bool; NAMESPACES],
    pub adopted: [bool; NAMESPACES],
    pub wanted: Wanted,
    /// Which end of the namespaces is the older one.
    pub reversed: bool,
    pub mutant: Mutant,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Planned {
    pub ledger: Option<Ledger>,
    /// The write, and whether it is based on the present version.
    pub writes: [Option<(Write, bool)>; NAMESPACES],
}

thread_local! {
    /// The same few passes are made in millions of states.
    static MADE: RefCell<HashMap<Pass, Planned>> = RefCell::new(HashMap::new());
}

impl Pass {
    pub fn plan(&self) -> Planned {
        if let Some(made) = MADE.with_borrow(|made| made.get(self).copied()) {
            return made;
        }
        let mut seen = self.seen();
        self.mutant.before(&mut seen);
        let mut plan = ledger::plan(&seen);
        self.mutant.after(&seen, &mut plan);
        let planned = planned(&seen, &plan);
        MADE.with_borrow_mut(|made| made.insert(*self, planned));
        planned
    }

    fn seen(&self) -> Seen {
        let mut seen = Seen { budget: amounts(self.budget), version: promise_name(FRESH), ..Seen::default() };
        for (i, name) in NAMES.into_iter().enumerate() {
            if let Some(entry) = self.ledger[i] {
                let (mut reserved, promise) = (amounts(entry.reserved), promise_name(entry.promise));
                // As the ledger keeps it.
                reserved.retain(|_, units| *units > 0);
                seen.ledger.insert(name.into(), ledger::Entry { reserved, promise });
            }
            if self.gone[i] {
                seen.gone.insert(name.into());
            }
            let quota = match self.read[i] {
                Read::Unlisted => continue,
                Read::NoQuota => None,
                Read::Quota(quota) => Some(real_quota(quota, self.live[i])),
            };
            let age = i64::try_from(i).expect("few namespaces");
            let wanted = self.wanted[i].map(amounts);
            let namespace = Namespace {
                wanted,
                adopted: self.adopted[i],
                since: if self.reversed { -age } else { age },
                quota,
            };
            seen.namespaces.insert(name.into(), namespace);
        }
        seen
    }
}

fn planned(seen: &Seen, plan: &Plan) -> Planned {
    let ledger = plan.ledger.as_ref().map(|ledger| {
        NAMES.map(|name| {
            ledger.get(name).map(|e| Entry { reserved: units(&e.reserved), promise: promise_of(&e.promise) })
        })
    });
    let mut writes = [None; NAMESPACES];
    for write in &plan.quotas {
        let i = NAMES.iter().position(|name| *name == write.namespace).expect("a namespace of this model");
        let read = &seen.namespaces[&write.namespace].quota;
        assert_eq!(write.at, read.as_ref().map(|q| q.version.clone()), "written as it was read");
        let kind = if write.at.is_some() { Kind::Update } else { Kind::Create };
        let live = write.at.as_deref() != Some(OLD);
        let write = Write { kind, hard: units(&write.hard), promise: promise_of(&write.promise) };
        writes[i] = Some((write, live));
    }
    Planned { ledger, writes }
}

fn real_quota(quota: Quota, live: bool) -> ledger::Quota {
    ledger::Quota {
        version: if live { LIVE } else { OLD }.into(),
        promise: promise_name(quota.promise),
        spec: amounts(quota.spec),
        enforced: quota.status.map(|status| amounts(status.hard)),
        used: quota.status.map(|status| amounts(status.used)),
    }
}

fn amounts(units: Units) -> Amounts {
    Amounts::from([(RESOURCE.to_owned(), i128::from(units))])
}

fn units(amounts: &Amounts) -> Units {
    amounts.get(RESOURCE).map_or(0, |units| Units::try_from(*units).expect("a few units"))
}

fn promise_name(promise: u8) -> String {
    promise.to_string()
}

fn promise_of(name: &str) -> u8 {
    if name.is_empty() { DEAD } else { name.parse().expect("a promise of this model") }
}
