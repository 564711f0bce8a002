//! An archived object as it is created in the namespace that it is restored into: without what tied it to its cluster,
//! with other names where the restore says so, and marked as the restore's.

use json_patch::{Patch, PatchErrorKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use serde_json::{Map, Value, json};
use tripod_crds::restore::{ObjectPatch, PatchOp, PatchOperation, Renamed};
use tripod_crds::{Restore, RestoreSpec};

use super::archived::Archived;
use super::existing::{RESTORE_LABEL, RESTORE_UID};
use super::order::{CLAIMS, names_kind, wants_kind};
use crate::backup_policy::RUN_ANNOTATION;
use crate::selection::{self, labels, strip};

/// What a restore wants of the objects of a point. Made once a run: selectors are read only once.
pub struct Wishes<'a> {
    spec: &'a RestoreSpec,
    namespace: String,
    name: String,
    uid: String,
    selector: Selector,
    patches: Vec<(Selector, &'a ObjectPatch, Patch)>,
}

impl<'a> Wishes<'a> {
    /// # Errors
    /// Names the field that can't be read.
    pub fn new(restore: &'a Restore) -> Result<Self, String> {
        let spec = &restore.spec;
        let selector = |given: &Option<LabelSelector>, field: &str| {
            given.as_ref().map_or_else(|| Ok(Selector::default()), |given| selection::selector(given, field))
        };
        let mut patches = Vec::new();
        for (at, patch) in spec.patches.iter().enumerate() {
            let field = format!("spec.patches[{at}]");
            let of = selector(&patch.label_selector, &format!("{field}.labelSelector"))?;
            let operations =
                operations(&patch.operations).map_err(|error| format!("{field}.operations: {error}"))?;
            patches.push((of, patch, operations));
        }
        Ok(Self {
            spec,
            namespace: restore.metadata.namespace.clone().unwrap_or_default(),
            name: restore.metadata.name.clone().unwrap_or_default(),
            uid: restore.metadata.uid.clone().unwrap_or_default(),
            selector: selector(&spec.include.label_selector, "spec.include.labelSelector")?,
            patches,
        })
    }

    /// Whether this object is wanted. `volumes`: the claims whose files are restored.
    #[must_use]
    pub fn wants(&self, archived: &Archived, volumes: &[String]) -> bool {
        let kind = archived.kind();
        if kind == CLAIMS && volumes.iter().any(|v| v == archived.name()) {
            return true;
        }
        let include = &self.spec.include;
        let named = include.names.is_empty() || include.names.iter().any(|n| n == archived.name());
        wants_kind(include, &kind) && named && self.selector.matches(&labels(&archived.object["metadata"]))
    }

    /// The object as it is created; `None`: it is not for a restore to create.
    ///
    /// # Errors
    /// Names the patch that can't be applied.
    pub fn prepare(&self, archived: &Archived) -> Result<Option<Value>, String> {
        // What is asked for by kind may be what controllers make; what is given or the platform's own never is restored.
        let named = names_kind(&self.spec.include, &archived.kind());
        let left_out = if named { selection::is_left_out } else { selection::given_or_derived };
        if left_out(&archived.object) {
            return Ok(None);
        }
        let mut object = strip(archived.object.clone());
        loosen(&mut object);
        self.rename(&mut object);
        let identity = identity(&object);
        for (at, (of, patch, operations)) in self.patches.iter().enumerate() {
            let named = patch.name.as_ref().is_none_or(|name| name == archived.name());
            if !named || patch.kind != archived.kind() || !of.matches(&labels(&object["metadata"])) {
                continue;
            }
            let mut patched = object.clone();
            match json_patch::patch(&mut patched, operations) {
                Ok(()) => object = patched,
                // A test that fails says that the patch is not meant for this object.
                Err(error) if matches!(error.kind, PatchErrorKind::TestFailed) => {}
                Err(error) => return Err(format!("spec.patches[{at}]: {error}")),
            }
        }
        if self::identity(&object) != identity {
            return Err("spec.patches: apiVersion, kind and metadata.name are never changed".to_owned());
        }
        self.mark(&mut object)?;
        Ok(Some(object))
    }

    fn rename(&self, object: &mut Value) {
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        if kind == "PersistentVolumeClaim" {
            rename_at(&self.spec.storage_classes, object.pointer_mut("/spec/storageClassName"));
        }
        if kind == "StatefulSet" {
            let templates = object.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
            for template in templates.into_iter().flatten() {
                rename_at(&self.spec.storage_classes, template.pointer_mut("/spec/storageClassName"));
            }
        }
        if let Some(pod) = pod_of(object) {
            for group in ["containers", "initContainers"] {
                let containers = pod.get_mut(group).and_then(Value::as_array_mut);
                for image in containers.into_iter().flatten().filter_map(|c| c.get_mut("image")) {
                    if let Some(moved) =
                        image.as_str().and_then(|i| moved_image(&self.spec.image_registries, i))
                    {
                        *image = json!(moved);
                    }
                }
            }
        }
    }

    fn mark(&self, object: &mut Value) -> Result<(), String> {
        let meta = object["metadata"].as_object_mut().ok_or("it has no metadata")?;
        meta.insert("namespace".into(), json!(self.namespace));
        for (group, key, value) in
            [("labels", RESTORE_LABEL, &self.name), ("annotations", RESTORE_UID, &self.uid)]
        {
            let marks = meta.entry(group).or_insert_with(|| json!({}));
            if !marks.is_object() {
                *marks = json!({});
            }
            marks[key] = json!(value);
        }
        Ok(())
    }
}

fn identity(object: &Value) -> [Value; 3] {
    [object["apiVersion"].clone(), object["kind"].clone(), object["metadata"]["name"].clone()]
}

fn operations(given: &[PatchOperation]) -> Result<Patch, String> {
    let written = given.iter().map(|operation| {
        let op = match operation.op {
            PatchOp::Add => "add",
            PatchOp::Remove => "remove",
            PatchOp::Replace => "replace",
            PatchOp::Move => "move",
            PatchOp::Copy => "copy",
            PatchOp::Test => "test",
        };
        let mut written = json!({"op": op, "path": operation.path});
        match operation.op {
            PatchOp::Add | PatchOp::Replace | PatchOp::Test => {
                written["value"] = operation.value.clone().unwrap_or(Value::Null);
            }
            PatchOp::Move | PatchOp::Copy => written["from"] = json!(operation.from),
            PatchOp::Remove => {}
        }
        written
    });
    serde_json::from_value(written.collect()).map_err(|error| error.to_string())
}

/// Takes out what only the cluster it came from could give.
pub(crate) fn loosen(object: &mut Value) {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    match kind.as_str() {
        "BackupPolicy" => {
            // A wish for a recovery point that was fulfilled where it was made.
            if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
                annotations.remove(RUN_ANNOTATION);
            }
        }
        "PersistentVolumeClaim" => {
            if let Some(spec) = object["spec"].as_object_mut() {
                // Its files come from the vault: not from a volume, a snapshot or another claim.
                spec.retain(|field, _| {
                    !matches!(field.as_str(), "volumeName" | "dataSource" | "dataSourceRef")
                });
            }
        }
        "ServiceAccount" => {
            if let Some(fields) = object.as_object_mut() {
                fields.remove("secrets");
            }
        }
        "Service" => loosen_service(object),
        "Job" => loosen_job(object),
        _ => {}
    }
}

