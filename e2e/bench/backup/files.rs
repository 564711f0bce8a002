//! Many files in one volume: Tripod with its movers, and restic on the same folder and the same store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tripod_e2e::installation::Installation;
use tripod_e2e::lab::process::Process;

use crate::Row;
use crate::process::watch;
use crate::tripod::Tripod;

/// Bytes of each file.
const SIZE: usize = 10 << 10;
/// Files of a folder.
const FOLDER: usize = 1000;
const CLAIM: &str = "bulk";
const BUCKET: &str = "restic";

/// Files that are backed up, changed and restored.
pub struct Files {
    folder: PathBuf,
    count: usize,
    random: fastrand::Rng,
}

impl Files {
    /// Makes a claim in the system's namespace and fills its folder on the centre's disk.
    pub fn make(ours: &Tripod<'_>, count: usize) -> Result<Self> {
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM, "namespace": ours.source},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "4Gi"}}}});
        ours.kubectl.apply(&claim.to_string())?;
        let folder = folder_of(ours, &ours.source)?;
        let mut files = Self { folder, count, random: fastrand::Rng::with_seed(7) };
        for n in 0..count {
            files.write(n)?;
        }
        Ok(files)
    }

    /// Every hundredth file is written anew.
    pub fn change(&mut self) -> Result<()> {
        let offset = self.random.usize(0..100);
        (offset..self.count).step_by(100).try_for_each(|n| self.write(n))
    }

    fn write(&mut self, n: usize) -> Result<()> {
        let folder = self.folder.join(format!("{:04}", n / FOLDER));
        fs::create_dir_all(&folder)?;
        let mut content = vec![0; SIZE];
        self.random.fill(&mut content);
        Ok(fs::write(folder.join(format!("{n:06}")), content)?)
    }

    /// The folder below which all files came back as they are.
    pub fn are_in(&self, restored: &Path) -> Result<()> {
        for n in 0..self.count {
            let name = format!("{:04}/{n:06}", n / FOLDER);
            let there = fs::read(restored.join(&name)).with_context(|| name.clone())?;
            ensure!(there == fs::read(self.folder.join(&name))?, "{name} is not as it was");
        }
        Ok(())
    }
}

/// Where the claim of a namespace lies on the disk.
pub fn folder_of(ours: &Tripod<'_>, namespace: &str) -> Result<PathBuf> {
    let words = ["-n", namespace, &format!("pvc/{CLAIM}")];
    let volume = ours.kubectl.until("the claim to be bound", Duration::from_mins(1), &words, |claim| {
        let bound = claim["spec"]["volumeName"].as_str().filter(|_| claim["status"]["phase"] == "Bound");
        Ok(bound.with_context(|| claim["status"].to_string())?.to_owned())
    })?;
    let volume = ours.kubectl.get(&[&format!("pv/{volume}")])?;
    Ok(volume["spec"]["local"]["path"].as_str().context("the volume has no folder")?.into())
}

/// A repository of restic's own, in a bucket beside the vault.
pub struct Restic<'a> {
    at: &'a Installation,
    program: PathBuf,
}

impl<'a> Restic<'a> {
    pub fn prepare(at: &'a Installation, program: &Path) -> Result<Self> {
        at.lab.centre("production")?.store.ensure_bucket(BUCKET, false)?;
        let restic = Self { at, program: program.to_owned() };
        restic.run(&["init"], "init", 0).map(|_| restic)
    }

    pub fn back_up(&self, files: &Files, what: &'static str) -> Result<Row> {
        self.run(&["backup", &files.folder.display().to_string()], what, files.count)
    }

    /// Into an empty folder on the same disk; the files are where the folder was.
    pub fn restore(&self, files: &Files) -> Result<Row> {
        let target = self.at.lab.data().join("restic-restored");
        let target_word = target.display().to_string();
        let row = self.run(&["restore", "latest", "--target", &target_word], "restore", files.count)?;
        files.are_in(&target.join(files.folder.strip_prefix("/")?))?;
        fs::remove_dir_all(target)?;
        Ok(row)
    }

    fn run(&self, words: &[&str], what: &'static str, objects: usize) -> Result<Row> {
        let store = self.at.lab.centre("production")?.store;
        let log = fs::File::create(self.at.lab.data().join("restic.log"))?;
        let mut child = Command::new(&self.program)
            .env("AWS_ACCESS_KEY_ID", &store.operator.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &store.operator.secret_access_key)
            .env("RESTIC_PASSWORD", "bench")
            .args(["-r", &format!("s3:{}/{BUCKET}/files", store.endpoint), "--no-cache", "-q"])
            .args(words)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| self.program.display().to_string())?;
        let process = Process::of(i32::try_from(child.id())?);
        let of = || process.into_iter().collect();
        let (ended, mut rows) = watch(of, |_| "restic".to_owned(), what, objects, || Ok(child.wait()?))?;
        ensure!(ended.success(), "restic {words:?}: {ended}; see restic.log in the lab's data");
        rows.pop().context("restic ended before it was looked at")
    }
}
