//! BucketReplication: keeps departments' buckets in step at the centres that this operator serves. Runs are tasks beside
//! the controller; a pass starts them, stops them, and tells how they go. Large ones are made by the pods of a Job.

mod act;
mod figures;
mod findings;
mod hints;
mod jobs;
mod links;
mod observe;
mod runs;
mod turn;
mod work;
mod worker_job;

use std::sync::Arc;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::Controller;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::Notify;
use tripod_crds::bucket_replication::TargetStanding;
use tripod_crds::{BucketReplication, BucketReplicationStatus};
use tripod_domain::bucket_replication::{self as domain, Figures, Observed};
use tripod_domain::duration;

use crate::context::{Ctx, Error};
use crate::telemetry::metrics::Standings;

pub use self::jobs::JobArguments;
pub use self::links::Links;
pub use self::runs::RunsOfAll;
use self::runs::{Key, key};

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let (known, writer) = reflector::store();
    let stream = super::watched(Api::<BucketReplication>::all(ctx.client.clone()), writer);
    let (all, runs) = (known.clone(), ctx.runs.clone());
    let changed = Arc::new(Notify::new());
    let swept = changed.clone();
    // What is gone, or about other buckets now, runs no longer.
    let stream = stream.inspect(move |_| {
        runs.keep_only(|key| is_meant(&all, key));
        swept.notify_one();
    });
    let controller = Controller::for_stream(stream, known.clone()).reconcile_on(ctx.runs.open().boxed());
    let sweep = jobs::sweep(ctx.clone(), known.clone(), changed);
    let pass = move |object, ctx: Arc<Ctx>| {
        let (known, runs) = (known.clone(), ctx.runs.clone());
        async move {
            let again = reconcile(object, ctx).await;
            // The object may have gone while this pass began a run.
            runs.keep_only(|key| is_meant(&known, key));
            again
        }
    };
    tokio::select! {
        () = super::drive("BucketReplication", controller, super::FEW, ctx.clone(), pass) => {}
        () = sweep => {}
        () = links::keep(&ctx) => {}
    }
    ctx.runs.close();
    // Whoever leads next makes the same runs, and goes on with the Jobs that are there.
    ctx.runs.keep_only(|_| false);
}

fn is_meant(all: &Store<BucketReplication>, of: &Key) -> bool {
    let object = all.get(&ObjectRef::new(&of.name).within(&of.namespace));
    object.is_some_and(|object| object.spec.targets.iter().any(|target| key(&object, target) == *of))
}

async fn reconcile(object: Arc<BucketReplication>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let seen = observe::observe(&ctx, &object).await?;
    let plan = domain::decide(&seen, Timestamp::now());
    act::act(&ctx, &object, &plan).await;
    let status = domain::status(&seen, &plan, Timestamp::now());
    measure(&ctx, &seen, &status);
    for news in domain::news(object.status.as_ref(), &status) {
        ctx.tell(&object.object_ref(&()), news.is_warning, &news.reason, &news.message).await;
    }
    let api = ctx.api(&object.namespace().unwrap_or_default());
    ctx.write_status(&api, object.as_ref(), object.status.as_ref(), &status).await?;
    Ok(plan.recheck)
}

fn measure(ctx: &Ctx, seen: &Observed, status: &BucketReplicationStatus) {
    let spec = &seen.object.spec;
    let objective = spec.rpo.as_deref().and_then(|rpo| duration::parse(rpo).ok()).map(|rpo| rpo.as_secs());
    for target in domain::served(seen) {
        let Some(standing) = status.targets.iter().find(|s| s.centre == target.centre) else { continue };
        let gauge = |value: Option<u64>| value.and_then(|n| i64::try_from(n).ok());
        let standings = Standings {
            lag: gauge(standing.lag_seconds),
            objects: gauge(standing.objects_pending),
            bytes: gauge(standing.bytes_pending),
            complete_at: complete_at(seen, standing),
            objective: objective.filter(|_| !spec.suspend),
        };
        ctx.metrics.set_replication(&key(&seen.object, target).labels(), standings);
    }
}

/// To the second, where the status is written less often.
fn complete_at(seen: &Observed, standing: &TargetStanding) -> Option<i64> {
    let last = seen.targets.get(&standing.centre).and_then(|runs| runs.last.as_ref());
    let whole = last.filter(|last| last.result.as_ref().is_ok_and(Figures::is_whole));
    let known = whole.map(|last| last.ended_at).or(standing.last_complete_at.as_ref().map(|t| t.0));
    known.map(Timestamp::as_second)
}
