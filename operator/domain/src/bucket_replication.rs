//! When a bucket is replicated to each of its targets, and what is refused before a store is asked. What the stores say
//! comes from runs, and is told by the status.

#[path = "bucket_replication_status.rs"]
mod status;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use tripod_crds::BucketReplication;
use tripod_crds::bucket_replication::{
    BucketReplicationSpec, DeletePolicy, History, Mode, Target, TargetStanding, Workers,
};

use crate::backup_policy::RUN_ANNOTATION;
use crate::conditions::Verdict;
use crate::schedule::Schedule;
use crate::{duration, poll, quantity};

pub use self::status::{News, news, status};

/// Bucket tag of a replica: `centre/bucket` that it is one of.
pub const REPLICA_TAG: &str = "tripod.cloud/replica-of";
/// Begins the names of buckets that the platform makes, scratch buckets of drills among them.
const RESERVED: &str = "tripod-";
/// How often a run that is under way is looked at.
const LOOK: SignedDuration = SignedDuration::from_secs(5);
/// How soon one that was just started is.
const SOON: SignedDuration = SignedDuration::from_secs(2);
/// Events ask for whole runs so often at most.
const HINTED: SignedDuration = SignedDuration::from_mins(1);
const REST: SignedDuration = SignedDuration::from_mins(1);
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(10);
const LAST_RETRY: SignedDuration = SignedDuration::from_mins(5);

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub object: BucketReplication,
    /// The centre of this operator.
    pub centre: String,
    /// All Centres of this cluster.
    pub centres: BTreeMap<String, Known>,
    /// Whether the filter's patterns are patterns.
    pub patterns: Result<(), String>,
    /// By centre, what is known here of the targets' runs. It is lost with the process.
    pub targets: BTreeMap<String, Runs>,
}

/// A Centre.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Whether this operator serves it.
    pub served_here: bool,
    /// Buckets there that are the platform's.
    pub kept: Vec<String>,
    /// What is wrong with the limits of its links.
    pub links: Result<(), String>,
}

/// The runs into one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runs {
    pub current: Option<Current>,
    pub last: Option<Ended>,
    pub hints: Hints,
}

/// What events have told, and no whole run has looked at since.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Keys to be looked at.
    pub keys: usize,
    /// Something was deleted at the source; only a whole run deletes.
    pub gone: bool,
    /// A whole run is asked for: more has changed than can be looked at one by one, or something could not be copied.
    pub whole: bool,
    /// Age in seconds of the oldest object that was looked at and could not be copied.
    pub missing: Option<u64>,
}

/// A run that is under way, or waits for its turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Current {
    /// Only some keys are looked at.
    pub is_touch: bool,
    /// Of the object when it was started.
    pub generation: Option<i64>,
    /// `None` while it waits.
    pub started_at: Option<Timestamp>,
    pub figures: Figures,
    /// Who makes it, where that is not the operator itself.
    pub workers: Option<Workers>,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    pub generation: Option<i64>,
    /// The run token of the object when it was started.
    pub token: Option<String>,
    pub started_at: Timestamp,
    pub ended_at: Timestamp,
    /// Runs in a row, this one included, that could not be made or left something.
    pub failures: u32,
    /// Runs in a row, this one included, that had nothing to do.
    pub quiet: u32,
    pub result: Result<Figures, Refusal>,
}

/// Why a run could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `CamelCase`, for a condition.
    pub reason: String,
    pub message: String,
}

/// What a run has done, or has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub listed: u64,
    /// To be copied.
    pub wanted: u64,
    pub wanted_bytes: u64,
    pub copied: u64,
    pub copied_bytes: u64,
    pub deleted: u64,
    pub failed: u64,
    pub drifted: u64,
    pub foreign: u64,
    pub fuse: Option<u64>,
    /// Objects that lack the tags that were asked for.
    pub left_out: u64,
    /// What is not at the target as it is at the source, in words.
    pub not_kept: Vec<String>,
    /// Seconds: while it runs, the age of the oldest object that the target lacked; at its end, of the oldest that it lacks
    /// now. `None` where that is not known.
    pub lag: Option<u64>,
    /// One of the objects that failed, with its reason.
    pub trouble: Option<String>,
}

impl Figures {
    /// Whether something had changed.
    #[must_use]
    pub fn found_something(&self) -> bool {
        self.copied + self.deleted > 0
    }

    /// Whether the target holds all that the source held.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.failed == 0 && self.fuse.is_none()
    }
}

/// What to do, and why not.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// What is wrong with the object. Then nothing is done.
    pub refusal: Option<Verdict>,
    /// By centre, for the targets that this operator serves.
    pub steps: BTreeMap<String, Step>,
    /// Look again after this long, if nothing changes before.
    pub recheck: SignedDuration,
}

/// For one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Start,
    /// Look at the keys that events have named.
    Touch,
    /// End the run that is under way.
    Stop,
    Leave,
}

/// The bucket of a target.
#[must_use]
pub fn bucket<'a>(spec: &'a BucketReplicationSpec, target: &'a Target) -> &'a str {
    target.bucket.as_deref().unwrap_or(&spec.source.bucket)
}

