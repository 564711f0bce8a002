//! How one program is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::super::command::output;
use super::{Origin, Recipe, sources};

const KUBERNETES: &str = "v1.36.3";

/// Builds commands of the Go module, all at once: while some are linked, what the others need is compiled.
pub(super) fn build_go(
    recipes: &[&Recipe],
    programs: &Path,
    place: impl Fn(&Recipe) -> PathBuf,
) -> Result<()> {
    let unfinished = programs.join(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let mut go = Command::new("go");
    // Static, so that they run in an image from scratch, and the same wherever they are built.
    go.current_dir(sources()).env("CGO_ENABLED", "0").env("GOFLAGS", "-buildvcs=false -trimpath");
    // Nobody debugs them, and to describe them for that is a tenth of the work.
    go.args(["build", "-gcflags=all=-dwarf=false", "-ldflags", &versioned(), "-o"]).arg(&unfinished);
    output(go.args(recipes.iter().map(|recipe| recipe.package)))?;
    for recipe in recipes {
        let program = place(recipe);
        fs::create_dir_all(program.parent().context("a program is in a folder")?)?;
        fs::rename(unfinished.join(executable(recipe.package)), program)?;
    }
    Ok(fs::remove_dir_all(unfinished)?)
}

/// What Go names a command: as the folder of its package, but for the folder of a major version.
fn executable(package: &str) -> &str {
    let is_version = |part: &&str| {
        part.strip_prefix('v').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    package.rsplit('/').find(|part| !is_version(part)).unwrap_or(package)
}

/// Makes a program beside the place where it is to be, so that a half of one is never taken for it.
pub(super) fn build(recipe: &Recipe, program: &Path) -> Result<()> {
    let unfinished = program.with_extension(format!("unfinished-{}", std::process::id()));
    fs::create_dir_all(&unfinished)?;
    let built = unfinished.join(recipe.name);
    match recipe.origin {
        Origin::Go => bail!("{} is built with the other commands of its module", recipe.name),
        Origin::Files(path) => copy(recipe.package, path, &built),
        Origin::Debian(path) => unpack(recipe.package, path, &unfinished, &built),
        Origin::Crate(features) => install(recipe, features, &unfinished),
        Origin::Tree => unpack_all(recipe.package, &unfinished, &built),
    }?;
    fs::rename(built, program)?;
    Ok(fs::remove_dir_all(unfinished)?)
}

/// Copies the files of a folder of a Go module.
fn copy(module: &str, path: &str, to: &Path) -> Result<()> {
    let mut go = Command::new("go");
    go.current_dir(sources()).args(["mod", "download", "-json", module]);
    let answer: Value = serde_json::from_str(&output(&mut go)?)?;
    let folder = Path::new(answer["Dir"].as_str().context("go does not say where the module is")?).join(path);
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Builds a crate. Not optimised: it is built more often than it is busy.
fn install(recipe: &Recipe, features: &str, folder: &Path) -> Result<()> {
    let mut cargo = Command::new("cargo");
    // Of whoever builds the operator: static, and into that tree.
    for variable in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
        cargo.env_remove(variable);
    }
    cargo.current_dir(folder).env("CARGO_TARGET_DIR", folder.join("target"));
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_DEV_STRIP", "symbols");
    cargo.env("CARGO_INCREMENTAL", "0").args(["install", "--quiet", "--locked", "--debug"]);
    cargo.args(["--no-default-features", "--features", features, "--root"]).arg(folder).arg(recipe.package);
    output(&mut cargo)?;
    Ok(fs::rename(folder.join("bin").join(recipe.name), folder.join(recipe.name))?)
}

/// Fetches a Debian package and takes one file out of it.
fn unpack(package: &str, path: &str, folder: &Path, to: &Path) -> Result<()> {
    apt(folder, &["download", "-q", package])?;
    let archives = archives(folder)?;
    let all = folder.join("all");
    output(
        Command::new("dpkg-deb").arg("-x").arg(archives.first().context("apt fetched nothing")?).arg(&all),
    )?;
    Ok(fs::rename(all.join(path), to)?)
}

/// Fetches Debian packages, and what they need that this machine has not, and unpacks them into one folder.
fn unpack_all(packages: &str, folder: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(folder.join("partial"))?;
    let cache = format!("Dir::Cache::archives={}", folder.display());
    let mut words = vec!["install", "-qy", "--no-install-recommends", "--download-only", "--reinstall", "-o"];
    words.push(&cache);
    words.extend(packages.split(' '));
    apt(folder, &words)?;
    for archive in archives(folder)? {
        output(Command::new("dpkg-deb").arg("-x").arg(archive).arg(to))?;
    }
    Ok(())
}

/// With lists of packages, which a new machine has not.
fn apt(folder: &Path, words: &[&str]) -> Result<()> {
    let fetch = || {
        let mut apt = Command::new("apt-get");
        output(apt.current_dir(folder).env("DEBIAN_FRONTEND", "noninteractive").args(words))
    };
    if fetch().is_err() {
        output(Command::new("apt-get").args(["update", "-q"]))?;
        fetch()?;
    }
    Ok(())
}

fn archives(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    Ok(files.filter(|file| file.extension().is_some_and(|e| e == "deb")).collect())
}

/// kubectl and Helm refuse a server that does not know its own version.
pub(super) fn versioned() -> String {
    let version = "k8s.io/component-base/version";
    format!("-s -w -X {version}.gitVersion={KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor=36")
}
