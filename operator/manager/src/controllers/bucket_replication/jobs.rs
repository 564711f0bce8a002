//! Large runs are made by the pods of a Job in the operator's namespace: begun here, watched in the store, ended here. A Job
//! goes when its run has ended, and when its replication is deleted, suspended or changed. Whoever leads next finds the run in
//! the store and the Job by its name.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::reflector::Store;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tripod_crds::BucketReplication;
use tripod_crds::bucket_replication::{Target, Workers};
use tripod_domain::bucket_replication::{Refusal, bytes};
use tripod_domain::bucket_replication_jobs::{self as domain, Next, Seen, Sizes, Way};
use tripod_replication::StoreError;
use tripod_replication::engine::shards::{self, Observer, Standing};
use tripod_replication::engine::{Deletes, History, Options, Place, Report};

use super::turn::Turn;
use super::work::{Pair, UNDER_WAY};
use super::worker_job::WorkerJob;
use crate::context::Ctx;
use crate::controllers::mover_job::last_words;
use crate::replicate::order::{At, Manifest, Order, VERSION};

/// How often it is looked how far workers are.
const LOOK: Duration = Duration::from_secs(3);
/// Bytes of a Job: what its pods are told is one variable of their environment, and Linux takes no longer one than 128 KiB.
const LARGEST: usize = 120 << 10;
/// How often it is looked for Jobs that nobody wants, when nothing has changed.
const SWEEP: Duration = Duration::from_mins(5);

/// Between two such looks, at least.
const REST: Duration = Duration::from_secs(3);

/// When runs of replications are made by Jobs.
#[derive(Args, Clone, Debug)]
pub struct JobArguments {
    /// Runs that copy so many objects, or compare 32 times as many, are made by the pods of a Job; 0: none is. Where the target's
    /// Centre limits the link, the operator makes them itself.
    #[arg(
        id = "replication_jobs_from_objects",
        long = "replication-jobs-from-objects",
        env = "TRIPOD_REPLICATION_JOBS_FROM_OBJECTS",
        value_name = "N",
        default_value_t = 1_000_000
    )]
    from_objects: u64,
    /// Pods of one such Job.
    #[arg(
        id = "replication_jobs_workers",
        long = "replication-jobs-workers",
        env = "TRIPOD_REPLICATION_JOBS_WORKERS",
        value_name = "N",
        default_value_t = 4,
        value_parser = clap::value_parser!(u16).range(1..=100)
    )]
    workers: u16,
    /// Parts that the keys are cut into for each of them.
    #[arg(
        id = "replication_jobs_shards_per_worker",
        long = "replication-jobs-shards-per-worker",
        env = "TRIPOD_REPLICATION_JOBS_SHARDS_PER_WORKER",
        value_name = "N",
        default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(1..=64)
    )]
    shards_per_worker: u16,
    /// What each of them requests and may use at most, as in a container: JSON.
    #[arg(
        id = "replication_jobs_resources",
        long = "replication-jobs-resources",
        env = "TRIPOD_REPLICATION_JOBS_RESOURCES",
        value_name = "JSON",
        value_parser = resources,
        default_value = r#"{"requests": {"cpu": "200m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "512Mi"}}"#
    )]
    resources: Value,
}

/// Quantities are text or numbers, as people write them.
fn resources(text: &str) -> Result<Value, String> {
    let mut value: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    for amounts in
        value.as_object_mut().into_iter().flatten().filter_map(|(_, amounts)| amounts.as_object_mut())
    {
        for amount in amounts.values_mut().filter(|amount| amount.is_number()) {
            *amount = Value::String(amount.to_string());
        }
    }
    let known: ResourceRequirements = serde_json::from_value(value.clone()).map_err(|e| e.to_string())?;
    let again = serde_json::to_value(known).map_err(|e| e.to_string())?;
    if again == value { Ok(value) } else { Err("it has more than `requests` and `limits`".to_owned()) }
}

impl JobArguments {
    fn sizes(&self) -> Sizes {
        let Self { from_objects, workers, shards_per_worker, .. } = *self;
        Sizes { from_objects, workers, shards_per_worker }
    }
}

/// Who makes the next run of a pair.
pub(super) async fn way(ctx: &Ctx, pair: &Pair) -> Result<Way, StoreError> {
    let sizes = ctx.replication_jobs.sizes();
    // What pods do is not counted where links are shared.
    let has_limits = pair.to.centre.spec.links.iter().any(|link| link.from == pair.from.centre.name_any());
    if sizes.from_objects == 0 || has_limits || pair.options.history != History::Latest {
        return Ok(Way::Operator);
    }
    let most = sizes.from_objects;
    let known = shards::inventory(&pair.source, &pair.destination, &pair.place, most).await?;
    Ok(domain::way(&sizes, known.recorded, known.unrecorded, known.begun))
}

