//! What the status of a replication says, and what people are told of its changes.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tripod_crds::BucketReplicationStatus;
use tripod_crds::bucket_replication::{LastRun, Mode, Target, TargetPhase, TargetStanding};

use super::{Current, Ended, Figures, Observed, Plan, Refusal, Runs, Step};
use super::{acted_on, bucket, served, source, standing};
use crate::conditions::{self, Verdict};
use crate::duration;

/// Runs that found nothing to do are written down so often: an idle replication must not keep the API server busy.
const QUIET: SignedDuration = SignedDuration::from_mins(10);
/// A look at some keys takes less, as a rule.
const LONG: SignedDuration = SignedDuration::from_secs(10);
/// Reasons that are no news when they come.
const USUAL: [&str; 5] = ["Starting", "Replicating", "Complete", "Suspended", "ServedElsewhere"];

/// The status that follows.
#[must_use]
pub fn status(seen: &Observed, plan: &Plan, now: Timestamp) -> BucketReplicationStatus {
    let generation = seen.object.metadata.generation;
    let nothing = Runs::default();
    let runs_of = |target: &Target| seen.targets.get(&target.centre).unwrap_or(&nothing);
    let mut next = BucketReplicationStatus {
        observed_generation: generation,
        conditions: seen.object.status.clone().unwrap_or_default().conditions,
        targets: served(seen).map(|target| stand(seen, plan, target, runs_of(target), now)).collect(),
    };
    let ready = ready(seen, plan, &next.targets);
    conditions::set(&mut next.conditions, "Ready", &ready, generation, now);
    // A new process knows nothing yet, and what the last one knew holds until the run that it makes at once has ended.
    let forgot = |target: &Target| runs_of(target).last.is_none() && standing(seen, target).is_some();
    let is_new = plan.refusal.is_none()
        && seen.object.spec.mode == Mode::Continuous
        && !seen.object.spec.suspend
        && served(seen).any(forgot);
    let before = conditions::find(&next.conditions, "InSync");
    if is_new && before.is_some_and(|c| c.observed_generation == generation) {
        return next;
    }
    let (state, reason, message) = in_sync(seen, plan, &next.targets, now);
    conditions::set_as(&mut next.conditions, "InSync", state, (reason, &message), generation, now);
    next
}

fn stand(seen: &Observed, plan: &Plan, target: &Target, runs: &Runs, now: Timestamp) -> TargetStanding {
    let spec = &seen.object.spec;
    let before = standing(seen, target);
    let stops = plan.steps.get(&target.centre) == Some(&Step::Stop);
    // Keys that are looked at one by one are no news, unless that takes long.
    let takes_long = |since: &Timestamp| now.duration_since(*since) > LONG;
    let is_shown =
        |current: &&Current| !current.is_touch || current.started_at.as_ref().is_some_and(takes_long);
    let current = runs.current.as_ref().filter(|_| !stops).filter(is_shown);
    // A look that finds nothing to do is no news each time; the first one is.
    let is_first = before.is_none_or(|before| before.last_run.is_none());
    let current = current.filter(|current| is_first || current.figures.wanted > 0);
    let running = current.and_then(|current| Some((current, current.started_at?)));
    let last = runs.last.as_ref();
    let made = last.and_then(|last| last.result.as_ref().ok().map(|figures| (last, figures)));
    let (last_run, last_complete_at) = history(spec.mode, before, made);
    let (phase, message) = if spec.suspend {
        (TargetPhase::Suspended, None)
    } else if running.is_some() {
        (TargetPhase::Running, trouble(last, before))
    } else {
        match trouble(last, before) {
            Some(trouble) => (TargetPhase::Failed, Some(trouble)),
            None if current.is_some() => {
                (TargetPhase::Idle, Some("waits until other runs have ended".to_owned()))
            }
            None => (TargetPhase::Idle, None),
        }
    };
    let pending = pending(running.map(|(current, _)| current), last, before);
    TargetStanding {
        centre: target.centre.clone(),
        source: source(spec),
        bucket: bucket(spec, target).to_owned(),
        phase,
        lag_seconds: lag(running.map(|(current, _)| current), last, before, now)
            .map(|lag| lag.max(runs.hints.missing.unwrap_or(0))),
        last_run,
        last_complete_at,
        objects_pending: pending.map(|(objects, _)| objects),
        bytes_pending: pending.map(|(_, bytes)| bytes),
        throughput: running.and_then(|(current, since)| throughput(&current.figures, since, now)),
        workers: running.and_then(|(current, _)| current.workers.clone()),
        last_run_token: acted_on(runs, before).cloned(),
        message,
    }
}

