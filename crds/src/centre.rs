//! Centre: one data centre, that is one S3-compatible store and, unless it is storage only, one cluster.
//! `status` says what a probe of the store proved, never what it is assumed to do.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantities;
use crate::retention::RetentionRules;

/// One data centre. The same object may be applied in every cluster: an operator knows which one it is by
/// its `--centre` argument.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "Centre",
    status = "CentreStatus",
    shortname = "ctr",
    category = "tripod",
    printcolumn = r#"{"name":"Role","type":"string","jsonPath":".spec.role"}"#,
    printcolumn = r#"{"name":"City","type":"string","jsonPath":".spec.city"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type=='Ready')].reason"}"#,
    printcolumn = r#"{"name":"Conditional Writes","type":"string","jsonPath":".status.store.conditionalWrites","priority":1}"#,
    printcolumn = r#"{"name":"Checked","type":"date","jsonPath":".status.store.checkedAt"}"#
)]
#[kube(validation = Rule::new("!has(self.spec.links) || self.spec.links.all(l, l.from != self.metadata.name)")
    .message("spec.links: a link comes from another centre"))]
#[kube(validation = Rule::new("!has(self.spec.objectLockDays) || self.spec.verifyIntervalSeconds * 2 <= self.spec.objectLockDays * 86400")
    .message("spec.objectLockDays: at least twice spec.verifyIntervalSeconds, so that a lock is made longer before it ends"))]
#[serde(rename_all = "camelCase")]
pub struct CentreSpec {
    /// What the centre is for.
    pub role: CentreRole,
    /// The city. Centres of one city are lost together.
    #[schemars(length(min = 1, max = 63))]
    pub city: String,
    /// The centre whose recovery points are pulled into this one's vault. A production centre pulls from none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub pull_from: Option<String>,
    /// For a centre that has a store but no cluster: the centre whose operator serves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub served_by: Option<String>,
    /// How often new recovery points are looked for, in seconds.
    #[serde(default = "default_pull_interval")]
    #[schemars(range(min = 1, max = 86400))]
    pub pull_interval_seconds: u32,
    /// How often every copy in the vault is read again and proved, in seconds.
    #[serde(default = "default_verify_interval")]
    #[schemars(range(min = 10, max = 2_592_000))]
    pub verify_interval_seconds: u32,
    /// What is kept here of policies that this cluster does not have, or that say nothing of it. Without it everything is. Its
    /// `minimumAge` holds for every policy: no point goes that has not been in this vault for so long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionRules>,
    /// How long the data of a point that was removed stays in the vault, in seconds: for those who are reading it.
    #[serde(default = "default_prune_delay")]
    #[schemars(range(max = 31_536_000))]
    pub prune_delay_seconds: u32,
    /// For how many days after it was last proved the store keeps what is in the vault, whoever asks to delete it: object lock,
    /// compliance mode. The vault, and the bucket of replicas where there is one, have to be made with object lock. Without it
    /// nothing is locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3650))]
    pub object_lock_days: Option<u32>,
    /// The centre's S3-compatible store.
    pub store: StoreSpec,
    /// Who can open the repositories in this vault when no operator runs anywhere: public keys of age (`age1…`). Each system's
    /// repository password lies wrapped for all of them in the vault, as `systems/<namespace>/escrow.age`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(regex(pattern = r"^age1[02-9ac-hj-np-z]{58}$")), extend("x-kubernetes-list-type" = "set"))]
    pub escrow_recipients: Vec<String>,
    /// How much of the links from other centres replications of buckets may use; one that is not here has no limit.
    /// Departments that replicate over a link at the same time get the same share of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["from"]))]
    pub links: Vec<Link>,
}

