//! What the world looks like: the department, its namespaces, two operators and what they have sent.

pub const NAMESPACES: usize = 3;
pub const OPERATORS: usize = 2;

/// More than any budget: what members reach where nothing bounds them.
pub const CAP: Units = 2;

/// Promises are only ever compared for equality, so their names may be changed as long as those that are equal stay
/// so: `DEAD` are all that can never be an entry's again, `FRESH` is the one that the next swap makes.
pub const DEAD: u8 = 0;
pub const FRESH: u8 = 100;
const SWAPPED: u8 = 99;

/// Of the one resource.
pub type Units = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    pub reserved: Units,
    pub promise: u8,
}

pub type Ledger = [Option<Entry>; NAMESPACES];

/// Written by the quota controller, and by admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Status {
    pub hard: Units,
    pub used: Units,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Quota {
    pub promise: u8,
    pub spec: Units,
    pub status: Option<Status>,
}

/// What there is to read of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Read {
    /// Not in the list of the department's namespaces.
    Unlisted,
    NoQuota,
    Quota(Quota),
}

/// A quota write under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Write {
    pub kind: Kind,
    pub hard: Units,
    pub promise: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Lands only if there is none.
    Create,
    /// Lands only on the present version: it is dropped as soon as there is another.
    Update,
    /// Lands whatever there is: only mutants send it.
    Overwrite,
}

/// What an operator does: it remembers nothing from pass to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// Of each namespace it has read what is there now, or (`Some`) what was there before it last changed, or even
    /// earlier. When it read is thus decided as late as possible: when the namespace changes under it.
    Reading([Option<Read>; NAMESPACES]),
    /// The ledger is sent; the quotas follow if it lands.
    Swapping { ledger: Ledger, writes: [Option<Write>; NAMESPACES] },
}

