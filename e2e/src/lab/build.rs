//! What the lab is made of: Debian packages, and binaries built from Go modules into a cache. There each is named by
//! the content of its own recipe, so that a fresh clone with the same recipes builds nothing, and a new program does
//! not build the others anew. What a lab runs is a folder of links to them.

use std::fs;
use std::io::ErrorKind;
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
const TOOLS: [(&str, &str); 6] = [
    ("containerd", "github.com/containerd/containerd/v2/cmd/containerd@v2.4.2"),
    ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2@v2.4.2"),
    ("ctr", "github.com/containerd/containerd/v2/cmd/ctr@v2.4.2"),
    ("helm", "helm.sh/helm/v4/cmd/helm@v4.3.1"),
    ("kwok", "sigs.k8s.io/kwok/cmd/kwok@v0.8.0"),
    ("versitygw", "github.com/versity/versitygw/cmd/versitygw@v1.8.0"),
];

/// Programs out of Debian packages that are unpacked and not installed: installed, they would start a service.
const UNPACKED: [(&str, &str, &str); 2] =
    [("prometheus", "prometheus", "usr/bin/prometheus"), ("promtool", "prometheus", "usr/bin/promtool")];

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

/// The folder of the programs of one lab.
#[derive(Clone, Debug)]
pub struct Binaries(PathBuf);

/// How one program is made.
struct Recipe {
    name: &'static str,
    package: &'static str,
    origin: Origin,
    hash: String,
}

/// Where a program comes from.
enum Origin {
    /// This folder of modules.
    Module(&'static str),
    /// It is a module of its own.
    Tool,
    /// A Debian package, at this path in it.
    Debian(&'static str),
}

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

    /// The folder for the present recipes, whether it is complete or not.
    ///
    /// # Errors
    /// When a recipe can't be read.
    pub fn locate() -> Result<Self> {
        Self::of(&recipes()?)
    }

    fn of(recipes: &[Recipe]) -> Result<Self> {
        let mut hash = Sha256::new();
        for recipe in recipes {
            hash.update(format!("{} {}\n", recipe.name, recipe.hash));
        }
        Ok(Self(cache_folder()?.join("bin").join(short(hash))))
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
    let recipes = recipes()?;
    let binaries = Binaries::of(&recipes)?;
    let programs = cache_folder()?.join("programs");
    fs::create_dir_all(&binaries.0)?;
    let start = Instant::now();
    for recipe in &recipes {
        let link = binaries.path(recipe.name);
        if link.exists() {
            continue;
        }
        let program = programs.join(recipe.name).join(&recipe.hash);
        if !program.exists() {
            progress.step(&format!("building {} (once)", recipe.name), || build(recipe, &program))?;
        }
        // Hard, so that a program that runs is seen under the name by which it was started.
        match fs::hard_link(&program, &link) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| link.display().to_string());
            }
            _ => {}
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

/// Builds beside the place where it is to be, so that a half of a program is never taken for one.
fn build(recipe: &Recipe, program: &Path) -> Result<()> {
    let unfinished = program.with_extension(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let built = unfinished.join(recipe.name);
    match recipe.origin {
        Origin::Module(module) => output(
            go(&sources().join(module))
                .args(["build", "-ldflags", &versioned(), "-o"])
                .arg(&built)
                .arg(recipe.package),
        )
        .map(drop),
        Origin::Tool => output(go(&sources()).env("GOBIN", &unfinished).args([
            "install",
            "-ldflags",
            "-s -w",
            recipe.package,
        ]))
        .map(drop),
        Origin::Debian(path) => unpack(recipe.package, path, &unfinished, &built),
    }?;
    fs::rename(built, program)?;
    Ok(fs::remove_dir_all(unfinished)?)
}

/// Fetches a Debian package and takes one file out of it.
fn unpack(package: &str, path: &str, folder: &Path, to: &Path) -> Result<()> {
    let fetch = || output(Command::new("apt-get").current_dir(folder).args(["download", "-q", package]));
    if fetch().is_err() {
        output(Command::new("apt-get").args(["update", "-q"]))?;
        fetch()?;
    }
    let is_package = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|e| e == "deb");
    let archive =
        fs::read_dir(folder)?.filter_map(Result::ok).find(is_package).context("apt fetched nothing")?;
    let all = folder.join("all");
    output(Command::new("dpkg-deb").arg("-x").arg(archive.path()).arg(&all))?;
    Ok(fs::rename(all.join(path), to)?)
}

/// kubectl and Helm refuse a server that does not know its own version.
fn versioned() -> String {
    let version = "k8s.io/component-base/version";
    format!("-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor=36")
}

/// The Go modules of the lab, in this repository.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/go")
}

/// Of every program, with a hash over everything that decides what is built.
fn recipes() -> Result<Vec<Recipe>> {
    let go = run("go", &["env", "GOVERSION", "GOARCH"])?;
    let mut recipes = Vec::new();
    for (module, commands) in MODULES {
        let mut folder = Sha256::new();
        folder.update(&go);
        folder.update(versioned());
        hash_folder(&sources().join(module), &mut folder)?;
        for (name, package) in commands {
            let hash = short(folder.clone().chain_update(package));
            recipes.push(Recipe { name, package, origin: Origin::Module(module), hash });
        }
    }
    for (name, package) in TOOLS {
        let hash = short(Sha256::new_with_prefix(&go).chain_update(package));
        recipes.push(Recipe { name, package, origin: Origin::Tool, hash });
    }
    for (name, package, path) in UNPACKED {
        let hash = short(Sha256::new_with_prefix("debian ").chain_update(package));
        recipes.push(Recipe { name, package, origin: Origin::Debian(path), hash });
    }
    Ok(recipes)
}

fn short(hash: Sha256) -> String {
    hex::encode(hash.finalize())[..16].to_owned()
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
