//! What every namespace of a department gets: the labels and annotations that admission reads, defaults, walls, and
//! the rights of members. The quota is the ledger's.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tripod_crds::Department;
use tripod_crds::department::{Member, MemberKind, MemberRole, PodSecurity, Suspension, Zone};

use crate::ledger;
use crate::tenancy::{self, APPLIED, DEPARTMENT, ENDED, GRANT, Grant, NODE_POOL, REQUEST, SUSPENSION};

/// Annotation of a namespace that was there before Tripod.
pub const ADOPTED: &str = "tripod.cloud/adopted";
/// Label of the namespaces of the platform's ingress controllers: `true`.
pub const INGRESS: &str = "tripod.cloud/ingress";
/// Annotation of a namespace whose workloads are scaled to zero.
pub const SCALED: &str = "tripod.cloud/scaled-to-zero";

/// A namespace of a department, as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Namespace {
    pub uid: String,
    pub version: String,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub deleting: bool,
    /// Seconds since the epoch.
    pub created: i64,
    pub quota: Option<ledger::Quota>,
    /// When the quota was last written by us, seconds since the epoch.
    pub quota_written_at: i64,
    pub children: BTreeMap<ChildName, Child>,
}

/// One of our objects in a namespace: kind and name.
pub type ChildName = (String, String);

/// What is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Child {
    pub uid: String,
    /// Hash of what was applied. Empty when somebody else has changed it since.
    pub applied: String,
}

impl Namespace {
    /// The grant in force, if there is one that can be read.
    #[must_use]
    pub fn grant(&self) -> Option<Grant> {
        serde_json::from_str(self.annotations.get(GRANT)?).ok()
    }

    #[must_use]
    pub fn request(&self) -> Option<&str> {
        self.labels.get(REQUEST).map(String::as_str)
    }

    #[must_use]
    pub fn ended_at(&self) -> Option<jiff::Timestamp> {
        self.annotations.get(ENDED)?.parse().ok()
    }

    #[must_use]
    pub fn is_adopted(&self) -> bool {
        self.annotations.contains_key(ADOPTED)
    }

    /// Whether members have been given their rights.
    #[must_use]
    pub fn has_rights(&self) -> bool {
        self.children
            .keys()
            .any(|(kind, name)| kind == "RoleBinding" && name.starts_with("tripod-department-"))
    }
}

/// How a namespace is stopped: as its department, or because its term is over.
#[must_use]
pub fn suspension(department: &Department, ended: bool) -> Suspension {
    if ended { Suspension::ScaledToZero } else { department.spec.suspension }
}

/// Labels or annotations; `None`: must not be there.
pub type Marks = BTreeMap<&'static str, Option<String>>;

/// The labels and annotations that a department's namespace has to have.
#[must_use]
pub fn metadata(department: &Department, ended: bool) -> (Marks, Marks) {
    let spec = &department.spec;
    let level = match spec.pod_security {
        PodSecurity::Baseline => "baseline",
        PodSecurity::Restricted => "restricted",
    };
    let suspension = suspension(department, ended);
    let labels = BTreeMap::from([
        (DEPARTMENT, department.metadata.name.clone()),
        ("app.kubernetes.io/managed-by", Some("tripod".to_owned())),
        ("pod-security.kubernetes.io/enforce", Some(level.to_owned())),
        ("pod-security.kubernetes.io/warn", Some("restricted".to_owned())),
        (SUSPENSION, (!suspension.is_none()).then(|| format!("{suspension:?}"))),
    ]);
    let lists = tenancy::allow_lists(spec.allowed.as_ref());
    let keys = tenancy::ALLOW_LISTS.iter().map(|key| (*key, lists.get(key).cloned()));
    let annotations = keys.chain([(NODE_POOL, spec.node_pool.clone())]).collect();
    (labels, annotations)
}

/// The change that makes a namespace's metadata what it has to be, as a merge patch; `None`: it is.
#[must_use]
pub fn metadata_patch(department: &Department, seen: &Namespace, ended: bool) -> Option<Value> {
    let (labels, annotations) = metadata(department, ended);
    let wrong = |wanted: BTreeMap<&'static str, Option<String>>, seen: &BTreeMap<String, String>| {
        wanted
            .into_iter()
            .filter(|(key, value)| seen.get(*key) != value.as_ref())
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .collect::<serde_json::Map<_, _>>()
    };
    let (labels, annotations) = (wrong(labels, &seen.labels), wrong(annotations, &seen.annotations));
    (!labels.is_empty() || !annotations.is_empty())
        .then(|| json!({"metadata": {"labels": labels, "annotations": annotations}}))
}

