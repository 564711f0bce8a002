//! Safe is easy for who does nothing: what comes of a state when an operator is alone for long enough.

use crate::operator::{Pass, Wanted};
use crate::state::{AFRESH, NAMESPACES, OPERATORS, Quota, Space, State, Units};
use crate::steps::Story;

/// Passes; a shift takes: lower, release and grow, and twice as many where a quota has to be made first.
const LONG_ENOUGH: usize = 6;

/// What is under way is lost, members leave what is not wanted any more, the controller counts. Then everything that is
/// wanted and fits is enforced, and nothing is left to be done.
pub fn settles(story: &Story, state: &State) -> bool {
    story.wanted.iter().filter(|wanted| fits(state, **wanted)).all(|wanted| {
        let mut state = *state;
        state.operators = [AFRESH; OPERATORS];
        for (space, wanted) in state.spaces.iter_mut().zip(wanted) {
            space.flying = [None; 2];
            space.pods = space.pods.min(wanted.unwrap_or(0));
        }
        let rests = (0..LONG_ENOUGH).any(|_| !goes_on(story, &mut state, *wanted));
        let enforced = |(space, wanted): (&Space, &Option<Units>)| {
            let says = space.quota.map(|quota| quota.spec);
            !space.exists || wanted.is_some() && says == *wanted && space.counted() == space.quota
        };
        rests && state.spaces.iter().zip(wanted).all(enforced)
    })
}

fn fits(state: &State, wanted: Wanted) -> bool {
    wanted.iter().all(Option::is_some) && wanted.iter().flatten().sum::<Units>() <= state.budget
}

/// One pass with nobody else about; whether there was anything to do.
fn goes_on(story: &Story, state: &mut State, wanted: Wanted) -> bool {
    for space in &mut state.spaces {
        space.quota = space.counted();
    }
    let pass = Pass {
        budget: state.budget,
        ledger: state.ledger,
        read: state.spaces.map(|space| space.read()),
        live: [true; NAMESPACES],
        gone: state.spaces.map(|space| !space.exists),
        adopted: state.spaces.map(|space| space.adopted),
        wanted,
        reversed: false,
        mutant: story.mutant,
    };
    let planned = pass.plan();
    if planned.ledger.is_none() && planned.writes.iter().all(Option::is_none) {
        return false;
    }
    state.ledger = planned.ledger.unwrap_or(state.ledger);
    for (i, write) in planned.writes.into_iter().enumerate() {
        if let Some((write, _)) = write {
            let status = state.spaces[i].status();
            state.spaces[i].quota = Some(Quota { promise: write.promise, spec: write.hard, status });
        }
    }
    state.swap(false);
    (0..NAMESPACES).for_each(|i| state.rename(i));
    true
}