/// A link from another centre to this one.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Link {
    /// Name of the Centre that is replicated from.
    #[schemars(length(min = 1, max = 63))]
    pub from: String,
    /// The most bytes a second: `20Mi`. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "quantities::read_one")]
    #[schemars(schema_with = "quantities::bytes")]
    pub bandwidth: Option<Quantity>,
    /// The most requests a second. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<u32>,
    /// Other limits at some hours: the first that holds counts. What it leaves out is as above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub hours: Vec<Hours>,
}

/// Some hours of some days, with limits of their own.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.from != self.until", "message": "from and until are the same"},
    {"rule": "has(self.bandwidth) || has(self.requestsPerSecond)",
     "message": "set bandwidth, requestsPerSecond or both"}
]))]
pub struct Hours {
    /// Days on which they begin. Default: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7), extend("x-kubernetes-list-type" = "set"))]
    pub days: Vec<Day>,
    /// As clocks there show it: `08:00`.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"), length(max = 5))]
    pub from: String,
    /// Not itself. Where it is before `from`, it is that of the next day.
    #[schemars(regex(pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"), length(max = 5))]
    pub until: String,
    /// A name of the time zone database: `Asia/Shanghai`.
    #[serde(default = "utc")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_+/-]+$"), length(min = 1, max = 64))]
    pub time_zone: String,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "quantities::read_one")]
    #[schemars(schema_with = "quantities::bytes")]
    pub bandwidth: Option<Quantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub requests_per_second: Option<u32>,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// A day of the week.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

fn default_pull_interval() -> u32 {
    60
}

fn default_verify_interval() -> u32 {
    86_400
}

fn default_prune_delay() -> u32 {
    86_400
}

/// The part a centre plays in *two sites, three centres*.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CentreRole {
    Production,
    SameCity,
    Remote,
    Witness,
}

/// Where a store is and which Secrets open it. Secrets lie in the operator's own namespace, always.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.endpoint.startsWith('https://') || (has(self.allowPlainHttp) && self.allowPlainHttp)",
     "message": "store.endpoint: use https://, or set store.allowPlainHttp: true for a network you trust"}
]))]
pub struct StoreSpec {
    /// URL of the store, for instance `https://s3.same-city.example`.
    #[schemars(regex(pattern = r"^https?://[^/\s]+$"), length(max = 253))]
    pub endpoint: String,
    /// S3 region name used for signing.
    #[schemars(length(min = 1, max = 63))]
    pub region: String,
    /// The vault: the bucket that holds backups. It must exist.
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"))]
    pub bucket: String,
    /// The bucket that keeps the objects of departments' buckets, every version of them. It must exist and be
    /// versioned. Default: the name of the vault with `-replica` behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"))]
    pub replica_bucket: Option<String>,
    /// PEM certificates to trust for the endpoint, beside the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_bundle: Option<String>,
    /// Allow `http://`. Object contents then cross the network unprotected (backups stay encrypted).
    #[serde(default)]
    pub allow_plain_http: bool,
    /// Read-write credentials, used only by the operator that serves this centre.
    pub credentials_secret_ref: SecretRef,
    /// Read-only credentials, used by the operators of other centres to pull and to learn what is proven here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_credentials_secret_ref: Option<SecretRef>,
}

/// A Secret in the operator's namespace with the keys `accessKeyId` and `secretAccessKey`.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SecretRef {
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What was found.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CentreStatus {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What the last probe proved. Absent until there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreFindings>,
    /// `Pull` where the centre's own operator pulls; `Push` where another centre's operator holds write
    /// credentials here, so that pull-only protection does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// The master keys that its operator is given, and those that repositories in its vault were made with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub keys: Vec<KeyUse>,
}

/// A master key, and what needs it in this centre's vault.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// Its name, which repositories bear; the key can't be had from it.
    pub id: String,
    /// New points are made with it.
    #[serde(default)]
    pub current: bool,
    /// The Secret of master keys has it.
    #[serde(default)]
    pub given: bool,
    /// Systems with a repository that was made with it, when that was last looked at.
    #[serde(default)]
    pub systems: u32,
}

