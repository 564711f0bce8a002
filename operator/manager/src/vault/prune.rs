//! Taking away from a repository what no recovery point needs, and its index made anew from what is there.
//!
//! A pack is never rewritten: it stays as it is while anything in it is needed, and goes as a whole. So a pack of one name is
//! the same at every centre, and what is damaged at one can be fetched from another.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Span};
use rustic_core::repofile::{IndexFile, SnapshotId};
use rustic_core::{LimitOption, PruneOptions, RepairIndexOptions};

use super::{SystemVault, VaultError};

/// How packs go that nothing needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// At once. Only where nobody else writes into the repository.
    AtOnce,
    /// They are marked, which takes them out of sight of new backups, and go when they were marked for so long; a backup that
    /// had begun before and needs one gets it back.
    Marked(SignedDuration),
}

impl SystemVault {
    /// Deletes snapshots that are not among these; how many.
    ///
    /// # Errors
    /// When they can't be listed or deleted. What was deleted until then is.
    pub async fn delete_other_snapshots(&self, needed: BTreeSet<String>) -> Result<usize, VaultError> {
        self.blocking(move |vault, runtime| {
            let repository = vault.open(&runtime, None)?;
            let all: Vec<SnapshotId> = repository.list()?.collect();
            let is_needed = |id: &SnapshotId| needed.contains(id.to_hex().as_str());
            let here = all.iter().filter(|id| is_needed(id)).count();
            if here < needed.len() {
                // A snapshot that a point needs is not here: this is not the moment to delete anything.
                return Err(VaultError::NotFound(format!(
                    "{} of {} snapshots that its points need",
                    needed.len() - here,
                    needed.len()
                )));
            }
            let others: Vec<SnapshotId> = all.into_iter().filter(|id| !is_needed(id)).collect();
            repository.delete_snapshots(&others)?;
            Ok(others.len())
        })
        .await
    }

    /// Deletes packs in which no snapshot has anything. New indexes are written before old ones go, and packs go last.
    ///
    /// # Errors
    /// When anything can't be read that a snapshot needs: nothing is deleted then.
    pub async fn prune(&self, removal: Removal) -> Result<(), VaultError> {
        self.blocking(move |vault, runtime| {
            let repository = vault.open(&runtime, None)?;
            let mut options = PruneOptions::default()
                .max_repack(LimitOption::Percentage(0))
                .max_unused(LimitOption::Unlimited)
                .no_resize(true);
            match removal {
                Removal::AtOnce => options.instant_delete = true,
                Removal::Marked(delay) => options.keep_delete = Span::new().seconds(delay.as_secs()),
            }
            let plan = repository.prune_plan(&options)?;
            repository.prune(&options, plan)?;
            Ok(())
        })
        .await
    }

    /// Makes the index fit the packs: packs that are not there leave it, and those come into it that it did not know. With
    /// `anew` nothing that it says of a pack is believed, nor that it was marked.
    ///
    /// # Errors
    /// When an index can't be read, or one of the packs that are `needed`. Any other pack that can't be read is left out.
    pub async fn reindex(&self, anew: bool, needed: BTreeSet<String>) -> Result<(), VaultError> {
        self.blocking(move |vault, runtime| {
            let repository = vault.open(&runtime, None)?;
            repository.repair_index(&RepairIndexOptions::default().read_all(anew), false)?;
            let mut missing = needed;
            for index in repository.stream_files::<IndexFile>()? {
                let (_, index) = index?;
                for pack in index.packs.iter().chain(&index.packs_to_delete) {
                    missing.remove(pack.id.to_hex().as_str());
                }
            }
            match missing.first() {
                None => Ok(()),
                Some(pack) => Err(VaultError::Incomplete(format!(
                    "{} packs can't be read and are not in the index, for instance {pack}",
                    missing.len()
                ))),
            }
        })
        .await
    }
}

#[cfg(test)]
#[path = "prune_tests.rs"]
mod tests;