pub const AFRESH: Operator = Operator::Reading([None; NAMESPACES]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space {
    pub exists: bool,
    /// Whether it comes and goes.
    pub deletable: bool,
    /// It had a life before Tripod, with members that have rights.
    pub adopted: bool,
    /// What really runs.
    pub pods: Units,
    pub quota: Option<Quota>,
    /// Quota writes that may land yet, in any order, or never.
    pub flying: [Option<Write>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct State {
    pub budget: Units,
    /// The budget, or what was committed when it was lowered, and what came with an adopted namespace, as far as it is
    /// not given back yet.
    pub ceiling: Units,
    pub ledger: Ledger,
    pub spaces: [Space; NAMESPACES],
    pub operators: [Operator; OPERATORS],
    /// Some step took what is committed above the ceiling.
    pub broken: bool,
}

impl Space {
    pub fn read(&self) -> Read {
        match self.quota {
            _ if !self.exists => Read::Unlisted,
            None => Read::NoQuota,
            Some(quota) => Read::Quota(quota),
        }
    }

    pub fn status(&self) -> Option<Status> {
        self.quota.and_then(|quota| quota.status)
    }

    /// How far members can go by themselves from here on, where anything bounds them.
    pub fn usable(&self) -> Units {
        self.status().map_or(0, |status| status.hard).max(self.pods)
    }

    /// It was there before Tripod, and nothing bounds it yet.
    pub fn is_wild(&self) -> bool {
        self.adopted && self.exists && self.status().is_none()
    }

    /// Whether admission lets one more in. Members have rights as soon as the status is filled: really they get them
    /// later, from an operator that has seen it; so nothing that they can do is missing here.
    pub fn admits(&self) -> bool {
        match self.status() {
            Some(status) => status.used < status.hard,
            None => self.is_wild() && self.pods < CAP,
        }
    }

    /// What can't land any more need not be remembered. Where a namespace may be made again, a request to create can.
    pub fn may_land(&self, write: Write) -> bool {
        match write.kind {
            Kind::Create => self.quota.is_none() || self.deletable,
            Kind::Update => self.quota.is_some(),
            Kind::Overwrite => true,
        }
    }

    /// What the quota controller would write: it compares and swaps, so it counts what there is.
    pub fn counted(&self) -> Option<Quota> {
        self.quota.map(|q| Quota { status: Some(Status { hard: q.spec, used: self.pods }), ..q })
    }
}

impl State {
    /// The truth that `ledger::committed` estimates.
    pub fn committed(&self) -> Units {
        let of = |i: usize| {
            let reserved = self.ledger[i].map_or(0, |entry| entry.reserved);
            let space = &self.spaces[i];
            let says = space.quota.map_or(0, |quota| quota.spec);
            let used = space.status().map_or(0, |status| status.used);
            reserved.max(says).max(used).max(space.usable())
        };
        (0..NAMESPACES).map(of).sum()
    }

    pub fn usable(&self) -> Units {
        self.spaces.iter().map(Space::usable).sum()
    }

    pub fn used(&self) -> Units {
        self.spaces.iter().map(|space| space.pods).sum()
    }

    /// Namespace or quota is about to get another version: what was based on the present one is in vain. The operators
    /// in `readers` have read it just before.
    pub fn touch(&mut self, i: usize, readers: u8) {
        let vain = |w: &Write| w.kind == Kind::Update;
        let read = self.spaces[i].read();
        for write in &mut self.spaces[i].flying {
            *write = write.filter(|w| !vain(w));
        }
        for (o, operator) in self.operators.iter_mut().enumerate() {
            match operator {
                Operator::Reading(old) if readers & (1 << o) != 0 => old[i] = old[i].or(Some(read)),
                Operator::Reading(_) => {}
                Operator::Swapping { writes, .. } => writes[i] = writes[i].filter(|w| !vain(w)),
            }
        }
    }

    /// The department has another version now. Swaps based on the one before fail, unless they are `blind`.
    pub fn swap(&mut self, blind: bool) {
        if !blind {
            for operator in self.operators.iter_mut().filter(|o| matches!(o, Operator::Swapping { .. })) {
                *operator = AFRESH;
            }
        }
        let old = |promise: &mut u8| *promise = if *promise == FRESH { SWAPPED } else { *promise };
        (0..NAMESPACES).for_each(|i| self.promises(i, old));
    }

    /// Sends a write; of more than two only two are kept, the others are lost on the way.
    pub fn send(&mut self, i: usize, write: Write, keep_first: bool) {
        let flying = &mut self.spaces[i].flying;
        if flying.contains(&Some(write)) {
            return;
        }
        match flying.iter().position(Option::is_none) {
            Some(free) => flying[free] = Some(write),
            None if keep_first => flying[1] = Some(write),
            None => flying[0] = Some(write),
        }
    }

    /// Does it to every promise to namespace `i`, wherever it is.
    fn promises(&mut self, i: usize, mut change: impl FnMut(&mut u8)) {
        self.ledger[i].iter_mut().for_each(|e| change(&mut e.promise));
        let space = &mut self.spaces[i];
        space.quota.iter_mut().for_each(|q| change(&mut q.promise));
        space.flying.iter_mut().flatten().for_each(|w| change(&mut w.promise));
        for operator in &mut self.operators {
            match operator {
                Operator::Reading(old) => {
                    if let Some(Read::Quota(quota)) = &mut old[i] {
                        change(&mut quota.promise);
                    }
                }
                Operator::Swapping { ledger, writes } => {
                    ledger[i].iter_mut().for_each(|e| change(&mut e.promise));
                    writes[i].iter_mut().for_each(|w| change(&mut w.promise));
                }
            }
        }
    }

    /// One state for all that differ only in the names of promises, in which of the operators is which, in the order
    /// of what is under way and, if namespaces are `alike`, in which of them is which.
    pub fn canonical(mut self, alike: bool) -> Self {
        for i in 0..NAMESPACES {
            self.rename(i);
            self.spaces[i].flying.sort_unstable();
        }
        if alike {
            self.sort();
        }
        self.operators.sort_unstable_by(|a, b| b.cmp(a));
        self
    }

    /// Only promises that an entry has, or may get, can be told apart by anybody.
    pub fn rename(&mut self, i: usize) {
        let mut known = [DEAD; OPERATORS + 2];
        let mut count = 1;
        let swapping = self.operators.iter().map(|o| match o {
            Operator::Swapping { ledger, .. } => ledger[i],
            Operator::Reading(_) => None,
        });
        for entry in [self.ledger[i]].into_iter().chain(swapping).flatten() {
            if entry.promise != FRESH && !known[..count].contains(&entry.promise) {
                known[count] = entry.promise;
                count += 1;
            }
        }
        let names = &known[..count];
        self.promises(i, |promise| {
            if *promise != FRESH {
                let name = names.iter().position(|k| k == promise).unwrap_or(0);
                *promise = u8::try_from(name).unwrap_or(DEAD);
            }
        });
    }

    fn sort(&mut self) {
        let key = |i: usize| {
            let of = |operator: &Operator| match operator {
                Operator::Reading(old) => (old[i], None, None),
                Operator::Swapping { ledger, writes } => (None, ledger[i], writes[i]),
            };
            let [mut first, mut second] = [of(&self.operators[0]), of(&self.operators[1])];
            if first > second {
                (first, second) = (second, first);
            }
            (self.spaces[i], self.ledger[i], first, second)
        };
        let keys: [_; NAMESPACES] = std::array::from_fn(key);
        let mut order: [usize; NAMESPACES] = std::array::from_fn(|i| i);
        order.sort_unstable_by(|i, j| keys[*i].cmp(&keys[*j]));
        if order.is_sorted() {
            return;
        }
        self.spaces = order.map(|i| self.spaces[i]);
        self.ledger = order.map(|i| self.ledger[i]);
        self.operators = self.operators.map(|operator| match operator {
            Operator::Reading(old) => Operator::Reading(order.map(|i| old[i])),
            Operator::Swapping { ledger, writes } => {
                Operator::Swapping { ledger: order.map(|i| ledger[i]), writes: order.map(|i| writes[i]) }
            }
        });
    }
}
