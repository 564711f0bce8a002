//! From a person's approval to a namespace in which a member can work.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::api::{DynamicObject, PostParams};
use kube::{Api, Client};
use serde::Serialize;

use crate::Bench;
use crate::fill::create;
use crate::manifests::{self, REVIEWED, REVIEWED_CPU, admins, department_name, home, resource};

const PATIENCE: Duration = Duration::from_mins(1);
/// How often each of the three is looked at. The times are good to so much.
const STEP: Duration = Duration::from_millis(10);
const APPROVER: &str = "bench-approver";
const MEMBER: &str = "bench-member";

/// Milliseconds from the create of the Approval, over some departments one after the other.
#[derive(Clone, Debug, Serialize)]
pub struct Latency {
    pub samples: usize,
    pub rights: Spread,
    pub quota: Spread,
    pub pod_accepted: Spread,
    /// Until all three were there.
    pub usable: Spread,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    pub p50: f64,
    pub p99: f64,
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort();
        // The smallest sample that so many percent of them do not exceed.
        let at = |percent: usize| {
            let index = (times.len() * percent).div_ceil(100).saturating_sub(1);
            times.get(index).map_or(f64::NAN, |t| 1000.0 * t.as_secs_f64())
        };
        Self { p50: at(50), p99: at(99) }
    }
}

pub async fn approvals(bench: &Bench, departments: usize, samples: usize) -> Result<Latency> {
    let approver = bench.acting_as(APPROVER, "system:masters")?;
    let (mut rights, mut quota, mut pod, mut usable) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for sample in 0..samples {
        let department = department_name(sample * departments / samples);
        let seen = one(bench, &approver, &department).await.with_context(|| department.clone())?;
        usable.push(seen.into_iter().max().unwrap_or_default());
        rights.push(seen[0]);
        quota.push(seen[1]);
        pod.push(seen[2]);
    }
    let [rights, quota, pod_accepted, usable] = [rights, quota, pod, usable].map(Spread::of);
    Ok(Latency { samples, rights, quota, pod_accepted, usable })
}

/// How long each took: the members' rights, the quota that is enforced, the pod that is accepted.
async fn one(bench: &Bench, approver: &Client, department: &str) -> Result<[Duration; 3]> {
    let requests: Api<DynamicObject> =
        Api::namespaced_with(bench.client.clone(), &home(department), &resource("ResourceRequest"));
    create(&requests, manifests::reviewed_request(department, &bench.user)).await?;
    let key = format!("{}/{REVIEWED}", home(department));
    let waits = |state: &crate::board::State| {
        let seen = state.requests.objects.get(&key)?;
        (seen.phase.as_deref() == Some("AwaitingApproval"))
            .then(|| Some((seen.uid.clone(), seen.spec_hash.clone()?)))?
    };
    let what = format!("{key} to await its approval");
    let (uid, hash) =
        bench.board.until(&what, PATIENCE, waits, |s| format!("{:?}", s.requests.objects.get(&key))).await?;

    let member = bench.acting_as(MEMBER, &admins(department))?;
    let namespace = manifests::system_namespace(department, REVIEWED);
    let approvals: Api<DynamicObject> =
        Api::namespaced_with(approver.clone(), "tripod-system", &resource("Approval"));
    let start = Instant::now();
    create(&approvals, manifests::approval(department, &uid, &hash, &bench.user, APPROVER)).await?;
    let (rights, quota, pod) = tokio::try_join!(
        first(start, "the rights", async || has_rights(&bench.client, &namespace, department).await),
        first(start, "the quota", async || has_quota(&bench.client, &namespace).await),
        first(start, "the pod", async || accepts_pod(&member, &namespace).await),
    )?;
    Ok([rights, quota, pod])
}

/// When an attempt succeeds first.
async fn first(start: Instant, what: &str, attempt: impl AsyncFn() -> Result<()>) -> Result<Duration> {
    loop {
        match attempt().await {
            Ok(()) => return Ok(start.elapsed()),
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error.context(format!("waited {} s for {what}; last seen", PATIENCE.as_secs())));
            }
            Err(_) => tokio::time::sleep(STEP).await,
        }
    }
}

async fn has_rights(client: &Client, namespace: &str, department: &str) -> Result<()> {
    let api: Api<RoleBinding> = Api::namespaced(client.clone(), namespace);
    let binding = api.get("tripod-department-admin").await?;
    let admins = admins(department);
    ensure!(binding.subjects.into_iter().flatten().any(|s| s.name == admins), "it does not name {admins}");
    Ok(())
}

async fn has_quota(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<ResourceQuota> = Api::namespaced(client.clone(), namespace);
    let status = api.get("tripod-budget").await?.status.unwrap_or_default();
    let hard = status.hard.unwrap_or_default();
    match hard.get("requests.cpu") {
        Some(cpu) if cpu.0 == REVIEWED_CPU => Ok(()),
        other => bail!("status.hard of requests.cpu is {other:?}"),
    }
}

async fn accepts_pod(member: &Client, namespace: &str) -> Result<()> {
    let api: Api<Pod> = Api::namespaced(member.clone(), namespace);
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    api.create(&dry, &manifests::pod()?).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_samples() {
        let times = |n: u64| (1..=n).map(Duration::from_millis).collect::<Vec<_>>();
        let close = |a: f64, b: f64| (a - b).abs() < 1e-6;
        let spread = Spread::of(times(100));
        assert!(close(spread.p50, 50.0) && close(spread.p99, 99.0), "{spread:?}");
        let spread = Spread::of(times(30));
        assert!(close(spread.p50, 15.0) && close(spread.p99, 30.0), "{spread:?}");
    }
}
