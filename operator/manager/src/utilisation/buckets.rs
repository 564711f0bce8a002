//! Objects and bytes in the buckets that systems protect. A listing is dear: it is made once in a long while, and what it
//! said holds until the next.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::BackupPolicy;
use tripod_domain::utilisation::{Measured, Readings};
use tripod_replication::Store;

use crate::context::Ctx;
use crate::stores::Stores;

const NANO: i128 = 1_000_000_000;

/// What was listed last.
pub(super) struct Buckets {
    every: i64,
    listed_at: Option<Timestamp>,
    /// By namespace, and when it was listed.
    known: HashMap<String, (Timestamp, Readings)>,
}

impl Buckets {
    pub(super) fn new(every: i64) -> Self {
        Self { every, listed_at: None, known: HashMap::new() }
    }

    /// Of every namespace whose policies name buckets. What was listed too long ago is unknown.
    pub(super) async fn read(&mut self, ctx: &Ctx, now: Timestamp) -> HashMap<String, Readings> {
        let due = self.listed_at.is_none_or(|at| now.duration_since(at).as_secs() >= self.every);
        if due {
            self.listed_at = Some(now);
            match self.list(ctx, now).await {
                Ok(known) => self.known = known,
                Err(error) => tracing::warn!(error, "buckets can't be measured"),
            }
        }
        let holds = |at: Timestamp| now.duration_since(at).as_secs() < 2 * self.every;
        self.known
            .iter()
            .map(|(namespace, (at, readings))| {
                let readings =
                    if holds(*at) { readings.clone() } else { unknown("the last listing is too old") };
                (namespace.clone(), readings)
            })
            .collect()
    }

    async fn list(
        &self,
        ctx: &Ctx,
        now: Timestamp,
    ) -> Result<HashMap<String, (Timestamp, Readings)>, String> {
        let policies = Api::<BackupPolicy>::all(ctx.client.clone()).list(&ListParams::default()).await;
        let policies = policies.map_err(|error| format!("policies can't be listed: {error}"))?;
        let mut buckets: HashMap<String, BTreeSet<String>> = HashMap::new();
        for policy in policies.items {
            let of = buckets.entry(policy.namespace().unwrap_or_default()).or_default();
            of.extend(policy.spec.include.buckets);
        }
        buckets.retain(|_, names| !names.is_empty());
        if buckets.is_empty() {
            return Ok(HashMap::new());
        }
        let centre = ctx.stores.centre(&ctx.centre).await.map_err(|error| error.to_string())?;
        let store = ctx.stores.open(&centre).await.map_err(|error| error.to_string())?;
        let mut known = HashMap::new();
        for (namespace, names) in buckets {
            let readings = match measure(&store, &namespace, &names).await {
                Ok((objects, bytes)) => {
                    [(Measured::BucketObjects, Ok(objects)), (Measured::BucketBytes, Ok(bytes))].into()
                }
                Err(why) => unknown(&why),
            };
            known.insert(namespace, (now, readings));
        }
        Ok(known)
    }
}

/// Of all of a system's buckets, each of which its owner has said to be the system's.
async fn measure(store: &Store, namespace: &str, buckets: &BTreeSet<String>) -> Result<(i128, i128), String> {
    let (mut objects, mut bytes) = (0, 0);
    for bucket in buckets {
        Stores::owned_bucket(store, bucket, namespace).await.map_err(|error| error.to_string())?;
        let size = store.measure(bucket).await.map_err(|error| error.to_string())?;
        objects += i128::from(size.objects) * NANO;
        bytes += i128::from(size.bytes) * NANO;
    }
    Ok((objects, bytes))
}

fn unknown(why: &str) -> Readings {
    [(Measured::BucketObjects, Err(why.to_owned())), (Measured::BucketBytes, Err(why.to_owned()))].into()
}