/// What the last run left undone, in words.
fn trouble(last: Option<&Ended>, before: Option<&TargetStanding>) -> Option<String> {
    match last.map(|last| &last.result) {
        None => before.filter(|b| b.phase == TargetPhase::Failed)?.message.clone(),
        Some(Err(refusal)) => Some(refusal.message.clone()),
        Some(Ok(figures)) => match (figures.fuse, figures.failed) {
            (Some(count), _) => Some(format!(
                "the source has {count} objects no more, which is more than spec.deletes.most; nothing was deleted. Raise it if \
                 that is meant"
            )),
            (None, 0) => None,
            (None, count) => {
                let example = figures.trouble.as_deref().unwrap_or("no reason is known");
                Some(format!("{count} objects were not replicated, for instance {example}"))
            }
        },
    }
}

/// A lag comes from a run that looked, and from nowhere else. While one has found what is missing and can't tell how old it
/// is, the lag is what it can be at most: what was written before the last look began is there.
fn lag(
    running: Option<&Current>,
    last: Option<&Ended>,
    before: Option<&TargetStanding>,
    now: Timestamp,
) -> Option<u64> {
    let known = known_lag(running, last, before)?;
    let lacks = running.is_some_and(|current| {
        current.figures.lag.is_none() && current.figures.wanted > current.figures.copied
    });
    if !lacks {
        return Some(known);
    }
    let most = u64::try_from(now.duration_since(last?.started_at).as_secs()).unwrap_or(0);
    Some(known.max(most))
}

fn known_lag(
    running: Option<&Current>,
    last: Option<&Ended>,
    before: Option<&TargetStanding>,
) -> Option<u64> {
    let reading = match last {
        Some(Ended { result: Ok(figures), .. }) => figures.lag,
        Some(Ended { result: Err(_), .. }) => None,
        None => before?.lag_seconds,
    };
    Some(reading?.max(running.and_then(|current| current.figures.lag).unwrap_or(0)))
}

fn pending(
    running: Option<&Current>,
    last: Option<&Ended>,
    before: Option<&TargetStanding>,
) -> Option<(u64, u64)> {
    let left = |figures: &Figures| {
        (
            figures.wanted.saturating_sub(figures.copied),
            figures.wanted_bytes.saturating_sub(figures.copied_bytes),
        )
    };
    if let Some(current) = running.filter(|current| current.figures.listed > 0) {
        return Some(left(&current.figures));
    }
    match last.map(|last| &last.result) {
        Some(Ok(figures)) if figures.failed == 0 => Some((0, 0)),
        Some(Ok(figures)) => Some((figures.failed, left(figures).1)),
        Some(Err(_)) => None,
        None => before.and_then(|before| before.objects_pending.zip(before.bytes_pending)),
    }
}

/// Two digits: more would be another status each time.
fn throughput(figures: &Figures, since: Timestamp, now: Timestamp) -> Option<u64> {
    let seconds = u64::try_from(now.duration_since(since).as_secs()).ok().filter(|s| *s > 0)?;
    let rate = figures.copied_bytes / seconds;
    // An object counts when all of it is there: nothing yet is no speed.
    let unit = 10_u64.pow(rate.checked_ilog10()?.saturating_sub(1));
    Some(rate / unit * unit)
}

