//! Looking into a repository without restoring: what is in a directory of a snapshot, and what is otherwise in a later one.
//!
//! Promises: only trees are read, and of contents no more than the documents whose differences are told; parts that two
//! snapshots have in common are not read at all.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::os::unix::ffi::OsStrExt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rustic_core::repofile::{Node, NodeType};
use rustic_core::{IndexedFullStatus, Repository, TreeId};
use tripod_crds::inspection::{Change, Entry, EntryType};
use tripod_domain::inspection::Page;
use tripod_domain::restoring::archived::LARGEST;
use tripod_domain::restoring::differences::changes;

use super::mode;
use super::read::root_of;
use super::repository::{SystemVault, VaultError};

type Open = Repository<IndexedFullStatus>;

/// A place in snapshots of the same part of two points, or of one.
#[derive(Clone, Debug)]
pub struct Spot {
    /// What paths begin with: `objects`, `volumes/data`.
    pub title: String,
    /// The names on the way below it.
    pub below: Vec<String>,
    /// The files are Kubernetes objects.
    pub documents: bool,
}

/// The snapshots of a part in two points.
#[derive(Clone, Debug)]
pub struct Compared {
    pub earlier: Option<String>,
    pub later: Option<String>,
    pub spot: Spot,
}

impl Spot {
    fn path(&self) -> String {
        std::iter::once(&self.title).chain(&self.below).map(String::as_str).collect::<Vec<_>>().join("/")
    }
}

impl SystemVault {
    /// Adds to the page what is in the place; of a file, itself. `false`: there is nothing of that name.
    ///
    /// # Errors
    /// When the repository can't be read.
    pub async fn browse(
        &self,
        snapshot: &str,
        spot: Spot,
        mut page: Page,
    ) -> Result<(Page, bool), VaultError> {
        let snapshot = snapshot.to_owned();
        self.blocking(move |vault, runtime| {
            let repository = vault.open(&runtime, None)?.to_indexed()?;
            let found = list(&repository, &snapshot, &spot, &mut page)?;
            Ok((page, found))
        })
        .await
    }

    /// Adds to the page what is otherwise in the later snapshots; a part that only one of the points has is whole in it.
    /// `false`: none has anything of that name.
    ///
    /// # Errors
    /// When the repository can't be read.
    pub async fn compare(&self, parts: Vec<Compared>, mut page: Page) -> Result<(Page, bool), VaultError> {
        self.blocking(move |vault, runtime| {
            let repository = vault.open(&runtime, None)?.to_indexed()?;
            let mut found = false;
            for Compared { earlier, later, spot } in parts {
                let root = |snapshot: Option<String>| match snapshot {
                    Some(snapshot) => descend(&repository, root_of(&repository, &snapshot)?, &spot.below),
                    None => Ok(None),
                };
                let pair = (root(earlier)?, root(later)?);
                found |= pair.0.is_some() || pair.1.is_some();
                differ(&repository, &pair, &spot, &mut page)?;
            }
            Ok((page, found))
        })
        .await
    }
}

fn list(repository: &Open, snapshot: &str, spot: &Spot, page: &mut Page) -> Result<bool, VaultError> {
    let Some(place) = descend(repository, root_of(repository, snapshot)?, &spot.below)? else {
        return Ok(false);
    };
    let Some(tree) = place.subtree else {
        let path = spot.path();
        page.take(&path, None, || entry(repository, &path, &place))?;
        return Ok(true);
    };
    let folder = spot.path();
    for node in nodes(repository, tree)? {
        let path = format!("{folder}/{}", name(&node));
        page.take(&path, None, || entry(repository, &path, &node))?;
    }
    Ok(true)
}

/// The node at the end of these names.
fn descend(repository: &Open, root: Node, below: &[String]) -> Result<Option<Node>, VaultError> {
    let mut at = root;
    for wanted in below {
        let Some(tree) = at.subtree else { return Ok(None) };
        let Some(next) = nodes(repository, tree)?.into_iter().find(|node| name(node) == *wanted) else {
            return Ok(None);
        };
        at = next;
    }
    Ok(Some(at))
}

type Pair = (Option<Node>, Option<Node>);

/// In the order of paths, each directory before what is in it. By a stack of its own: how deep directories lie was another's
/// choice.
fn differ(repository: &Open, top: &Pair, spot: &Spot, page: &mut Page) -> Result<(), VaultError> {
    let mut path = spot.path();
    let at_top = one(repository, &path, top, spot.documents, page)?;
    let mut open = vec![(path.len(), at_top)];
    while let Some((folder, pairs)) = open.last_mut() {
        path.truncate(*folder);
        let Some(pair) = pairs.pop_front() else {
            open.pop();
            continue;
        };
        if let Some(node) = pair.0.as_ref().or(pair.1.as_ref()) {
            path.push('/');
            path.push_str(&name(node));
        }
        let below = one(repository, &path, &pair, spot.documents, page)?;
        open.push((path.len(), below));
    }
    Ok(())
}

