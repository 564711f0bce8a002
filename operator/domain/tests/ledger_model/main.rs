//! Invariant 1, explored: no order of events lets what is committed of a department's budget grow beyond it.
//!
//! Every state that three namespaces and one or two operators can get into is visited, and each pass of an operator
//! goes through the real `ledger::plan`. Operators read each quota at any time before they plan, and may have read each
//! at another; they may stop anywhere and begin anew; what they sent lands later, in any order, or never. Grants, budget,
//! pods and the quota controller do what they like, as often as they like: nothing is bounded but the amounts (up to two
//! units of one resource) and the requests under way (two for each quota; of three, one is lost). Versions and promises
//! are only compared for equality, so their names don't count, and the number of states is finite.
//!
//! Left out:
//! - A recalculation by the quota controller from an old count (kubernetes issue 123434): it compares and swaps here.
//! - Anybody else who writes or deletes the quota, or the ledger.
//! - A resource that the budget begins or ceases to bound, while quotas were read, or sent, before that.
//! - A department that was read long ago, where nothing of the ledger is to be written: such a plan only lowers quotas.
//! - An adopted namespace that goes, and comes again with another life of its own; a role binding that lands in a
//!   namespace that was made again.
//!
//! `cargo test -p tripod-domain --test ledger_model -- --nocapture` tells how many states there are;
//! `TRIPOD_MODEL=large` explores more.

mod mutants;
mod operator;
mod settling;
mod state;
mod steps;
mod stories;

use std::time::Instant;

use mutants::Mutant;
use stateright::{Checker, HasDiscoveries, Model};
use steps::{COMMITTED, FILLS, SETTLES, Step, Story, USABLE, USED};
use stories::{CAUGHT, LARGE, ONE_OPERATOR, SMALL};

/// How a story went.
struct Explored {
    /// The property that does not hold, and what led there.
    broken: Option<(&'static str, Vec<Step>)>,
    said: String,
}

/// Explores all of it, or until something is found as `enough` says.
fn explore(story: Story, enough: HasDiscoveries) -> Explored {
    let (begin, threads) = (Instant::now(), std::thread::available_parallelism().map_or(1, usize::from));
    let model = story.checker().threads(threads).finish_when(enough);
    let checker = model.spawn_bfs().join();
    assert!(checker.is_done(), "{}: not all was explored", story.name);
    let mut found = checker.discoveries();
    let fills = found.remove(FILLS).is_some();
    let worst = [USED, USABLE, COMMITTED, SETTLES].into_iter().find(|property| found.contains_key(property));
    let broken = worst.and_then(|property| Some((property, found.remove(property)?.into_actions())));
    assert!(fills || broken.is_some(), "{}: the budget is never used, so nothing is shown", story.name);
    let end = broken.as_ref().map_or_else(
        || "complete".to_owned(),
        |(property, steps)| format!("\"{property}\" fails after {} steps", steps.len()),
    );
    let said = format!(
        "{}, {} namespaces, {} operators: {} states, max depth {}, {end}, {:.1} s",
        story.name,
        story.namespaces,
        story.operators,
        checker.unique_state_count(),
        checker.max_depth(),
        begin.elapsed().as_secs_f32(),
    );
    Explored { broken, said }
}

fn is_large() -> bool {
    std::env::var("TRIPOD_MODEL").is_ok_and(|size| size == "large")
}

fn holds(stories: &[Story]) {
    for story in stories {
        let explored = explore(*story, HasDiscoveries::AnyFailures);
        println!("model: {}", explored.said);
        assert!(explored.broken.is_none(), "{}: {:#?}", story.name, explored.broken);
    }
}

#[test]
fn what_is_committed_never_grows_beyond_the_budget() {
    holds(SMALL);
    if is_large() {
        holds(LARGE);
    }
}

/// Without any of them more is promised than the budget has, and if one looks on (large), more is really used; or nothing
/// is ever given back.
#[test]
fn every_rule_is_needed() {
    for (mutant, story) in CAUGHT {
        let harm = if *mutant == Mutant::NothingIsFenced { SETTLES } else { USED };
        let enough =
            if is_large() { HasDiscoveries::AllOf([harm].into()) } else { HasDiscoveries::AnyFailures };
        let explored = explore(Story { mutant: *mutant, ..*story }, enough);
        println!("mutant {mutant:?}: {}", explored.said);
        let noticed = explored.broken.is_some_and(|(property, _)| property == harm || !is_large());
        assert!(noticed, "{mutant:?} is not noticed");
    }
}

/// A quota that is made over another says zero: late or not, that takes nothing from anybody but the namespace itself.
#[test]
fn it_is_not_for_safety_that_a_quota_is_made_only_where_there_is_none() {
    holds(&[Story { mutant: Mutant::CreateOverwrites, ..ONE_OPERATOR }]);
}
