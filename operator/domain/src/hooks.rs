//! In which order the hooks of a recovery point are run, and what their errors mean.
//!
//! All `before` in the order of the list; then data is taken; then all `after` in the reverse order, whatever came of the
//! run, of every hook whose `before` was begun. A step is written down before it is begun, so whoever comes next knows
//! that it was: a `before` that broke off with its operator has failed, an `after` is run again until it has an end.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::Selector;
use tripod_crds::hook::{Hook, HookPhase, HookProgress, HookState, OnError, Step};

use crate::duration;

/// No step takes longer.
pub const LONGEST: SignedDuration = SignedDuration::from_hours(1);
/// A Job of which nothing is known has this long, beyond its own time, to show itself.
const GRACE: SignedDuration = SignedDuration::from_secs(60);
/// Characters of a hook's words that are kept.
const WORDS: usize = 500;

/// How a step that was begun is seen to stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Nothing is known of it: it was never started, or who ran it is gone.
    Absent,
    Running,
    Failed(String),
    Succeeded(String),
}

/// By name of the hook and phase, those that were begun and have no end yet.
pub type Seen = BTreeMap<(String, HookPhase), StepState>;

/// Which step: the place of its hook in the list, and the phase.
pub type At = (usize, HookPhase);

/// Where the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Data is not all taken.
    Taking,
    /// Everything was taken, or nothing more will be.
    Over,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Write down that it is begun, then run it.
    Begin(At),
    /// It runs.
    Wait(At),
    /// Data may be taken.
    Take,
    /// No hook has anything to do any more; why the point can't be, if it can't.
    Done(Option<String>),
}

/// The steps as they stand now, and what comes next.
#[derive(Clone, Debug, PartialEq)]
pub struct Walk {
    pub steps: Vec<HookProgress>,
    pub next: Next,
}

/// The step of a hook at a place, with how long it may take and what its error means.
#[must_use]
pub fn step(hook: &Hook, phase: HookPhase) -> Option<&Step> {
    match phase {
        HookPhase::Before => hook.before.as_ref(),
        HookPhase::After => hook.after.as_ref(),
    }
}

/// How long a step may take. What can't be read was refused before; then it is the default.
#[must_use]
pub fn timeout(step: &Step) -> SignedDuration {
    let text = step.exec.as_ref().map(|e| &e.timeout).or(step.job.as_ref().map(|j| &j.timeout));
    let given = text.and_then(|text| duration::parse(text).ok());
    given.unwrap_or(SignedDuration::from_mins(5)).clamp(SignedDuration::from_secs(1), LONGEST)
}

fn on_error(step: &Step) -> OnError {
    step.exec.as_ref().map(|e| e.on_error).or(step.job.as_ref().map(|j| j.on_error)).unwrap_or_default()
}