/// Who can write to this centre's vault.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    Pull,
    Push,
}

/// Results of one probe.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct StoreFindings {
    /// Of many who create one key at once one wins, and a write on the condition of a wrong ETag is refused.
    pub conditional_writes: Finding,
    /// A write on the condition of the right ETag is taken. Without it the store has no vote in a takeover.
    #[serde(default)]
    pub conditional_overwrites: Finding,
    /// A wrong SHA-256 is refused.
    pub checksums: Finding,
    /// A wrong CRC64NVME is refused.
    #[serde(default)]
    pub crc64nvme: Finding,
    /// The ETag of what was written in one piece is the MD5 of it.
    #[serde(default)]
    pub md5_etags: Finding,
    /// The ETag of what was written in parts is the MD5 of their MD5s, and their number.
    #[serde(default)]
    pub part_etags: Finding,
    /// One part can be read by its number, so that a copy can be written in the parts of the original.
    #[serde(default)]
    pub part_reads: Finding,
    /// Parts may be of different sizes.
    #[serde(default)]
    pub uneven_parts: Finding,
    /// Parts may be smaller than 5 MiB.
    #[serde(default)]
    pub small_parts: Finding,
    /// The vault keeps versions.
    pub versioning: Finding,
    /// A version in the vault that is locked can't be deleted.
    pub object_lock: Finding,
    /// Keys are listed in the order of their bytes, each once, also across pages.
    #[serde(default)]
    pub list_order: Finding,
    /// A listing starts after whatever key it is told.
    #[serde(default)]
    pub start_after: Finding,
    /// Kinds of keys that some stores refuse, change or mistake for one another: `Proven` where they are kept byte for
    /// byte, `Absent` where the store refuses them, `Refuted` where it takes them and they are not what was put.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub odd_keys: BTreeMap<String, Finding>,
    /// Metadata keeps text that is not ASCII.
    #[serde(default)]
    pub unicode_metadata: Finding,
    /// `Cache-Control`, `Expires` and their like are kept.
    #[serde(default)]
    pub headers: Finding,
    /// Tags of objects are kept.
    #[serde(default)]
    pub tags: Finding,
    /// The store's `Server` header, as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    pub checked_at: Time,
}

/// One proven or refuted ability.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Finding {
    /// Tried, and right.
    Proven,
    /// Tried, and wrong.
    Refuted,
    /// The store says that it does not have it.
    Absent,
    /// Could not be tried, or was not yet.
    #[default]
    Unknown,
}

impl StoreSpec {
    /// The bucket that keeps the objects of departments' buckets.
    #[must_use]
    pub fn replica_bucket(&self) -> String {
        self.replica_bucket.clone().unwrap_or_else(|| format!("{}-replica", self.bucket))
    }
}

impl Centre {
    /// For how many days what is proved here is locked: as its store was seen to do.
    #[must_use]
    pub fn locks_for_days(&self) -> Option<u32> {
        let store = self.status.as_ref()?.store.as_ref()?;
        self.spec.object_lock_days.filter(|_| store.object_lock == Finding::Proven)
    }

    /// Whether the operator of `centre` looks after this one: its own, or a storage-only one that names it.
    #[must_use]
    pub fn is_served_by(&self, centre: &str) -> bool {
        match &self.spec.served_by {
            Some(server) => server == centre,
            None => self.metadata.name.as_deref() == Some(centre),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_of_an_earlier_operator_are_still_read() {
        let before = serde_json::json!({"conditionalWrites": "Proven", "checksums": "Proven", "versioning": "Absent",
            "objectLock": "Absent", "checkedAt": "2026-01-01T00:00:00Z"});
        let findings: StoreFindings = serde_json::from_value(before).unwrap();
        assert_eq!(findings.conditional_writes, Finding::Proven);
        assert_eq!(findings.part_reads, Finding::Unknown);
        assert!(findings.odd_keys.is_empty());
    }
}
