//! What the lab is made of: Debian packages, and binaries built from Go modules into a cache whose folder is
//! named by the content of the recipe, so that a fresh clone with the same recipe builds nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::command::{output, run};
use super::progress::Progress;

const KUBERNETES: &str = "v1.36.3";

/// Commands built inside a module of ours, where several must agree on versions.
const MODULES: [(&str, &[(&str, &str)]); 4] = [
    (
        "kubernetes",
        &[
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
            ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ("etcd", "go.etcd.io/etcd/server/v3"),
        ],
    ),
    (
        "addons",
        &[("coredns", "./coredns"), ("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server")],
    ),
    ("provisioner", &[("provisioner", ".")]),
    ("pause", &[("pause", ".")]),
];

/// Commands that are modules of their own.
const TOOLS: [(&str, &str); 5] = [
    ("containerd", "github.com/containerd/containerd/v2/cmd/containerd@v2.4.2"),
    ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@v2.4.2"),
    ("ctr", "github.com/containerd/containerd/v2/cmd/ctr@v2.4.2"),
    ("helm", "helm.sh/helm/v4/cmd/helm@v4.3.1"),
    ("versitygw", "github.com/versity/versitygw/cmd/versitygw@v1.8.0"),
];

/// Programs that come from Debian, with their packages.
const PACKAGES: [(&str, &str); 9] = [
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("buildah", "buildah"),
    ("restic", "restic"),
    ("mmdebstrap", "mmdebstrap"),
];

/// The folder of built programs.
#[derive(Clone, Debug)]
pub struct Binaries(PathBuf);

impl Binaries {
    /// Path of a program.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The folder, for a PATH.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The folder for the present recipe, whether it is complete or not.
    ///
    /// # Errors
    /// When the recipe can't be read.
    pub fn locate() -> Result<Self> {
        Ok(Self(cache_folder()?.join("bin").join(recipe_hash()?)))
    }
}

/// Where what is built is kept: `$TRIPOD_LAB_CACHE`, or `tripod-lab` in the user's cache folder.
///
/// # Errors
/// Without a home.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TRIPOD_LAB_CACHE") {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").context("HOME is not set; set it or TRIPOD_LAB_CACHE")?;
    Ok(Path::new(&home).join(".cache/tripod-lab"))
}

/// Says in one line what this machine lacks.
///
/// # Errors
/// The first thing that is missing and can't be installed.
pub fn check_machine() -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the lab needs Linux");
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("the lab needs root: it makes network namespaces, mounts and cgroups");
    }
    let version =
        run("go", &["env", "GOVERSION"]).context("the lab needs Go 1.26 or later to build Kubernetes")?;
    let minor =
        version.trim().trim_start_matches("go1.").split('.').next().and_then(|m| m.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor < 26) {
        bail!("the lab needs Go 1.26 or later; this is {}", version.trim());
    }
    let disk = nix::sys::statvfs::statvfs("/var/lib")?;
    let free = disk.blocks_available() * disk.fragment_size();
    if free < 8 << 30 {
        bail!("the lab needs 8 GiB free under /var/lib; there are {} MiB", free >> 20);
    }
    Ok(())
}

/// Installs the Debian packages that are missing.
///
/// # Errors
/// With apt's own words.
pub fn ensure_packages(progress: &Progress) -> Result<()> {
    let there = |program: &str| {
        if program.starts_with('/') {
            return Path::new(program).exists();
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).chain(["/usr/sbin".into()]).any(|folder| folder.join(program).exists())
    };
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(program, _)| !there(program)).map(|(_, p)| *p).collect();
    if missing.is_empty() {
        return Ok(());
    }
    progress.step(&format!("installing Debian packages {}", missing.join(" ")), || {
        output(Command::new("apt-get").args(["update", "-q"]))?;
        let mut install = Command::new("apt-get");
        install.env("DEBIAN_FRONTEND", "noninteractive");
        output(install.args(["install", "-qy", "--no-install-recommends"]).args(&missing))?;
        Ok(())
    })
}

/// Builds what is not in the cache.
///
/// # Errors
/// With the compiler's own words.
pub fn ensure_binaries(progress: &Progress) -> Result<Binaries> {
    let binaries = Binaries::locate()?;
    fs::create_dir_all(&binaries.0)?;
    let start = Instant::now();
    for (module, commands) in MODULES {
        for (name, package) in commands {
            let target = binaries.path(name);
            if !target.exists() {
                progress
                    .step(&format!("building {name} (once)"), || build_in_module(module, package, &target))?;
            }
        }
    }
    for (name, package) in TOOLS {
        if !binaries.path(name).exists() {
            progress.step(&format!("building {name} (once)"), || install(name, package, &binaries))?;
        }
    }
    if start.elapsed().as_secs() > 1 {
        progress.note(&format!("everything is built, in {} s", start.elapsed().as_secs()));
    }
    Ok(binaries)
}

fn go(folder: &Path) -> Command {
    let mut command = Command::new("go");
    // Static, so that they run in an image from scratch, and the same wherever they are built.
    command.current_dir(folder).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false -trimpath");
    command
}

fn build_in_module(module: &str, package: &str, target: &Path) -> Result<()> {
    let version = "k8s.io/component-base/version";
    // kubectl and Helm refuse a server that does not know its own version.
    let flags = format!(
        "-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor=36"
    );
    let unfinished = target.with_extension("unfinished");
    output(
        go(&sources().join(module)).args(["build", "-ldflags", &flags, "-o"]).arg(&unfinished).arg(package),
    )?;
    Ok(fs::rename(unfinished, target)?)
}

fn install(name: &str, package: &str, binaries: &Binaries) -> Result<()> {
    let unfinished = binaries.path("unfinished");
    fs::create_dir_all(&unfinished)?;
    output(go(&sources()).env("GOBIN", &unfinished).args(["install", "-ldflags", "-s -w", package]))?;
    Ok(fs::rename(unfinished.join(name), binaries.path(name))?)
}

/// The Go modules of the lab, in this repository.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/go")
}

/// Over everything that decides what is built.
fn recipe_hash() -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(run("go", &["env", "GOVERSION", "GOARCH"])?);
    hash.update(KUBERNETES);
    for (module, commands) in MODULES {
        hash_folder(&sources().join(module), &mut hash)?;
        hash_commands(commands, &mut hash);
    }
    hash_commands(&TOOLS, &mut hash);
    Ok(hex::encode(hash.finalize())[..16].to_owned())
}

fn hash_commands(commands: &[(&str, &str)], hash: &mut Sha256) {
    for (name, package) in commands {
        hash.update(format!("{name} {package}\n"));
    }
}

fn hash_folder(folder: &Path, hash: &mut Sha256) -> Result<()> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            hash_folder(&entry, hash)?;
        } else {
            hash.update(fs::read(&entry).with_context(|| entry.display().to_string())?);
        }
    }
    Ok(())
}
