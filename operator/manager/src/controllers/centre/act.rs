//! Tries the store out.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use tripod_crds::Centre;
use tripod_crds::centre::{Finding, StoreFindings};
use tripod_domain::centre::{Observed, Outcome, Plan};
use tripod_replication::StoreError;
use tripod_replication::probe::{Ability, Probe, probe};

use crate::context::Ctx;
use crate::stores::StoreAccess;
use crate::vault::layout;

pub(super) async fn act(ctx: &Ctx, seen: &Observed, plan: Plan) -> Outcome {
    let centre = &seen.centre;
    let result = match plan {
        Plan::Keep => return Outcome::Kept,
        Plan::Probe => try_out(ctx, centre).await.map(Outcome::Found),
        Plan::Read => read(ctx, centre).await.map(|()| Outcome::Readable),
    };
    result.unwrap_or_else(|error| failed(centre, &error))
}

async fn try_out(ctx: &Ctx, centre: &Centre) -> Result<StoreFindings, StoreAccess> {
    let store = ctx.stores.open(centre).await?;
    let nonce = format!("{}-{}", ctx.centre, Timestamp::now().as_nanosecond());
    let found = probe(&store, &centre.spec.store.bucket, "probes/", &nonce).await?;
    Ok(findings(&found))
}

async fn read(ctx: &Ctx, centre: &Centre) -> Result<(), StoreAccess> {
    let store = ctx.stores.open(centre).await?;
    store.list_directories(&centre.spec.store.bucket, layout::SYSTEMS).await?;
    Ok(())
}

fn findings(probe: &Probe) -> StoreFindings {
    let finding = |ability| match ability {
        Ability::Proven => Finding::Proven,
        Ability::Refuted => Finding::Refuted,
        Ability::Absent => Finding::Absent,
        Ability::Unknown => Finding::Unknown,
    };
    StoreFindings {
        conditional_writes: finding(probe.conditional_writes),
        conditional_overwrites: finding(probe.conditional_overwrites),
        checksums: finding(probe.checksums),
        crc64nvme: finding(probe.crc64nvme),
        md5_etags: finding(probe.md5_etags),
        part_etags: finding(probe.part_etags),
        part_reads: finding(probe.part_reads),
        uneven_parts: finding(probe.uneven_parts),
        small_parts: finding(probe.small_parts),
        versioning: finding(probe.versioning),
        object_lock: finding(probe.object_lock),
        list_order: finding(probe.list_order),
        start_after: finding(probe.start_after),
        odd_keys: probe.odd_keys.iter().map(|(kind, kept)| (kind.name().into(), finding(*kept))).collect(),
        unicode_metadata: finding(probe.unicode_metadata),
        headers: finding(probe.headers),
        tags: finding(probe.tags),
        server: probe.server.clone(),
        checked_at: Time(Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default()),
    }
}

/// The field that is to blame, by what the store said.
fn failed(centre: &Centre, error: &StoreAccess) -> Outcome {
    let (reason, field) = match error {
        StoreAccess::Credentials(_) => ("CredentialsMissing", None),
        StoreAccess::Centre(_) | StoreAccess::Foreign(_) => ("Incomplete", None),
        StoreAccess::Store(StoreError::Unreachable { .. }) => {
            ("StoreUnreachable", Some("spec.store.endpoint"))
        }
        StoreAccess::Store(StoreError::OutOfReach { .. }) => ("EndpointRefused", Some("spec.store.endpoint")),
        StoreAccess::Store(StoreError::Denied { .. }) => {
            ("AccessDenied", Some("spec.store.credentialsSecretRef"))
        }
        StoreAccess::Store(StoreError::NoSuchBucket { .. }) => ("BucketMissing", Some("spec.store.bucket")),
        StoreAccess::Store(_) => ("StoreWrong", Some("spec.store")),
    };
    let message = match field {
        Some(field) => format!("{field}: {error}"),
        None => error.to_string(),
    };
    tracing::warn!(centre = centre.name_any(), reason, message, "the store is not well");
    Outcome::Failed { reason: reason.into(), message }
}
