//! On stores in memory: what goes, what stays readable, and a copy of one point into a vault that has less than its source.

use std::collections::BTreeSet;

use tripod_replication::addressed::{self, Place};
use tripod_replication::{Progress, Store};

use super::*;
use crate::vault::{Document, MasterKey, layout};

use crate::vault::memory_store::{BucketOptions, MemoryStore, Options};

const VAULT: &str = "vault";

fn key() -> MasterKey {
    MasterKey::new(&[7; 32]).unwrap()
}

async fn vault() -> (MemoryStore, SystemVault) {
    let memory = MemoryStore::start(Options::default()).await.unwrap();
    memory.create_bucket(VAULT, BucketOptions::default());
    let store = Store::connect(&memory.config()).unwrap();
    (memory, SystemVault::new(store, VAULT.into(), "tax".into(), key()))
}

/// Bytes that no other point has, and some that all have but the first.
fn documents(point: u8) -> Vec<Document> {
    let noise =
        (0..200_000u32).map(|n| (n.wrapping_mul(2_654_435_761 + u32::from(point)) >> 13).to_le_bytes()[0]);
    let document = |path: &str, body: Vec<u8>| Document { path: path.into(), body };
    vec![document("common", vec![point.min(2); 50_000]), document("own", noise.collect())]
}

async fn archive(vault: &SystemVault, point: u8) -> String {
    let (feed, stream) = super::super::documents();
    let sending = async {
        for document in documents(point) {
            assert!(feed.send(document).await.is_ok());
        }
        assert!(feed.finish().await.is_ok());
    };
    let point = format!("p{point}");
    tokio::join!(vault.archive_documents(&point, stream), sending).0.unwrap().snapshot
}

fn files(memory: &MemoryStore, folder: &str) -> usize {
    let prefix = format!("{}{}/{folder}/", layout::repositories("tax"), key().id());
    memory.current(VAULT).into_keys().filter(|key| key.starts_with(&prefix)).count()
}

async fn assert_reads(vault: &SystemVault, snapshot: &str, point: u8) {
    let mut read = vault.read_documents(snapshot).await.unwrap();
    read.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(read, documents(point));
}

fn only(snapshots: &[&String]) -> BTreeSet<String> {
    snapshots.iter().map(|id| (*id).clone()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_snapshot_needs_goes_and_the_rest_is_read_as_before() {
    let (memory, vault) = vault().await;
    vault.ensure_repository().await.unwrap();
    let (first, _, third) = (archive(&vault, 1).await, archive(&vault, 2).await, archive(&vault, 3).await);
    let before = files(&memory, "data");
    assert_eq!(vault.delete_other_snapshots(only(&[&third])).await.unwrap(), 2);
    vault.prune(Removal::AtOnce).await.unwrap();
    // Both packs of the first, and the one with the tree of the second: its data is needed in part.
    assert_eq!(files(&memory, "data"), before - 3);
    assert_reads(&vault, &third, 3).await;
    assert!(vault.read_documents(&first).await.is_err());
    // Where a snapshot is gone that a point needs, nothing more goes.
    assert!(vault.delete_other_snapshots(only(&[&first])).await.is_err());
    assert_reads(&vault, &third, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_marked_goes_later_unless_it_is_needed_again() {
    let (memory, vault) = vault().await;
    vault.ensure_repository().await.unwrap();
    let (_, second) = (archive(&vault, 1).await, archive(&vault, 2).await);
    let before = files(&memory, "data");
    vault.delete_other_snapshots(only(&[&second])).await.unwrap();
    let long = Removal::Marked(SignedDuration::from_hours(1));
    vault.prune(long).await.unwrap();
    vault.prune(long).await.unwrap();
    assert_eq!(files(&memory, "data"), before);
    let again = archive(&vault, 1).await;
    assert_reads(&vault, &again, 1).await;
    vault.delete_other_snapshots(only(&[&second])).await.unwrap();
    let now = Removal::Marked(SignedDuration::ZERO);
    vault.prune(now).await.unwrap();
    vault.prune(now).await.unwrap();
    assert!(files(&memory, "data") < before, "{before} packs");
    assert_reads(&vault, &second, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_point_is_copied_alone_and_its_index_is_made_there() {
    let (from, source) = vault().await;
    let (to, target) = vault().await;
    source.ensure_repository().await.unwrap();
    let (_, second) = (archive(&source, 1).await, archive(&source, 2).await);
    let place = |vault: &SystemVault| Place {
        store: vault.store.clone(),
        bucket: VAULT.into(),
        prefix: format!("{}/", vault.repository_path()),
    };
    let (there, here) = (place(&source), place(&target));
    let (none, progress) = (BTreeSet::new(), Progress::default());
    for folder in ["keys/", "config"] {
        addressed::copy_missing(&there, &here, folder, &none, &progress).await.unwrap();
    }
    let packs = source.packs_of(std::slice::from_ref(&second)).await.unwrap();
    let names: BTreeSet<String> = packs.iter().map(|pack| format!("data/{}/{pack}", &pack[..2])).collect();
    let tally = addressed::copy_these(&there, &here, "data/", &names, &none, &progress).await.unwrap();
    assert_eq!((tally.copied, tally.missing.len()), (packs.len() as u64, 0));
    target.reindex(false, packs).await.unwrap();
    let nowhere = BTreeSet::from(["00".repeat(32)]);
    assert!(target.reindex(false, nowhere).await.is_err());
    let snapshot = BTreeSet::from([format!("snapshots/{second}")]);
    addressed::copy_these(&there, &here, "snapshots/", &snapshot, &none, &progress).await.unwrap();
    assert!(files(&to, "data") < files(&from, "data"));
    assert_reads(&target, &second, 2).await;
    // All that is known of the packs is lost, and learnt again.
    for key in to.current(VAULT).into_keys().filter(|key| key.contains("/index/")) {
        target.store.delete(VAULT, &key).await.unwrap();
    }
    assert!(target.read_documents(&second).await.is_err());
    target.reindex(true, BTreeSet::new()).await.unwrap();
    assert_reads(&target, &second, 2).await;
    // What neither has is said.
    let nowhere = BTreeSet::from(["data/00/00".to_owned()]);
    let tally = addressed::copy_these(&there, &here, "data/", &nowhere, &none, &progress).await.unwrap();
    assert_eq!(tally.missing, ["data/00/00"]);
}
