//! The protocol broken in one place each, around the real `ledger::plan`: the model has to notice.

use tripod_domain::ledger::{Amounts, Entry, Plan, QuotaWrite, Seen};

use crate::state::{Kind, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    None,
    /// Releases what the spec says, without waiting for `status.hard`.
    SpecIsEnforced,
    /// Releases what is still used.
    UsedIsIgnored,
    /// Releases though an older promise may still be written.
    PromiseIsIgnored,
    /// A new promise has the name of the one before.
    PromiseNeverChanges,
    /// The present promise is not put into a quota that already says what it should.
    NothingIsFenced,
    /// What a quota shows beyond what is reserved for it counts as reserved.
    OldQuotaIsTrusted,
    /// A quota is made with what is wanted, once that is reserved.
    FirstQuotaIsFull,
    /// A quota is made over one that exists.
    CreateOverwrites,
    /// Both.
    FirstQuotaOverwrites,
    QuotaWithoutVersion,
    LedgerWithoutVersion,
    QuotaBeforeLedger,
    /// The version under which a quota is written is read after the ledger was written: just before it is written.
    QuotaReadLate,
    /// Only what the quotas say is counted, not what is reserved.
    ReservedIsIgnored,
    /// What an adopted namespace uses counts as nothing until it was counted.
    UnknownIsZero,
    /// An adopted namespace gets what is wanted at once.
    AdoptedAtOnce,
    RightsBeforeStatus,
    /// A namespace that was adopted a moment ago is not known of, though the department names it.
    AdopteeIsOverlooked,
    /// Namespaces that the ledger knows and the list doesn't are taken to be gone.
    UnseenIsGone,
    /// Namespaces were looked for before the department was read.
    GoneIsOld,
}

impl Mutant {
    pub fn before(self, seen: &mut Seen) {
        let Seen { ledger, namespaces, .. } = seen;
        for (name, namespace) in namespaces.iter_mut() {
            let Some(quota) = &mut namespace.quota else {
                match self {
                    Self::UnknownIsZero => namespace.adopted = false,
                    Self::ReservedIsIgnored => drop(ledger.remove(name)),
                    _ => {}
                }
                continue;
            };
            match self {
                Self::SpecIsEnforced if quota.enforced.is_some() => quota.enforced = Some(quota.spec.clone()),
                Self::UsedIsIgnored => {
                    quota.used.iter_mut().flat_map(Amounts::values_mut).for_each(|used| *used = 0);
                }
                Self::OldQuotaIsTrusted => {
                    if let (Some(entry), Some(enforced)) = (ledger.get_mut(name), &quota.enforced) {
                        for (resource, enforced) in enforced {
                            let reserved = entry.reserved.entry(resource.clone()).or_default();
                            *reserved = (*reserved).max(*enforced);
                        }
                    }
                }
                Self::PromiseIsIgnored => {
                    quota.promise = ledger.get(name).map(|e| e.promise.clone()).unwrap_or_default();
                }
                Self::ReservedIsIgnored => {
                    if let Some(entry) = ledger.get_mut(name) {
                        entry.reserved = quota.spec.clone();
                    }
                }
                Self::UnknownIsZero => namespace.adopted = false,
                _ => {}
            }
        }
        if self == Self::UnseenIsGone {
            ledger.retain(|name, _| namespaces.contains_key(name));
        }
    }

    pub fn after(self, seen: &Seen, plan: &mut Plan) {
        let read = |write: &QuotaWrite| &seen.namespaces[&write.namespace];
        match self {
            Self::PromiseNeverChanges => {
                let entries = plan.ledger.iter_mut().flat_map(|ledger| ledger.values_mut());
                entries.map(|entry| &mut entry.promise).for_each(|promise| *promise = "1".into());
                plan.quotas.iter_mut().for_each(|write| write.promise = "1".into());
            }
            Self::NothingIsFenced => {
                plan.quotas.retain(|write| read(write).quota.as_ref().is_none_or(|q| q.spec != write.hard));
            }
            Self::AdoptedAtOnce => {
                for write in plan.quotas.iter_mut().filter(|write| read(write).adopted) {
                    write.hard.clone_from(read(write).wanted.as_ref().unwrap_or(&Amounts::new()));
                }
            }
            Self::FirstQuotaIsFull | Self::FirstQuotaOverwrites => {
                for write in &mut plan.quotas {
                    let (Some(wanted), None) = (&read(write).wanted, &write.at) else { continue };
                    if plan.refused.contains_key(&write.namespace) || wanted.values().all(|units| *units == 0)
                    {
                        continue;
                    }
                    let ledger = plan.ledger.get_or_insert_with(|| seen.ledger.clone());
                    let entry = Entry { reserved: wanted.clone(), promise: seen.version.clone() };
                    ledger.insert(write.namespace.clone(), entry);
                    (write.hard, write.promise) = (wanted.clone(), seen.version.clone());
                }
            }
            _ => {}
        }
    }

    /// What becomes of a write that was planned; based on an old version, it can't land.
    pub fn sent(self, write: Write, live: bool, after_ledger: bool) -> Option<Write> {
        let blind = match write.kind {
            Kind::Update => self == Self::QuotaWithoutVersion || self == Self::QuotaReadLate && after_ledger,
            Kind::Create => matches!(self, Self::CreateOverwrites | Self::FirstQuotaOverwrites),
            Kind::Overwrite => true,
        };
        let kind = if blind { Kind::Overwrite } else { write.kind };
        (live || blind).then_some(Write { kind, ..write })
    }

    /// Whether the ledger is written whatever version the department has.
    pub fn is_blind(self) -> bool {
        self == Self::LedgerWithoutVersion
    }
}