fn history(
    mode: Mode,
    before: Option<&TargetStanding>,
    done: Option<(&Ended, &Figures)>,
) -> (Option<LastRun>, Option<Time>) {
    let written = before.and_then(|before| before.last_run.clone());
    let complete = before.and_then(|before| before.last_complete_at.clone());
    let Some((last, figures)) = done else { return (written, complete) };
    let run = LastRun {
        started_at: whole_second(last.started_at),
        ended_at: whole_second(last.ended_at),
        listed: figures.listed,
        copied: figures.copied,
        copied_bytes: figures.copied_bytes,
        deleted: figures.deleted,
        failed: figures.failed,
        drifted: figures.drifted,
        foreign: figures.foreign,
        fuse: figures.fuse,
        left_out: figures.left_out,
        not_kept: figures.not_kept.clone(),
    };
    let is_quiet = |before: &LastRun| {
        figures.is_whole()
            && before.failed == 0
            && before.fuse.is_none()
            && figures.copied + figures.deleted == 0
            && figures.foreign == before.foreign
            && figures.left_out == before.left_out
            && figures.not_kept == before.not_kept
            && last.ended_at.duration_since(before.ended_at.0) < QUIET
    };
    if mode == Mode::Continuous
        && let Some(before) = written.as_ref().filter(|before| is_quiet(before))
    {
        return (Some(before.clone()), complete);
    }
    let complete = if figures.is_whole() { Some(run.ended_at.clone()) } else { complete };
    (Some(run), complete)
}

