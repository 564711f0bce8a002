//! A real three-centre installation on one machine: Kubernetes clusters and S3 stores in network namespaces of
//! their own. `up` converges and may be run again; `down` leaves nothing, whatever happened before.

pub mod build;
pub mod cgroup;
pub mod cluster;
pub mod command;
pub mod image;
pub mod kwok;
pub mod layout;
pub mod network;
pub mod pki;
pub mod process;
pub mod progress;
pub mod prometheus;
pub mod snapshots;
pub mod store;
pub mod stores;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use build::Binaries;
use cluster::{COMPONENTS, Cluster, PROVISIONER};
use layout::{CENTRES, CentreLayout, Layout};
use progress::Progress;
use store::Store;

/// The image that holds a pod's namespaces.
pub const PAUSE_IMAGE: &str = "docker.io/library/tripod-lab-pause:1";

/// What a lab consists of. Every centre has a store; some or all have a cluster.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct LabSpec {
    pub name: String,
    pub clusters: Vec<String>,
    /// Serve the stores over TLS.
    pub store_tls: bool,
}

impl LabSpec {
    /// Three clusters, three stores.
    #[must_use]
    pub fn whole(name: &str) -> Self {
        let clusters = CENTRES.iter().map(ToString::to_string).collect();
        Self { name: name.to_owned(), clusters, store_tls: false }
    }

    /// One cluster, in production, and three stores.
    #[must_use]
    pub fn quick(name: &str) -> Self {
        Self { name: name.to_owned(), clusters: vec![CENTRES[0].to_owned()], store_tls: false }
    }
}

/// A lab that is up.
#[derive(Debug)]
pub struct Lab {
    pub spec: LabSpec,
    layout: Layout,
    binaries: Binaries,
}

