//! One run: whose the buckets are, then the engine. Every way in which it can't be done has a reason of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use sha2::{Digest, Sha256};
use tripod_crds::bucket_replication::{DeletePolicy, History as Wanted, Target};
use tripod_crds::{BucketReplication, Centre};
use tripod_domain::bucket_replication::{REPLICA_TAG, Refusal, bucket, bytes, source};
use tripod_domain::bucket_replication_jobs::Way;
use tripod_replication::engine::{self, Counters, Deletes, Filter, History, Options, Place, Report, Side};
use tripod_replication::fair::Link;
use tripod_replication::rate::Pace;
use tripod_replication::wire::Wire;
use tripod_replication::{Store, StoreConfig, StoreError};

use super::findings::{is_unsorted, lacking};
use super::jobs;
use super::turn::Turn;
use crate::context::Ctx;
use crate::stores::{SYSTEM_TAG, StoreAccess, Stores};
use crate::vault::layout;

/// Objects of a run that are under way at once: the operator has little memory.
pub(super) const UNDER_WAY: usize = 128;
/// Where a link is slow there are fewer: each gets its next bytes before its store takes it for gone, in seconds.
const PATIENCE: u64 = 10;
/// Bytes that come at once.
const PIECE: u64 = 64 << 10;
/// However slow it is.
const LEAST: usize = 4;
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
    let link = ctx.links.between(&from.centre.name_any(), &to.centre, Timestamp::now());
    let link = link.map_err(|message| Refusal { reason: "LinkInvalid".to_owned(), message })?;
    let (reading, writing) = over_the_link(ctx, &link, &from, &system, (wire(&from)?, wire(&to)?));
    prepare(&to, &writing, &system, &name, spec.adopt).await?;

    let of = hex::encode(Sha256::digest(format!("{name} to {}", to.name())));
    let place = Place::Bucket {
        wire: writing.clone(),
        bucket: to.centre.spec.store.bucket.clone(),
        prefix: layout::replication(&system, &object.name_any(), &target.centre, &of[..10]),
    };
    let mut options = options(object, link.limits().0)
        .map_err(|message| Refusal { reason: "Invalid".to_owned(), message })?;
    options.lacking = lacking(&from.centre, &to.centre, Timestamp::now());
    let pair = Pair { source: from.side(reading), destination: to.side(writing), place, options, from, to };
    pair.run(ctx, object, target, &turn).await
}

/// Both sides of a run, opened.
pub(super) struct Pair {
    pub(super) source: Side,
    pub(super) destination: Side,
    pub(super) place: Place,
    pub(super) options: Options,
    pub(super) from: End,
    pub(super) to: End,
}

impl Pair {
    /// Some keys, or everything: by the operator itself, or by a Job.
    async fn run(
        &self,
        ctx: &Ctx,
        object: &BucketReplication,
        target: &Target,
        turn: &Turn,
    ) -> Result<Report, Refusal> {
        let mut permit = turn.wait(|keys| self.look(keys, Arc::default())).await;
        if let Some(keys) = &turn.keys {
            return self.look(keys.clone(), turn.counters.clone()).await;
        }
        let way = jobs::way(ctx, self).await.map_err(|error| self.explain(error))?;
        if way == Way::Job {
            // What others do keeps nobody waiting.
            drop(permit.take());
            if let Some(report) = jobs::run(ctx, object, target, self, turn).await? {
                return Ok(report);
            }
            permit = turn.wait(|keys| self.look(keys, Arc::default())).await;
        }
        // What workers have begun is closed: what they did counts.
        if self.close().await? {
            jobs::remove(ctx, object, &target.centre, |_| true).await?;
        }
        let Self { source, destination, place, options, .. } = self;
        let done = engine::replicate(source, destination, place.clone(), options, &turn.counters).await;
        drop(permit);
        done.map_err(|error| self.explain(error))
    }

    /// Looks at some keys only.
    async fn look(&self, keys: BTreeSet<String>, counters: Arc<Counters>) -> Result<Report, Refusal> {
        let Self { source, destination, place, options, .. } = self;
        if options.history != History::Latest {
            // The whole run that this one waits for looks at them.
            return Ok(Report::default());
        }
        let done = engine::touch(source, destination, place.clone(), options, &keys, &counters).await;
        done.map_err(|error| self.explain(error))
    }

