//! RequestClass: how many people must approve a request of a certain size.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::quantities::{self, Quantities};

/// Of the classes that a request fits into, the one with the fewest approvals applies. What fits into none needs two.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "tripod.cloud",
    version = "v1alpha1",
    kind = "RequestClass",
    plural = "requestclasses",
    shortname = "rclass",
    category = "tripod",
    printcolumn = r#"{"name":"Approvals","type":"integer","jsonPath":".spec.approvals"}"#,
    printcolumn = r#"{"name":"CPU","type":"string","jsonPath":".spec.upTo.requests\\.cpu"}"#,
    printcolumn = r#"{"name":"Memory","type":"string","jsonPath":".spec.upTo.requests\\.memory"}"#,
    printcolumn = r#"{"name":"Security Level","type":"integer","jsonPath":".spec.securityLevel"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct RequestClassSpec {
    /// How many different people must approve, none of them the requester. 0: nobody, the assessment is enough.
    #[schemars(range(min = 0, max = 5))]
    pub approvals: i64,
    /// The largest request of this class. A resource that is not named here is bounded by the budget alone.
    #[schemars(schema_with = "quantities::some")]
    #[serde(deserialize_with = "quantities::read")]
    pub up_to: Quantities,
    /// The highest 等保 level of this class, 1 to 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4))]
    pub security_level: Option<i64>,
}
