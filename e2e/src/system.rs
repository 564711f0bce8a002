//! A department's system in a lab: its namespace, a workload with a volume, a bucket, a policy, drills.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_sdk_s3::types::{Tag, Tagging};
use serde_json::{Value, json};

use crate::installation::{Installation, repository};
use crate::kubectl::{Kubectl, described};
use crate::lab::store::Store;

/// The bucket's owner says with this tag which system may keep copies of it.
const SYSTEM_TAG: &str = "tripod.cloud/system";
const READY: Duration = Duration::from_mins(2);

/// A department's one system, asked for as `registration` and protected by the policy `registration`.
#[derive(Clone, Copy, Debug)]
pub struct System<'a> {
    pub at: &'a Installation,
    pub department: &'a str,
}

impl<'a> System<'a> {
    /// Makes the department and its system in every cluster, since a recovery point is shown, and a drill made, where its
    /// namespace is. The request is of a class that needs nobody's approval.
    ///
    /// # Errors
    /// Says what the department or the request lacks.
    pub fn ensure(at: &'a Installation, department: &'a str) -> Result<Self> {
        let system = Self::department(at, department)?;
        let class = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "RequestClass", "metadata": {"name": "lab"},
            "spec": {"approvals": 0, "securityLevel": 2, "upTo": {"requests.cpu": "4", "requests.memory": "8Gi", "requests.storage": "20Gi"}}});
        for cluster in &at.lab.spec.clusters {
            let kubectl = at.kubectl(cluster)?;
            kubectl.apply(&class.to_string())?;
            kubectl.apply(&system.request(&kubectl.user()?).to_string())?;
        }
        for cluster in &at.lab.spec.clusters {
            let home = system.home();
            at.kubectl(cluster)?.wait("resourcerequest/registration", Some(&home), "Ready", READY)?;
        }
        Ok(system)
    }

    /// Makes the department in every cluster, without a system.
    ///
    /// # Errors
    /// Says what the department lacks.
    pub fn department(at: &'a Installation, department: &'a str) -> Result<Self> {
        let system = Self { at, department };
        let manifest = json!({
            "apiVersion": "tripod.cloud/v1alpha1", "kind": "Department", "metadata": {"name": department},
            "spec": {"displayName": "卫生健康局", "zone": "Extranet",
                "cloudChief": {"name": "王主任", "user": format!("chief@{department}")},
                "members": [{"kind": "Group", "name": format!("{department}-admins"), "role": "Admin"},
                    {"kind": "Group", "name": format!("{department}-audit"), "role": "Viewer"}],
                "budget": {"requests.cpu": "8", "requests.memory": "16Gi", "requests.storage": "40Gi",
                    "count/persistentvolumeclaims": "20"}},
        });
        for cluster in &at.lab.spec.clusters {
            at.kubectl(cluster)?.apply(&manifest.to_string())?;
        }
        for cluster in &at.lab.spec.clusters {
            at.kubectl(cluster)?.wait(&format!("department/{department}"), None, "Ready", READY)?;
        }
        Ok(system)
    }

    /// What the department asks for, in the words of `requester`.
    #[must_use]
    pub fn request(&self, requester: &str) -> Value {
        json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "ResourceRequest",
            "metadata": {"name": "registration", "namespace": self.home()},
            "spec": {"requester": requester, "term": "365d", "recoveryLevel": 1,
                "system": {"displayName": format!("预约挂号 {}", self.department), "securityLevel": 2,
                    "filingNumber": "11010-2026-1", "buildMode": "New", "owner": "zhang@health"},
                "basis": {"letter": "卫信函〔2026〕12号", "purpose": "全区预约挂号统一平台"},
                "resources": {"requests.cpu": "4", "requests.memory": "8Gi", "requests.storage": "20Gi",
                    "count/persistentvolumeclaims": "10"}}})
    }

    /// The department's home, where it asks.
    #[must_use]
    pub fn home(&self) -> String {
        format!("dept-{}", self.department)
    }

    /// The system's namespace.
    #[must_use]
    pub fn namespace(&self) -> String {
        format!("{}-registration", self.department)
    }

    #[must_use]
    pub fn bucket(&self) -> String {
        format!("{}-files", self.department)
    }

    /// `kubectl` where the system runs.
    ///
    /// # Errors
    /// None where the lab is up.
    pub fn production(&self) -> Result<Kubectl> {
        self.at.kubectl("production")
    }

    /// Starts the registration system (PostgreSQL) with its data on a volume, from `archive`.
    ///
    /// # Errors
    /// Says what did not start.
    pub fn start_registration(&self, archive: &Path) -> Result<()> {
        for cluster in &self.at.lab.spec.clusters {
            self.at.lab.load_image(cluster, archive)?;
        }
        let file = repository().join("e2e/demo/manifests/registration.yaml");
        let manifest = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let kubectl = self.production()?;
        kubectl.apply(&manifest.replace("health-registration", &self.namespace()))?;
        kubectl.wait("deployment/registration", Some(&self.namespace()), "Available", READY)
    }

    /// Puts files into the system's bucket at production, which is made when there is none. What is there already is
    /// not put again.
    ///
    /// # Errors
    /// With the store's own words.
    pub fn fill_bucket(&self, files: &[(String, Vec<u8>)]) -> Result<()> {
        let (store, bucket) = (self.at.lab.centre("production")?.store, self.bucket());
        store.ensure_bucket(&bucket, false)?;
        let tag = Tag::builder().key(SYSTEM_TAG).value(self.namespace()).build()?;
        let tags = Tagging::builder().tag_set(tag).build()?;
        store.block_on(async |s3| {
            s3.put_bucket_tagging()
                .bucket(&bucket)
                .tagging(tags)
                .send()
                .await
                .context("tagging the bucket")?;
            for (key, body) in files {
                if s3.head_object().bucket(&bucket).key(key).send().await.is_err() {
                    s3.put_object()
                        .bucket(&bucket)
                        .key(key)
                        .body(body.clone().into())
                        .send()
                        .await
                        .with_context(|| key.clone())?;
                }
            }
            Ok(())
        })
    }

    /// Protects the system with the policy `registration` of this spec.
    ///
    /// # Errors
    /// What the policy's condition says.
    pub fn protect(&self, spec: &Value) -> Result<()> {
        self.apply_policy("production", spec)?;
        self.production()?.wait("backuppolicy/registration", Some(&self.namespace()), "Ready", READY)
    }

    /// Applies the policy `registration` of this spec in a cluster: what is kept and tested there goes by that.
    ///
    /// # Errors
    /// What the API server says against it.
    pub fn apply_policy(&self, cluster: &str, spec: &Value) -> Result<()> {
        let policy = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "BackupPolicy",
            "metadata": {"name": "registration", "namespace": self.namespace()}, "spec": spec});
        self.at.kubectl(cluster)?.apply(&policy.to_string()).map(drop)
    }

    /// Asks for a recovery point and returns its name once it was made.
    ///
    /// # Errors
    /// When none comes.
    pub fn back_up(&self) -> Result<String> {
        let (kubectl, namespace) = (self.production()?, self.namespace());
        let before = self.newest_point(&kubectl)?;
        let token = format!("tripod.cloud/run=after-{}", before.as_deref().unwrap_or("none"));
        kubectl.run(&["-n", &namespace, "annotate", "--overwrite", "backuppolicy/registration", &token])?;
        kubectl.until(
            "a new recovery point",
            READY,
            &["-n", &namespace, "backuppolicy/registration"],
            |policy| match self.newest_point(&kubectl)? {
                Some(point) if Some(&point) != before.as_ref() => Ok(point),
                _ => bail!("{}", described(policy, "Ready")),
            },
        )
    }

    fn newest_point(&self, kubectl: &Kubectl) -> Result<Option<String>> {
        let points = kubectl.get(&["-n", &self.namespace(), "recoverypoints"])?;
        let names = points["items"].as_array().into_iter().flatten();
        Ok(names.filter_map(|p| p["metadata"]["name"].as_str()).max().map(str::to_owned))
    }

    /// Waits until production shows the point Verified at each of the centres.
    ///
    /// # Errors
    /// With the point's summary and conditions as last seen.
    pub fn await_verified(&self, point: &str, centres: &[&str], deadline: Duration) -> Result<Value> {
        let object = format!("recoverypoint/{point}");
        let what = format!("{point} to be Verified at {}", centres.join(", "));
        self.production()?.until(&what, deadline, &["-n", &self.namespace(), &object], |seen| {
            if centres.iter().all(|centre| state_at(seen, centre) == "Verified") {
                return Ok(seen.clone());
            }
            bail!(
                "{}; {}; {}",
                seen["status"]["summary"],
                described(seen, "Ready"),
                seen["status"]["centres"]
            )
        })
    }

    /// Starts a drill at a centre, in the cluster whose operator serves it: of the newest Verified point, or of `point`.
    ///
    /// # Errors
    /// With kubectl's own words.
    pub fn start_drill(
        &self,
        name: &str,
        centre: &str,
        point: Option<&str>,
        checks: &Value,
    ) -> Result<Kubectl> {
        let (kubectl, namespace) = (self.at.kubectl(self.at.server_of(centre))?, self.namespace());
        // A drill is never changed: one that an earlier run has left makes way.
        kubectl.run(&["-n", &namespace, "delete", "drill", name, "--ignore-not-found", "--timeout=120s"])?;
        let mut manifest = json!({
            "apiVersion": "tripod.cloud/v1alpha1", "kind": "DisasterRecoveryDrill",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"mode": "Simulated", "centre": centre, "policy": "registration", "deadlineSeconds": 600, "checks": checks},
        });
        if let Some(point) = point {
            manifest["spec"]["recoveryPoint"] = json!(point);
        }
        kubectl.apply(&manifest.to_string())?;
        Ok(kubectl)
    }

    /// Waits until a drill succeeded, and returns it.
    ///
    /// # Errors
    /// At once when it failed; else with its conditions as last seen.
    pub fn await_drill(&self, kubectl: &Kubectl, name: &str, deadline: Duration) -> Result<Value> {
        let words = ["-n", &self.namespace(), &format!("drill/{name}")];
        let ended = kubectl.until(&format!("drill {name} to end"), deadline, &words, |drill| {
            match drill["status"]["phase"].as_str() {
                Some("Succeeded" | "Failed") => Ok(drill.clone()),
                phase => bail!("{phase:?}; {}", described(drill, "Ready")),
            }
        })?;
        if ended["status"]["phase"] == "Failed" {
            bail!(
                "drill {name} failed: {}; checks: {}",
                described(&ended, "Concluded"),
                ended["status"]["checks"]
            );
        }
        Ok(ended)
    }

    /// The check of the registration system: so many rows in its restored database.
    #[must_use]
    pub fn rows_check(rows: u32) -> Value {
        json!([{"name": "rows", "job": {"image": "docker.io/library/tripod-demo:dev",
            "args": ["check", "--min-rows", rows.to_string()]}}])
    }

    /// The store of a centre.
    ///
    /// # Errors
    /// None where the lab is up.
    pub fn store(&self, centre: &str) -> Result<Store> {
        Ok(self.at.lab.centre(centre)?.store)
    }
}

/// What a recovery point says of a centre: `Pending`, `Copied`, `Verified`, …
#[must_use]
pub fn state_at<'v>(point: &'v Value, centre: &str) -> &'v str {
    let copies = point["status"]["centres"].as_array();
    let copy = copies.and_then(|copies| copies.iter().find(|c| c["centre"] == centre));
    copy.and_then(|c| c["state"].as_str()).unwrap_or("Unknown")
}
