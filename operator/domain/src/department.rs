//! What a department gets: a home namespace, rights for its members, a quota from its budget, and walls. And
//! what it uses, beside what it asked for and was given.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};
use tripod_crds::department::{BudgetLine, Member, MemberKind, MemberRole, Zone};
use tripod_crds::{Department, DepartmentStatus};

use crate::conditions::{self, Verdict};
use crate::quantity;

/// Label of everything that is a department's.
pub const DEPARTMENT_LABEL: &str = "tripod.cloud/department";

/// What was read before deciding.
#[derive(Clone, Debug)]
pub struct Observed {
    pub department: Department,
    /// The operator's own namespace: movers may talk to it.
    pub operator_namespace: String,
    /// Labels of the home namespace, if it exists.
    pub namespace_labels: Option<BTreeMap<String, String>>,
    /// Role bindings in it that we made, by name, with their uid.
    pub bindings: BTreeMap<String, String>,
    /// What the quota counts as asked for.
    pub requested: BTreeMap<String, Quantity>,
    /// Sums over all running pods, or why they are unknown.
    pub usage: Result<Usage, String>,
}

/// What is really used, in billionths of a core and of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu: i128,
    pub memory: i128,
}

/// What to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// The namespace of that name belongs to somebody else.
    Refuse(Verdict),
    /// Apply these, in order; then delete these role bindings (name, uid).
    Apply { objects: Vec<Value>, revoke: Vec<(String, String)> },
}

/// The name of a department's home namespace.
#[must_use]
pub fn home(department: &str) -> String {
    format!("dept-{department}")
}

/// Pure, total.
#[must_use]
pub fn decide(seen: &Observed) -> Plan {
    let name = seen.department.metadata.name.clone().unwrap_or_default();
    let namespace = home(&name);
    if let Some(labels) = &seen.namespace_labels
        && labels.get(DEPARTMENT_LABEL) != Some(&name)
    {
        let how = format!("kubectl label namespace {namespace} {DEPARTMENT_LABEL}={name}");
        let message =
            format!("namespace {namespace} exists and is not this department's; to adopt it: {how}");
        return Plan::Refuse(Verdict::no("NamespaceNotOurs", message));
    }
    for (resource, budget) in &seen.department.spec.budget {
        if let Err(error) = quantity::parse(budget) {
            return Plan::Refuse(Verdict::no("InvalidBudget", format!("spec.budget[{resource}]: {error}")));
        }
    }
    let objects = objects(seen, &name, &namespace);
    let bound: Vec<&str> = objects
        .iter()
        .filter(|o| o["kind"] == json!("RoleBinding"))
        .filter_map(|o| o["metadata"]["name"].as_str())
        .collect();
    let gone = seen.bindings.iter().filter(|(name, _)| !bound.contains(&name.as_str()));
    Plan::Apply { revoke: gone.map(|(n, u)| (n.clone(), u.clone())).collect(), objects }
}

fn objects(seen: &Observed, department: &str, namespace: &str) -> Vec<Value> {
    let spec = &seen.department.spec;
    let labels = json!({DEPARTMENT_LABEL: department, "app.kubernetes.io/managed-by": "tripod"});
    let meta = |name: &str| json!({"name": name, "namespace": namespace, "labels": labels});
    let mut objects = vec![
        // Never owned by the Department: deleting that must not take the department's data with it.
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {
            DEPARTMENT_LABEL: department, "app.kubernetes.io/managed-by": "tripod",
            "pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}}}),
        json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta("tripod-budget"), "spec": {"hard": spec.budget}}),
        // A quota on requests refuses pods that ask for nothing: they ask for this.
        json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": meta("tripod-defaults"), "spec": {"limits": [{
            "type": "Container", "defaultRequest": {"cpu": "50m", "memory": "64Mi"},
            "default": {"cpu": "1", "memory": "512Mi"}}]}}),
    ];
    for account in ["tripod-mover", "tripod-backup"] {
        objects.push(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(account),
            "automountServiceAccountToken": false}));
    }
    let subject = json!({"kind": "ServiceAccount", "name": "tripod-backup", "namespace": namespace});
    objects.push(binding(&meta("tripod-backup"), "tripod-backup", &[subject]));
    for role in [MemberRole::Admin, MemberRole::Operator, MemberRole::Viewer] {
        let subjects: Vec<Value> = spec.members.iter().filter(|m| m.role == role).map(subject_of).collect();
        if !subjects.is_empty() {
            let name = format!("tripod-department-{}", format!("{role:?}").to_lowercase());
            objects.push(binding(&meta(&name), &name, &subjects));
        }
    }
    objects.extend(walls(spec.zone, &meta, &seen.operator_namespace));
    objects
}

fn binding(meta: &Value, role: &str, subjects: &[Value]) -> Value {
    json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta, "subjects": subjects,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}})
}

fn subject_of(member: &Member) -> Value {
    let kind = match member.kind {
        MemberKind::User => "User",
        MemberKind::Group => "Group",
    };
    json!({"kind": kind, "name": member.name, "apiGroup": "rbac.authorization.k8s.io"})
}