/// Tells what became of one, and gives the pairs that lie in it.
fn one(
    repository: &Open,
    path: &str,
    pair: &Pair,
    documents: bool,
    page: &mut Page,
) -> Result<VecDeque<Pair>, VaultError> {
    let tell = |node: &Node| entry(repository, path, node);
    match pair {
        (None, None) => {}
        (None, Some(node)) => page.take(path, Some(Change::Added), || tell(node))?,
        (Some(node), None) => page.take(path, Some(Change::Removed), || tell(node))?,
        (Some(earlier), Some(later)) => {
            let mut differences = otherwise(earlier, later);
            if !differences.is_empty() {
                page.take(path, Some(Change::Changed), || {
                    if documents && earlier.is_file() && later.is_file() {
                        differences = both_documents(repository, earlier, later)?;
                    }
                    Ok::<_, VaultError>(Entry { differences, ..tell(later)? })
                })?;
            }
        }
    }
    let tree = |node: &Option<Node>| node.as_ref().and_then(|node| node.subtree);
    let trees = (tree(&pair.0), tree(&pair.1));
    // The same id is the same directory, to the last file in it.
    if trees.0 == trees.1 {
        return Ok(VecDeque::new());
    }
    let nodes = |tree: Option<TreeId>| tree.map_or(Ok(Vec::new()), |tree| nodes(repository, tree));
    Ok(joined(nodes(trees.0)?, nodes(trees.1)?))
}

/// By name. Sorted here: an archiver may sort names as they are written in a tree, which is another order where they are no text.
fn joined(mut earlier: Vec<Node>, mut later: Vec<Node>) -> VecDeque<Pair> {
    for nodes in [&mut earlier, &mut later] {
        nodes.sort_by(|a, b| a.name().cmp(&b.name()));
    }
    let (mut earlier, mut later) = (earlier.into_iter().peekable(), later.into_iter().peekable());
    let mut pairs = VecDeque::new();
    loop {
        let order = match (earlier.peek(), later.peek()) {
            (None, None) => return pairs,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.name().cmp(&b.name()),
        };
        pairs.push_back(match order {
            Ordering::Less => (earlier.next(), None),
            Ordering::Greater => (None, later.next()),
            Ordering::Equal => (earlier.next(), later.next()),
        });
    }
}

/// What is otherwise in the later one itself. That only its time is another is no change.
fn otherwise(earlier: &Node, later: &Node) -> Vec<String> {
    let facts = |node: &Node| {
        [
            ("type", node.node_type.to_string()),
            ("mode", rights(node)),
            ("owner", owner(node)),
            ("size", if node.is_file() { node.meta.size.to_string() } else { String::new() }),
            ("target", target(node).unwrap_or_default()),
        ]
    };
    let pairs = facts(earlier).into_iter().zip(facts(later));
    let mut lines: Vec<String> = pairs
        .filter(|((_, was), (_, is))| was != is)
        .map(|((what, was), (_, is))| format!("{what}: {was} → {is}"))
        .collect();
    if earlier.content != later.content && earlier.is_file() && later.is_file() {
        lines.push("content".to_owned());
    }
    lines
}

fn both_documents(repository: &Open, earlier: &Node, later: &Node) -> Result<Vec<String>, VaultError> {
    if earlier.meta.size.max(later.meta.size) > LARGEST as u64 {
        return Ok(vec!["content".to_owned()]);
    }
    let read = |node: &Node| {
        let mut body = Vec::new();
        repository.dump(node, &mut body)?;
        Ok::<_, VaultError>(serde_json::from_slice(&body).unwrap_or_default())
    };
    Ok(changes(&read(earlier)?, &read(later)?))
}

fn nodes(repository: &Open, tree: TreeId) -> Result<Vec<Node>, VaultError> {
    Ok(repository.get_tree(&tree)?.nodes)
}

fn entry(repository: &Open, path: &str, node: &Node) -> Result<Entry, VaultError> {
    let kind = match &node.node_type {
        NodeType::Dir => EntryType::Directory,
        NodeType::Symlink { .. } => EntryType::Link,
        _ => EntryType::File,
    };
    let inside = node.subtree.map(|tree| nodes(repository, tree)).transpose()?;
    Ok(Entry {
        size: node.is_file().then_some(node.meta.size),
        files: inside.map(|nodes| nodes.len() as u64),
        // Kubernetes objects are archived without one.
        modified: node.meta.mtime.map(Time).filter(|time| time.0.as_second() != 0),
        mode: Some(rights(node)),
        owner: Some(owner(node)),
        target: target(node),
        ..Entry::new(path, kind)
    })
}

fn rights(node: &Node) -> String {
    format!("{:04o}", mode::from_restic(node.meta.mode.unwrap_or_default()) & 0o7777)
}

fn owner(node: &Node) -> String {
    format!("{}:{}", node.meta.uid.unwrap_or_default(), node.meta.gid.unwrap_or_default())
}

fn target(node: &Node) -> Option<String> {
    matches!(node.node_type, NodeType::Symlink { .. })
        .then(|| shown(node.node_type.to_link().as_os_str().as_bytes()))
}

fn name(node: &Node) -> String {
    shown(node.name().as_bytes())
}

/// What is not text is written as `\xff`, so that every name has one form in which it is told and asked for.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
#[path = "browse_tests.rs"]
mod tests;
