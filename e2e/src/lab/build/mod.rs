//! What the lab is made of: Debian packages, and binaries built from Go packages and crates into a cache. There each
//! is named by the content of its recipe, so that a fresh clone with the same recipes builds nothing. What a lab runs is
//! a folder of links to them.

mod make;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use super::command::{output, run};
use super::progress::Progress;

/// Commands of the lab's Go module. One module, so that they agree on versions, and what they share, most of all the
/// libraries of Kubernetes, is compiled once.
const COMMANDS: [(&str, &str); 21] = [
    ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    ("etcd", "go.etcd.io/etcd/server/v3"),
    ("containerd", "github.com/containerd/containerd/v2/cmd/containerd"),
    ("containerd-shim-runc-v2", "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"),
    ("ctr", "github.com/containerd/containerd/v2/cmd/ctr"),
    ("coredns", "./coredns"),
    ("metrics-server", "sigs.k8s.io/metrics-server/cmd/metrics-server"),
    ("provisioner", "./provisioner"),
    ("csi", "./csi"),
    ("csi-provisioner", "github.com/kubernetes-csi/external-provisioner/v6/cmd/csi-provisioner"),
    ("csi-snapshotter", "github.com/kubernetes-csi/external-snapshotter/v8/cmd/csi-snapshotter"),
    ("snapshot-controller", "github.com/kubernetes-csi/external-snapshotter/v8/cmd/snapshot-controller"),
    ("pause", "./pause"),
    ("helm", "helm.sh/helm/v4/cmd/helm"),
    ("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    ("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
];

/// Folders of files that modules of these commands bring along.
const FILES: [(&str, &str, &str); 1] =
    [("snapshot-crds", "github.com/kubernetes-csi/external-snapshotter/client/v8", "config/crd")];

/// Programs out of Debian packages that are unpacked and not installed: installed, they would start a service.
const UNPACKED: [(&str, &str, &str); 2] =
    [("prometheus", "prometheus", "usr/bin/prometheus"), ("promtool", "prometheus", "usr/bin/promtool")];

/// Commands that are crates of their own, with the features that they are built with.
const CRATES: [(&str, &str, &str); 1] = [("garage", "garage@2.5.0", "bundled-libs,lmdb")];

/// Folders of programs that need each other, and libraries, out of Debian packages: unpacked with what they depend on.
const TREES: [(&str, &str); 1] = [("ceph", "radosgw ceph-mon ceph-osd ceph-base ceph-common")];

/// Programs that come from Debian, with their packages.
const PACKAGES: [(&str, &str); 10] = [
    ("runc", "runc"),
    ("/usr/lib/cni/ptp", "containernetworking-plugins"),
    ("nft", "nftables"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("buildah", "buildah"),
    ("restic", "restic"),
    ("age", "age"),
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
    /// A package that the lab's Go module knows.
    Go,
    /// A folder of a module that the lab's Go module knows.
    Files(&'static str),
    /// A Debian package, at this path in it.
    Debian(&'static str),
    /// A crate, with these features.
    Crate(&'static str),
    /// All of several Debian packages.
    Tree,
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
    ensure(&recipes()?, progress)
}

/// Builds S3 servers of several makes, which only some stories start: others need not wait for them.
///
/// # Errors
/// With the compiler's own words.
pub fn ensure_stores(progress: &Progress) -> Result<Binaries> {
    ensure(&store_recipes()?, progress)
}

fn ensure(recipes: &[Recipe], progress: &Progress) -> Result<Binaries> {
    let binaries = Binaries::of(recipes)?;
    let programs = cache_folder()?.join("programs");
    fs::create_dir_all(&binaries.0)?;
    let start = Instant::now();
    let made = |recipe: &Recipe| programs.join(recipe.name).join(&recipe.hash);
    let go: Vec<&Recipe> =
        recipes.iter().filter(|r| matches!(r.origin, Origin::Go) && !made(r).exists()).collect();
    if !go.is_empty() {
        let what = format!("building Kubernetes and what runs beside it, {} programs (once)", go.len());
        progress.step(&what, || make::build_go(&go, &programs, made))?;
    }
    for recipe in recipes {
        let link = binaries.path(recipe.name);
        if link.exists() {
            continue;
        }
        let program = made(recipe);
        if !program.exists() {
            progress.step(&format!("building {} (once)", recipe.name), || make::build(recipe, &program))?;
        }
        let linked = if program.is_dir() {
            std::os::unix::fs::symlink(&program, &link)
        } else {
            // Hard, so that a program that runs is seen under the name by which it was started.
            fs::hard_link(&program, &link)
        };
        match linked {
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

/// The Go module of the lab, in this repository.
fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/go")
}

/// Of every program but other stores.
fn recipes() -> Result<Vec<Recipe>> {
    let mut recipes = go_recipes()?;
    for (name, package, path) in UNPACKED {
        let hash = short(Sha256::new_with_prefix("debian ").chain_update(package));
        recipes.push(Recipe { name, package, origin: Origin::Debian(path), hash });
    }
    Ok(recipes)
}

/// Of the commands of the module and of files of others, with a hash over everything that decides what is built.
fn go_recipes() -> Result<Vec<Recipe>> {
    let mut module = Sha256::new();
    module.update(run("go", &["env", "GOVERSION", "GOARCH"])?);
    module.update(make::versioned());
    hash_folder(&sources(), &mut module)?;
    let recipe = |(name, package), origin| {
        let hash = short(module.clone().chain_update(package));
        Recipe { name, package, origin, hash }
    };
    let commands = COMMANDS.map(|command| recipe(command, Origin::Go));
    let files = FILES.map(|(name, module, folder)| recipe((name, module), Origin::Files(folder)));
    Ok(commands.into_iter().chain(files).collect())
}

/// The gateway of every centre, and servers that differ from it.
fn store_recipes() -> Result<Vec<Recipe>> {
    let gateway = go_recipes()?.into_iter().filter(|recipe| recipe.name == super::store::COMPONENT);
    let crates = CRATES.map(|(name, package, features)| {
        let hash = Sha256::new_with_prefix("crate ").chain_update(package).chain_update(features);
        Recipe { name, package, origin: Origin::Crate(features), hash: short(hash) }
    });
    let trees = TREES.map(|(name, package)| {
        let hash = short(Sha256::new_with_prefix("debian ").chain_update(package));
        Recipe { name, package, origin: Origin::Tree, hash }
    });
    Ok(gateway.chain(crates).chain(trees).collect())
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
