//! The API of Tripod, and nothing else: one file per kind, the same name everywhere.
//!
//! Every kind carries its own promises in its schema: structural enums, ranges, and CEL rules for what one
//! object can tell about itself. What needs a second object to decide lives in `tripod-domain`.

pub mod approval;
pub mod backup_policy;
pub mod bucket_replication;
pub mod centre;
pub mod cloud;
pub mod department;
pub mod disaster_recovery_drill;
pub mod hook;
pub mod inspection;
pub mod quantities;
pub mod recovery_point;
pub mod request_class;
pub mod resource_request;
pub mod restore;
pub mod restore_tests;
pub mod retention;
mod selectors;
pub mod supervision_policy;
pub mod utilisation_report;

pub use approval::{Approval, ApprovalSpec};
pub use backup_policy::{BackupPolicy, BackupPolicySpec, BackupPolicyStatus};
pub use bucket_replication::{BucketReplication, BucketReplicationSpec, BucketReplicationStatus};
pub use centre::{Centre, CentreSpec, CentreStatus};
pub use cloud::{Cloud, CloudSpec, CloudStatus};
pub use department::{Department, DepartmentSpec, DepartmentStatus};
pub use disaster_recovery_drill::{
    DisasterRecoveryDrill, DisasterRecoveryDrillSpec, DisasterRecoveryDrillStatus,
};
pub use inspection::{Inspection, InspectionSpec, InspectionStatus};
pub use recovery_point::{RecoveryPoint, RecoveryPointSpec, RecoveryPointStatus};
pub use request_class::{RequestClass, RequestClassSpec};
pub use resource_request::{ResourceRequest, ResourceRequestSpec, ResourceRequestStatus};
pub use restore::{Restore, RestoreSpec, RestoreStatus};
pub use restore_tests::RestoreTests;
pub use retention::{CentreRetention, Retention, RetentionRules};
pub use supervision_policy::{SupervisionPolicy, SupervisionPolicySpec, SupervisionPolicyStatus};
pub use utilisation_report::{UtilisationReport, UtilisationReportSpec, UtilisationReportStatus};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

/// The API group of every kind.
pub const GROUP: &str = "tripod.cloud";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";

/// All definitions, in the order in which they are installed.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![
        Centre::crd(),
        Department::crd(),
        RequestClass::crd(),
        ResourceRequest::crd(),
        Approval::crd(),
        SupervisionPolicy::crd(),
        UtilisationReport::crd(),
        Cloud::crd(),
        BackupPolicy::crd(),
        RecoveryPoint::crd(),
        BucketReplication::crd(),
        Restore::crd(),
        Inspection::crd(),
        DisasterRecoveryDrill::crd(),
    ]
}

/// A definition as YAML, the way it is committed under `crds/yaml`.
///
/// # Errors
/// When it can't be serialized.
pub fn yaml(definition: &CustomResourceDefinition) -> Result<String, serde_yaml_ng::Error> {
    serde_yaml_ng::to_string(definition)
}
