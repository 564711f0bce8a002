//! Does the one step that was decided, and notes in the vault of the centre what came of it.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tripod_crds::recovery_point::{CopyState, HOLD};
use tripod_crds::{Centre, RecoveryPoint};
use tripod_domain::manifest::{CopyRecord, Hold, PointManifest};
use tripod_domain::pull::{Observed, PointKey, Step, is_kept};

use super::verify::Proof;
use super::words::{announce, manifest_of, note, now, record_of, tell};
use super::{copy, lock, mend, remove, sweep, verify};
use crate::context::{Ctx, Error};
use crate::vault::{SystemVault, layout};

pub(super) async fn act(ctx: &Ctx, centre: &Centre, seen: &Observed, step: &Step) -> Result<(), Error> {
    match step {
        Step::Rest => Ok(()),
        Step::Hold { key, reason, annotate } => hold(ctx, centre, key, reason, *annotate).await,
        Step::Release(key) => {
            let vault = ctx.stores.vault(centre, &key.system).await?;
            vault.store.delete(&vault.bucket, &layout::hold(&key.system, &key.point)).await?;
            tell(ctx, key, false, "Released", "the hold was taken off").await;
            Ok(())
        }
        Step::Copy(key) => {
            let vault = ctx.stores.vault(centre, &key.system).await?;
            let manifest = match &centre.spec.pull_from {
                None => manifest_of(&vault, key).await?,
                Some(from) => copy::copy(ctx, centre, from, &vault, key).await?,
            };
            note(&vault, &record_of(centre, &manifest, CopyState::Copied, None, None)).await?;
            announce(ctx, &vault, &manifest).await
        }
        Step::Recall(key) => lock::recall_point(ctx, centre, key).await,
        Step::Verify(key) => prove(ctx, centre, seen, key).await,
        Step::Mend(key) => {
            let vault = ctx.stores.vault(centre, &key.system).await?;
            let Some(before) = before(seen, key) else { return Ok(()) };
            mend::mend(ctx, centre, &vault, before).await
        }
        Step::Label(labels) => {
            for (key, label) in labels {
                let Some(before) = before(seen, key) else { continue };
                let vault = ctx.stores.vault(centre, &key.system).await?;
                note(&vault, &CopyRecord { kept_by: label.clone(), ..before.clone() }).await?;
            }
            Ok(())
        }
        Step::Remove(key) => remove::remove(ctx, centre, key).await,
        Step::Sweep(system) => sweep::sweep(ctx, centre, seen, system).await,
    }
}

fn before<'s>(seen: &'s Observed, key: &PointKey) -> Option<&'s CopyRecord> {
    seen.records.iter().find(|r| r.system == key.system && r.point == key.point)
}

/// The annotation first: what is in the vault and not on the object would be taken for one that was taken off.
async fn hold(ctx: &Ctx, centre: &Centre, key: &PointKey, reason: &str, annotate: bool) -> Result<(), Error> {
    if annotate {
        let patch = json!({"metadata": {"annotations": {HOLD: reason}}});
        let api = ctx.api::<RecoveryPoint>(&key.system);
        api.patch(&key.point, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    let vault = ctx.stores.vault(centre, &key.system).await?;
    vault.write_json(&layout::hold(&key.system, &key.point), &Hold { reason: reason.to_owned() }).await?;
    tell(ctx, key, false, "Held", &format!("no rule removes it while it is held: {reason}")).await;
    Ok(())
}

async fn prove(ctx: &Ctx, centre: &Centre, seen: &Observed, key: &PointKey) -> Result<(), Error> {
    let vault = &ctx.stores.vault(centre, &key.system).await?;
    let before = before(seen, key);
    let manifest = match (manifest_of(vault, key).await, before) {
        (Ok(manifest), _) => manifest,
        (Err(error), Some(before)) if !error.is_transient() => {
            let (state, message) = (CopyState::Damaged, Some(error.to_string()));
            let record = CopyRecord { state, message, verified_at: Some(now()), ..before.clone() };
            damaged(ctx, centre, &record).await;
            return note(vault, &record).await;
        }
        (Err(error), _) => return Err(error.into()),
    };
    let vault = &vault.of_point(&manifest)?;
    let proof = verify::verify(ctx, centre, vault, &manifest).await?;
    let (state, message) = if proof.damage.is_none() {
        (CopyState::Verified, None)
    } else {
        (CopyState::Damaged, Some(proof.damage.words()))
    };
    let mut record = record_of(centre, &manifest, state, message, before);
    if state == CopyState::Verified && is_kept(seen, key, now()) {
        lock_proved(ctx, centre, vault, (&manifest, &proof), &mut record).await?;
    }
    note(vault, &record).await?;
    announce(ctx, vault, &manifest).await?;
    if state == CopyState::Damaged && before.is_none_or(|b| b.state != CopyState::Damaged) {
        damaged(ctx, centre, &record).await;
    }
    Ok(())
}

/// What can't be locked is proved nevertheless, and says so.
async fn lock_proved(
    ctx: &Ctx,
    centre: &Centre,
    vault: &SystemVault,
    (manifest, proof): (&PointManifest, &Proof),
    record: &mut CopyRecord,
) -> Result<(), Error> {
    let Some(days) = centre.locks_for_days() else { return Ok(()) };
    match lock::lock(centre, vault, manifest, &proof.files, days).await {
        Ok(until) => record.locked_until = Some(until),
        // What is gone since it was proved was not there when it was locked: it is proved again.
        Err(error) if error.is_transient() || error.is_not_found() => return Err(error.into()),
        Err(error) => {
            let message = format!("proved, and not locked: {error}");
            let key = PointKey { system: record.system.clone(), point: record.point.clone() };
            tell(ctx, &key, true, "NotLocked", &message).await;
            record.message = Some(message);
        }
    }
    Ok(())
}

async fn damaged(ctx: &Ctx, centre: &Centre, record: &CopyRecord) {
    let found = record.message.as_deref().unwrap_or_default();
    let centre = centre.metadata.name.as_deref().unwrap_or_default();
    tracing::error!(centre, point = record.point, found, "damage found");
    let key = PointKey { system: record.system.clone(), point: record.point.clone() };
    tell(ctx, &key, true, "Damaged", &format!("verification at {centre} found damage: {found}")).await;
}
