//! Every key of a vault, in one place.

use super::key::KeyId;

/// All systems lie below it.
pub const SYSTEMS: &str = "systems/";

/// Everything of a system that was made with its points lies below it.
#[must_use]
pub fn system(system: &str) -> String {
    format!("{SYSTEMS}{system}/")
}

/// All repositories of a system lie below it: one for each master key.
#[must_use]
pub fn repositories(system: &str) -> String {
    format!("systems/{system}/restic/")
}

/// The repository: `restic -r s3:<endpoint>/<bucket>/systems/<namespace>/restic/<key>` opens it. No slash at the end.
#[must_use]
pub fn repository(system: &str, key: &KeyId) -> String {
    format!("systems/{system}/restic/{key}")
}

/// The repository's password, wrapped for the recipients of the escrow.
#[must_use]
pub fn escrow(system: &str, key: &KeyId) -> String {
    format!("systems/{system}/escrow/{key}.age")
}

/// For whom it is wrapped.
#[must_use]
pub fn escrow_note(system: &str, key: &KeyId) -> String {
    format!("systems/{system}/escrow/{key}.json")
}

/// All points of a system lie below it.
#[must_use]
pub fn points(system: &str) -> String {
    format!("systems/{system}/points/")
}

/// Written last, and once.
#[must_use]
pub fn manifest(system: &str, point: &str) -> String {
    format!("systems/{system}/points/{point}/manifest.json")
}

/// The part of the namespace's objects.
#[must_use]
pub fn objects_part(system: &str, point: &str) -> String {
    format!("systems/{system}/points/{point}/parts/objects.json")
}

/// The part of one volume.
#[must_use]
pub fn volume_part(system: &str, point: &str, claim: &str) -> String {
    format!("systems/{system}/points/{point}/parts/volumes/{claim}.json")
}

/// The part of one bucket.
#[must_use]
pub fn bucket_part(system: &str, point: &str, bucket: &str) -> String {
    format!("systems/{system}/points/{point}/parts/buckets/{bucket}.json")
}

/// The versions of one bucket's objects, as the replica bucket of the vault's own centre holds them.
#[must_use]
pub fn inventory(system: &str, point: &str, bucket: &str) -> String {
    format!("copies/{system}/{point}/inventories/{bucket}.ndjson")
}

/// What the vault's centre has proved of a point.
#[must_use]
pub fn record(system: &str, point: &str) -> String {
    format!("copies/{system}/{point}/record.json")
}

/// All records of a system lie below it.
#[must_use]
pub fn records(system: &str) -> String {
    format!("copies/{system}/")
}

/// All records lie below it.
pub const COPIES: &str = "copies/";

/// What is left of a point that was removed, while its data is still there.
#[must_use]
pub fn tombstone(system: &str, point: &str) -> String {
    format!("{REMOVED}{system}/{point}.json")
}

/// All tombstones lie below it.
pub const REMOVED: &str = "removed/";

/// Says that a point was removed with its data, and is not to be pulled again.
#[must_use]
pub fn gone(system: &str, point: &str) -> String {
    format!("{GONE}{system}/{point}")
}

/// All points that are gone lie below it.
pub const GONE: &str = "gone/";

/// Why a point is kept whatever the rules say.
#[must_use]
pub fn hold(system: &str, point: &str) -> String {
    format!("{HOLDS}{system}/{point}.json")
}

/// All holds lie below it.
pub const HOLDS: &str = "holds/";

/// What a listing below one of these prefixes names: a system and a point.
#[must_use]
pub fn system_and_point<'k>(key: &'k str, prefix: &str) -> Option<(&'k str, &'k str)> {
    let (system, point) = key.strip_prefix(prefix)?.split_once('/')?;
    Some((system, point.strip_suffix(".json").unwrap_or(point)))
}

/// Everything of a point that its origin wrote lies below it.
#[must_use]
pub fn point(system: &str, point: &str) -> String {
    format!("systems/{system}/points/{point}/")
}

/// Everything that the vault's centre knows of its copy of a point lies below it.
#[must_use]
pub fn copy(system: &str, point: &str) -> String {
    format!("copies/{system}/{point}/")
}

/// Where the versions of one department bucket lie in the replica bucket.
#[must_use]
pub fn replica(system: &str, bucket: &str) -> String {
    format!("{system}/{bucket}/")
}

/// The report of a drill.
#[must_use]
pub fn drill_report(system: &str, drill: &str, uid: &str) -> String {
    format!("drills/{system}/{drill}-{uid}.json")
}

/// What is known of a department's bucket that is replicated to the vault's centre; `of` tells its two buckets apart from
/// others of the same object.
#[must_use]
pub fn replication(system: &str, name: &str, centre: &str, of: &str) -> String {
    format!("replication/{system}/{name}/{centre}/{of}/")
}
