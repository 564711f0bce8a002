//! Reading a repository: a volume as a stream, documents, and the packs that snapshots need.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustic_core::repofile::{Node, NodeType, SnapshotFile};
use rustic_core::{DataId, IndexedFullStatus, LsOptions, Repository, TreeId};

use super::mode;
use super::repository::{Document, VaultError};
use super::wire::{Meta, Moment, Sender};

type Open = Repository<IndexedFullStatus>;

/// What an archiving run put under the one path of its snapshot.
pub(super) fn root_of(repository: &Open, snapshot: &str) -> Result<Node, VaultError> {
    let found = snapshots(repository, &[snapshot.to_owned()])?;
    let snapshot = found.first().ok_or_else(|| VaultError::NotFound(snapshot.to_owned()))?;
    let path = snapshot.paths.iter().next().ok_or_else(|| VaultError::NotFound("a path in it".to_owned()))?;
    Ok(repository.node_from_path(snapshot.tree, Path::new(path))?)
}

fn snapshots(repository: &Open, ids: &[String]) -> Result<Vec<SnapshotFile>, VaultError> {
    if let Some(short) = ids.iter().find(|id| id.len() != 64) {
        // A prefix could name another snapshot tomorrow.
        return Err(VaultError::NotFound(format!("a snapshot by the id `{short}`")));
    }
    Ok(repository.get_snapshots(ids)?)
}

/// Streams a volume. Ends the stream only when every entry was written.
pub(super) fn volume(repository: &Open, snapshot: &str, sink: impl Write) -> Result<(), VaultError> {
    let root = root_of(repository, snapshot)?;
    let mut sender = Sender::new(sink);
    sender.directory(&meta(Vec::new(), &root))?;
    for entry in repository.ls(&root, &LsOptions::default())? {
        let (path, node) = entry?;
        let meta = meta(path.as_os_str().as_bytes().to_vec(), &node);
        match &node.node_type {
            NodeType::Dir => sender.directory(&meta)?,
            NodeType::Symlink { .. } => {
                sender.link(&meta, node.node_type.to_link().as_os_str().as_bytes())?;
            }
            NodeType::File => {
                sender.file(&meta, |content| {
                    repository.dump(&node, content).map_err(VaultError::from)?;
                    Ok::<_, VaultError>(())
                })?;
            }
            other => return Err(io::Error::other(format!("{} is a {other}", path.display())).into()),
        }
    }
    sender.finish()?;
    Ok(())
}

/// Reads documents in the order that `place` gives them, and holds one at a time.
pub(super) fn each_document<K: Ord + Copy>(
    repository: &Open,
    snapshot: &str,
    place: impl Fn(&str) -> Option<K>,
    mut each: impl FnMut(K, Document) -> ControlFlow<()>,
) -> Result<(), VaultError> {
    let root = root_of(repository, snapshot)?;
    let mut wanted = Vec::new();
    for entry in repository.ls(&root, &LsOptions::default())? {
        let (path, node) = entry?;
        if !node.is_file() {
            continue;
        }
        let path = path.to_str().ok_or_else(|| VaultError::Document(path.display().to_string()))?;
        if let Some(place) = place(path) {
            wanted.push((place, path.to_owned(), node));
        }
    }
    // Stable: within a place they stay as they were archived, which is how they lie in packs.
    wanted.sort_by_key(|(place, ..)| *place);
    for (place, path, node) in wanted {
        let mut body = Vec::new();
        repository.dump(&node, &mut body)?;
        if each(place, Document { path, body }).is_break() {
            break;
        }
    }
    Ok(())
}

/// The ids of all packs in which a tree or a piece of data of these snapshots lies.
pub(super) fn packs(repository: &Open, ids: &[String]) -> Result<BTreeSet<String>, VaultError> {
    let mut packs = BTreeSet::new();
    let mut seen: BTreeSet<TreeId> = BTreeSet::new();
    let mut next: Vec<TreeId> =
        snapshots(repository, ids)?.into_iter().map(|snapshot| snapshot.tree).collect();
    let mut data: BTreeSet<DataId> = BTreeSet::new();
    while let Some(tree) = next.pop() {
        if !seen.insert(tree) {
            continue;
        }
        packs.insert(repository.get_index_entry(&tree)?.pack);
        for node in repository.get_tree(&tree)?.nodes {
            next.extend(node.subtree);
            data.extend(node.content.into_iter().flatten());
        }
        // Looked up a directory at a time: memory grows with the largest one, not with the system.
        for id in std::mem::take(&mut data) {
            packs.insert(repository.get_index_entry(&id)?.pack);
        }
    }
    Ok(packs.into_iter().map(|pack| pack.to_hex().to_string()).collect())
}

fn meta(path: Vec<u8>, node: &Node) -> Meta {
    let modified = node.meta.mtime.map_or(Moment::default(), |time| {
        let nanos = time.as_nanosecond();
        Moment {
            // Both fit: a timestamp spans ten thousand years, and a remainder is below a second.
            seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default(),
            nanos: u32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
        }
    });
    let size = if node.is_file() { node.meta.size } else { 0 };
    Meta {
        path,
        mode: mode::from_restic(node.meta.mode.unwrap_or(0o644)),
        uid: node.meta.uid.unwrap_or_default(),
        gid: node.meta.gid.unwrap_or_default(),
        modified,
        size,
    }
}