/// A component of a centre, and whether it runs.
pub type Component = (&'static str, bool);

/// One centre of a lab, for those who use it.
#[derive(Clone, Debug)]
pub struct Centre {
    pub name: String,
    pub address: String,
    /// Of an administrator; works from the host. The file is absent where the centre has no cluster.
    pub kubeconfig: PathBuf,
    pub store: Store,
}

impl Lab {
    /// Builds and starts whatever is missing, and waits until it is ready.
    ///
    /// # Errors
    /// One line for what the machine lacks; otherwise the component that is not ready and the end of its log.
    pub fn up(spec: &LabSpec, progress: &Progress) -> Result<Self> {
        build::check_machine()?;
        let layout = Layout::new(&spec.name)?;
        let centres = all_centres(&layout)?;
        build::ensure_packages(progress)?;
        let binaries = build::ensure_binaries(progress)?;
        fs::create_dir_all(layout.run())?;
        fs::create_dir_all(layout.data())?;
        let lab = Self { spec: spec.clone(), layout, binaries };
        if let Ok(before) = lab.read_spec()
            && before != *spec
        {
            bail!("lab {} is up with other centres; run `lab down --name {}` first", spec.name, spec.name);
        }
        fs::write(lab.spec_path(), serde_json::to_vec_pretty(spec)?)?;
        let pause = lab.pause_image()?;
        network::ensure(&lab.layout, &centres)?;
        progress.step(
            &format!("starting {} clusters and {} stores", spec.clusters.len(), centres.len()),
            || {
                std::thread::scope(|scope| {
                    let starts: Vec<_> = centres
                        .iter()
                        .map(|centre| scope.spawn(|| lab.start_centre(centre, &pause, progress)))
                        .collect();
                    starts.into_iter().try_for_each(|start| match start.join() {
                        Ok(result) => result,
                        Err(_) => bail!("starting a centre panicked"),
                    })
                })
            },
        )?;
        Ok(lab)
    }

    fn start_centre(&self, centre: &CentreLayout, pause: &Path, progress: &Progress) -> Result<()> {
        let store = store::ensure(centre, &self.binaries, self.spec.store_tls)?;
        fs::write(centre.data().join("store.json"), serde_json::to_vec_pretty(&store)?)?;
        if self.has_cluster(&centre.name) {
            Cluster::prepare(centre, &self.binaries)?.start(pause, progress)?;
        }
        Ok(())
    }

    /// A lab that is up already.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn open(name: &str) -> Result<Self> {
        let layout = Layout::new(name)?;
        let binaries = Binaries::locate()?;
        let spec = LabSpec { name: name.to_owned(), clusters: Vec::new(), store_tls: false };
        let mut lab = Self { spec, layout, binaries };
        lab.spec =
            lab.read_spec().with_context(|| format!("there is no lab {name}; run `lab up --name {name}`"))?;
        Ok(lab)
    }

    /// Stops and removes everything of the lab of this name, whatever state it is in.
    ///
    /// # Errors
    /// Names what is left.
    pub fn down(name: &str) -> Result<()> {
        let layout = Layout::new(name)?;
        let centres = all_centres(&layout)?;
        std::thread::scope(|scope| {
            for centre in &centres {
                scope.spawn(move || stop_centre(centre));
            }
        });
        stores::stop(&layout);
        process::end(&process::all_of(&layout, &centres), Duration::from_secs(3));
        unmount(&[layout.data(), layout.run()])?;
        network::remove(&layout, &centres);
        for centre in &centres {
            cgroup::remove(centre);
            forget_addresses(centre);
        }
        for folder in [layout.data(), layout.run()] {
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
            }
        }
        if let Some(centre) = centres.iter().find(|c| cgroup::exists(c)) {
            bail!("cgroup {} could not be removed: something still runs in it", centre.mark());
        }
        Ok(())
    }

    /// One centre.
    ///
    /// # Errors
    /// When the lab has none of this name, or it is not up.
    pub fn centre(&self, name: &str) -> Result<Centre> {
        let layout = self.layout.centre(name)?;
        let store =
            fs::read(layout.data().join("store.json")).with_context(|| format!("centre {name} is not up"))?;
        Ok(Centre {
            name: name.to_owned(),
            address: layout.address(),
            kubeconfig: layout.kubeconfig(),
            store: serde_json::from_slice(&store)?,
        })
    }

    /// Folder of everything that the lab keeps; `down` removes it.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.layout.data()
    }

    #[must_use]
    pub fn has_cluster(&self, centre: &str) -> bool {
        self.spec.clusters.iter().any(|c| c == centre)
    }

    /// Drops all packets between two centres.
    ///
    /// # Errors
    /// When there is no such centre.
    pub fn cut(&self, a: &str, b: &str) -> Result<()> {
        network::cut(&self.layout.centre(a)?, &self.layout.centre(b)?)
    }

    /// Mends all cuts.
    ///
    /// # Errors
    /// None at present.
    pub fn heal(&self) -> Result<()> {
        network::heal(&all_centres(&self.layout)?);
        Ok(())
    }

    /// Brings an OCI archive into a centre's containerd.
    ///
    /// # Errors
    /// With containerd's own words.
    pub fn load_image(&self, centre: &str, archive: &Path) -> Result<()> {
        image::import(&self.binaries, &self.layout.centre(centre)?, archive)
    }

    /// Gives a centre's cluster nodes that are objects only; see [`kwok`].
    ///
    /// # Errors
    /// When they don't become Ready.
    pub fn add_fake_nodes(&self, centre: &str, nodes: &kwok::FakeNodes<'_>) -> Result<()> {
        kwok::ensure(&self.binaries, &self.layout.centre(centre)?, nodes)
    }

    /// Takes them away again.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn remove_fake_nodes(&self, centre: &str) -> Result<()> {
        kwok::remove(&self.binaries, &self.layout.centre(centre)?)
    }

    /// Starts a Prometheus at a centre; see [`prometheus::start`].
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn add_prometheus(
        &self,
        centre: &str,
        targets: &[String],
        rules: &[String],
    ) -> Result<prometheus::Prometheus> {
        prometheus::start(&self.binaries, &self.layout.centre(centre)?, targets, rules)
    }

    /// Stops it.
    ///
    /// # Errors
    /// When there is no such centre.
    pub fn remove_prometheus(&self, centre: &str) -> Result<()> {
        prometheus::stop(&self.layout.centre(centre)?);
        Ok(())
    }

    /// Gives a centre's cluster storage with snapshots, unless it has; see [`snapshots`].
    ///
    /// # Errors
    /// When the centre has no cluster, and when the storage does not become ready.
    pub fn start_snapshots(&self, centre: &str) -> Result<()> {
        if !self.has_cluster(centre) {
            bail!("centre {centre} has no cluster");
        }
        snapshots::ensure(&self.binaries, &self.layout.centre(centre)?)
    }

    /// Kills a component of a centre's cluster, without a goodbye.
    ///
    /// # Errors
    /// When it does not run.
    pub fn crash(&self, centre: &str, component: &str) -> Result<()> {
        process::kill_all(&[self.component(centre, component)?]);
        Ok(())
    }

    /// Takes the power from the node of a centre: whatever runs of its cluster ends at once, and its containers with it. Its
    /// store stands elsewhere.
    ///
    /// # Errors
    /// When the centre has no cluster.
    pub fn cut_power(&self, centre: &str) -> Result<()> {
        if !self.has_cluster(centre) {
            bail!("centre {centre} has no cluster");
        }
        let layout = self.layout.centre(centre)?;
        let store = process::running(&layout, store::COMPONENT);
        let all = process::all_of(&self.layout, std::slice::from_ref(&layout));
        process::kill_all(&all.into_iter().filter(|one| Some(one) != store.as_ref()).collect::<Vec<_>>());
        Ok(())
    }

    /// Starts again what does not run of a centre, and waits until it is ready.
    ///
    /// # Errors
    /// Names the component that is not ready.
    pub fn revive(&self, centre: &str, progress: &Progress) -> Result<()> {
        self.start_centre(&self.layout.centre(centre)?, &self.pause_image()?, progress)
    }

    /// The process of a centre's component.
    ///
    /// # Errors
    /// When it does not run.
    pub fn component(&self, centre: &str, component: &str) -> Result<process::Process> {
        process::running(&self.layout.centre(centre)?, component)
            .with_context(|| format!("{component} of {centre} does not run"))
    }

    /// The processes of a program in a centre's containers.
    ///
    /// # Errors
    /// When there is no such centre.
    pub fn contained(&self, centre: &str, program: &str) -> Result<Vec<process::Process>> {
        Ok(process::contained(&self.layout.centre(centre)?, program))
    }

    /// Path of a program that the lab was built with: `kubectl`, `helm`, `versitygw`, …
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.binaries.path(name)
    }

    /// For each centre its components and whether they run.
    ///
    /// # Errors
    /// None at present.
    pub fn status(&self) -> Result<Vec<(String, Vec<Component>)>> {
        let state = |centre: &CentreLayout| {
            let cluster = if self.has_cluster(&centre.name) { &COMPONENTS[..] } else { &[] };
            let storage = if snapshots::is_there(centre) { &snapshots::COMPONENTS[..] } else { &[] };
            let all = cluster.iter().chain(storage).copied().chain([store::COMPONENT]);
            all.map(|component| (component, process::running(centre, component).is_some())).collect()
        };
        Ok(all_centres(&self.layout)?.iter().map(|centre| (centre.name.clone(), state(centre))).collect())
    }

    fn spec_path(&self) -> PathBuf {
        self.layout.run().join("spec.json")
    }

    fn read_spec(&self) -> Result<LabSpec> {
        Ok(serde_json::from_slice(&fs::read(self.spec_path())?)?)
    }

    fn pause_image(&self) -> Result<PathBuf> {
        let archive = self.binaries.path("pause.tar");
        if !archive.exists() {
            let context = self.binaries.folder().join("pause-image");
            fs::create_dir_all(&context)?;
            fs::copy(self.binaries.path("pause"), context.join("pause"))?;
            let dockerfile = context.join("Dockerfile");
            fs::write(
                &dockerfile,
                "FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT [\"/pause\"]\n",
            )?;
            let tag = PAUSE_IMAGE;
            let what = image::Image {
                dockerfile: &dockerfile,
                context: &context,
                target: None,
                arguments: &[],
                tag,
            };
            image::build(&what, &archive)?;
        }
        Ok(archive)
    }
}