fn whole_second(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn ready(seen: &Observed, plan: &Plan, standings: &[TargetStanding]) -> Verdict {
    let spec = &seen.object.spec;
    if let Some(refusal) = &plan.refusal {
        return refusal.clone();
    }
    if standings.is_empty() {
        let message =
            format!("{} serves none of the targets; their own operators look after them", seen.centre);
        return Verdict::yes("ServedElsewhere", message);
    }
    if spec.suspend {
        return Verdict::yes("Suspended", "spec.suspend is true: nothing is replicated");
    }
    let runs = |standing: &TargetStanding| seen.targets.get(&standing.centre).cloned().unwrap_or_default();
    for standing in standings {
        let Runs { current, last, .. } = runs(standing);
        let gets_on = current.is_some_and(|current| current.figures.listed > 0);
        let reason = match last.map(|last| last.result) {
            // One that gets further than the last one did has mended what was wrong.
            Some(Err(_)) | None if gets_on => continue,
            Some(Err(Refusal { reason, .. })) => reason,
            Some(Ok(figures)) if figures.fuse.is_some() => "DeletesHeldBack".to_owned(),
            Some(Ok(figures)) if figures.failed > 0 => "ObjectsFailed".to_owned(),
            Some(Ok(_)) => continue,
            None if standing.phase == TargetPhase::Failed => "RunFailed".to_owned(),
            None if standing.last_run.is_some() => continue,
            None => "Starting".to_owned(),
        };
        let message = standing.message.as_deref().unwrap_or("no run has got far enough to say more yet");
        return Verdict::no(reason, format!("target {}: {message}", standing.centre));
    }
    let is_done = |standing: &TargetStanding| {
        standing.last_complete_at.is_some() && standing.phase == TargetPhase::Idle
    };
    if spec.mode == Mode::Once && standings.iter().all(is_done) {
        return Verdict::yes("Complete", "everything was replicated once");
    }
    Verdict::yes("Replicating", "source and targets can be used")
}

/// `True`, `False` or `Unknown`, with a reason and a message: of all targets here, what is worst. Known to be wrong is worse
/// than unknown.
fn in_sync(
    seen: &Observed,
    plan: &Plan,
    standings: &[TargetStanding],
    now: Timestamp,
) -> (&'static str, &'static str, String) {
    let unknown = |reason, message: &str| ("Unknown", reason, message.to_owned());
    if plan.refusal.is_some() {
        return unknown("NotReplicated", "see the condition Ready");
    }
    if seen.object.spec.suspend {
        return unknown("Suspended", "nothing is replicated");
    }
    let each = standings.iter().map(|standing| {
        let (state, reason, message) = target_in_sync(seen, standing, now);
        (state, reason, format!("target {}: {message}", standing.centre))
    });
    let order = |state: &str| ["False", "Unknown", "True"].iter().position(|s| *s == state);
    let worst = each.min_by_key(|(state, _, _)| order(state));
    worst.unwrap_or_else(|| unknown("ServedElsewhere", "the operators of the targets know it"))
}

fn target_in_sync(
    seen: &Observed,
    standing: &TargetStanding,
    now: Timestamp,
) -> (&'static str, &'static str, String) {
    let spec = &seen.object.spec;
    let runs = seen.targets.get(&standing.centre);
    let last = runs.and_then(|runs| runs.last.as_ref());
    let rpo = spec.rpo.as_deref().and_then(|text| duration::parse(text).ok());
    // Not what it may be at most: only what is known counts against the objective.
    let lag = known_lag(runs.and_then(|runs| runs.current.as_ref()), last, Some(standing));
    let missing = runs.and_then(|runs| runs.hints.missing).unwrap_or(0);
    let lag = lag.map(|lag| lag.max(missing));
    let Some(lag) = standing.lag_seconds.and(lag) else {
        return match (last, &standing.message) {
            (None, None) => ("Unknown", "NoRunYet", "no run has ended yet".to_owned()),
            (_, message) => {
                let message = message.as_deref().unwrap_or("the last run could not tell");
                ("Unknown", "NoReading", message.to_owned())
            }
        };
    };
    let lag = SignedDuration::from_secs(i64::try_from(lag).unwrap_or(i64::MAX));
    let figures = last.and_then(|last| last.result.as_ref().ok());
    if figures.is_some_and(|figures| figures.fuse.is_some()) {
        return ("False", "DeletesHeldBack", standing.message.clone().unwrap_or_default());
    }
    let failed = figures.map(|f| f.failed).or(standing.last_run.as_ref().map(|run| run.failed)).unwrap_or(0);
    let Some(rpo) = rpo else {
        return if failed > 0 {
            ("False", "ObjectsMissing", format!("{failed} objects are missing"))
        } else {
            ("True", "InSync", "the last run left nothing".to_owned())
        };
    };
    if lag > rpo {
        let message = format!("an object that is {} old is not there yet", duration::format(lag));
        return ("False", "Lagging", message);
    }
    let looked_at = last.map(|last| last.started_at).or(standing.last_run.as_ref().map(|r| r.started_at.0));
    let is_old = looked_at.is_none_or(|at| now.duration_since(at) > rpo);
    if is_old && spec.mode != Mode::Once {
        let message = "the source was not looked at for longer than spec.rpo".to_owned();
        return ("Unknown", "ReadingTooOld", message);
    }
    ("True", "InSync", format!("what is older than {} is there", duration::format(rpo)))
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    pub is_warning: bool,
    pub reason: String,
    pub message: String,
}

/// What has changed that people should hear of.
#[must_use]
pub fn news(before: Option<&BucketReplicationStatus>, after: &BucketReplicationStatus) -> Vec<News> {
    let known = before.map(|status| status.targets.as_slice()).unwrap_or_default();
    let has_begun =
        |standing: &TargetStanding| standing.last_run.is_some() || standing.phase == TargetPhase::Running;
    let began = after.targets.iter().filter(|standing| {
        let earlier = known.iter().find(|k| {
            k.centre == standing.centre && k.source == standing.source && k.bucket == standing.bucket
        });
        has_begun(standing) && !earlier.is_some_and(has_begun)
    });
    let mut news: Vec<News> = began
        .map(|standing| News {
            is_warning: false,
            reason: "FirstRunStarted".to_owned(),
            message: format!("from {} to {}/{}", standing.source, standing.centre, standing.bucket),
        })
        .collect();
    let was = before.and_then(|status| conditions::find(&status.conditions, "Ready"));
    let Some(is) = conditions::find(&after.conditions, "Ready") else { return news };
    let is_usual = |reason: &str| USUAL.contains(&reason);
    let differs = was.is_none_or(|was| was.reason != is.reason);
    if differs && !is_usual(&is.reason) {
        news.push(News { is_warning: true, reason: is.reason.clone(), message: is.message.clone() });
    } else if is.status == "True" && was.is_some_and(|was| !is_usual(&was.reason)) {
        news.push(News { is_warning: false, reason: "Recovered".to_owned(), message: is.message.clone() });
    }
    news
}