/// Nothing in, nothing out; then the holes: each other, names, the gateway for movers, and the zone's own.
fn walls(zone: Zone, meta: &impl Fn(&str) -> Value, operator_namespace: &str) -> Vec<Value> {
    let policy = |name: &str, spec: Value| json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta(name), "spec": spec});
    let private = json!(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]);
    let zone_peers: Vec<Value> = match zone {
        Zone::Internet => vec![json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": private}})],
        // Only what is reachable inside: the extranet's own ranges.
        Zone::Extranet => {
            private.as_array().into_iter().flatten().map(|cidr| json!({"ipBlock": {"cidr": cidr}})).collect()
        }
        Zone::Dedicated => Vec::new(),
    };
    let mut walls = vec![
        policy("tripod-default-deny", json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})),
        policy(
            "tripod-allow-within",
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [{"podSelector": {}}]}], "egress": [{"to": [{"podSelector": {}}]}]}),
        ),
        policy(
            "tripod-allow-names",
            json!({"podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}]}),
        ),
        policy(
            "tripod-allow-gateway",
            json!({"podSelector": {"matchLabels": {"tripod.cloud/mover": "true"}},
            "policyTypes": ["Egress"], "egress": [{"ports": [{"port": 8443, "protocol": "TCP"}],
                "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": operator_namespace}}}]}]}),
        ),
    ];
    if !zone_peers.is_empty() {
        walls.push(policy(
            "tripod-allow-zone",
            json!({"podSelector": {}, "policyTypes": ["Egress"],
            "egress": [{"to": zone_peers, "ports": [{"port": 443, "protocol": "TCP"}]}]}),
        ));
    }
    walls
}

/// When to look again: usage changes by itself.
pub const RECHECK: SignedDuration = SignedDuration::from_secs(20);

/// The status that follows.
#[must_use]
pub fn status(seen: &Observed, plan: &Plan, applied: Result<(), String>, now: Timestamp) -> DepartmentStatus {
    let generation = seen.department.metadata.generation;
    let mut status = seen.department.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    let ready = match (plan, applied) {
        (Plan::Refuse(verdict), _) => verdict.clone(),
        (_, Err(error)) => Verdict::no("NotApplied", error),
        (_, Ok(())) => Verdict::yes("Provisioned", "namespace, rights, quota and walls are in place"),
    };
    if ready.holds {
        status.namespace = seen.department.metadata.name.as_deref().map(home);
    }
    conditions::set(&mut status.conditions, "Ready", &ready, generation, now);
    let measured = match &seen.usage {
        Ok(_) => Verdict::yes("AllPodsRead", "every running pod has a reading"),
        Err(why) => Verdict::no("Unknown", why.clone()),
    };
    conditions::set(&mut status.conditions, "UsageMeasured", &measured, generation, now);
    let used = |resource: &str| {
        let usage = seen.usage.as_ref().ok()?;
        match resource {
            "requests.cpu" | "limits.cpu" | "cpu" => Some(quantity::millicores(usage.cpu)),
            "requests.memory" | "limits.memory" | "memory" => Some(quantity::mebibytes(usage.memory)),
            _ => None,
        }
    };
    let line = |(resource, budget): (&String, &Quantity)| {
        let requested = seen.requested.get(resource).cloned();
        (resource.clone(), BudgetLine { budget: budget.clone(), requested, used: used(resource) })
    };
    status.budget = seen.department.spec.budget.iter().map(line).collect();
    status
}

#[cfg(test)]
mod tests {
    use super::*;
    use tripod_crds::DepartmentSpec;

    fn seen() -> Observed {
        let spec: DepartmentSpec = serde_json::from_value(json!({
            "displayName": "卫生健康局", "budget": {"requests.cpu": "8", "requests.memory": "16Gi"},
            "members": [{"kind": "Group", "name": "health-admins", "role": "Admin"}]}))
        .unwrap();
        Observed {
            department: Department::new("health", spec),
            operator_namespace: "tripod-system".into(),
            namespace_labels: None,
            bindings: BTreeMap::from([("tripod-department-viewer".into(), "uid".into())]),
            requested: BTreeMap::from([("requests.cpu".into(), Quantity("500m".into()))]),
            usage: Ok(Usage { cpu: 250_000_000, memory: (64 << 20) * 1_000_000_000 }),
        }
    }

    #[test]
    fn a_namespace_of_somebody_else_is_not_taken() {
        let mut seen = seen();
        seen.namespace_labels = Some(BTreeMap::new());
        let Plan::Refuse(verdict) = decide(&seen) else { panic!("taken") };
        assert!(
            verdict.message.contains("kubectl label namespace dept-health tripod.cloud/department=health")
        );
    }

    #[test]
    fn a_role_without_members_is_revoked() {
        let Plan::Apply { objects, revoke } = decide(&seen()) else { panic!("refused") };
        assert_eq!(revoke, [("tripod-department-viewer".to_owned(), "uid".to_owned())]);
        assert!(objects.iter().any(|o| o["metadata"]["name"] == json!("tripod-department-admin")));
    }

    #[test]
    fn no_reading_is_not_a_zero() {
        let mut seen = seen();
        let now = Timestamp::from_second(0).unwrap();
        let used =
            |seen: &Observed| status(seen, &decide(seen), Ok(()), now).budget["requests.cpu"].used.clone();
        assert_eq!(used(&seen), Some(Quantity("250m".into())));
        seen.usage = Err("metrics.k8s.io does not answer".into());
        assert_eq!(used(&seen), None);
    }

    #[test]
    fn the_namespace_is_never_owned() {
        let Plan::Apply { objects, .. } = decide(&seen()) else { panic!("refused") };
        assert!(objects.iter().all(|o| o["metadata"].get("ownerReferences").is_none()));
    }
}
