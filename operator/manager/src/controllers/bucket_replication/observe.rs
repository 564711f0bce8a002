//! Reads the Centres, and what is known of the object's runs.

use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::{BucketReplication, Centre};
use tripod_domain::bucket_replication::{Known, Observed};
use tripod_domain::link;
use tripod_replication::engine::Filter;

use super::runs::key;
use crate::context::{Ctx, Error};

pub(super) async fn observe(ctx: &Ctx, object: &BucketReplication) -> Result<Observed, Error> {
    let centres = Api::<Centre>::all(ctx.client.clone()).list(&ListParams::default()).await?;
    let known = |centre: &Centre| Known {
        served_here: centre.is_served_by(&ctx.centre),
        kept: vec![centre.spec.store.bucket.clone(), centre.spec.store.replica_bucket()],
        links: link::check(&centre.spec.links),
    };
    let filter = &object.spec.filter;
    let served = |name: &str| centres.iter().any(|c| c.name_any() == name && c.is_served_by(&ctx.centre));
    let targets = object.spec.targets.iter().filter(|target| served(&target.centre));
    Ok(Observed {
        object: object.clone(),
        centre: ctx.centre.clone(),
        centres: centres.iter().map(|centre| (centre.name_any(), known(centre))).collect(),
        patterns: Filter::globs(&filter.include, &filter.exclude).map(drop),
        targets: targets.map(|target| (target.centre.clone(), ctx.runs.look(&key(object, target)))).collect(),
    })
}