/// Addresses are given anew; that a Service is headless or of no address is its own choice.
fn loosen_service(service: &mut Value) {
    let Some(spec) = service["spec"].as_object_mut() else { return };
    let headless = spec.get("clusterIP") == Some(&json!("None"));
    spec.retain(|field, _| !matches!(field.as_str(), "clusterIP" | "clusterIPs" | "healthCheckNodePort"));
    if headless {
        spec.insert("clusterIP".into(), json!("None"));
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut() {
            port.remove("nodePort");
        }
    }
}

/// A Job's selector is of the uid that it had.
fn loosen_job(job: &mut Value) {
    let own =
        |key: &str| matches!(key, "controller-uid" | "job-name") || key.starts_with("batch.kubernetes.io/");
    if let Some(spec) = job["spec"].as_object_mut() {
        if spec.get("manualSelector") != Some(&json!(true)) {
            spec.remove("selector");
        }
        let labels = spec.get_mut("template").and_then(|t| t.pointer_mut("/metadata/labels"));
        if let Some(labels) = labels.and_then(Value::as_object_mut) {
            labels.retain(|key, _| !own(key));
        }
    }
    if let Some(labels) = job["metadata"].get_mut("labels").and_then(Value::as_object_mut) {
        labels.retain(|key, _| !own(key));
    }
}

fn pod_of(object: &mut Value) -> Option<&mut Map<String, Value>> {
    let pointer = match object["kind"].as_str()? {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => "/spec/template/spec",
        "CronJob" => "/spec/jobTemplate/spec/template/spec",
        _ => return None,
    };
    object.pointer_mut(pointer)?.as_object_mut()
}

fn rename_at(names: &[Renamed], value: Option<&mut Value>) {
    let Some(value) = value else { return };
    if let Some(renamed) = names.iter().find(|r| Some(r.from.as_str()) == value.as_str()) {
        *value = json!(renamed.to);
    }
}

/// The image under its new registry. The longest prefix that fits counts; an image without a registry is at docker.io, as
/// runtimes read it.
fn moved_image(registries: &[Renamed], image: &str) -> Option<String> {
    let full = full_name(image);
    let fits =
        |from: &str| full.strip_prefix(from.trim_end_matches('/')).filter(|rest| rest.starts_with('/'));
    let best = registries.iter().filter(|r| fits(&r.from).is_some()).max_by_key(|r| r.from.len())?;
    Some(format!("{}{}", best.to.trim_end_matches('/'), fits(&best.from)?))
}

fn full_name(image: &str) -> String {
    match image.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => image.to_owned(),
        Some(_) => format!("docker.io/{image}"),
        None => format!("docker.io/library/{image}"),
    }
}

#[cfg(test)]
#[path = "prepare_tests.rs"]
mod tests;
