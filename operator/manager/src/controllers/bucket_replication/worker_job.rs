//! The Job whose pods make a large run, as it is applied. Pure.

use serde_json::{Value, json};
use tripod_domain::bucket_replication_jobs as jobs;

use crate::replicate::order::Order;
use crate::replicate::worker::{STOPPED, WRONG};
use crate::stores::{ACCESS_KEY_ID, SECRET_ACCESS_KEY};

/// The account of its pods. It has no right at all, and no token of it is mounted.
const ACCOUNT: &str = "tripod-replicator";
/// As in the chart: the image has no other user.
const USER: u32 = 65532;
/// Times a pod of an index is made anew.
const ATTEMPTS: u32 = 6;
/// Seconds until a Job goes that nobody has deleted.
const KEPT: u32 = 3600;
const CONTAINER: &str = "worker";

/// What the Job of a run is made of.
#[derive(Debug)]
pub(super) struct WorkerJob<'a> {
    pub(super) name: &'a str,
    /// The operator's own.
    pub(super) namespace: &'a str,
    pub(super) image: &'a str,
    pub(super) workers: u16,
    /// `requests` and `limits`.
    pub(super) resources: &'a Value,
    /// Of the replication: namespace, name, centre of the target.
    pub(super) of: [&'a str; 3],
    pub(super) order: &'a Order,
    /// Secrets with the credentials of source and target. They are named, never copied.
    pub(super) secrets: [&'a str; 2],
}

impl WorkerJob<'_> {
    pub(super) fn object(&self) -> Value {
        let [namespace, name, target] = self.of;
        let mut labels = json!(jobs::labels(namespace, name, target));
        labels["app.kubernetes.io/managed-by"] = json!("tripod");
        labels["app.kubernetes.io/component"] = json!("replication");
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": labels},
            "spec": {
                "completionMode": "Indexed", "completions": self.workers, "parallelism": self.workers,
                "backoffLimitPerIndex": ATTEMPTS, "ttlSecondsAfterFinished": KEPT,
                "podFailurePolicy": {"rules": [
                    // A node that is drained, and a pod that was told to stop: no failures.
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "Ignore", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [STOPPED]}},
                    // All of them are told the same.
                    {"action": "FailJob", "onExitCodes": {"containerName": CONTAINER, "operator": "In", "values": [WRONG]}},
                ]},
                "template": {"metadata": {"labels": labels}, "spec": self.pod()},
            },
        })
    }

    fn pod(&self) -> Value {
        json!({
            "restartPolicy": "Never", "serviceAccountName": ACCOUNT, "automountServiceAccountToken": false,
            "enableServiceLinks": false, "terminationGracePeriodSeconds": 30,
            "securityContext": {"runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": CONTAINER, "image": self.image, "command": ["/tripod"], "args": ["replicate-worker"],
                "env": self.environment(), "resources": self.resources,
                "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]}},
            }],
        })
    }

    fn environment(&self) -> Value {
        // It holds text and numbers only. What a department has written in it is no reference to another variable.
        let order = serde_json::to_string(self.order).unwrap_or_default().replace('$', "$$");
        let mut variables = vec![
            json!({"name": "TRIPOD_ORDER", "value": order}),
            json!({"name": "TRIPOD_LOG_FORMAT", "value": "json"}),
            json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
        ];
        for (side, secret) in ["SOURCE", "TARGET"].into_iter().zip(self.secrets) {
            for (variable, key) in
                [("ACCESS_KEY_ID", ACCESS_KEY_ID), ("SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)]
            {
                variables.push(json!({"name": format!("TRIPOD_{side}_{variable}"),
                    "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}));
            }
        }
        json!(variables)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::batch::v1::Job;

    use super::*;

    fn made() -> Value {
        let order = Order { include: vec!["$(POD_NAME)/*".into()], ..Order::of_tests() };
        WorkerJob {
            name: "replicate-0123",
            namespace: "tripod-system",
            image: "tripod:1",
            workers: 4,
            resources: &json!({"requests": {"cpu": "100m"}, "limits": {"memory": "512Mi"}}),
            of: ["health-web", "files", "remote"],
            order: &order,
            secrets: ["reader-production", "store-remote"],
        }
        .object()
    }

    #[test]
    fn it_is_a_job_that_the_api_server_knows() {
        let job: Job = serde_json::from_value(made()).unwrap();
        // What is not known is lost on the way.
        assert_eq!(serde_json::to_value(&job).unwrap(), made());
        let spec = job.spec.unwrap();
        assert_eq!((spec.completions, spec.parallelism), (Some(4), Some(4)));
        assert_eq!(spec.completion_mode.as_deref(), Some("Indexed"));
        assert_eq!(job.metadata.labels.unwrap()[jobs::TARGET_LABEL], "remote");
    }

    #[test]
    fn its_pods_have_no_power_and_credentials_only_by_name() {
        let job: Job = serde_json::from_value(made()).unwrap();
        let pod = job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.automount_service_account_token, Some(false));
        assert_eq!(pod.security_context.unwrap().run_as_non_root, Some(true));
        let container = &pod.containers[0];
        let security = container.security_context.as_ref().unwrap();
        assert_eq!(security.read_only_root_filesystem, Some(true));
        assert!(container.resources.as_ref().unwrap().limits.is_some());
        let environment = container.env.as_ref().unwrap();
        for (variable, secret) in [
            ("TRIPOD_SOURCE_ACCESS_KEY_ID", "reader-production"),
            ("TRIPOD_SOURCE_SECRET_ACCESS_KEY", "reader-production"),
            ("TRIPOD_TARGET_ACCESS_KEY_ID", "store-remote"),
            ("TRIPOD_TARGET_SECRET_ACCESS_KEY", "store-remote"),
        ] {
            let found = environment.iter().find(|v| v.name == variable).unwrap();
            assert_eq!(found.value, None);
            let from = found.value_from.as_ref().unwrap().secret_key_ref.as_ref().unwrap();
            assert_eq!(from.name, secret);
        }
    }

    #[test]
    fn what_a_department_writes_is_no_reference() {
        let job = made();
        let order = &job["spec"]["template"]["spec"]["containers"][0]["env"][0];
        let text = order["value"].as_str().unwrap();
        assert!(text.contains("$$(POD_NAME)/*"), "{text}");
    }
}