/// Makes a run by a Job, or goes on with one; `None` where the target's store can't be used for that.
pub(super) async fn run(
    ctx: &Ctx,
    object: &BucketReplication,
    target: &Target,
    pair: &Pair,
    turn: &Turn,
) -> Result<Option<Report>, Refusal> {
    let _place = turn.wait_for_job().await;
    let Pair { source, destination, place, options, .. } = pair;
    let (parts, terms) = (ctx.replication_jobs.sizes().shards(), domain::terms(&object.spec));
    let opened = match shards::open(source, destination, place, options, parts, &terms).await {
        Err(error @ StoreError::Unsupported { .. }) => {
            tracing::warn!(%error, "a large run is made by the operator alone");
            return Ok(None);
        }
        opened => opened.map_err(|error| pair.explain(error))?,
    };
    let name = domain::name(&opened.run);
    tracing::info!(run = opened.run, job = name, taken_up = opened.taken_up, "a run by workers");
    // Those of other runs, and one that can't go on: a new one of the same name begins where it was.
    let is_over =
        |job: &Job| job.name_any() != name || !matches!(seen(Some(job)), Seen::Running | Seen::Leaving);
    remove(ctx, object, &target.centre, is_over).await?;
    let job = job(ctx, object, target, pair, &opened.run, &name)?;
    if job.to_string().len() > LARGEST {
        tracing::warn!(
            job = name,
            "filter and certificates are too long for a Job; the operator makes the run alone"
        );
        return Ok(None);
    }
    follow(ctx, pair, turn, &opened.run, &name, &job).await?;
    let report = shards::finish(source, destination, place, options, &opened.run, &turn.counters).await;
    let report = report.map_err(|error| pair.explain(error))?;
    turn.show(None);
    remove(ctx, object, &target.centre, |_| true).await?;
    Ok(Some(report))
}

/// Until all shards are whole, or the Job can't go on.
async fn follow(
    ctx: &Ctx,
    pair: &Pair,
    turn: &Turn,
    run: &str,
    name: &str,
    job: &Value,
) -> Result<(), Refusal> {
    let mut observer = Observer::new(&pair.place, run).map_err(|error| pair.explain(error))?;
    loop {
        let standing = observer.look(&turn.counters).await.map_err(|error| pair.explain(error))?;
        turn.show(Some(workers(name, standing)));
        let there = ctx.api::<Job>(&ctx.namespace).get_opt(name).await.map_err(|e| failed(name, &e))?;
        match domain::next(standing.is_whole(), &seen(there.as_ref())) {
            Next::Finish => return Ok(()),
            Next::Apply => {
                ctx.try_apply(&ctx.client, job).await.map_err(|e| failed(name, &e))?;
            }
            Next::Wait => {}
            Next::GiveUp(why) => {
                let words = last_words(ctx, &ctx.namespace, name).await.ok().flatten();
                let words = words.unwrap_or_else(|| "its pods said nothing".to_owned());
                let message = format!("Job {}/{name}: {why}; a pod: {words}", ctx.namespace);
                return Err(Refusal { reason: "JobFailed".to_owned(), message });
            }
        }
        sleep(LOOK).await;
    }
}

fn workers(job: &str, standing: Standing) -> Workers {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Workers {
        job: job.to_owned(),
        shards: number(standing.shards),
        shards_done: number(standing.whole),
        workers: number(standing.workers),
    }
}

fn seen(job: Option<&Job>) -> Seen {
    let Some(job) = job else { return Seen::Absent };
    if job.metadata.deletion_timestamp.is_some() {
        return Seen::Leaving;
    }
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    for condition in conditions.filter(|condition| condition.status == "True") {
        match condition.type_.as_str() {
            "Complete" => return Seen::Complete,
            "Failed" => {
                let words = [&condition.reason, &condition.message];
                let words: Vec<&str> = words.into_iter().flatten().map(String::as_str).collect();
                return Seen::Failed(words.join(": "));
            }
            _ => {}
        }
    }
    Seen::Running
}

fn job(
    ctx: &Ctx,
    object: &BucketReplication,
    target: &Target,
    pair: &Pair,
    run: &str,
    name: &str,
) -> Result<Value, Refusal> {
    let secret = |end: &super::work::End| {
        let reference = ctx.stores.reference(&end.centre);
        reference
            .map(|(_, at)| at.name.clone())
            .map_err(|error| Refusal { reason: "StoreUnavailable".to_owned(), message: error.to_string() })
    };
    let (reading, writing) = (secret(&pair.from)?, secret(&pair.to)?);
    let sizes = ctx.replication_jobs.sizes();
    Ok(WorkerJob {
        name,
        namespace: &ctx.namespace,
        image: &ctx.image,
        workers: sizes.workers,
        resources: &ctx.replication_jobs.resources,
        of: [&object.namespace().unwrap_or_default(), &object.name_any(), &target.centre],
        order: &order(object, pair, run, &sizes)
            .map_err(|message| Refusal { reason: "Invalid".to_owned(), message })?,
        secrets: [&reading, &writing],
    }
    .object())
}

