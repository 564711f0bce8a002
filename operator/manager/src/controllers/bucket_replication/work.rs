//! One run: whose the buckets are, then the engine. Every way in which it can't be done has a reason of its own.

use std::collections::BTreeMap;

use kube::ResourceExt;
use sha2::{Digest, Sha256};
use tripod_crds::bucket_replication::{DeletePolicy, History as Wanted, Target};
use tripod_crds::{BucketReplication, Centre};
use tripod_domain::bucket_replication::{REPLICA_TAG, Refusal, bucket, bytes, source};
use tripod_replication::engine::{self, Deletes, Filter, History, Options, Place, Report, Side};
use tripod_replication::rate::Pace;
use tripod_replication::wire::Wire;
use tripod_replication::{Store, StoreConfig, StoreError};

use super::runs::Turn;
use crate::context::Ctx;
use crate::stores::{SYSTEM_TAG, StoreAccess, Stores};
use crate::vault::layout;

/// Objects of a run that are under way at once: the operator has little memory.
const UNDER_WAY: usize = 128;
/// Replicas of replicas that are followed.
const CHAIN: usize = 8;

pub(super) async fn run(
    ctx: &Ctx,
    object: &BucketReplication,
    target: &Target,
    turn: Turn,
) -> Result<Report, Refusal> {
    let spec = &object.spec;
    let from = End::open(ctx, &spec.source.centre, &spec.source.bucket).await?;
    let to = End::open(ctx, &target.centre, bucket(spec, target)).await?;
    let system = object.namespace().unwrap_or_default();
    let tags = from.store.bucket_tags(&from.bucket).await.map_err(|e| from.failed("Source", &e.into()))?;
    Stores::owned_by_tags(&tags, &from.bucket, &system).map_err(|e| from.failed("Source", &e))?;
    refuse_a_ring(ctx, &tags, &to).await?;
    let name = source(spec);
    let (reading, writing) = (wire(&from)?, wire(&to)?);
    prepare(&to, &writing, &system, &name, spec.adopt).await?;

    let of = hex::encode(Sha256::digest(format!("{name} to {}", to.name())));
    let place = Place::Bucket {
        wire: writing.clone(),
        bucket: to.centre.spec.store.bucket.clone(),
        prefix: layout::replication(&system, &object.name_any(), &target.centre, &of[..10]),
    };
    let (source, destination) = (Side::new(reading, &from.bucket, ""), Side::new(writing, &to.bucket, ""));
    let options = options(object).map_err(|message| Refusal { reason: "Invalid".to_owned(), message })?;
    let _turn = turn.wait().await;
    let done = engine::replicate(&source, &destination, place, &options, &turn.counters).await;
    done.map_err(|error| explain(&from, &to, error))
}

/// A bucket at a centre, and the way to it.
struct End {
    centre: Centre,
    bucket: String,
    config: StoreConfig,
    store: Store,
}

impl End {
    async fn open(ctx: &Ctx, centre: &str, bucket: &str) -> Result<Self, Refusal> {
        let opened = async {
            let centre = ctx.stores.centre(centre).await?;
            let config = ctx.stores.config(&centre).await?;
            let store = Store::connect(&config)?;
            Ok(Self { centre, bucket: bucket.to_owned(), config, store })
        };
        opened.await.map_err(|error: StoreAccess| Refusal {
            reason: "StoreUnavailable".to_owned(),
            message: error.to_string(),
        })
    }

    /// As tags name it.
    fn name(&self) -> String {
        format!("{}/{}", self.centre.name_any(), self.bucket)
    }

    /// `which` is `Source` or `Target`.
    fn failed(&self, which: &str, error: &StoreAccess) -> Refusal {
        let what = match error {
            StoreAccess::Foreign(_) => "NotOwned",
            StoreAccess::Store(StoreError::NoSuchBucket { .. }) => "Missing",
            StoreAccess::Store(StoreError::Denied { .. }) => "Denied",
            StoreAccess::Store(error) if error.is_transient() => "Unreachable",
            _ => "Wrong",
        };
        Refusal { reason: format!("{which}{what}"), message: format!("{}: {error}", self.name()) }
    }
}

fn wire(end: &End) -> Result<Wire, Refusal> {
    Wire::connect(&end.config)
        .map_err(|error| Refusal { reason: "StoreUnavailable".to_owned(), message: error.to_string() })
}