/// A new namespace of the department, with more labels and annotations of its own.
#[must_use]
pub fn manifest(department: &Department, name: &str, labels: &Value, annotations: &Value) -> Value {
    let (all_labels, all_annotations) = metadata(department, false);
    let merged = |all: BTreeMap<&'static str, Option<String>>, more: &Value| {
        let mut map: serde_json::Map<String, Value> =
            all.into_iter().filter_map(|(k, v)| Some((k.to_owned(), json!(v?)))).collect();
        map.extend(more.as_object().cloned().unwrap_or_default());
        map
    };
    // Never owned: deleting a department or a request must not take data with it.
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": merged(all_labels, labels), "annotations": merged(all_annotations, annotations)}})
}

/// Who has rights in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Members: once its quota is enforced.
    pub members: bool,
    /// The account that scales: while it is, or has to be, scaled to zero.
    pub scaler: bool,
}

/// What is to be in a namespace, besides its quota.
#[must_use]
pub fn children(
    department: &Department,
    namespace: &str,
    rights: Rights,
    operator_namespace: &str,
) -> Vec<Value> {
    let name = department.metadata.name.clone().unwrap_or_default();
    let meta = |child: &str| {
        json!({"name": child, "namespace": namespace,
        "labels": {DEPARTMENT: name, "app.kubernetes.io/managed-by": "tripod"}})
    };
    let mut objects = vec![
        // A quota on requests refuses pods that ask for nothing: they ask for this. Asking for zero is asking for nothing.
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta("tripod-defaults"), "spec": {"limits": [{
            "type": "Container", "min": {"cpu": "1m", "memory": "1Mi"}, "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
            "default": {"cpu": "1", "memory": "512Mi"}}]}}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("tripod-walls"),
            "spec": walls(department.spec.zone)}),
    ];
    if rights.scaler {
        // It needs no object: nothing ever runs as it.
        let scaler = json!({"kind": "ServiceAccount", "name": "tripod-scaler", "namespace": namespace});
        let role = cluster_role("tripod-scaler");
        objects.push(binding(department, meta("tripod-scaler"), &role, &[scaler]));
    }
    if rights.members {
        objects.extend(member_bindings(department, &meta));
        if namespace == tenancy::home(&name) {
            objects.extend(chief_bindings(department, &meta, operator_namespace));
        }
    }
    objects.into_iter().map(with_hash).collect()
}

/// Rights end with the department, data does not: so these are owned by it, and nothing else is.
fn owner(department: &Department) -> Value {
    let meta = &department.metadata;
    json!([{"apiVersion": "tripod.cloud/v1alpha1", "kind": "Department", "name": meta.name, "uid": meta.uid}])
}

fn binding(department: &Department, mut meta: Value, role: &Value, subjects: &[Value]) -> Value {
    meta["ownerReferences"] = owner(department);
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta,
        "subjects": subjects, "roleRef": role})
}

fn cluster_role(name: &str) -> Value {
    json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name})
}

fn member_bindings(department: &Department, meta: &impl Fn(&str) -> Value) -> Vec<Value> {
    let mut bindings = Vec::new();
    for role in [MemberRole::Admin, MemberRole::Operator, MemberRole::Viewer] {
        let members = department.spec.members.iter().filter(|m| m.role == role);
        let subjects: Vec<Value> = members.map(subject).collect();
        if !subjects.is_empty() {
            let name = format!("tripod-department-{}", format!("{role:?}").to_lowercase());
            bindings.push(binding(department, meta(&name), &cluster_role(&name), &subjects));
        }
    }
    bindings
}

/// The chief may approve what the department asks for: the right in the home, the objects beside the operator.
fn chief_bindings(
    department: &Department,
    meta: &impl Fn(&str) -> Value,
    operator_namespace: &str,
) -> Vec<Value> {
    let Some(chief) = &department.spec.cloud_chief else { return Vec::new() };
    let subject = [json!({"kind": "User", "name": chief.user, "apiGroup": "rbac.authorization.k8s.io"})];
    let name = department.metadata.name.clone().unwrap_or_default();
    let mut beside = meta(&format!("tripod-approver-{name}"));
    beside["namespace"] = json!(operator_namespace);
    let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tripod-approver"});
    vec![
        binding(
            department,
            meta("tripod-department-chief"),
            &cluster_role("tripod-department-chief"),
            &subject,
        ),
        binding(department, beside, &role, &subject),
    ]
}

