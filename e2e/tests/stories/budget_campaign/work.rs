//! What people do in the campaign: ask for more and for less, raise and lower the budget, start and stop pods.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ResourceQuota};
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tripod_e2e::budget::amounts;
use tripod_e2e::lab::kwok;

use super::{Campaign, DEPARTMENT, SYSTEMS};

/// What was done.
#[derive(Debug, Default)]
pub struct Counts {
    /// Pods one by one, and how many creations the quota refused.
    pub created: usize,
    pub refused: usize,
    pub deleted: usize,
    pub scaled: usize,
    /// Edits of requests.
    pub asked: usize,
}

pub fn name(system: usize) -> String {
    format!("s{system}")
}

pub fn home() -> String {
    format!("dept-{DEPARTMENT}")
}

pub fn namespace(system: usize) -> String {
    format!("{DEPARTMENT}-{}", name(system))
}

/// Whatever the campaign asks for is granted by the budget alone. Of the lowest level only, which no other story asks for.
pub fn class() -> Value {
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "RequestClass", "metadata": {"name": DEPARTMENT},
        "spec": {"approvals": 0, "upTo": {"requests.cpu": "100", "requests.memory": "1Ti"}, "securityLevel": 1}})
}

pub fn department(cpu: &str, memory: &str) -> Value {
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Department", "metadata": {"name": DEPARTMENT},
        "spec": {"displayName": "预算演练局", "zone": "Extranet",
            "members": [{"kind": "Group", "name": format!("{DEPARTMENT}-admins"), "role": "Admin"}],
            "budget": {"requests.cpu": cpu, "requests.memory": memory}}})
}

pub fn request(system: usize, user: &str, cpu: &str, memory: &str) -> Value {
    json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "ResourceRequest",
        "metadata": {"name": name(system), "namespace": home()},
        "spec": {"requester": user, "term": "365d", "recoveryLevel": 1,
            "system": {"displayName": format!("预算演练 {}", name(system)), "securityLevel": 1, "buildMode": "New",
                "owner": "zhang@campaign"},
            "basis": {"letter": "演练〔2026〕1号", "purpose": "campaign"},
            "resources": {"requests.cpu": cpu, "requests.memory": memory}}})
}

fn kind(kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk("tripod.cloud", "v1alpha1", kind))
}

/// Everybody at once, each with choices of their own that follow from the seed.
pub async fn all(campaign: &Campaign) -> Result<Counts> {
    let mut seeds = Rng::with_seed(campaign.seed);
    let mut players = tokio::task::JoinSet::new();
    for system in 0..SYSTEMS {
        players.spawn(pods(campaign.clone(), system, seeds.fork()));
    }
    players.spawn(requests(campaign.clone(), seeds.fork()));
    players.spawn(budgets(campaign.clone(), seeds.fork()));
    let mut all = Counts::default();
    while let Some(player) = players.join_next().await {
        let counts = player??;
        all.created += counts.created;
        all.refused += counts.refused;
        all.deleted += counts.deleted;
        all.scaled += counts.scaled;
        all.asked += counts.asked;
    }
    Ok(all)
}

/// Lets a random time pass; `false` when the campaign is over.
async fn pause(campaign: &Campaign, rng: &mut Rng, milliseconds: std::ops::Range<u64>) -> bool {
    tokio::time::sleep(Duration::from_millis(rng.u64(milliseconds))).await;
    Instant::now() < campaign.ends
}

async fn requests(campaign: Campaign, mut rng: Rng) -> Result<Counts> {
    let mut counts = Counts::default();
    while pause(&campaign, &mut rng, 50..400).await {
        let system = rng.usize(..SYSTEMS);
        if rng.u8(..3) == 0 {
            ask_for_the_rest(&campaign, system).await?;
        } else {
            let (cpu, memory) = (250 * rng.u64(0..=12), 256 * rng.u64(0..=24));
            ask(&campaign, system, &format!("{cpu}m"), &format!("{memory}Mi")).await?;
        }
        counts.asked += 1;
    }
    Ok(counts)
}

async fn budgets(campaign: Campaign, mut rng: Rng) -> Result<Counts> {
    while pause(&campaign, &mut rng, 500..3000).await {
        let (cpu, memory) = (500 * rng.u64(8..=24), rng.u64(8..=24));
        set_budget(&campaign, &format!("{cpu}m"), &format!("{memory}Gi")).await?;
    }
    Ok(Counts::default())
}

/// Asks for so much, whatever was granted before.
pub async fn ask(campaign: &Campaign, system: usize, cpu: &str, memory: &str) -> Result<()> {
    let api: Api<DynamicObject> =
        Api::namespaced_with(campaign.client.clone(), &home(), &kind("ResourceRequest"));
    let patch = json!({"spec": {"resources": {"requests.cpu": cpu, "requests.memory": memory}}});
    api.patch(&name(system), &PatchParams::default(), &Patch::Merge(patch)).await.context("asking")?;
    Ok(())
}

