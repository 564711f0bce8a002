//! Does the one step that was decided, and notes in the vault of the centre what came of it.

use kube::api::{Patch, PatchParams};
use serde_json::json;
use tripod_crds::recovery_point::{CopyState, HOLD};
use tripod_crds::{Centre, RecoveryPoint};
use tripod_domain::manifest::{CopyRecord, Hold};
use tripod_domain::pull::{Observed, PointKey, Step};

use super::words::{announce, manifest_of, note, now, record_of, tell};
use super::{copy, mend, remove, sweep, verify};
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
        Step::Verify(key) => {
            let vault = ctx.stores.vault(centre, &key.system).await?;
            prove(ctx, centre, &vault, key, before(seen, key)).await
        }
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

async fn prove(
    ctx: &Ctx,
    centre: &Centre,
    vault: &SystemVault,
    key: &PointKey,
    before: Option<&CopyRecord>,
) -> Result<(), Error> {
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
    let damage = verify::verify(ctx, centre, vault, &manifest).await?;
    let (state, message) = if damage.is_none() {
        (CopyState::Verified, None)
    } else {
        (CopyState::Damaged, Some(damage.words()))
    };
    let record = record_of(centre, &manifest, state, message, before);
    note(vault, &record).await?;
    announce(ctx, vault, &manifest).await?;
    if state == CopyState::Damaged && before.is_none_or(|b| b.state != CopyState::Damaged) {
        damaged(ctx, centre, &record).await;
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
