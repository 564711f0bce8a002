//! Invariant 1, hunted: for a while grants, budgets and pods of one department change at random, the operator is killed,
//! and a second one that heeds no lease acts beside it. Afterwards every change that the API server recorded is looked
//! at: nothing was ever committed, used or running beyond what the budget allowed.
//!
//! `TRIPOD_CAMPAIGN_SECONDS` and `TRIPOD_CAMPAIGN_SEED` make it longer, or make the same choices again.

mod second;
mod work;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tripod_e2e::budget::{Event, Findings, Recorder, What, amounts, replay, show};
use tripod_e2e::installation::Installation;
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::lab::kwok::FakeNodes;

use crate::fixture::{PATIENCE, installation};
use second::SecondOperator;
use work::Counts;

pub const DEPARTMENT: &str = "campaign";
pub const SYSTEMS: usize = 4;
const RESOURCES: [&str; 2] = ["requests.cpu", "requests.memory"];
const CENTRE: &str = "production";

/// Who plays in it, and until when.
#[derive(Clone)]
pub struct Campaign {
    /// An administrator of the platform, who also asks for resources.
    pub client: Client,
    /// A member of the department, who runs pods.
    pub member: Client,
    pub seed: u64,
    pub ends: Instant,
}

#[test]
fn a_budget_holds_whatever_happens() -> Result<()> {
    let at = installation()?;
    let length = Duration::from_secs(number("TRIPOD_CAMPAIGN_SECONDS")?.unwrap_or(60));
    let seed = number("TRIPOD_CAMPAIGN_SEED")?.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    println!("campaign: seed {seed}, {} s", length.as_secs());
    let stage = Stage::set(at)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(play(at, &stage.kubectl, seed, length));
    outcome.with_context(|| format!("campaign with TRIPOD_CAMPAIGN_SEED={seed}"))
}

fn number(variable: &str) -> Result<Option<u64>> {
    match std::env::var(variable) {
        Ok(text) => Ok(Some(text.parse().with_context(|| format!("{variable}={text}"))?)),
        Err(_) => Ok(None),
    }
}

/// The department with its systems, on nodes that cost nothing. Put away at the end, so that later stories find none of
/// the nodes and no class that would let their requests pass.
struct Stage<'a> {
    at: &'a Installation,
    kubectl: Kubectl,
}

impl<'a> Stage<'a> {
    fn set(at: &'a Installation) -> Result<Self> {
        let stage = Self { at, kubectl: at.kubectl(CENTRE)? };
        at.lab.add_fake_nodes(CENTRE, &FakeNodes::default())?;
        let kubectl = &stage.kubectl;
        kubectl.apply(&work::class().to_string())?;
        kubectl.apply(&work::department("12", "24Gi").to_string())?;
        kubectl.wait(&format!("department/{DEPARTMENT}"), None, "Ready", PATIENCE)?;
        let user = kubectl.user()?;
        for system in 0..SYSTEMS {
            kubectl.apply(&work::request(system, &user, "1", "2Gi").to_string())?;
        }
        await_grants(kubectl, "1")?;
        Ok(stage)
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        let class = self.kubectl.run(&["delete", "requestclass", DEPARTMENT, "--ignore-not-found"]).map(drop);
        if let Err(error) = class.and_then(|()| self.at.lab.remove_fake_nodes(CENTRE)) {
            eprintln!("campaign: {error:#}");
        }
    }
}

/// Waits until every system has this much, and it is enforced.
fn await_grants(kubectl: &Kubectl, cpu: &str) -> Result<()> {
    for system in 0..SYSTEMS {
        let (request, home) = (format!("resourcerequest/{}", work::name(system)), work::home());
        let words = ["-n", &home, &request];
        kubectl.until(&format!("{request} with {cpu} processors"), PATIENCE, &words, |seen| {
            let quota = kubectl.get(&["-n", &work::namespace(system), "resourcequota/tripod-budget"])?;
            for hard in [&quota["spec"]["hard"], &quota["status"]["hard"]] {
                ensure!(hard["requests.cpu"] == cpu, "{}; the quota says {hard}", described(seen, "Ready"));
            }
            let current = seen["status"]["observedGeneration"] == seen["metadata"]["generation"];
            ensure!(
                current && described(seen, "Ready").starts_with("Ready=True"),
                "{}",
                described(seen, "Ready")
            );
            Ok(())
        })?;
    }
    Ok(())
}

