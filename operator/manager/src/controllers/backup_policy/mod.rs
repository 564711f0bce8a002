//! BackupPolicy: makes a recovery point when one is due, has restores tested, and shows how the centres stand.

mod act;
mod observe;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::{BackupPolicy, BackupPolicyStatus, DisasterRecoveryDrill, RecoveryPoint};
use tripod_domain::backup_policy::{PROVEN, UNUSUAL};
use tripod_domain::{backup_policy, conditions, duration};

use crate::context::{Ctx, Error};

/// Runs until the process is told to stop.
pub async fn run(ctx: Arc<Ctx>) {
    let points: Api<RecoveryPoint> = Api::all(ctx.client.clone());
    let drills: Api<DisasterRecoveryDrill> = Api::all(ctx.client.clone());
    let policy_of = |namespace: Option<String>, policy: &str| {
        namespace.map(|namespace| ObjectRef::new(policy).within(&namespace))
    };
    let controller =
        Controller::new(Api::<BackupPolicy>::all(ctx.client.clone()), watcher::Config::default())
            .watches(points, watcher::Config::default(), move |point| {
                policy_of(point.namespace(), &point.spec.policy)
            })
            .watches(drills, watcher::Config::default(), move |drill| {
                policy_of(drill.namespace(), &drill.spec.policy)
            });
    super::drive("BackupPolicy", controller, super::FEW, ctx, reconcile).await;
}

async fn reconcile(object: Arc<BackupPolicy>, ctx: Arc<Ctx>) -> Result<SignedDuration, Error> {
    let namespace = object.namespace().unwrap_or_default();
    let seen = observe::observe(&ctx, &object).await?;
    let plan = backup_policy::decide(&seen, Timestamp::now());
    let created = act::act(&ctx, &object, &plan).await;
    let tested = act::tests(&ctx, &object, &plan.tests).await;
    let status = backup_policy::status(&seen, &plan, &created, Timestamp::now());
    measure(&ctx, &object, &status);
    let unusual = backup_policy::unusual(&seen.points).map(|(taken, _)| taken.as_second());
    ctx.metrics.set_unusual(&namespace, &object.name_any(), unusual);
    tell(&ctx, &object, &status).await;
    ctx.write_status(&ctx.api(&namespace), object.as_ref(), object.status.as_ref(), &status).await?;
    created.and(tested).map(|()| plan.recheck).map_err(Error::Other)
}

/// Shows how the centres stand against their objectives, as metrics.
fn measure(ctx: &Ctx, object: &BackupPolicy, status: &BackupPolicyStatus) {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    for standing in &status.centres {
        let taken = standing.newest_verified_at.as_ref().map(|t| t.0.as_second());
        ctx.metrics.set_verified(&namespace, &name, &standing.centre, taken);
    }
    for objective in &object.spec.objectives {
        let seconds = duration::parse(&objective.rpo).ok().map(|rpo| rpo.as_secs());
        ctx.metrics.set_objective(&namespace, &name, &objective.centre, seconds);
    }
    let tests = object.spec.restore_tests.as_ref();
    let most = tests.and_then(|tests| duration::parse(tests.max_age.as_ref()?).ok()).map(|age| age.as_secs());
    for proof in &status.proofs {
        let at = proof.proven_at.as_ref().map(|time| time.0.as_second());
        ctx.metrics.set_proof(&namespace, &name, &proof.centre, (at, most), proof.failure.is_none());
    }
}

/// An event when something is newly wrong.
async fn tell(ctx: &Ctx, object: &BackupPolicy, status: &BackupPolicyStatus) {
    let before = object.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    for (kind, wrong) in [("Ready", "False"), (PROVEN, "False"), (UNUSUAL, "True")] {
        let Some(now) = conditions::find(&status.conditions, kind).filter(|c| c.status == wrong) else {
            continue;
        };
        let known = conditions::find(before, kind).is_some_and(|known| match kind {
            // Each of them is news.
            UNUSUAL => known.message == now.message,
            _ => known.reason == now.reason,
        });
        // That nothing was tested yet is none.
        if !known && now.reason != "NeverProven" {
            ctx.tell(&object.object_ref(&()), true, &now.reason, &now.message).await;
        }
    }
}
