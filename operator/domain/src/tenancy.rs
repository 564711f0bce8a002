//! How a namespace says whose it is and what it may hold: the labels and annotations that the operator writes, that
//! admission policies read, and that nobody in a department may touch.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tripod_crds::department::Allowed;
use tripod_crds::quantities::Quantities;
use tripod_crds::resource_request::AfterTerm;

/// Label of everything that is a department's: its name.
pub const DEPARTMENT: &str = "tripod.cloud/department";
/// Label of a system's namespace: the name of the ResourceRequest it was made for, in the department's home.
pub const REQUEST: &str = "tripod.cloud/request";
/// Label of a namespace that is suspended: `Cordoned` or `ScaledToZero`.
pub const SUSPENSION: &str = "tripod.cloud/suspension";
/// Annotation of a system's namespace: the [`Grant`] in force, as JSON. The namespace is its only record, so that
/// nothing is lost when the request, or its definition, is deleted and made again.
pub const GRANT: &str = "tripod.cloud/grant";
/// Annotation of an ended system's namespace: since when, RFC 3339.
pub const ENDED: &str = "tripod.cloud/ended-at";
/// Annotation of a namespace: its pods run on nodes with the label of the same name and value.
pub const NODE_POOL: &str = "tripod.cloud/node-pool";
/// Annotation of what the operator applied last: a hash over all of it, so that the same again is not even sent.
pub const APPLIED: &str = "tripod.cloud/applied";
/// Annotation of a quota: the promise of the ledger under which it was written.
pub const PROMISE: &str = "tripod.cloud/promise";
/// Annotation of a Department that may be deleted although it has systems; its value is `Keep`.
pub const ON_DELETE: &str = "tripod.cloud/on-delete";
/// Name of the one quota in each of a department's namespaces.
pub const QUOTA: &str = "tripod-budget";

/// The name of a department's home namespace.
#[must_use]
pub fn home(department: &str) -> String {
    format!("dept-{department}")
}

/// The department whose home this is.
#[must_use]
pub fn department_of_home(namespace: &str) -> Option<&str> {
    namespace.strip_prefix("dept-").filter(|name| !name.is_empty())
}

/// The namespace of a system. Two departments can arrive at one name (`a` + `b-c`, `a-b` + `c`): the labels say whose
/// it is, and the second is refused.
#[must_use]
pub fn system(department: &str, request: &str) -> String {
    format!("{department}-{request}")
}

/// What is in force in a system's namespace, and until when.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Of the approved spec.
    pub spec_hash: String,
    pub resources: Quantities,
    /// When this system was first provisioned: its term counts from here.
    pub since: Timestamp,
    /// When the present spec came into force.
    pub at: Timestamp,
    /// In days.
    pub term: i64,
    pub grace_days: i64,
    #[serde(default)]
    pub after_term: AfterTerm,
}

/// The annotations of [`allow_lists`].
pub const ALLOW_LISTS: [&str; 5] = [
    "tripod.cloud/allowed-storage-classes",
    "tripod.cloud/allowed-ingress-classes",
    "tripod.cloud/allowed-priority-classes",
    "tripod.cloud/allowed-runtime-classes",
    "tripod.cloud/allowed-image-registries",
];

/// Annotations that carry a department's allow-lists, comma-separated. An absent one allows everything.
#[must_use]
pub fn allow_lists(allowed: Option<&Allowed>) -> BTreeMap<&'static str, String> {
    let none = Allowed::default();
    let allowed = allowed.unwrap_or(&none);
    let lists = [
        &allowed.storage_classes,
        &allowed.ingress_classes,
        &allowed.priority_classes,
        &allowed.runtime_classes,
        &allowed.image_registries,
    ];
    ALLOW_LISTS
        .into_iter()
        .zip(lists)
        .filter_map(|(key, list)| Some((key, list.as_ref()?.join(","))))
        .collect()
}