fn all_centres(layout: &Layout) -> Result<Vec<CentreLayout>> {
    CENTRES.iter().map(|name| layout.centre(name)).collect()
}

fn stop_centre(centre: &CentreLayout) {
    // The kubelet first, so that it starts nothing new; then everything against the order of starting.
    process::stop(centre, "kubelet", Duration::from_secs(5));
    process::stop(centre, PROVISIONER, Duration::from_secs(2));
    snapshots::stop(centre);
    for component in COMPONENTS.iter().rev().filter(|c| **c != "etcd") {
        process::stop(centre, component, Duration::from_secs(3));
    }
    process::stop(centre, store::COMPONENT, Duration::from_secs(3));
    process::stop(centre, "etcd", Duration::from_secs(3));
}

/// Unmounts everything below the folders, innermost first.
fn unmount(folders: &[PathBuf]) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut points: Vec<String> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .map(|point| point.replace("\\040", " "))
        .filter(|point| folders.iter().any(|folder| Path::new(point).starts_with(folder)))
        .collect();
    points.sort();
    for point in points.iter().rev() {
        nix::mount::umount2(point.as_str(), nix::mount::MntFlags::MNT_DETACH)
            .with_context(|| point.clone())?;
    }
    Ok(())
}

/// The CNI library remembers each pod in a folder that all of a machine share.
fn forget_addresses(centre: &CentreLayout) {
    let prefix = format!("{}-", centre.mark());
    for entry in fs::read_dir("/var/lib/cni/results").into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
