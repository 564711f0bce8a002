//! Admission policies on a real API server: every case in `policies/` is accepted or refused as it says, and every policy
//! that is weakened anywhere is noticed by a case.

mod api;
mod case;
mod expression;
mod mutant;
mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use tripod_e2e::kubectl::Kubectl;
use tripod_e2e::lab::command::wait_for;

use crate::fixture::installation;
use trial::Trial;

/// Mutants in a hundred that the cases have to notice.
const ENOUGH: usize = 90;

#[test]
fn policies_hold_and_every_weakening_is_noticed() -> Result<()> {
    // A cluster of one's own, with the policies in it and no operator, takes less time than a lab.
    if let Some(kubeconfig) = std::env::var_os("TRIPOD_POLICIES_KUBECONFIG") {
        return try_at(Path::new(&kubeconfig));
    }
    let at = installation()?;
    let kubeconfig: PathBuf = at.lab.centre("remote")?.kubeconfig;
    let kubectl = at.kubectl("remote")?;
    // The cases have departments that are made up; the operator would make them real.
    scale_operator(&kubectl, 0)?;
    let result = try_at(&kubeconfig);
    let back = scale_operator(&kubectl, 1);
    result.and(back)
}

fn try_at(kubeconfig: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let trial = Trial::new(kubeconfig).await?;
        let result = trial.run(ENOUGH).await;
        // Also when it failed: the next one wants to find what it expects.
        let cleaned = trial.clean().await.context("cleaning up");
        result.and(cleaned)
    })
}

fn scale_operator(kubectl: &Kubectl, replicas: u8) -> Result<()> {
    let there = format!("--replicas={replicas}");
    kubectl.run(&["-n", "tripod-system", "scale", "deployment/tripod", &there])?;
    let pods = ["-n", "tripod-system", "get", "pods", "-l", "app.kubernetes.io/name=tripod", "-o", "name"];
    if replicas > 0 {
        kubectl.run(&["-n", "tripod-system", "rollout", "status", "deployment/tripod", "--timeout=120s"])?;
        return Ok(());
    }
    wait_for("the operator to be gone", Duration::from_mins(1), || {
        let left = kubectl.run(&pods)?;
        anyhow::ensure!(left.trim().is_empty(), "{left}");
        Ok(())
    })
}
