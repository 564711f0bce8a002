//! What the vault says of a recovery point: the manifest its origin wrote, once, and the record that each
//! centre keeps of what it has proved. These are the only words that centres exchange.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tripod_crds::recovery_point::{Contents, CopyState};

/// The version that this code writes. A reader refuses any other.
pub const MANIFEST_VERSION: u32 = 1;

/// One archived part: a snapshot in the system's repository.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// Snapshot id in the repository, hex.
    pub snapshot: String,
    /// The master key that the repository was made with, by its name.
    pub key: String,
    pub files: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// `sha256:…` over names, kinds and contents of all files.
    pub digest: String,
    /// Bytes of file contents that the repository did not have before. Absent where there was no earlier point of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<u64>,
}

/// One bucket's part: an inventory of versions that the origin's replica bucket keeps.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BucketPart {
    pub objects: u64,
    pub bytes: u64,
    /// `sha256:…` over keys, sizes and content digests.
    pub digest: String,
    /// Bytes of objects that the point before did not have. Absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added: Option<u64>,
}

/// Everything that a recovery point consists of. Written last, and only once: where it is, the point is whole.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PointManifest {
    pub version: u32,
    /// The system's namespace.
    pub system: String,
    pub policy: String,
    pub point: String,
    /// The centre that made it.
    pub origin: String,
    pub taken_at: Timestamp,
    pub completed_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub objects: Option<Part>,
    #[serde(default)]
    pub volumes: BTreeMap<String, Part>,
    #[serde(default)]
    pub buckets: BTreeMap<String, BucketPart>,
    pub root_digest: String,
    /// Which changes since the points before it are unusual, in words, as its origin judged when it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusual: Vec<String>,
}

impl PointManifest {
    /// The digest over all parts. Two centres that hold the same point have the same.
    #[must_use]
    pub fn compute_root(
        objects: Option<&Part>,
        volumes: &BTreeMap<String, Part>,
        buckets: &BTreeMap<String, BucketPart>,
    ) -> String {
        let mut hash = Sha256::new();
        let mut line = |kind: &str, name: &str, digest: &str| {
            hash.update(kind.as_bytes());
            hash.update([0]);
            hash.update(name.as_bytes());
            hash.update([0]);
            hash.update(digest.as_bytes());
            hash.update(b"\n");
        };
        if let Some(part) = objects {
            line("objects", "", &part.digest);
        }
        for (name, part) in volumes {
            line("volume", name, &part.digest);
        }
        for (name, part) in buckets {
            line("bucket", name, &part.digest);
        }
        format!("sha256:{}", hex::encode(hash.finalize()))
    }

    /// Refuses what this code can't vouch for.
    ///
    /// # Errors
    /// Names the field that is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.version != MANIFEST_VERSION {
            return Err(format!(
                "manifest version {} is not {MANIFEST_VERSION}; upgrade this operator",
                self.version
            ));
        }
        let root = Self::compute_root(self.objects.as_ref(), &self.volumes, &self.buckets);
        if root != self.root_digest {
            return Err(format!("rootDigest {} does not match its parts ({root})", self.root_digest));
        }
        if let Some((name, part)) =
            self.volumes.iter().find(|(_, part)| Some(part.key.as_str()) != self.key())
        {
            return Err(format!("volumes.{name}.key {} is another than that of the other parts", part.key));
        }
        Ok(())
    }

    /// What lies in a repository.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.objects.iter().chain(self.volumes.values())
    }

    /// The master key that its parts were made with, by its name. A point of buckets alone has none.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.parts().map(|part| part.key.as_str()).next()
    }

    /// Ids of the repository snapshots it needs.
    #[must_use]
    pub fn snapshots(&self) -> Vec<String> {
        self.parts().map(|part| part.snapshot.clone()).collect()
    }

    /// What was taken, counted.
    #[must_use]
    pub fn contents(&self) -> Contents {
        let archived = self.parts().map(|part| part.added);
        let added =
            archived.chain(self.buckets.values().map(|part| part.added)).flatten().reduce(|a, b| a + b);
        Contents {
            objects: self.objects.as_ref().map_or(0, |part| part.files),
            files: self.volumes.values().map(|part| part.files).sum(),
            file_bytes: self.volumes.values().map(|part| part.bytes).sum(),
            bucket_objects: self.buckets.values().map(|part| part.objects).sum(),
            bucket_bytes: self.buckets.values().map(|part| part.bytes).sum(),
            added_bytes: added,
        }
    }
}

/// What one centre has proved of one point. Kept in that centre's own vault, read by the others.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CopyRecord {
    pub centre: String,
    pub system: String,
    pub point: String,
    pub root_digest: String,
    pub taken_at: Timestamp,
    pub state: CopyState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The BackupPolicy that made it. Absent in records of an earlier operator: those are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Which rule keeps it here, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_by: Option<String>,
    /// The last time that damage was mended here, and from where, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mended: Option<String>,
    /// When other centres were last asked for what is damaged here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mending_at: Option<Timestamp>,
    /// What its manifest says of unusual changes: the point before it is kept for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unusual: Vec<String>,
    /// Until when the store keeps all that it needs. Absent where nothing is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked_until: Option<Timestamp>,
}

/// What is left of a point that a centre has removed, in that centre's own vault, until its data is gone.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Tombstone {
    pub manifest: PointManifest,
    pub removed_at: Timestamp,
    /// When its data was marked for deletion, where that takes two steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marked_at: Option<Timestamp>,
}

/// What keeps a point whatever the rules say, in the vault of a centre that keeps it so.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(digest: &str) -> Part {
        Part {
            snapshot: "ab".into(),
            key: "k".into(),
            files: 1,
            bytes: 2,
            digest: digest.into(),
            added: None,
        }
    }

    #[test]
    fn the_root_depends_on_every_part_and_its_name() {
        let volumes = BTreeMap::from([("data".to_owned(), part("sha256:1"))]);
        let base = PointManifest::compute_root(Some(&part("sha256:0")), &volumes, &BTreeMap::new());
        let renamed = BTreeMap::from([("other".to_owned(), part("sha256:1"))]);
        let changed = BTreeMap::from([("data".to_owned(), part("sha256:2"))]);
        for other in [
            PointManifest::compute_root(Some(&part("sha256:9")), &volumes, &BTreeMap::new()),
            PointManifest::compute_root(Some(&part("sha256:0")), &renamed, &BTreeMap::new()),
            PointManifest::compute_root(Some(&part("sha256:0")), &changed, &BTreeMap::new()),
            PointManifest::compute_root(None, &volumes, &BTreeMap::new()),
        ] {
            assert_ne!(base, other);
        }
    }
}
