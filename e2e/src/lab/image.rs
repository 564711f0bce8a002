//! Container images without a daemon and without a registry: built by buildah into OCI archives, imported into
//! a centre's containerd.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::build::Binaries;
use super::command::output;
use super::layout::CentreLayout;

/// What to build.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    pub dockerfile: &'a Path,
    pub context: &'a Path,
    /// The stage to stop at; the last one by default.
    pub target: Option<&'a str>,
    pub arguments: &'a [(&'a str, &'a str)],
    /// With its registry, for instance `docker.io/library/tripod:dev`.
    pub tag: &'a str,
}

/// Builds an image into an OCI archive.
///
/// # Errors
/// With buildah's own words.
pub fn build(image: &Image<'_>, archive: &Path) -> Result<()> {
    let store = super::build::cache_folder()?.join("buildah");
    fs::create_dir_all(&store)?;
    let buildah = || {
        let mut command = Command::new("buildah");
        command.arg("--root").arg(store.join("root")).arg("--runroot").arg(store.join("run"));
        command.args(["--storage-driver", "vfs"]);
        command
    };
    let mut bud = buildah();
    bud.args(["bud", "--isolation", "chroot", "--pull-never", "--layers=false", "-f"]).arg(image.dockerfile);
    if let Some(target) = image.target {
        bud.args(["--target", target]);
    }
    for (name, value) in image.arguments {
        bud.arg("--build-arg").arg(format!("{name}={value}"));
    }
    output(bud.args(["-t", image.tag]).arg(image.context)).with_context(|| format!("image {}", image.tag))?;
    let _ = fs::remove_file(archive);
    output(buildah().args(["push", "-q", image.tag]).arg(format!(
        "oci-archive:{}:{}",
        archive.display(),
        image.tag
    )))?;
    output(buildah().args(["rmi", "-f", image.tag]))?;
    Ok(())
}

/// Brings an archive into a centre's containerd.
///
/// # Errors
/// With containerd's own words.
pub fn import(binaries: &Binaries, centre: &CentreLayout, archive: &Path) -> Result<()> {
    let socket = centre.run().join("containerd.sock");
    output(
        Command::new(binaries.path("ctr"))
            .arg("--address")
            .arg(socket)
            .args(["-n", "k8s.io", "images", "import", "--all-platforms=false"])
            .arg(archive),
    )
    .with_context(|| format!("bringing {} into {}", archive.display(), centre.name))?;
    Ok(())
}
