//! BackupPolicy: makes a recovery point when one is due, has restores tested, and shows how the centres stand.

mod act;
mod observe;
mod storage;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::{BackupPolicy, BackupPolicyStatus, DisasterRecoveryDrill, RecoveryPoint};
use tripod_domain::backup_policy::{Outcome, PROVEN, UNUSUAL};
use tripod_domain::{backup_policy, conditions, duration};

use crate::context::{Ctx, Error};
use crate::telemetry::policies::{AtCentre, Shown};

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
    let outcome = Outcome { created, tested };
    let status = backup_policy::status(&seen, &plan, &outcome, Timestamp::now());
    let unusual_at = backup_policy::unusual(&seen.points).map(|(taken, _)| taken.as_second());
    ctx.metrics.policies.show(&namespace, &object.name_any(), shown(&object, &status, unusual_at));
    tell(&ctx, &object, &status).await;
    ctx.write_status(&ctx.api(&namespace), object.as_ref(), object.status.as_ref(), &status).await?;
    outcome.created.and(outcome.tested).map(|()| plan.recheck).map_err(Error::Other)
}

/// How the centres stand against their objectives, and what restore tests have proved where some are asked for.
fn shown(object: &BackupPolicy, status: &BackupPolicyStatus, unusual_at: Option<i64>) -> Shown {
    let seconds = |text: &String| duration::parse(text).ok().map(|span| span.as_secs());
    let mut centres: BTreeMap<String, AtCentre> = BTreeMap::new();
    for standing in &status.centres {
        let at = centres.entry(standing.centre.clone()).or_default();
        at.verified_at = standing.newest_verified_at.as_ref().map(|time| time.0.as_second());
    }
    for objective in &object.spec.objectives {
        centres.entry(objective.centre.clone()).or_default().objective = seconds(&objective.rpo);
    }
    if let Some(tests) = &object.spec.restore_tests {
        for proof in status.proofs.iter().filter(|proof| tests.covers(&proof.centre)) {
            let at = centres.entry(proof.centre.clone()).or_default();
            at.proven_at = proof.proven_at.as_ref().map(|time| time.0.as_second());
            at.proof_objective = tests.max_age.as_ref().and_then(seconds);
            at.test_passed = Some(proof.failure.is_none());
        }
    }
    Shown { centres, unusual_at }
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
