//! Which master keys the repositories of a vault need, and their passwords wrapped for those who hold keys in escrow.

use std::collections::BTreeMap;

use kube::ResourceExt;
use tripod_crds::Centre;
use tripod_domain::centre::{Escrow, Outcome};
use tripod_domain::master_keys::{self, Keys};

use crate::context::Ctx;
use crate::vault::escrow::Recipients;
use crate::vault::{Keyring, SystemVault, VaultError, layout};

/// What was found in one walk through the vault.
#[derive(Default)]
struct Walk {
    /// Systems, by the key of their repository.
    systems: BTreeMap<String, u32>,
    wrapped: usize,
}

/// Looked at as often as the store is tried out, and at once when the Secret has other keys: what is there is read, and only
/// what is new is written.
pub(super) async fn look(ctx: &Ctx, centre: &Centre, outcome: &Outcome) -> (Keys, Escrow) {
    let is_tried = matches!(outcome, Outcome::Found(_));
    if !is_tried && *outcome != Outcome::Kept {
        return (Keys::NotLooked, Escrow::NotAsked);
    }
    let ring = match ctx.stores.keyring().await {
        Ok(ring) => ring,
        Err(error) => return (Keys::Failed(error.to_string()), Escrow::NotAsked),
    };
    let given: Vec<String> = ring.ids().map(|id| id.to_string()).collect();
    let asked = !centre.spec.escrow_recipients.is_empty();
    let status = centre.status.as_ref();
    // Every system is asked for: where there is one key, and has been one, nothing can have become otherwise.
    let is_due = is_tried && (asked || master_keys::are_several(status));
    if !is_due && master_keys::is_known(status, &given) {
        return (Keys::NotLooked, Escrow::NotAsked);
    }
    match walk(ctx, centre, ring).await {
        Ok(Walk { systems, wrapped }) => {
            let escrow = if asked { Escrow::Kept(wrapped) } else { Escrow::NotAsked };
            (master_keys::of(&given, &systems), escrow)
        }
        Err(message) => {
            tracing::warn!(centre = centre.name_any(), message, "keys were not looked through");
            let escrow = if asked { Escrow::Failed(message) } else { Escrow::NotAsked };
            (Keys::NotLooked, escrow)
        }
    }
}

async fn walk(ctx: &Ctx, centre: &Centre, ring: Keyring) -> Result<Walk, String> {
    let recipients = match centre.spec.escrow_recipients.as_slice() {
        [] => None,
        texts => Some(Recipients::read(texts)?),
    };
    let (store, bucket) =
        (ctx.stores.open(centre).await.map_err(|e| e.to_string())?, &centre.spec.store.bucket);
    let systems = store.list_directories(bucket, layout::SYSTEMS).await.map_err(|e| e.to_string())?;
    let mut walk = Walk::default();
    for system in systems {
        let vault = SystemVault::new(store.clone(), bucket.clone(), system.clone(), ring.clone());
        let keys = vault.repositories().await.map_err(|e| format!("{system}: {e}"))?;
        if let Some(recipients) = &recipients {
            wrap(&vault, &keys, recipients).await.map_err(|e| format!("{system}: {e}"))?;
            walk.wrapped += 1;
        }
        for key in keys {
            *walk.systems.entry(key).or_default() += 1;
        }
    }
    Ok(walk)
}

/// What was wrapped of a key that is not given any more stays as it is.
async fn wrap(vault: &SystemVault, keys: &[String], recipients: &Recipients) -> Result<(), VaultError> {
    for key in keys {
        match vault.made_with(key) {
            Err(VaultError::UnknownKey(_)) => {}
            repository => repository?.keep_escrow(recipients).await?,
        }
    }
    Ok(())
}