async fn play(at: &Installation, kubectl: &Kubectl, seed: u64, length: Duration) -> Result<()> {
    let kubeconfig = Kubeconfig::read_from(&at.lab.centre(CENTRE)?.kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let mut as_member = config.clone();
    as_member.auth_info.impersonate = Some(format!("zhang@{DEPARTMENT}"));
    as_member.auth_info.impersonate_groups = Some(vec![format!("{DEPARTMENT}-admins")]);
    let campaign = Campaign {
        client: Client::try_from(config)?,
        member: Client::try_from(as_member)?,
        seed,
        ends: Instant::now() + length,
    };
    work::clear(&campaign).await?;
    let mut recorder = Recorder::start(&campaign.client, DEPARTMENT).await?;
    let second = SecondOperator::new(at)?;
    let (counts, kills) =
        tokio::try_join!(work::all(&campaign), second::trouble(&campaign, kubectl, second))?;

    nothing_was_missed(&mut recorder, kubectl)?;
    calm(&campaign, kubectl).await?;
    let events = recorder.events()?;
    let findings = replay(events.clone(), &RESOURCES);
    tell(seed, &counts, kills, &events, &findings);
    let record = at.lab.data().join("campaign.events");
    std::fs::write(&record, in_order(&events))?;
    ensure!(
        findings.violations.is_empty(),
        "the budget was exceeded, see {}:\n{}",
        record.display(),
        findings.violations.join("\n")
    );
    ensure!(counts.created > 0 && counts.refused > 0, "too tame to show anything: {counts:?}");
    Ok(())
}

/// What was recorded adds up to what the API server lists.
fn nothing_was_missed(recorder: &mut Recorder, kubectl: &Kubectl) -> Result<()> {
    wait_for("the record to be what is listed", Duration::from_mins(1), || {
        let known = replay(recorder.events()?, &RESOURCES).asked["requests.cpu"];
        let pods = kubectl.get(&["pods", "-A"])?;
        let mut listed = 0;
        for pod in pods["items"].as_array().into_iter().flatten() {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
            for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
                if namespace.starts_with(&format!("{DEPARTMENT}-")) {
                    listed += amounts(&container["resources"]["requests"])?.get("cpu").copied().unwrap_or(0);
                }
            }
        }
        ensure!(known == listed, "{known}m are recorded, {listed}m are listed");
        Ok(())
    })
}

/// When the storm is over, everybody gets what they ask for.
async fn calm(campaign: &Campaign, kubectl: &Kubectl) -> Result<()> {
    work::clear(campaign).await?;
    work::set_budget(campaign, "12", "24Gi").await?;
    for system in 0..SYSTEMS {
        work::ask(campaign, system, "3", "4Gi").await?;
    }
    await_grants(kubectl, "3").context("after the campaign")
}

/// Every change, a line each, for whoever has to find out why.
fn in_order(events: &[Event]) -> String {
    let mut events: Vec<&Event> = events.iter().collect();
    events.sort_by_key(|event| event.version);
    events.iter().fold(String::new(), |text, event| format!("{text}{event:?}\n"))
}

fn tell(seed: u64, counts: &Counts, kills: usize, events: &[Event], findings: &Findings) {
    let pods: BTreeSet<&String> = events
        .iter()
        .filter_map(|event| if let What::Pod { key, .. } = &event.what { Some(key) } else { None })
        .collect();
    println!(
        "campaign: seed {seed}, {} pods, of them {} created one by one ({} refused), {} deleted, {} times scaled",
        pods.len(),
        counts.created,
        counts.refused,
        counts.deleted,
        counts.scaled
    );
    println!(
        "campaign: {} edits of requests, {} of the budget; {} changes of quotas; the operator killed {kills} times",
        counts.asked, findings.budget_changes, findings.quota_changes
    );
    for resource in RESOURCES {
        let over =
            |of: &tripod_e2e::budget::Amounts| of.get(resource).map_or("?".into(), |n| show(resource, *n));
        println!(
            "campaign: {resource}: grants grew {} times; max(Σ used − budget) = {} as quotas count, {} as pods ask; \
             without what Kubernetes let run beyond its own quotas, at most {}, it is {}",
            findings.grown.get(resource).copied().unwrap_or(0),
            over(&findings.used_over),
            over(&findings.asked_over),
            over(&findings.slipped),
            over(&findings.net_over)
        );
    }
    println!(
        "campaign: {} changes recorded; quotas began {} times to count less than there is; {} violations",
        events.len(),
        findings.undercounted,
        findings.violations.len()
    );
}