/// Asks for all that the department says is free, to the last of it: only a budget that is given away whole can be
/// exceeded by little.
async fn ask_for_the_rest(campaign: &Campaign, system: usize) -> Result<()> {
    let departments: Api<DynamicObject> = Api::all_with(campaign.client.clone(), &kind("Department"));
    let quotas: Api<ResourceQuota> = Api::namespaced(campaign.client.clone(), &namespace(system));
    let department = departments.get(DEPARTMENT).await?.data;
    let quota = serde_json::to_value(quotas.get("tripod-budget").await?)?;
    let has = amounts(&quota["spec"]["hard"])?;
    let mut wanted = Vec::new();
    for (resource, step) in [("requests.cpu", 1), ("requests.memory", 1000 << 20)] {
        let line = amounts(&json!({"budget": department["spec"]["budget"][resource],
            "committed": department["status"]["budget"][resource].get("committed").unwrap_or(&json!("0"))}))?;
        let free = (line["budget"] - line["committed"]).max(0);
        wanted.push((has.get(resource).copied().unwrap_or(0) + free) / step);
    }
    ask(campaign, system, &format!("{}m", wanted[0]), &format!("{}Mi", wanted[1])).await
}

pub async fn set_budget(campaign: &Campaign, cpu: &str, memory: &str) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(campaign.client.clone(), &kind("Department"));
    let patch = json!({"spec": {"budget": {"requests.cpu": cpu, "requests.memory": memory}}});
    api.patch(DEPARTMENT, &PatchParams::default(), &Patch::Merge(patch)).await.context("budget")?;
    Ok(())
}

async fn pods(campaign: Campaign, system: usize, mut rng: Rng) -> Result<Counts> {
    let namespace = namespace(system);
    let api: Api<Pod> = Api::namespaced(campaign.member.clone(), &namespace);
    let deployments: Api<Deployment> = Api::namespaced(campaign.member.clone(), &namespace);
    deployments.create(&PostParams::default(), &deployment()?).await.context("the Deployment")?;
    let (mut counts, mut there, mut made) = (Counts::default(), Vec::new(), 0);
    while pause(&campaign, &mut rng, 10..80).await {
        match rng.u8(..10) {
            0..=5 => {
                made += 1;
                let name = format!("p-{made}");
                if created(&api, &pod(&name, &mut rng)?).await? {
                    there.push(name);
                    counts.created += 1;
                } else {
                    counts.refused += 1;
                }
            }
            6..=8 if !there.is_empty() => {
                let name = there.swap_remove(rng.usize(..there.len()));
                let how = if rng.bool() {
                    DeleteParams::default().grace_period(0)
                } else {
                    DeleteParams::default()
                };
                api.delete(&name, &how).await.with_context(|| name.clone())?;
                counts.deleted += 1;
            }
            _ => {
                let patch = json!({"spec": {"replicas": rng.u8(0..=8)}});
                deployments
                    .patch("web", &PatchParams::default(), &Patch::Merge(patch))
                    .await
                    .context("scaling")?;
                counts.scaled += 1;
            }
        }
    }
    Ok(counts)
}

/// Whether the API server took the pod; that the quota has no room for it is an answer, anything else an error.
async fn created(api: &Api<Pod>, pod: &Pod) -> Result<bool> {
    match api.create(&PostParams::default(), pod).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) => {
            let busy = (status.code == 409 && status.message.contains("resourcequotas"))
                || status.message.contains("resource quota evaluation timed out");
            let full = status.message.contains("exceeded quota")
                || status.message.contains("status unknown for quota");
            if busy || (status.code == 403 && full) {
                Ok(false)
            } else {
                bail!("creating a pod: {}", status.message)
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn spec(cpu: u64, memory: u64) -> Value {
    // Limits too: the namespace's defaults may be below what is asked for.
    let amounts = json!({"cpu": format!("{cpu}m"), "memory": format!("{memory}Mi")});
    json!({"nodeSelector": {kwok::LABEL.0: kwok::LABEL.1}, "automountServiceAccountToken": false,
        "tolerations": [{"key": kwok::TAINT.0, "value": kwok::TAINT.1, "effect": "NoSchedule"}],
        "containers": [{"name": "work", "image": "docker.io/library/tripod-lab-pause:1",
            "resources": {"requests": amounts, "limits": amounts}}]})
}

fn pod(name: &str, rng: &mut Rng) -> Result<Pod> {
    let spec = spec(25 * rng.u64(1..=16), 32 * rng.u64(1..=16));
    Ok(serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec}))?)
}

fn deployment() -> Result<Deployment> {
    Ok(serde_json::from_value(json!({"metadata": {"name": "web"}, "spec": {"replicas": 0,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": spec(250, 256)}}}))?)
}

/// Stops everything that runs in the department, and waits until it is gone.
pub async fn clear(campaign: &Campaign) -> Result<()> {
    for system in 0..SYSTEMS {
        let deployments: Api<Deployment> = Api::namespaced(campaign.client.clone(), &namespace(system));
        let pods: Api<Pod> = Api::namespaced(campaign.client.clone(), &namespace(system));
        deployments.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
        let start = Instant::now();
        while let left = pods.list(&ListParams::default()).await?.items
            && !left.is_empty()
        {
            if start.elapsed() > Duration::from_mins(1) {
                let names: Vec<String> = left.iter().map(ResourceExt::name_any).collect();
                bail!(
                    "waited 60 s for the pods of {} to go; last seen: {}",
                    namespace(system),
                    names.join(", ")
                );
            }
            pods.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default()).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    Ok(())
}
