//! `backup now`: asks for a recovery point, and shows how far it is until every byte of it is proved.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tripod_crds::recovery_point::{CopyState, PointPhase};
use tripod_crds::{BackupPolicy, RecoveryPoint};
use tripod_domain::backup_policy::RUN_ANNOTATION;
use tripod_domain::conditions;
use tripod_domain::explain::{Line, points};

use super::{Connection, Language, Speech, plan, print, table};

/// How often to look.
const PAUSE: Duration = Duration::from_millis(500);

/// What is done with a BackupPolicy.
#[derive(clap::Subcommand)]
pub enum Backups {
    /// Make a recovery point now.
    #[command(after_help = super::EXIT_CODES)]
    Now(Arguments),
    /// Show what a BackupPolicy would take now, and why the rest is left out. Writes nothing.
    #[command(after_help = super::EXIT_CODES)]
    Plan(plan::Arguments),
}

/// Which policy, and how long to watch.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the BackupPolicy.
    #[arg(value_name = "POLICY")]
    name: String,
    /// Its namespace. Without it that of the context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Show how far it is until it is verified at this centre, or has failed.
    #[arg(long)]
    wait: bool,
    /// Give up waiting after this long; the run goes on.
    #[arg(long, default_value = "1h", value_parser = patience, value_name = "DURATION", requires = "wait")]
    timeout: Duration,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

pub(super) fn patience(text: &str) -> Result<Duration, String> {
    tripod_domain::duration::parse(text).map(jiff::SignedDuration::unsigned_abs)
}

/// Dispatches.
pub async fn run(command: Backups) -> anyhow::Result<()> {
    match command {
        Backups::Now(arguments) => now(arguments).await,
        Backups::Plan(arguments) => plan::run(arguments).await,
    }
}

struct Watched {
    policies: Api<BackupPolicy>,
    points: Api<RecoveryPoint>,
    policy: String,
    token: String,
    before: BTreeSet<String>,
    language: Language,
}

async fn now(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let namespace = arguments.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let language = arguments.speech.language();
    let watched = ask(client, &namespace, &arguments.name, language).await?;
    let said = Line::new(
        format!("a recovery point of {} in {namespace} is asked for", arguments.name),
        format!("已请求为 {namespace} 的策略 {} 生成恢复点", arguments.name),
    );
    print(&format!("{}\n", table::clean(language.of(&said))))?;
    if !arguments.wait {
        return Ok(());
    }
    match tokio::time::timeout(arguments.timeout, watched.follow()).await {
        Ok(result) => result,
        Err(_) => bail!(
            "not verified after {} s; the run goes on: kubectl tripod points -n {namespace}",
            arguments.timeout.as_secs()
        ),
    }
}

/// Puts a fresh token on the policy.
async fn ask(client: Client, namespace: &str, policy: &str, language: Language) -> anyhow::Result<Watched> {
    let policies = Api::<BackupPolicy>::namespaced(client.clone(), namespace);
    let points = Api::<RecoveryPoint>::namespaced(client, namespace);
    // The policy is there and the points can be read, before anything is asked for.
    policies.get(policy).await?;
    let before = points.list(&ListParams::default()).await?.iter().map(ResourceExt::name_any).collect();
    let token = format!("now-{}", Timestamp::now().as_nanosecond());
    let patch = json!({"metadata": {"annotations": {RUN_ANNOTATION: token}}});
    policies.patch(policy, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(Watched { policies, points, policy: policy.to_owned(), token, before, language })
}

impl Watched {
    async fn follow(&self) -> anyhow::Result<()> {
        let name = self.made().await?;
        let mut shown = Line::default();
        loop {
            let point = self.points.get(&name).await?;
            let line = progress(&point, Timestamp::now());
            if line != shown {
                print(&format!("{}\n", table::clean(self.language.of(&line))))?;
                shown = line;
            }
            let status = point.status.unwrap_or_default();
            match (status.phase, status.here) {
                (Some(PointPhase::Failed), _) => bail!("{name}: {}", ready(&status.conditions)),
                (Some(PointPhase::Complete), Some(CopyState::Verified)) => return Ok(()),
                (Some(PointPhase::Complete), Some(CopyState::Damaged)) => {
                    bail!("{name} is damaged at this centre")
                }
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The name of the point that the token made.
    async fn made(&self) -> anyhow::Result<String> {
        loop {
            let policy = self.policies.get(&self.policy).await?;
            let status = policy.status.clone().unwrap_or_default();
            if status.last_run_token.as_ref() == Some(&self.token) {
                let points = self.points.list(&ListParams::default()).await?.items;
                let new = points
                    .iter()
                    .filter(|p| p.spec.policy == self.policy && !self.before.contains(&p.name_any()));
                if let Some(point) = new.max_by_key(|p| p.spec.taken_at.0) {
                    return Ok(point.name_any());
                }
            }
            let seen = status.observed_generation == policy.metadata.generation;
            match conditions::find(&status.conditions, "Ready") {
                Some(ready) if seen && ready.status == "False" => {
                    bail!("the policy is not ready: {} ({})", ready.message, ready.reason)
                }
                Some(ready) if seen && ready.reason == "Standby" => bail!("{}", ready.message),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }
}

fn ready(of: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> String {
    conditions::find(of, "Ready").map_or_else(|| "it says nothing".to_owned(), |c| c.message.clone())
}

/// How far a point is, in one line that changes when it gets further.
fn progress(point: &RecoveryPoint, now: Timestamp) -> Line {
    let status = point.status.clone().unwrap_or_default();
    let phase = status.phase.map_or_else(|| Line::new("is made", "正在创建"), points::phase);
    let more = match status.phase {
        Some(PointPhase::Complete) => {
            // Without how long ago something was proved: that would be another line each second.
            let mut still = point.clone();
            for copy in still.status.iter_mut().flat_map(|status| &mut status.centres) {
                copy.verified_at = None;
            }
            points::centres(&still, now)
        }
        _ => Line::of(&ready(&status.conditions)),
    };
    let name = point.name_any();
    Line::new(format!("{name}: {}; {}", phase.en, more.en), format!("{name}：{}；{}", phase.zh, more.zh))
}
