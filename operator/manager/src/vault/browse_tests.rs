//! On a store in memory: what two points hold, and what became of it.

use serde_json::json;
use tripod_replication::Store;

use super::*;
use crate::vault::memory_store::{BucketOptions, MemoryStore, Options};
use crate::vault::wire::{Meta, Sender};
use crate::vault::{Document, MasterKey};

async fn vault() -> (MemoryStore, SystemVault) {
    let memory = MemoryStore::start(Options::default()).await.unwrap();
    memory.create_bucket("vault", BucketOptions::default());
    let store = Store::connect(&memory.config()).unwrap();
    let vault = SystemVault::new(store, "vault".into(), "tax".into(), MasterKey::new(&[7; 32]).unwrap());
    vault.ensure_repository().await.unwrap();
    (memory, vault)
}

async fn objects(vault: &SystemVault, point: &str, replicas: u32, more: &[&str]) -> String {
    let (feed, stream) = super::super::documents();
    let web = json!({"kind": "Deployment", "spec": {"replicas": replicas}}).to_string();
    let mut all = vec![("configmaps/app.json", "{}".to_owned()), ("deployments.apps/web.json", web)];
    all.extend(more.iter().map(|path| (*path, "{}".to_owned())));
    let sending = async {
        for (path, body) in all {
            feed.send(Document { path: path.into(), body: body.into_bytes() }).await.unwrap();
        }
        feed.finish().await.unwrap();
    };
    tokio::join!(vault.archive_documents(point, stream), sending).0.unwrap().snapshot
}

/// Files with their contents; a name that ends in `/` is a directory.
async fn volume(vault: &SystemVault, point: &str, files: &[(&[u8], &str)]) -> String {
    let mut sender = Sender::new(Vec::new());
    sender.directory(&Meta { mode: 0o755, ..Meta::default() }).unwrap();
    for (path, content) in files {
        let path = path.strip_suffix(b"/").map_or((path.to_vec(), true), |path| (path.to_vec(), true));
        let is_directory = files.iter().any(|(name, _)| name.strip_suffix(b"/") == Some(&path.0[..]));
        let meta = Meta { path: path.0, mode: 0o640, size: content.len() as u64, ..Meta::default() };
        if is_directory {
            sender.directory(&meta).unwrap();
        } else {
            sender.file(&meta, |sink| std::io::Write::write_all(sink, content.as_bytes())).unwrap();
        }
    }
    let (stream, _) = sender.finish().unwrap();
    vault.archive_stream(point, "data", std::io::Cursor::new(stream)).await.unwrap().snapshot
}

fn spot(title: &str, below: &[&str]) -> Spot {
    let below = below.iter().map(ToString::to_string).collect();
    Spot { title: title.into(), below, documents: title == "objects" }
}

fn page() -> Page {
    Page::new(&serde_json::from_value(json!({"recoveryPoint": "p"})).unwrap())
}

async fn compare(
    vault: &SystemVault,
    earlier: Option<String>,
    later: Option<String>,
    spot: Spot,
) -> Result<(Page, bool), VaultError> {
    vault.compare(vec![Compared { earlier, later, spot }], page()).await
}

fn told((page, found): (Page, bool)) -> Vec<String> {
    assert!(found);
    let line = |entry: Entry| {
        let change = entry.change.map_or(String::new(), |change| format!("{change:?} "));
        format!("{change}{} {:?}", entry.path, entry.kind) + &entry.differences.join(", ")
    };
    page.answer().unwrap().entries.into_iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_are_listed_and_what_is_not_there_is_told() {
    let (_memory, vault) = vault().await;
    let snapshot = objects(&vault, "a", 2, &[]).await;
    let top = vault.browse(&snapshot, spot("objects", &[]), page()).await.unwrap();
    assert_eq!(told(top), ["objects/configmaps Directory", "objects/deployments.apps Directory"]);
    let kind = vault.browse(&snapshot, spot("objects", &["configmaps"]), page()).await.unwrap();
    assert_eq!(told(kind), ["objects/configmaps/app.json File"]);
    let file = vault.browse(&snapshot, spot("objects", &["configmaps", "app.json"]), page()).await.unwrap();
    assert_eq!(told(file), ["objects/configmaps/app.json File"]);
    for missing in [&["secrets"][..], &["configmaps", "app.json", "x"], &["configmaps", ".."]] {
        let (_, found) = vault.browse(&snapshot, spot("objects", missing), page()).await.unwrap();
        assert!(!found, "{missing:?}");
    }
    let volume = volume(&vault, "a", &[(b"etc/", ""), (b"etc/a\xff", "x")]).await;
    let odd = vault.browse(&volume, spot("volumes/data", &["etc"]), page()).await.unwrap();
    assert_eq!(told(odd), ["volumes/data/etc/a\\xff File"]);
    let odd = vault.browse(&volume, spot("volumes/data", &["etc", "a\\xff"]), page()).await.unwrap();
    let entry = odd.0.answer().unwrap().entries.remove(0);
    assert_eq!(
        (entry.size, entry.mode.as_deref(), entry.owner.as_deref()),
        (Some(1), Some("0640"), Some("0:0"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_became_otherwise_is_told_with_how() {
    let (_memory, vault) = vault().await;
    let earlier = objects(&vault, "a", 2, &["services/old.json"]).await;
    let later = objects(&vault, "b", 3, &["secrets/new.json"]).await;
    let both = (Some(earlier.clone()), Some(later.clone()));
    let seen = compare(&vault, both.0.clone(), both.1.clone(), spot("objects", &[])).await.unwrap();
    assert_eq!(
        told(seen),
        [
            "Changed objects/deployments.apps/web.json Filespec.replicas: 2 → 3",
            "Added objects/secrets Directory",
            "Added objects/secrets/new.json File",
            "Removed objects/services Directory",
            "Removed objects/services/old.json File",
        ]
    );
    let same = compare(&vault, both.0.clone(), both.0, spot("objects", &[])).await.unwrap();
    assert_eq!(told(same), [""; 0]);
    let below = spot("objects", &["services"]);
    let part = compare(&vault, Some(earlier), None, below.clone()).await.unwrap();
    assert_eq!(told(part).len(), 2);
    assert!(!compare(&vault, None, None, below).await.unwrap().1);

    let was = volume(&vault, "a", &[(b"d/", ""), (b"d/x", "1"), (b"e", "same"), (b"f", "12")]).await;
    let is = volume(&vault, "b", &[(b"d", "a file"), (b"e", "same"), (b"f", "123")]).await;
    let seen = compare(&vault, Some(was), Some(is), spot("volumes/data", &[])).await.unwrap();
    assert_eq!(
        told(seen),
        [
            "Changed volumes/data/d Filetype: dir → file, size:  → 6",
            "Removed volumes/data/d/x File",
            "Changed volumes/data/f Filesize: 2 → 3, content",
        ]
    );
}
