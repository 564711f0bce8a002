//! Retention: how many recovery points are kept, and for how long. Shared by the BackupPolicy, whose points they are, and the
//! Centre, whose vault they lie in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which points are kept: the newest one of each of the newest so many hours, days, weeks, months and years (UTC), and the
/// newest so many. A point that one of the rules keeps stays. Whatever the rules say, the newest Verified point stays, and
/// what is held or in use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RetentionRules {
    /// The newest so many points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub keep_last: Option<u16>,
    /// The newest point of each of the newest so many hours that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub hourly: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub daily: Option<u16>,
    /// Weeks begin on Monday.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 5_000))]
    pub weekly: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_200))]
    pub monthly: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub yearly: Option<u16>,
    /// A point that has not been at a centre for so long stays there in any case: `168h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"), length(min = 2, max = 20))]
    pub minimum_age: Option<String>,
}

impl RetentionRules {
    /// Whether there is a rule by which points are counted. Without one everything is kept.
    #[must_use]
    pub fn counts(&self) -> bool {
        let rules = [self.keep_last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        rules.iter().any(Option::is_some)
    }
}

/// What a policy keeps, and what otherwise at some centres. A centre goes by the BackupPolicy of its own cluster only.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.keepLast) || has(self.hourly) || has(self.daily) || has(self.weekly) || has(self.monthly) || has(self.yearly)",
     "message": "retention: set at least one of keepLast, hourly, daily, weekly, monthly, yearly"}
]))]
pub struct Retention {
    #[serde(flatten)]
    pub rules: RetentionRules,
    /// Rules of single centres, in place of the above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["centre"]))]
    pub centres: Vec<CentreRetention>,
}

impl Retention {
    /// The rules that hold at a centre.
    #[must_use]
    pub fn at(&self, centre: &str) -> &RetentionRules {
        self.centres.iter().find(|c| c.centre == centre).map_or(&self.rules, |c| &c.rules)
    }
}

/// What one centre keeps.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.keepLast) || has(self.hourly) || has(self.daily) || has(self.weekly) || has(self.monthly) || has(self.yearly)",
     "message": "retention.centres: set at least one of keepLast, hourly, daily, weekly, monthly, yearly"}
]))]
pub struct CentreRetention {
    /// Name of the Centre.
    #[schemars(length(min = 1, max = 63))]
    pub centre: String,
    #[serde(flatten)]
    pub rules: RetentionRules,
}
