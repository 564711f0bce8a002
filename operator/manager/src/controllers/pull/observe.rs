//! Reads which points the source has, what this centre's own vault says of them, and what keeps them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use tripod_crds::recovery_point::HOLD;
use tripod_crds::{BackupPolicy, Centre};
use tripod_domain::manifest::{CopyRecord, Hold, Tombstone};
use tripod_domain::pull::{Holds, Keeping, Observed, PointKey, Policy};
use tripod_domain::retention::Rules;
use tripod_replication::retain::Keeper;
use tripod_replication::{Store, StoreError};

use super::lock;
use super::uses;
use crate::context::{Ctx, Error};
use crate::vault::layout;

pub(super) async fn observe(ctx: &Ctx, centre: &Centre) -> Result<Observed, Error> {
    let store = ctx.stores.open(centre).await?;
    let bucket = &centre.spec.store.bucket;
    let records = records(&store, bucket).await?;
    let (offered, source_holds) = match &centre.spec.pull_from {
        // Where nothing is pulled from, the points were made here, and this vault has them.
        None => (points(&store, bucket).await.map_err(|e| e.to_string()), BTreeMap::new()),
        Some(name) => {
            offered_by(ctx, name).await.map_or_else(|e| (Err(e), BTreeMap::new()), |(p, h)| (Ok(p), h))
        }
    };
    if let Err(error) = &offered {
        tracing::warn!(
            centre = centre.metadata.name,
            from = centre.spec.pull_from,
            error,
            "the source can't be read; nothing is removed meanwhile"
        );
    }
    let (tombstones, unclear) = tombstones(&store, bucket).await?;
    let keeping = match unclear.first() {
        Some(key) => Err(format!("{} is malformed", layout::tombstone(&key.system, &key.point))),
        None => keeping(ctx, centre, &store, source_holds).await,
    };
    if let Err(error) = &keeping {
        tracing::warn!(centre = centre.metadata.name, error, "nothing is removed while this is not known");
    }
    let mut gone = match &centre.spec.pull_from {
        Some(_) => keys(&store, bucket, layout::GONE).await?,
        // Nothing is ever offered here again.
        None => BTreeSet::new(),
    };
    gone.extend(unclear);
    let lost = match centre.locks_for_days() {
        Some(_) => {
            let known = Known { records: &records, tombstones: &tombstones, gone: &gone, offered: &offered };
            known.lost(Keeper { store: &store, bucket }, &keeping).await?
        }
        None => Vec::new(),
    };
    Ok(Observed {
        offered,
        records,
        verify_interval: SignedDuration::from_secs(centre.spec.verify_interval_seconds.into()),
        tombstones,
        gone,
        prune_delay: SignedDuration::from_secs(centre.spec.prune_delay_seconds.into()),
        lost,
        keeping,
        set_aside: Vec::new(),
    })
}

/// What is known of points.
struct Known<'a> {
    records: &'a [CopyRecord],
    tombstones: &'a [Tombstone],
    gone: &'a BTreeSet<PointKey>,
    offered: &'a Result<Vec<PointKey>, String>,
}

impl Known<'_> {
    /// Points that this cluster knows and nobody else, if a lock protects what was deleted of them here.
    async fn lost(
        &self,
        keeper: Keeper<'_>,
        keeping: &Result<Keeping, String>,
    ) -> Result<Vec<PointKey>, Error> {
        let Ok(keeping) = keeping else { return Ok(Vec::new()) };
        let key = |system: &str, point: &str| PointKey { system: system.to_owned(), point: point.to_owned() };
        let mut known: BTreeSet<PointKey> = self.records.iter().map(|r| key(&r.system, &r.point)).collect();
        known.extend(self.tombstones.iter().map(|t| key(&t.manifest.system, &t.manifest.point)));
        known.extend(self.gone.iter().chain(self.offered.iter().flatten()).cloned());
        lock::lost(keeper, keeping.holds.objects.keys().filter(|key| !known.contains(key))).await
    }
}

type Offer = (Vec<PointKey>, BTreeMap<PointKey, String>);

async fn offered_by(ctx: &Ctx, name: &str) -> Result<Offer, String> {
    let source = ctx.stores.centre(name).await.map_err(|e| format!("spec.pullFrom: {e}"))?;
    let store = ctx.stores.open(&source).await.map_err(|e| e.to_string())?;
    let offered = points(&store, &source.spec.store.bucket).await.map_err(|e| e.to_string())?;
    let holds = holds(&store, &source.spec.store.bucket).await.map_err(|e| e.to_string())?;
    Ok((offered, holds))
}

