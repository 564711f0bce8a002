//! What can happen next, whoever does it.

use stateright::{Model, Property};

use crate::mutants::Mutant;
use crate::operator::{Pass, Wanted};
use crate::settling::settles;
use crate::state::{
    AFRESH, CAP, Kind, NAMESPACES, OPERATORS, Operator, Quota, Read, Space, State, Units, Write,
};

/// What is explored, completely.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    pub name: &'static str,
    /// Those that never exist are the first.
    pub namespaces: usize,
    pub operators: usize,
    /// The budget may become any of these, at any time and as often as it likes. The first is the first.
    pub budgets: &'static [Units],
    /// Any of them may be what an operator sees, at any time and as often as it likes.
    pub wanted: &'static [Wanted],
    pub last: Last,
    /// What is used drops only when the controller counts again.
    pub lag: bool,
    /// Whatever is wanted of one namespace is wanted of each other as well.
    pub alike: bool,
    pub mutant: Mutant,
}

/// What becomes of the last namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    Stays,
    /// It goes and comes, at any time and as often as it likes.
    Goes,
    /// It comes once, with a life of its own: a pod, and members with rights; from then on the department names it.
    IsAdopted,
}

const LAST: usize = NAMESPACES - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// What an operator sees as wanted, of the configurations, and whether the last namespace is the oldest.
    Plans {
        operator: usize,
        wanted: usize,
        reversed: bool,
    },
    /// Of a third write of a quota under way, or the first two, one is lost.
    LedgerLands {
        operator: usize,
        keep_first: bool,
    },
    /// The ledger does not land, or the operator crashes.
    RequestLost {
        operator: usize,
    },
    Budget(usize),
    /// A namespace changes. The operators of the mask have read it just before.
    Touch {
        space: usize,
        how: Touch,
        readers: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Touch {
    WriteLands(usize),
    Recount,
    PodStarts,
    PodEnds,
    Deleted,
    Created,
}

/// The sum of commitments never grows beyond the budget.
pub const COMMITTED: &str = "committed";
/// Nor does what members can reach by themselves.
pub const USABLE: &str = "usable";
/// Nor what really runs.
pub const USED: &str = "used";
/// From every state an operator that is alone for long enough gets enforced what is wanted and fits.
pub const SETTLES: &str = "settles";
/// All of a budget can be in use: the model can do what it is about.
pub const FILLS: &str = "fills";

impl Model for Story {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let spaces = std::array::from_fn(|i| Space {
            exists: i + self.namespaces >= NAMESPACES && (i < LAST || self.last != Last::IsAdopted),
            deletable: i == LAST && self.last != Last::Stays,
            adopted: i == LAST && self.last == Last::IsAdopted,
            pods: 0,
            quota: None,
            flying: [None; 2],
        });
        let state = State {
            budget: self.budgets[0],
            ceiling: self.budgets[0],
            ledger: [None; NAMESPACES],
            spaces,
            operators: [AFRESH; OPERATORS],
            broken: false,
        };
        vec![state]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for operator in 0..self.operators {
            self.operator_steps(state, operator, steps);
        }
        for space in 0..NAMESPACES {
            self.touches(state, space, steps);
        }
        steps.extend((0..self.budgets.len()).filter(|b| self.budgets[*b] != state.budget).map(Step::Budget));
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = *before;
        match step {
            Step::Plans { operator, wanted, reversed } => self.plans(&mut state, operator, wanted, reversed),
            Step::LedgerLands { operator, keep_first } => self.ledger_lands(&mut state, operator, keep_first),
            Step::RequestLost { operator } => state.operators[operator] = AFRESH,
            Step::Budget(budget) => {
                state.budget = self.budgets[budget];
                state.swap(self.mutant.is_blind());
            }
            Step::Touch { space, how, readers } => self.touch(&mut state, space, how, readers),
        }
        let committed = state.committed();
        // What nothing bounds yet is nobody's fault.
        let wild = |space: usize| before.spaces[space].is_wild() || state.spaces[space].is_wild();
        if matches!(step, Step::Touch { space, how: Touch::PodStarts | Touch::Created, .. } if wild(space)) {
            state.ceiling = before.ceiling.max(committed);
        }
        state.broken |= committed > state.budget.max(state.ceiling);
        state.ceiling = state.budget.max(state.ceiling.min(committed));
        let state = state.canonical(self.alike);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(COMMITTED, |_, state: &State| !state.broken),
            Property::always(USABLE, |_, state: &State| state.usable() <= state.ceiling),
            Property::always(USED, |_, state: &State| state.used() <= state.ceiling),
            Property::sometimes(FILLS, |story: &Self, state: &State| {
                state.budget == story.budgets[0] && state.used() == state.budget && state.used() > 0
            }),
        ];
        if self.settles() {
            properties.push(Property::always(SETTLES, settles));
        }
        properties
    }
}

impl Story {
    /// Mutants that are safe, and do nothing, are noticed by this alone.
    fn settles(&self) -> bool {
        self.operators == 1 && matches!(self.mutant, Mutant::None | Mutant::NothingIsFenced)
    }

    fn operator_steps(&self, state: &State, operator: usize, steps: &mut Vec<Step>) {
        if let Operator::Swapping { .. } = state.operators[operator] {
            steps.push(Step::LedgerLands { operator, keep_first: true });
            if state.spaces.iter().any(|space| space.flying.iter().all(Option::is_some)) {
                steps.push(Step::LedgerLands { operator, keep_first: false });
            }
            steps.push(Step::RequestLost { operator });
            return;
        }
        for (wanted, all) in self.wanted.iter().enumerate() {
            steps.push(Step::Plans { operator, wanted, reversed: false });
            // Who comes first matters only where more than one can grow.
            if all.iter().filter(|units| units.is_some_and(|units| units > 0)).count() > 1 {
                steps.push(Step::Plans { operator, wanted, reversed: true });
            }
        }
    }

