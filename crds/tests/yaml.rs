//! The committed definitions are the ones that the types generate. `make crds` writes them anew.
#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("yaml")
}

fn generated() -> BTreeMap<String, String> {
    let file = |definition: &_| {
        let name = format!("{}.yaml", kube::ResourceExt::name_any(definition));
        (name, tripod_crds::yaml(definition).unwrap())
    };
    tripod_crds::all().iter().map(file).collect()
}

fn committed() -> BTreeMap<String, String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap());
    files.map(|f| (f.file_name().into_string().unwrap(), fs::read_to_string(f.path()).unwrap())).collect()
}

#[test]
fn the_committed_definitions_are_current() {
    if std::env::var_os("TRIPOD_WRITE_CRDS").is_some() {
        for name in committed().keys().filter(|name| !generated().contains_key(*name)) {
            fs::remove_file(folder().join(name)).unwrap();
        }
        for (name, text) in generated() {
            fs::write(folder().join(name), text).unwrap();
        }
    }
    let (generated, committed) = (generated(), committed());
    let names: Vec<_> = generated.keys().collect();
    assert_eq!(names, committed.keys().collect::<Vec<_>>(), "run `make crds`");
    for (name, text) in &generated {
        assert!(committed[name] == *text, "crds/yaml/{name} is not what the types say; run `make crds`");
    }
}

/// Every kind can be waited for, found by a short name, and read in a table.
#[test]
fn every_kind_keeps_the_conventions() {
    for definition in tripod_crds::all() {
        let name = kube::ResourceExt::name_any(&definition);
        assert!(definition.spec.names.short_names.is_some_and(|n| !n.is_empty()), "{name}: no short name");
        let version = &definition.spec.versions[0];
        assert!(
            version.additional_printer_columns.as_ref().is_some_and(|c| c.len() > 2),
            "{name}: no columns"
        );
        // A verdict and a class are what they are: nothing becomes of them.
        if matches!(definition.spec.names.kind.as_str(), "Approval" | "RequestClass") {
            continue;
        }
        assert!(version.subresources.as_ref().is_some_and(|s| s.status.is_some()), "{name}: no status");
        let schema = serde_json::to_value(&version.schema).unwrap();
        let conditions = &schema["openAPIV3Schema"]["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-map-keys"][0], "type", "{name}: conditions");
    }
}