async fn keeping(
    ctx: &Ctx,
    centre: &Centre,
    store: &Store,
    source: BTreeMap<PointKey, String>,
) -> Result<Keeping, String> {
    let uses = uses::read(ctx, centre).await.map_err(|e| format!("who uses points: {e}"))?;
    let here = holds(store, &centre.spec.store.bucket).await.map_err(|e| format!("holds: {e}"))?;
    let objects = uses.points.iter().map(|point| {
        let key = PointKey { system: point.namespace().unwrap_or_default(), point: point.name_any() };
        (key, point.annotations().get(HOLD).cloned())
    });
    let objects = objects.collect();
    let floor = match &centre.spec.retention {
        Some(own) => Rules::read(own, SignedDuration::ZERO).map_err(|e| format!("spec.{e}"))?.minimum_age,
        None => SignedDuration::ZERO,
    };
    let otherwise = centre.spec.retention.as_ref().filter(|own| own.counts());
    let otherwise = otherwise.map(|own| Rules::read(own, floor)).transpose()?;
    let policies = Api::<BackupPolicy>::all(ctx.client.clone()).list(&ListParams::default()).await;
    let policies = policies.map_err(|e| format!("backuppolicies: {e}"))?.into_iter().map(|policy| {
        let says = match &policy.spec.retention {
            None => Policy::Silent,
            // The schema refuses that; here it would be everything that goes.
            Some(retention) if !retention.at(&centre.name_any()).counts() => {
                Policy::Unclear("retention: no rule by which points are counted".to_owned())
            }
            Some(retention) => match Rules::read(retention.at(&centre.name_any()), floor) {
                Ok(rules) => Policy::Rules(rules),
                Err(error) => Policy::Unclear(error),
            },
        };
        ((policy.namespace().unwrap_or_default(), policy.name_any()), says)
    });
    Ok(Keeping {
        policies: policies.collect(),
        otherwise,
        holds: Holds { objects, here, source },
        in_use: uses.in_use,
        busy: uses.busy,
    })
}

/// Points that are whole: those with a manifest.
async fn points(store: &Store, bucket: &str) -> Result<Vec<PointKey>, StoreError> {
    let mut found = Vec::new();
    for system in store.list_directories(bucket, layout::SYSTEMS).await? {
        for point in store.list_directories(bucket, &layout::points(&system)).await? {
            if store.head(bucket, &layout::manifest(&system, &point)).await?.is_some() {
                found.push(PointKey { system: system.clone(), point });
            }
        }
    }
    Ok(found)
}

/// A record that can't be read counts as none: the point is then copied and proved again, which skips what is there.
async fn records(store: &Store, bucket: &str) -> Result<Vec<CopyRecord>, StoreError> {
    let mut found = Vec::new();
    for system in store.list_directories(bucket, layout::COPIES).await? {
        for point in store.list_directories(bucket, &layout::records(&system)).await? {
            match store.get(bucket, &layout::record(&system, &point)).await {
                Ok(body) => found.extend(serde_json::from_slice::<CopyRecord>(&body)),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(found)
}

/// The points that keys below a prefix name.
async fn keys(store: &Store, bucket: &str, prefix: &str) -> Result<BTreeSet<PointKey>, StoreError> {
    let listed = store.list(bucket, prefix).await?;
    let key = |(system, point): (&str, &str)| PointKey { system: system.to_owned(), point: point.to_owned() };
    Ok(listed.iter().filter_map(|l| layout::system_and_point(&l.key, prefix).map(key)).collect())
}

/// A hold that can't be read holds.
async fn holds(store: &Store, bucket: &str) -> Result<BTreeMap<PointKey, String>, StoreError> {
    let mut found = BTreeMap::new();
    for key in keys(store, bucket, layout::HOLDS).await? {
        let reason = match store.get(bucket, &layout::hold(&key.system, &key.point)).await {
            Ok(body) => serde_json::from_slice::<Hold>(&body)
                .map_or_else(|_| "for a reason that can't be read".to_owned(), |hold| hold.reason),
            Err(error) if error.is_not_found() => continue,
            Err(error) => return Err(error),
        };
        found.insert(key, reason);
    }
    Ok(found)
}

/// And the points whose tombstone can't be read.
async fn tombstones(store: &Store, bucket: &str) -> Result<(Vec<Tombstone>, Vec<PointKey>), StoreError> {
    let (mut found, mut unclear) = (Vec::new(), Vec::new());
    for key in keys(store, bucket, layout::REMOVED).await? {
        match store.get(bucket, &layout::tombstone(&key.system, &key.point)).await {
            Ok(body) => match serde_json::from_slice(&body) {
                Ok(tombstone) => found.push(tombstone),
                Err(_) => unclear.push(key),
            },
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok((found, unclear))
}