/// The source, in a word.
#[must_use]
pub fn source(spec: &BucketReplicationSpec) -> String {
    format!("{}/{}", spec.source.centre, spec.source.bucket)
}

/// The token of the run that is asked for.
#[must_use]
pub fn token(object: &BucketReplication) -> Option<&String> {
    object.metadata.annotations.as_ref()?.get(RUN_ANNOTATION)
}

/// A quantity of bytes.
///
/// # Errors
/// Says which text is none.
pub fn bytes(amount: &Quantity) -> Result<u64, String> {
    let whole = quantity::parse(amount)? / 1_000_000_000;
    u64::try_from(whole)
        .ok()
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("{:?} is no amount of bytes", amount.0))
}

/// The targets that this operator serves.
pub fn served(seen: &Observed) -> impl Iterator<Item = &Target> {
    let here = |target: &&Target| seen.centres.get(&target.centre).is_some_and(|c| c.served_here);
    seen.object.spec.targets.iter().filter(here)
}

/// What the status says of a target, where it is about the same two buckets.
#[must_use]
pub fn standing<'a>(seen: &'a Observed, target: &Target) -> Option<&'a TargetStanding> {
    let spec = &seen.object.spec;
    let all = seen.object.status.as_ref().map(|status| status.targets.as_slice()).unwrap_or_default();
    all.iter().find(|standing| {
        standing.centre == target.centre
            && standing.bucket == bucket(spec, target)
            && standing.source == source(spec)
    })
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed, now: Timestamp) -> Plan {
    let checked = check(seen);
    let mut plan = Plan { refusal: None, steps: BTreeMap::new(), recheck: REST };
    let nothing = Runs::default();
    for target in served(seen) {
        let runs = seen.targets.get(&target.centre).unwrap_or(&nothing);
        let (step, wait) = match &checked {
            Ok(rhythm) if !seen.object.spec.suspend => next(seen, target, runs, rhythm, now),
            _ if runs.current.is_some() => (Step::Stop, SOON),
            _ => (Step::Leave, REST),
        };
        plan.steps.insert(target.centre.clone(), step);
        plan.recheck = plan.recheck.min(wait);
    }
    plan.recheck = plan.recheck.max(SignedDuration::from_secs(1));
    plan.refusal = checked.err();
    plan
}

/// When runs are due, once it was read.
enum Rhythm {
    Once,
    At(Box<Schedule>),
    /// The shortest and the longest wait, and the one where events ask for a whole run.
    Every {
        shortest: SignedDuration,
        longest: SignedDuration,
        hinted: SignedDuration,
    },
}

fn check(seen: &Observed) -> Result<Rhythm, Verdict> {
    let spec = &seen.object.spec;
    let invalid = |field: &str| {
        let field = field.to_owned();
        move |error: String| Verdict::no("Invalid", format!("spec.{field}: {error}"))
    };
    let poll = duration::parse(&spec.poll_interval).map_err(invalid("pollInterval"))?;
    let shortest = spec.min_poll_interval.as_deref().map(duration::parse).transpose();
    let shortest = shortest.map_err(invalid("minPollInterval"))?;
    if shortest.is_some_and(|shortest| shortest > poll) {
        return Err(invalid("minPollInterval")("it is longer than spec.pollInterval".to_owned()));
    }
    let rhythm = match (spec.mode, &spec.schedule) {
        (Mode::Once, _) => Rhythm::Once,
        (Mode::Continuous, _) => Rhythm::Every {
            shortest: shortest.unwrap_or(poll),
            longest: poll,
            hinted: shortest.map_or(HINTED, |shortest| shortest.max(HINTED)),
        },
        (Mode::Scheduled, schedule) => {
            let schedule = Schedule::parse(schedule.as_deref().unwrap_or_default());
            Rhythm::At(Box::new(schedule.map_err(invalid("schedule"))?))
        }
    };
    let rpo = spec.rpo.as_deref().map(duration::parse).transpose().map_err(invalid("rpo"))?;
    if let (Rhythm::Every { longest: poll, .. }, Some(rpo)) = (&rhythm, rpo)
        && rpo < *poll
    {
        return Err(invalid("rpo")("it is shorter than spec.pollInterval, and so can't be kept".to_owned()));
    }
    seen.patterns.clone().map_err(invalid("filter"))?;
    for (field, amount) in [
        ("bandwidth", &spec.bandwidth),
        ("filter.minSize", &spec.filter.min_size),
        ("filter.maxSize", &spec.filter.max_size),
    ] {
        amount.as_ref().map(bytes).transpose().map_err(invalid(field))?;
    }
    if let Some(name) = spec.filter.tags.keys().find(|name| !(1..=128).contains(&name.chars().count())) {
        return Err(invalid("filter.tags")(format!(
            "{name:?} is no name of a tag: it has 1 to 128 characters"
        )));
    }
    check_places(seen)?;
    Ok(rhythm)
}

