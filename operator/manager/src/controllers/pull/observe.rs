//! Reads which points the source has and what this centre's own vault says of them.

use jiff::SignedDuration;
use tripod_crds::Centre;
use tripod_domain::manifest::CopyRecord;
use tripod_domain::pull::{Observed, PointKey};
use tripod_replication::{Store, StoreError};

use crate::context::{Ctx, Error};
use crate::vault::layout;

pub(super) async fn observe(ctx: &Ctx, centre: &Centre) -> Result<Observed, Error> {
    let store = ctx.stores.open(centre).await?;
    let records = records(&store, &centre.spec.store.bucket).await?;
    let offered = match &centre.spec.pull_from {
        // Where nothing is pulled from, the points were made here, and this vault has them.
        None => points(&store, &centre.spec.store.bucket).await.map_err(|e| e.to_string()),
        Some(name) => offered_by(ctx, name).await,
    };
    if let Err(error) = &offered {
        tracing::warn!(
            centre = centre.metadata.name,
            from = centre.spec.pull_from,
            error,
            "the source can't be read"
        );
    }
    let verify_interval = SignedDuration::from_secs(centre.spec.verify_interval_seconds.into());
    Ok(Observed { offered, records, verify_interval })
}

async fn offered_by(ctx: &Ctx, name: &str) -> Result<Vec<PointKey>, String> {
    let source = ctx.stores.centre(name).await.map_err(|e| format!("spec.pullFrom: {e}"))?;
    let store = ctx.stores.open(&source).await.map_err(|e| e.to_string())?;
    points(&store, &source.spec.store.bucket).await.map_err(|e| e.to_string())
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