/// A replica of the target can't be its source: what is deleted or damaged in one would go round for ever.
async fn refuse_a_ring(ctx: &Ctx, tags: &BTreeMap<String, String>, to: &End) -> Result<(), Refusal> {
    let mut of = tags.get(REPLICA_TAG).cloned();
    for _ in 0..CHAIN {
        let Some(name) = of else { return Ok(()) };
        if name == to.name() {
            return Err(Refusal {
                reason: "Loop".to_owned(),
                message: format!(
                    "the source is a replica of the target {name}, by its tag {REPLICA_TAG}; if that is over, delete the \
                     replication that made it one, and the tag"
                ),
            });
        }
        let Some((centre, bucket)) = name.split_once('/') else { return Ok(()) };
        // A centre that is lost must not stop what the others do.
        let Ok(next) = End::open(ctx, centre, bucket).await else { return Ok(()) };
        of = next.store.bucket_tags(bucket).await.ok().and_then(|mut tags| tags.remove(REPLICA_TAG));
    }
    Ok(())
}

/// The target is there, is the system's, and says whose replica it is.
async fn prepare(to: &End, wire: &Wire, system: &str, source: &str, adopt: bool) -> Result<(), Refusal> {
    let failed = |error: StoreError| to.failed("Target", &error.into());
    let (store, bucket) = (&to.store, to.bucket.as_str());
    if !store.has_bucket(bucket).await.map_err(failed)? {
        store.ensure_bucket(bucket, false).await.map_err(failed)?;
        // With versions, what a source overwrites or deletes can be had back. Not every store keeps them.
        if let Err(error) = store.ensure_bucket(bucket, true).await {
            tracing::warn!(bucket = to.name(), %error, "the bucket that was made keeps no versions");
        }
        let tags = [(SYSTEM_TAG, system), (REPLICA_TAG, source)];
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        return store.put_bucket_tags(bucket, &tags).await.map_err(failed);
    }
    let mut tags = store.bucket_tags(bucket).await.map_err(failed)?;
    Stores::owned_by_tags(&tags, bucket, system).map_err(|error| to.failed("Target", &error))?;
    match tags.get(REPLICA_TAG) {
        Some(of) if of == source => return Ok(()),
        Some(of) => {
            return Err(Refusal {
                reason: "TargetTaken".to_owned(),
                message: format!(
                    "{} is a replica of {of}, by its tag {REPLICA_TAG}; choose another bucket, or delete the tag",
                    to.name()
                ),
            });
        }
        None => {}
    }
    // The engine refuses one that is not empty; it must not be called a replica before.
    let is_empty = wire.list(bucket, "", None, None).await.map_err(failed)?.entries.is_empty();
    if is_empty || adopt {
        tags.insert(REPLICA_TAG.to_owned(), source.to_owned());
        store.put_bucket_tags(bucket, &tags).await.map_err(failed)?;
    }
    Ok(())
}

fn options(object: &BucketReplication) -> Result<Options, String> {
    let spec = &object.spec;
    let mut filter = Filter::globs(&spec.filter.include, &spec.filter.exclude)?;
    filter.smallest = spec.filter.min_size.as_ref().map(bytes).transpose()?;
    filter.largest = spec.filter.max_size.as_ref().map(bytes).transpose()?;
    Ok(Options {
        deletes: match spec.deletes.policy {
            DeletePolicy::Ignore => Deletes::Ignore,
            DeletePolicy::Mirror => Deletes::Mirror { most: spec.deletes.most.into() },
        },
        filter,
        adopt: spec.adopt,
        at_once: UNDER_WAY,
        pace: spec.bandwidth.as_ref().map(bytes).transpose()?.map(Pace::new),
        requests: spec.requests_per_second.map(|most| Pace::new(most.into())),
        history: match spec.history {
            Wanted::Latest => History::Latest,
            Wanted::AllVersions => History::All,
        },
        storage_classes: spec.storage_classes.clone(),
    })
}

/// What the engine could not do, by who is to blame.
fn explain(from: &End, to: &End, error: StoreError) -> Refusal {
    if matches!(&error, StoreError::Other { detail, .. } if detail.starts_with("is not empty")) {
        return Refusal { reason: "TargetNotEmpty".to_owned(), message: format!("{}: {error}", to.name()) };
    }
    let at = match &error {
        StoreError::Unreachable { endpoint, .. }
        | StoreError::Denied { endpoint, .. }
        | StoreError::Unsupported { endpoint, .. }
        | StoreError::NoSuchBucket { endpoint, .. } => endpoint.as_str(),
        _ => "",
    };
    let is_at = |end: &End| at == end.config.endpoint;
    match (is_at(from), is_at(to)) {
        (true, false) => from.failed("Source", &error.into()),
        (false, true) => to.failed("Target", &error.into()),
        _ => Refusal { reason: "RunFailed".to_owned(), message: error.to_string() },
    }
}