fn order(object: &BucketReplication, pair: &Pair, run: &str, sizes: &Sizes) -> Result<Order, String> {
    let spec = &object.spec;
    // All of them: what a worker is not told it does not do. Limits are shared among workers, and histories never come here.
    let Options {
        deletes,
        filter,
        adopt: _,
        at_once: _,
        pace: _,
        requests: _,
        checkpoint: _,
        lacking,
        history: _,
        storage_classes,
    } = &pair.options;
    let Place::Bucket { bucket, prefix, .. } = &pair.place else {
        return Err("the manifest is in no bucket".to_owned());
    };
    Ok(Order {
        version: VERSION,
        run: run.to_owned(),
        source: At::of(&pair.from.config, &pair.from.bucket),
        target: At::of(&pair.to.config, &pair.to.bucket),
        manifest: Manifest { bucket: bucket.clone(), prefix: prefix.clone() },
        include: spec.filter.include.clone(),
        exclude: spec.filter.exclude.clone(),
        smallest: filter.smallest,
        largest: filter.largest,
        tags: filter.tags.clone(),
        deletes: if let Deletes::Mirror { most } = deletes { Some(*most) } else { None },
        at_once: UNDER_WAY,
        bandwidth: spec.bandwidth.as_ref().map(bytes).transpose()?.map(|all| sizes.share(all)),
        requests: spec.requests_per_second.map(|all| sizes.share(all.into())),
        storage_classes: storage_classes.clone(),
        lacking: *lacking,
    })
}

/// Deletes Jobs of a target, with their pods.
pub(super) async fn remove(
    ctx: &Ctx,
    object: &BucketReplication,
    target: &str,
    is_meant: impl Fn(&Job) -> bool,
) -> Result<(), Refusal> {
    let selector = domain::selector(&object.namespace().unwrap_or_default(), &object.name_any(), target);
    let jobs = list(ctx, &selector).await.map_err(|error| failed("of the target", &error))?;
    for job in jobs.iter().filter(|job| is_meant(job)) {
        delete(ctx, &job.name_any()).await.map_err(|error| failed(&job.name_any(), &error))?;
    }
    Ok(())
}

/// Deletes the Jobs of replications that are not meant any more, whenever one has changed, and now and then.
pub(super) async fn sweep(ctx: Arc<Ctx>, known: Store<BucketReplication>, changed: Arc<Notify>) {
    if known.wait_until_ready().await.is_err() {
        return std::future::pending().await;
    }
    loop {
        if let Err(error) = sweep_once(&ctx, &known).await {
            tracing::warn!(%error, "Jobs that nobody wants could not be looked for");
        }
        // Changes come in flocks; either is a reason to look.
        sleep(REST).await;
        let _ = timeout(SWEEP, changed.notified()).await;
    }
}

async fn sweep_once(ctx: &Ctx, known: &Store<BucketReplication>) -> Result<(), kube::Error> {
    let jobs = list(ctx, domain::NAME_LABEL).await?;
    // After the Jobs: what was made in between is not taken for gone.
    let objects = known.state();
    for job in jobs {
        let of = job.metadata.labels.clone().unwrap_or_default();
        if !domain::is_meant(&of, objects.iter().map(AsRef::as_ref)) {
            tracing::info!(job = job.name_any(), "its replication is not meant any more");
            delete(ctx, &job.name_any()).await?;
        }
    }
    Ok(())
}

async fn list(ctx: &Ctx, selector: &str) -> Result<Vec<Job>, kube::Error> {
    let jobs = ctx.api::<Job>(&ctx.namespace).list(&ListParams::default().labels(selector)).await?;
    Ok(jobs.items)
}

async fn delete(ctx: &Ctx, name: &str) -> Result<(), kube::Error> {
    match ctx.api::<Job>(&ctx.namespace).delete(name, &DeleteParams::background()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        deleted => deleted.map(drop),
    }
}

fn failed(job: &str, error: &kube::Error) -> Refusal {
    Refusal { reason: "JobFailed".to_owned(), message: format!("Job {job}: {error}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_job_is_seen_as_its_conditions_say() {
        let of = |status: Value| {
            let job: Job =
                serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap();
            seen(Some(&job))
        };
        let condition = |kind: &str, state: &str| json!({"conditions": [{"type": kind, "status": state, "reason": "R", "message": "m"}]});
        assert_eq!(seen(None), Seen::Absent);
        assert_eq!(of(json!({"active": 4})), Seen::Running);
        assert_eq!(of(condition("Complete", "True")), Seen::Complete);
        assert_eq!(of(condition("Failed", "False")), Seen::Running);
        assert_eq!(of(condition("Failed", "True")), Seen::Failed("R: m".into()));
        let leaving = json!({"metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(seen(Some(&serde_json::from_value(leaving).unwrap())), Seen::Leaving);
    }

    #[test]
    fn resources_are_those_of_a_container() {
        assert!(resources(r#"{"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}"#).is_ok());
        assert!(resources("{}").is_ok());
        assert_eq!(resources(r#"{"limits": {"cpu": 0.5}}"#), Ok(json!({"limits": {"cpu": "0.5"}})));
        for wrong in ["", "[]", r#"{"request": {"cpu": "1"}}"#, r#"{"requests": {"cpu": []}}"#] {
            assert!(resources(wrong).is_err(), "{wrong}");
        }
    }
}
