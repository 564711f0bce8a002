//! One cgroup a centre at the top of each hierarchy, under which its kubelet puts the pods. Version 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::layout::CentreLayout;

const ROOT: &str = "/sys/fs/cgroup";

/// Makes what is missing.
///
/// # Errors
/// When a hierarchy does not take it.
pub fn ensure(centre: &CentreLayout) -> Result<()> {
    for hierarchy in hierarchies() {
        let path = hierarchy.join(centre.mark());
        fs::create_dir_all(&path).with_context(|| format!("cgroup {}", path.display()))?;
        // A new cpuset is empty and takes no process until it has what its parent has.
        for file in ["cpuset.mems", "cpuset.cpus"] {
            if let Ok(value) = fs::read_to_string(hierarchy.join(file)) {
                fs::write(path.join(file), value.trim())
                    .with_context(|| format!("{}/{file}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Removes the centre's cgroups, children first. Processes must be gone.
pub fn remove(centre: &CentreLayout) {
    for hierarchy in hierarchies() {
        remove_tree(&hierarchy.join(centre.mark()));
    }
}

/// Whether anything of the centre is left.
#[must_use]
pub fn exists(centre: &CentreLayout) -> bool {
    hierarchies().iter().any(|h| h.join(centre.mark()).exists())
}

fn remove_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // The kernel refuses for a moment while the last process leaves.
    for _ in 0..50 {
        match fs::remove_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            _ => return,
        }
    }
}

/// Version 2 has one hierarchy; version 1 one a controller (links such as `cpu` are seen once).
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    folders.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}