    fn touches(&self, state: &State, space: usize, steps: &mut Vec<Step>) {
        let is = &state.spaces[space];
        let early = self.mutant == Mutant::RightsBeforeStatus
            && is.quota.is_some_and(|quota| quota.status.is_none())
            && is.pods < CAP;
        let could = [
            (Touch::WriteLands(0), is.flying[0].is_some()),
            (Touch::WriteLands(1), is.flying[1].is_some()),
            (Touch::Recount, is.counted() != is.quota),
            (Touch::PodStarts, is.admits() || early),
            (Touch::PodEnds, is.pods > 0),
            (Touch::Deleted, is.deletable && is.exists),
            (Touch::Created, is.deletable && !is.exists),
        ];
        let reads = |o: &usize| matches!(state.operators[*o], Operator::Reading(old) if old[space].is_none());
        let readers: u8 = (0..self.operators).filter(reads).map(|o| 1 << o).sum();
        for (how, _) in could.into_iter().filter(|(_, can)| *can) {
            let masks = (0..1u8 << OPERATORS).filter(|mask| mask & !readers == 0);
            steps.extend(masks.map(|readers| Step::Touch { space, how, readers }));
        }
    }

    fn touch(&self, state: &mut State, i: usize, how: Touch, readers: u8) {
        if let Touch::WriteLands(k) = how {
            write_lands(state, i, k, readers);
            return;
        }
        let uncounted = self.lag && how == Touch::PodEnds;
        if !uncounted {
            state.touch(i, readers);
        }
        let space = &mut state.spaces[i];
        let counted = space.counted();
        let is_named = how == Touch::Created && space.adopted;
        let status = space.quota.as_mut().and_then(|quota| quota.status.as_mut());
        match how {
            Touch::PodStarts => {
                space.pods += 1;
                if let Some(status) = status {
                    status.used += 1;
                }
            }
            Touch::PodEnds => {
                space.pods -= 1;
                if let Some(status) = status.filter(|_| !uncounted) {
                    status.used -= 1;
                }
            }
            Touch::Deleted => (space.exists, space.pods, space.quota) = (false, 0, None),
            Touch::Created => {
                (space.exists, space.pods) = (true, Units::from(space.adopted));
                space.deletable &= !space.adopted;
            }
            Touch::Recount | Touch::WriteLands(_) => space.quota = counted,
        }
        if is_named {
            state.swap(self.mutant.is_blind());
        }
    }

    /// The department is read last. Whether a namespace that was not in the list exists is asked after that.
    fn plans(&self, state: &mut State, operator: usize, wanted: usize, reversed: bool) {
        let Operator::Reading(old) = state.operators[operator] else { return };
        let read: [Read; NAMESPACES] = std::array::from_fn(|i| {
            let (read, space) = (old[i].unwrap_or(state.spaces[i].read()), &state.spaces[i]);
            let named = space.adopted && space.exists && self.mutant != Mutant::AdopteeIsOverlooked;
            if named && read == Read::Unlisted { Read::NoQuota } else { read }
        });
        let gone = |i: usize| {
            read[i] == Read::Unlisted && (!state.spaces[i].exists || self.mutant == Mutant::GoneIsOld)
        };
        let pass = Pass {
            budget: state.budget,
            ledger: state.ledger,
            read,
            live: old.map(|old| old.is_none()),
            gone: std::array::from_fn(gone),
            adopted: state.spaces.map(|space| space.adopted),
            wanted: self.wanted[wanted],
            reversed,
            mutant: self.mutant,
        };
        let planned = pass.plan();
        let after_ledger = planned.ledger.is_some();
        let writes = planned
            .writes
            .map(|write| write.and_then(|(write, live)| self.mutant.sent(write, live, after_ledger)));
        state.operators[operator] = match planned.ledger {
            Some(ledger) if self.mutant == Mutant::QuotaBeforeLedger => {
                Operator::Swapping { ledger, writes: [None; NAMESPACES] }
            }
            Some(ledger) => {
                state.operators[operator] = Operator::Swapping { ledger, writes };
                return;
            }
            None => AFRESH,
        };
        send(state, writes, true);
    }

    /// What the plan was based on is still so: now its quotas may be written.
    fn ledger_lands(&self, state: &mut State, operator: usize, keep_first: bool) {
        let Operator::Swapping { ledger, writes } = state.operators[operator] else { return };
        state.operators[operator] = AFRESH;
        state.ledger = ledger;
        send(state, writes, keep_first);
        state.swap(self.mutant.is_blind());
    }
}

fn send(state: &mut State, writes: [Option<Write>; NAMESPACES], keep_first: bool) {
    for (i, write) in writes.into_iter().enumerate() {
        if let Some(write) = write.filter(|write| state.spaces[i].may_land(*write)) {
            state.send(i, write, keep_first);
        }
    }
}

fn write_lands(state: &mut State, i: usize, k: usize, readers: u8) {
    let Some(write) = state.spaces[i].flying[k].take() else { return };
    let space = state.spaces[i];
    if space.exists && (write.kind != Kind::Create || space.quota.is_none()) {
        state.touch(i, readers);
        let mut space = state.spaces[i];
        space.quota = Some(Quota { promise: write.promise, spec: write.hard, status: space.status() });
        state.spaces[i].flying = space.flying.map(|other| other.filter(|other| space.may_land(*other)));
        state.spaces[i].quota = space.quota;
    }
}
