//! Keeps the passwords of all systems in the vault wrapped for those who hold keys in escrow.

use kube::ResourceExt;
use tripod_crds::Centre;
use tripod_domain::centre::{Escrow, Outcome};

use crate::context::Ctx;
use crate::vault::escrow::Recipients;
use crate::vault::layout;

/// Looked at as often as the store is tried out: what is there is read, and only what is new is written.
pub(super) async fn keep(ctx: &Ctx, centre: &Centre, outcome: &Outcome) -> Escrow {
    if centre.spec.escrow_recipients.is_empty() || !matches!(outcome, Outcome::Found(_)) {
        return Escrow::NotAsked;
    }
    match wrap_all(ctx, centre).await {
        Ok(systems) => Escrow::Kept(systems),
        Err(message) => {
            tracing::warn!(centre = centre.name_any(), message, "keys are not in escrow");
            Escrow::Failed(message)
        }
    }
}

async fn wrap_all(ctx: &Ctx, centre: &Centre) -> Result<usize, String> {
    let recipients = Recipients::read(&centre.spec.escrow_recipients)?;
    let store = ctx.stores.open(centre).await.map_err(|e| e.to_string())?;
    let systems = store.list_directories(&centre.spec.store.bucket, layout::SYSTEMS).await;
    let systems = systems.map_err(|e| e.to_string())?;
    for system in &systems {
        let vault = ctx.stores.vault(centre, system).await.map_err(|e| e.to_string())?;
        vault.keep_escrow(&recipients).await.map_err(|e| format!("{system}: {e}"))?;
    }
    Ok(systems.len())
}