    /// Closes what workers have begun here; whether there was anything.
    async fn close(&self) -> Result<bool, Refusal> {
        let closed = engine::shards::close(&self.source, &self.destination, &self.place).await;
        closed.map_err(|error| self.explain(error))
    }

    pub(super) fn explain(&self, error: StoreError) -> Refusal {
        explain(&self.from, &self.to, error)
    }
}

/// A bucket at a centre, and the way to it.
pub(super) struct End {
    pub(super) centre: Centre,
    pub(super) bucket: String,
    pub(super) config: StoreConfig,
    store: Store,
}

impl End {
    /// The bucket, over a way to its store.
    fn side(&self, wire: Wire) -> Side {
        let side = Side::new(wire, &self.bucket, "");
        if is_unsorted(&self.centre, Timestamp::now()) { side.unsorted() } else { side }
    }

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
            StoreAccess::Store(StoreError::OutOfReach { .. }) => "Refused",
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

/// The side that is not here lies behind the link between both centres, which departments share.
fn over_the_link(
    ctx: &Ctx,
    link: &Link,
    from: &End,
    system: &str,
    (reading, writing): (Wire, Wire),
) -> (Wire, Wire) {
    let department = ctx.tenancy.read().department_of(system).map(str::to_owned);
    let lane = link.lane(department.as_deref().unwrap_or(system));
    if from.centre.name_any() == ctx.centre {
        (reading, writing.over(lane))
    } else {
        (reading.over(lane), writing)
    }
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

/// As many as a limit of so many bytes a second feeds.
fn under_way(limit: Option<u64>) -> usize {
    let fed = limit.and_then(|bytes| usize::try_from(bytes.saturating_mul(PATIENCE) / PIECE).ok());
    fed.map_or(UNDER_WAY, |fed| fed.clamp(LEAST, UNDER_WAY))
}

/// `of_link`: bytes a second that the link carries now.
fn options(object: &BucketReplication, of_link: Option<u64>) -> Result<Options, String> {
    let spec = &object.spec;
    let bandwidth = spec.bandwidth.as_ref().map(bytes).transpose()?;
    let mut filter = Filter::globs(&spec.filter.include, &spec.filter.exclude)?;
    filter.smallest = spec.filter.min_size.as_ref().map(bytes).transpose()?;
    filter.largest = spec.filter.max_size.as_ref().map(bytes).transpose()?;
    filter.tags.clone_from(&spec.filter.tags);
    Ok(Options {
        deletes: match spec.deletes.policy {
            DeletePolicy::Ignore => Deletes::Ignore,
            DeletePolicy::Mirror => Deletes::Mirror { most: spec.deletes.most.into() },
        },
        filter,
        adopt: spec.adopt,
        at_once: under_way(bandwidth.into_iter().chain(of_link).min()),
        pace: bandwidth.map(Pace::new),
        requests: spec.requests_per_second.map(|most| Pace::new(most.into())),
        history: match spec.history {
            Wanted::Latest => History::Latest,
            Wanted::AllVersions => History::All,
        },
        storage_classes: spec.storage_classes.clone(),
        ..Options::default()
    })
}

/// What the engine could not do, by who is to blame.
fn explain(from: &End, to: &End, error: StoreError) -> Refusal {
    if matches!(error, StoreError::NotEmpty { .. }) {
        return Refusal { reason: "TargetNotEmpty".to_owned(), message: format!("{}: {error}", to.name()) };
    }
    let at = match &error {
        StoreError::Unreachable { endpoint, .. }
        | StoreError::Denied { endpoint, .. }
        | StoreError::OutOfReach { endpoint, .. }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_link_has_fewer_objects_under_way() {
        let so_many = [None, Some(1), Some(100_000), Some(500_000), Some(u64::MAX)].map(under_way);
        assert_eq!(so_many, [UNDER_WAY, LEAST, 15, 76, UNDER_WAY]);
    }
}