fn subject(member: &Member) -> Value {
    match member.kind {
        MemberKind::User => {
            json!({"kind": "User", "name": member.name, "apiGroup": "rbac.authorization.k8s.io"})
        }
        MemberKind::Group => {
            json!({"kind": "Group", "name": member.name, "apiGroup": "rbac.authorization.k8s.io"})
        }
        MemberKind::ServiceAccount => {
            json!({"kind": "ServiceAccount", "name": member.name, "namespace": member.namespace})
        }
    }
}

/// Nothing in, nothing out; then the holes: each other, ingress controllers, names, and the zone's own.
fn walls(zone: Zone) -> Value {
    let private = json!(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]);
    let mut egress = vec![
        json!({"to": [{"podSelector": {}}]}),
        json!({"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}),
    ];
    let peers: Vec<Value> = match zone {
        Zone::Internet => vec![json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": private}})],
        // Only what is reachable inside: the extranet's own ranges.
        Zone::Extranet => {
            private.as_array().into_iter().flatten().map(|cidr| json!({"ipBlock": {"cidr": cidr}})).collect()
        }
        Zone::Dedicated => Vec::new(),
    };
    if !peers.is_empty() {
        egress.push(json!({"to": peers, "ports": [{"port": 443, "protocol": "TCP"}]}));
    }
    json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}, {"namespaceSelector": {"matchLabels": {INGRESS: "true"}}}]}], "egress": egress})
}

/// The account that movers run as, the one that recovery points are read with, and the way to the gateway. Only where
/// something is backed up.
#[must_use]
pub fn backup_objects(department: &str, namespace: &str, operator_namespace: &str) -> Vec<Value> {
    let meta = |child: &str| {
        json!({"name": child, "namespace": namespace,
        "labels": {DEPARTMENT: department, "app.kubernetes.io/managed-by": "tripod"}})
    };
    let account = |name: &str| {
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(name),
        "automountServiceAccountToken": false})
    };
    vec![
        account("tripod-mover"),
        account("tripod-backup"),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta("tripod-backup"),
            "roleRef": cluster_role("tripod-backup"),
            "subjects": [{"kind": "ServiceAccount", "name": "tripod-backup", "namespace": namespace}]}),
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta("tripod-allow-gateway"),
            "spec": {"podSelector": {"matchLabels": {"tripod.cloud/mover": "true"}}, "policyTypes": ["Egress"],
                "egress": [{"ports": [{"port": 8443, "protocol": "TCP"}], "to": [{"namespaceSelector":
                    {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}}}]}]}}),
    ]
}

/// The rights of the account that hooks are run as. Only where a policy has some. It needs no object: nothing ever runs as
/// it, and the operator acts as it.
#[must_use]
pub fn hook_binding(department: &str, namespace: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "tripod-hooks", "namespace": namespace,
            "labels": {DEPARTMENT: department, "app.kubernetes.io/managed-by": "tripod"}},
        "roleRef": cluster_role("tripod-hooks"),
        "subjects": [{"kind": "ServiceAccount", "name": "tripod-hooks", "namespace": namespace}]})
}

/// The rights of the account that snapshots of volumes are taken as. Only where a policy takes some; nothing ever runs as it.
#[must_use]
pub fn snapshot_binding(department: &str, namespace: &str) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": {"name": "tripod-snapshots", "namespace": namespace,
            "labels": {DEPARTMENT: department, "app.kubernetes.io/managed-by": "tripod"}},
        "roleRef": cluster_role("tripod-snapshots"),
        "subjects": [{"kind": "ServiceAccount", "name": "tripod-snapshots", "namespace": namespace}]})
}

/// Puts the hash of an object into it, so that a glance at its metadata tells whether it is what it should be.
fn with_hash(mut object: Value) -> Value {
    let hash = hex::encode(&Sha256::digest(object.to_string())[..8]);
    object["metadata"]["annotations"] = json!({APPLIED: hash});
    object
}

/// Kind, name and hash of a child that [`children`] made.
#[must_use]
pub fn identity(child: &Value) -> (ChildName, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meta = &child["metadata"];
    ((text(&child["kind"]), text(&meta["name"])), text(&meta["annotations"][APPLIED]))
}
