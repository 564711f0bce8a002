//! Restore tests: what a BackupPolicy says of the restores that are tried by schedule, and what came of them. A test is a
//! simulated DisasterRecoveryDrill with the label `tripod.cloud/restore-test`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::disaster_recovery_drill::{Check, default_deadline};

/// Label of a drill that a policy's schedule has started; its value is the policy's name.
pub const RESTORE_TEST: &str = "tripod.cloud/restore-test";

/// Every time that the schedule says, one of the newest recovery points of each centre, chosen at random, is restored in
/// isolation and checked there.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RestoreTests {
    /// Cron expression with five fields, in UTC.
    #[schemars(length(min = 9, max = 100))]
    pub schedule: String,
    /// Centres whose copies are tried, each by its own operator. Without any: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub centres: Vec<String>,
    /// The point is one of the newest so many that are Verified at the centre.
    #[serde(default = "default_among")]
    #[schemars(range(min = 1, max = 1_000))]
    pub among: u16,
    /// Checks by the department, as a drill has them. That restored files and objects have the digests of the recovery
    /// point is checked always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<Check>,
    /// A test fails when it is not through after so many seconds.
    #[serde(default = "default_deadline")]
    #[schemars(range(min = 30, max = 604_800))]
    pub deadline_seconds: u32,
    /// How old the newest proof may become before `Proven` is no longer true: `192h`. Without it, it never ages out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20))]
    pub max_age: Option<String>,
    /// The newest so many tests of a centre stay, as drills with their reports; older ones that have ended are removed.
    #[serde(default = "default_keep")]
    #[schemars(range(min = 1, max = 50))]
    pub keep: u8,
}

impl RestoreTests {
    /// Whether the copies of this centre are tried.
    #[must_use]
    pub fn covers(&self, centre: &str) -> bool {
        self.centres.is_empty() || self.centres.iter().any(|name| name == centre)
    }
}

fn default_among() -> u16 {
    10
}

fn default_keep() -> u8 {
    3
}

/// What drills have proved of the copies at one centre.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CentreProof {
    pub centre: String,
    /// When a point of this centre was last restored and checked with success. Its age is a metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven_at: Option<Time>,
    /// Which one that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_point: Option<String>,
    /// When a drill there last ended, however it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested_at: Option<Time>,
    /// Why the last one failed. Absent where it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
