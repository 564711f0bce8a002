//! Storage with snapshots and clones at one centre: the controllers of Kubernetes for them, which are the real ones, and
//! behind them a driver of the lab's own, which is a fake of a storage system (`lab/go/csi`). Only some stories ask for it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::build::Binaries;
use super::command::{tail, wait_for};
use super::layout::CentreLayout;
use super::process;
use crate::kubectl::Kubectl;

/// Name of the StorageClass, and of the VolumeSnapshotClass.
pub const CLASS: &str = "lab-csi";
/// Name of the driver, in a PersistentVolume and a VolumeSnapshotContent.
pub const DRIVER: &str = "snapshots.lab.tripod.cloud";
/// What it runs as, in the order in which it starts: the driver first.
pub const COMPONENTS: [&str; 4] = ["csi", "csi-provisioner", "csi-snapshotter", "snapshot-controller"];

const OBJECTS: &str = include_str!("../../lab/snapshots.yaml");
const CRDS: [&str; 3] = ["volumesnapshotclasses", "volumesnapshotcontents", "volumesnapshots"];
const GROUP: &str = "snapshot.storage.k8s.io";
const READY: Duration = Duration::from_mins(1);

/// Starts what does not run, and waits until the cluster has the classes and its kubelet the driver. Again, it does
/// nothing.
///
/// # Errors
/// Says what is missing, and how the logs of all of it end.
pub fn ensure(binaries: &Binaries, centre: &CentreLayout) -> Result<()> {
    fs::create_dir_all(folder(centre))?;
    start(binaries, centre, COMPONENTS[0])?;
    let kubectl = Kubectl {
        program: binaries.path("kubectl"),
        kubeconfig: centre.kubeconfig(),
        centre: centre.name.clone(),
    };
    let crds = binaries.path("snapshot-crds");
    for kind in CRDS {
        let file = crds.join(format!("{GROUP}_{kind}.yaml"));
        kubectl.apply(&fs::read_to_string(&file).with_context(|| file.display().to_string())?)?;
        kubectl.wait(&format!("crd/{kind}.{GROUP}"), None, "Established", READY)?;
    }
    // The API server may take a moment longer to serve what it has established.
    wait_for("the classes of the storage", READY, || kubectl.apply(OBJECTS))?;
    COMPONENTS.iter().try_for_each(|component| start(binaries, centre, component))?;
    let known = "jsonpath={.spec.drivers[*].name}";
    wait_for("storage with snapshots", READY, || {
        let drivers = kubectl.run(&["get", "csinode", &centre.name, "-o", known])?;
        ensure!(drivers.split(' ').any(|driver| driver == DRIVER), "the kubelet knows {drivers:?}");
        let ended = COMPONENTS.iter().find(|component| process::running(centre, component).is_none());
        ensure!(ended.is_none(), "{} has ended", ended.unwrap_or(&""));
        Ok(())
    })
    .with_context(|| logs(centre))
}

/// Stops it. What is mounted stays so, as with any driver.
pub(super) fn stop(centre: &CentreLayout) {
    for component in COMPONENTS.iter().rev() {
        process::stop(centre, component, Duration::from_secs(3));
    }
}

/// Whether it was ever started at a centre.
pub(super) fn is_there(centre: &CentreLayout) -> bool {
    folder(centre).exists()
}

/// Of the volumes and the snapshots.
fn folder(centre: &CentreLayout) -> PathBuf {
    centre.data().join("csi")
}

fn start(binaries: &Binaries, centre: &CentreLayout, component: &str) -> Result<()> {
    let socket = format!("unix://{}", centre.run().join("csi.sock").display());
    let pair = |name: &str, value: &str| format!("--{name}={value}");
    let path = |file: &str| centre.data().join(file).display().to_string();
    let words = if component == COMPONENTS[0] {
        vec![
            pair("endpoint", &socket),
            pair("root", &folder(centre).display().to_string()),
            pair("node", &centre.name),
            pair("pods", &format!("/{}", centre.mark())),
            pair("registration", &path("kubelet/plugins_registry/csi.sock")),
        ]
    } else {
        let mut words = vec![
            pair("kubeconfig", &path("addons.kubeconfig")),
            pair("kube-api-qps", "50"),
            pair("kube-api-burst", "100"),
        ];
        if component != "snapshot-controller" {
            // A copy takes as long as it takes.
            words.extend([pair("csi-address", &socket), pair("timeout", "5m")]);
        }
        words
    };
    let programs = binaries.folder().display().to_string();
    process::start(centre, component, &binaries.path(component), &words, &programs).map(drop)
}

fn logs(centre: &CentreLayout) -> String {
    let end = |component: &&str| {
        let log = process::log_path(centre, component);
        format!("{} ends with:\n{}", log.display(), tail(&fs::read_to_string(&log).unwrap_or_default(), 4))
    };
    COMPONENTS.iter().map(end).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::layout::Layout;

    #[test]
    fn sockets_are_short_enough_in_a_lab_of_the_longest_name() {
        let centre = Layout::new("abcdefghij-abcdefghi").unwrap().centre("production").unwrap();
        assert!(centre.data().join("kubelet/plugins_registry/csi.sock").as_os_str().len() < 107);
        assert!(centre.run().join("csi.sock").as_os_str().len() < 107);
    }

    #[test]
    fn the_objects_bear_the_names_that_stories_use() {
        assert!(OBJECTS.contains(&format!("metadata: {{name: {CLASS}}}\nprovisioner: {DRIVER}\n")));
        assert!(OBJECTS.contains(&format!("name: {CLASS}\n  annotations")));
        assert!(OBJECTS.contains(&format!("metadata: {{name: {DRIVER}}}")));
    }
}
