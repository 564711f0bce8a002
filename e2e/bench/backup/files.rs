//! Many files in one volume, that are backed up, changed and restored.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::tripod::Tripod;

/// Bytes of each file.
const SIZE: usize = 10 << 10;
/// Files of a folder.
const FOLDER: usize = 1000;
const CLAIM: &str = "bulk";

/// Files that are backed up, changed and restored.
pub struct Files {
    pub folder: PathBuf,
    pub count: usize,
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