fn check_places(seen: &Observed) -> Result<(), Verdict> {
    let spec = &seen.object.spec;
    let known = |field: &str, centre: &str| {
        seen.centres.get(centre).ok_or_else(|| {
            let names = seen.centres.keys().cloned().collect::<Vec<_>>().join(", ");
            Verdict::no(
                "UnknownCentre",
                format!("spec.{field}: no Centre is named {centre:?}; there are: {names}"),
            )
        })
    };
    known("source.centre", &spec.source.centre)?;
    for (at, target) in spec.targets.iter().enumerate() {
        let centre = known(&format!("targets[{at}].centre"), &target.centre)?;
        let bucket = bucket(spec, target);
        // One that is not there would be made, and taken for the platform's later.
        if bucket.starts_with(RESERVED) || centre.kept.iter().any(|kept| kept == bucket) {
            let message =
                format!("spec.targets[{at}].bucket: {bucket:?} is a name of the platform's buckets");
            return Err(Verdict::no("BucketReserved", message));
        }
        if let (true, Err(error)) = (centre.served_here, &centre.links) {
            return Err(Verdict::no("LinkInvalid", format!("Centre {}: {error}", target.centre)));
        }
    }
    Ok(())
}

fn next(
    seen: &Observed,
    target: &Target,
    runs: &Runs,
    rhythm: &Rhythm,
    now: Timestamp,
) -> (Step, SignedDuration) {
    let generation = seen.object.metadata.generation;
    if let Some(current) = &runs.current {
        // What it was started with is not what is wanted any more.
        return if current.generation == generation { (Step::Leave, LOOK) } else { (Step::Stop, SOON) };
    }
    let due = due(seen, target, runs, rhythm, now);
    let wait = due.map_or(REST, |at| at.duration_since(now));
    if !wait.is_positive() {
        return (Step::Start, SOON);
    }
    if runs.hints.keys > 0 && may_touch(seen, target, runs, rhythm) {
        (Step::Touch, SOON)
    } else {
        (Step::Leave, wait)
    }
}

/// Whether keys may be looked at one by one: a whole run has been made, and the next one is not meant for a certain moment.
fn may_touch(seen: &Observed, target: &Target, runs: &Runs, rhythm: &Rhythm) -> bool {
    let was_made = match &runs.last {
        Some(last) => last.result.is_ok(),
        None => standing(seen, target).is_some_and(|standing| standing.last_run.is_some()),
    };
    let has_keys = seen.object.spec.history == History::Latest;
    was_made && has_keys && matches!(rhythm, Rhythm::Every { .. })
}

/// When the next run is due; `None` where none is.
fn due(seen: &Observed, target: &Target, runs: &Runs, rhythm: &Rhythm, now: Timestamp) -> Option<Timestamp> {
    let (object, standing) = (&seen.object, standing(seen, target));
    let token = token(object);
    let failed = runs.last.as_ref().filter(|last| {
        let left = match &last.result {
            Err(_) => true,
            // Others come again by themselves.
            Ok(figures) => matches!(rhythm, Rhythm::Once) && !figures.is_whole(),
        };
        left && last.generation == object.metadata.generation && last.token.as_ref() == token
    });
    if let Some(last) = failed {
        return Some(last.ended_at + pause(last.failures));
    }
    if token.is_some() && token != acted_on(runs, standing) {
        return Some(now);
    }
    let began = match &runs.last {
        Some(Ended { result: Ok(_), started_at, .. }) => Some(*started_at),
        _ => standing.and_then(|s| s.last_run.as_ref()).map(|run| run.started_at.0),
    };
    match rhythm {
        Rhythm::Once => {
            let done = match &runs.last {
                Some(last) => last.result.as_ref().is_ok_and(Figures::is_whole),
                None => standing.is_some_and(|s| s.last_complete_at.is_some()),
            };
            (!done).then_some(now)
        }
        Rhythm::Every { shortest, longest, hinted } => {
            // What a process before this one has found is not known.
            let quiet = runs.last.as_ref().map_or(0, |last| last.quiet);
            let wait = poll::wait(*shortest, *longest, quiet);
            let gone = runs.hints.gone && object.spec.deletes.policy == DeletePolicy::Mirror;
            // A history is looked at whole.
            let history = object.spec.history != History::Latest && (runs.hints.gone || runs.hints.keys > 0);
            let wait = if runs.hints.whole || gone || history { wait.min(*hinted) } else { wait };
            Some(began.map_or(now, |at| at + wait))
        }
        Rhythm::At(schedule) => {
            let since = began.or(object.metadata.creation_timestamp.as_ref().map(|t| t.0)).unwrap_or(now);
            schedule.due(since, now).or_else(|| schedule.next(now))
        }
    }
}

/// The token of the last run that could be made.
fn acted_on<'a>(runs: &'a Runs, standing: Option<&'a TargetStanding>) -> Option<&'a String> {
    let made = runs.last.as_ref().filter(|last| last.result.is_ok()).and_then(|last| last.token.as_ref());
    made.or_else(|| standing?.last_run_token.as_ref())
}

fn pause(failures: u32) -> SignedDuration {
    FIRST_RETRY.saturating_mul(1 << failures.saturating_sub(1).min(8)).min(LAST_RETRY)
}

#[cfg(test)]
#[path = "bucket_replication_tests.rs"]
mod tests;
