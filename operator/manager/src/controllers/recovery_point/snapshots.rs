//! Snapshots of volumes while a point is taken: asked for, made into claims that movers read, and removed. All of it as an
//! account of the department's own namespace that is bound there only while a policy needs it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Preconditions};
use kube::{Api, Client, ResourceExt};
use tripod_crds::RecoveryPoint;
use tripod_crds::recovery_point::{Failing, SnapshotOf};
use tripod_domain::volume_snapshots::{self, Seen, State};

use super::act::Stop;
use crate::context::{Ctx, Error};

/// The account that the operator acts as here.
pub const ACCOUNT: &str = "tripod-snapshots";

/// How far each snapshot is, of the claims that are read from one.
pub(super) async fn observe(ctx: &Ctx, point: &RecoveryPoint) -> Result<BTreeMap<String, Seen>, Error> {
    let mut all = BTreeMap::new();
    if point.spec.snapshots.is_empty() {
        return Ok(all);
    }
    let there = Objects::of(ctx, point)?;
    for of in &point.spec.snapshots {
        let name = volume_snapshots::name(&point.name_any(), &of.claim);
        let state = match there.snapshots.get_opt(&name).await? {
            Some(snapshot) => {
                let object = serde_json::to_value(snapshot).map_err(kube::Error::SerdeError)?;
                volume_snapshots::state(&object, Timestamp::now())
            }
            None => State::Absent,
        };
        let clone = there.claims.get_opt(&name).await?.is_some();
        all.insert(of.claim.clone(), Seen { state, clone });
    }
    Ok(all)
}

/// Asks for the snapshots of these claims.
pub(super) async fn freeze(ctx: &Ctx, point: &RecoveryPoint, claims: &[String]) -> Result<(), String> {
    let wanted: Vec<&SnapshotOf> = claims.iter().filter_map(|claim| of_claim(point, claim)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let (client, (namespace, name, uid)) = (client(ctx, point).map_err(|e| e.to_string())?, identity(point));
    for of in wanted {
        let snapshot = volume_snapshots::snapshot(&namespace, (&name, &uid), of);
        ctx.apply(&client, &snapshot).await.map_err(|e| format!("snapshot of claim {}: {e}", of.claim))?;
    }
    Ok(())
}

/// Makes the claim from the snapshot of `claim`; none where it is read itself. What no quota has room for will not have any
/// while a point is taken.
pub(super) async fn clone(ctx: &Ctx, point: &RecoveryPoint, claim: &str) -> Result<Option<String>, Stop> {
    let Some(of) = of_claim(point, claim) else { return Ok(None) };
    let (namespace, name, uid) = identity(point);
    let client = client(ctx, point).map_err(|e| e.to_string())?;
    match ctx.try_apply(&client, &volume_snapshots::clone(&namespace, (&name, &uid), of)).await {
        Ok(_) => Ok(Some(volume_snapshots::name(&name, claim))),
        Err(kube::Error::Api(status)) if status.message.contains("exceeded quota") => {
            let message = format!(
                "the claim that is made from the snapshot of {claim} counts against the quota while the point is taken, and does \
                 not fit: {}; ask for {} more, or set spec.include.volumeSnapshots of the policy to Never",
                status.message, of.size
            );
            Err(Stop::Final(Failing { reason: "QuotaExceeded".into(), message }))
        }
        Err(error) => {
            Err(Stop::Again(format!("the claim that is made from the snapshot of {claim}: {error}")))
        }
    }
}

/// Removes what was made for these claims, by uid and version.
pub(super) async fn remove(ctx: &Ctx, point: &RecoveryPoint, claims: &[String]) -> Result<(), String> {
    let made: Vec<&SnapshotOf> = claims.iter().filter_map(|claim| of_claim(point, claim)).collect();
    if made.is_empty() {
        return Ok(());
    }
    let there = Objects::of(ctx, point).map_err(|e| e.to_string())?;
    for of in made {
        let name = volume_snapshots::name(&point.name_any(), &of.claim);
        // The claim first: its driver may need the snapshot until it is gone.
        delete(&there.claims, &name).await.map_err(|e| format!("claim {name}: {e}"))?;
        delete(&there.snapshots, &name).await.map_err(|e| format!("snapshot {name}: {e}"))?;
    }
    Ok(())
}

struct Objects {
    snapshots: Api<DynamicObject>,
    claims: Api<PersistentVolumeClaim>,
}

impl Objects {
    fn of(ctx: &Ctx, point: &RecoveryPoint) -> Result<Self, kube::Error> {
        let namespace = point.namespace().unwrap_or_default();
        let client = client(ctx, point)?;
        let (group, version) = volume_snapshots::API_VERSION.split_once('/').unwrap_or_default();
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, "VolumeSnapshot"));
        Ok(Self {
            snapshots: Api::namespaced_with(client.clone(), &namespace, &kind),
            claims: Api::namespaced(client, &namespace),
        })
    }
}

fn client(ctx: &Ctx, point: &RecoveryPoint) -> Result<Client, kube::Error> {
    ctx.acting_as(&point.namespace().unwrap_or_default(), ACCOUNT)
}

/// Namespace, name and UID.
fn identity(point: &RecoveryPoint) -> (String, String, String) {
    (point.namespace().unwrap_or_default(), point.name_any(), point.uid().unwrap_or_default())
}

fn of_claim<'p>(point: &'p RecoveryPoint, claim: &str) -> Option<&'p SnapshotOf> {
    point.spec.snapshots.iter().find(|of| of.claim == claim)
}

async fn delete<K>(api: &Api<K>, name: &str) -> Result<(), kube::Error>
where
    K: kube::Resource + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let Some(object) = api.get_opt(name).await? else { return Ok(()) };
    if object.meta().deletion_timestamp.is_some() {
        return Ok(());
    }
    let only_this = Preconditions { uid: object.uid(), resource_version: object.resource_version() };
    match api.delete(name, &DeleteParams::background().preconditions(only_this)).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result.map(drop),
    }
}