/// What one policy can say wrong of its hooks that its schema lets pass.
///
/// # Errors
/// Names the field.
pub fn validate(hooks: &[Hook]) -> Result<(), String> {
    for (at, hook) in hooks.iter().enumerate() {
        for (phase, name) in [(HookPhase::Before, "before"), (HookPhase::After, "after")] {
            let Some(step) = step(hook, phase) else { continue };
            let field = |rest: &str| format!("spec.hooks[{at}].{name}.{rest}");
            let check = |text: &str, field: String| match duration::parse(text) {
                Ok(time) if time.is_zero() || time > LONGEST => {
                    Err(format!("{field}: {text} is not between 1s and {}", duration::format(LONGEST)))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(format!("{field}: {error}")),
            };
            if let Some(exec) = &step.exec {
                check(&exec.timeout, field("exec.timeout"))?;
                Selector::try_from(exec.selector.clone())
                    .map_err(|error| format!("{}: {error}", field("exec.selector")))?;
            }
            if let Some(job) = &step.job {
                check(&job.timeout, field("job.timeout"))?;
            }
        }
    }
    Ok(())
}

/// Walks the steps as far as they are. Pure, total.
#[must_use]
pub fn walk(hooks: &[Hook], steps: &[HookProgress], seen: &Seen, stage: Stage, now: Timestamp) -> Walk {
    let mut walk = Walk { steps: steps.to_vec(), next: Next::Take };
    let mut failed = None;
    let mut reached = hooks.len();
    for (at, hook) in hooks.iter().enumerate() {
        let Some(step) = &hook.before else { continue };
        match walk.settle(hook, HookPhase::Before, step, seen, now) {
            Settled::No(next) => {
                walk.next = next((at, HookPhase::Before));
                return walk;
            }
            Settled::Failed(words) if on_error(step) == OnError::Fail => {
                failed = Some(format!("spec.hooks[{at}].before ({}): {words}", hook.name));
                reached = at + 1;
                break;
            }
            Settled::Failed(_) | Settled::Succeeded => {}
        }
    }
    if failed.is_none() && stage == Stage::Taking {
        return walk;
    }
    for (at, hook) in hooks.iter().enumerate().take(reached).rev() {
        let Some(step) = &hook.after else { continue };
        match walk.settle(hook, HookPhase::After, step, seen, now) {
            Settled::No(next) => {
                walk.next = next((at, HookPhase::After));
                return walk;
            }
            Settled::Failed(words) if on_error(step) == OnError::Fail => {
                failed.get_or_insert(format!("spec.hooks[{at}].after ({}): {words}", hook.name));
            }
            Settled::Failed(_) | Settled::Succeeded => {}
        }
    }
    walk.next = Next::Done(failed);
    walk
}

enum Settled {
    /// It has no end yet.
    No(fn(At) -> Next),
    Succeeded,
    Failed(String),
}

impl Walk {
    /// Brings one step up to what is seen of it.
    fn settle(&mut self, hook: &Hook, phase: HookPhase, step: &Step, seen: &Seen, now: Timestamp) -> Settled {
        let Some(known) = self.steps.iter_mut().find(|s| s.name == hook.name && s.phase == phase) else {
            self.steps.push(HookProgress {
                name: hook.name.clone(),
                phase,
                state: HookState::Running,
                started_at: Time(Timestamp::from_second(now.as_second()).unwrap_or(now)),
                message: None,
            });
            return Settled::No(Next::Begin);
        };
        match known.state {
            HookState::Succeeded => return Settled::Succeeded,
            HookState::Failed => return Settled::Failed(known.message.clone().unwrap_or_default()),
            HookState::Running => {}
        }
        let (state, words) = match seen.get(&(hook.name.clone(), phase)).unwrap_or(&StepState::Absent) {
            StepState::Running => return Settled::No(Next::Wait),
            StepState::Succeeded(words) => (HookState::Succeeded, words.clone()),
            StepState::Failed(words) => (HookState::Failed, words.clone()),
            // A command may have done half of its work, and nobody can say which half.
            StepState::Absent if step.exec.is_some() && phase == HookPhase::Before => {
                (HookState::Failed, "it broke off: the operator was restarted while it ran".to_owned())
            }
            StepState::Absent => {
                let late = timeout(step).checked_add(GRACE).unwrap_or(LONGEST);
                // A command is bounded by who runs it; a Job that never comes has no such end.
                if step.exec.is_some() || now.duration_since(known.started_at.0) <= late {
                    return Settled::No(Next::Begin);
                }
                (HookState::Failed, format!("its Job was not there after {}", duration::format(late)))
            }
        };
        let words: String = words.trim().chars().take(WORDS).collect();
        known.state = state;
        known.message = Some(words.clone()).filter(|words| !words.is_empty());
        if state == HookState::Failed { Settled::Failed(words) } else { Settled::Succeeded }
    }
}

#[cfg(test)]
#[path = "hooks_tests.rs"]
mod tests;
