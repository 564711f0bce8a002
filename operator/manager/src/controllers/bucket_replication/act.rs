//! Starts and stops runs, and the Jobs that make them.

use std::sync::Arc;

use tripod_crds::BucketReplication;
use tripod_domain::bucket_replication::{Plan, Step, token};

use super::runs::{Asked, key};
use super::{jobs, work};
use crate::context::Ctx;

pub(super) async fn act(ctx: &Arc<Ctx>, object: &Arc<BucketReplication>, plan: &Plan) {
    for target in &object.spec.targets {
        let key = key(object, target);
        match plan.steps.get(&target.centre) {
            Some(step @ (Step::Start | Step::Touch)) => {
                let is_touch = *step == Step::Touch;
                let asked = Asked { generation: object.metadata.generation, token: token(object).cloned() };
                let (ctx, object, target) = (ctx.clone(), object.clone(), target.clone());
                let runs = ctx.runs.clone();
                runs.start(&key, asked, is_touch, |turn| async move {
                    // Large, and there are few.
                    Box::pin(work::run(&ctx, &object, &target, turn)).await
                });
            }
            Some(Step::Stop) => {
                ctx.runs.stop(&key);
                if let Err(refusal) = jobs::remove(ctx, object, &target.centre, |_| true).await {
                    tracing::warn!(
                        error = refusal.message,
                        "the Job of a run that was stopped goes on for now"
                    );
                }
            }
            Some(Step::Leave) | None => {}
        }
    }
}
