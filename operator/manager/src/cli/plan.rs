//! `plan backup`: what a policy would take now, and why the rest is left out. The operator's own code decides; what is read
//! is read with the rights of who asks, and nothing is written.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use tripod_crds::BackupPolicy;
use tripod_domain::backup_policy;
use tripod_domain::explain::backup::{self, Needed, Planned, Volume};
use tripod_domain::selection::claims::ClaimRules;
use tripod_domain::selection::needs::Need;
use tripod_domain::selection::tally::Tally;
use tripod_domain::selection::{Fate, Reason, Rules};

use super::{Connection, Output, Speech, explain, is_plugin, print, print_json, table};
use crate::gather::{self, Broken, Gathered, Known, Reader, Reading, Sink};
use crate::vault::Document;

/// What is looked ahead to.
#[derive(clap::Subcommand)]
pub enum Plans {
    /// Show what a BackupPolicy would take now, and why the rest is left out. Writes nothing.
    #[command(after_help = super::EXIT_CODES)]
    Backup(Arguments),
}

/// Which policy.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the BackupPolicy.
    #[arg(value_name = "POLICY")]
    name: String,
    /// Its namespace. Without it that of the context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// `json`: the plan with the path of every object that a point would hold.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

/// Keeps the paths, and nothing of what lies there.
#[derive(Default)]
struct Paths(Vec<String>);

impl Sink for Paths {
    async fn take(&mut self, document: Document) -> Result<(), String> {
        self.0.push(document.path);
        Ok(())
    }
}

/// Reads the namespace and shows the plan.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let namespace = arguments.namespace.unwrap_or_else(|| client.default_namespace().to_owned());
    let policy = Api::<BackupPolicy>::namespaced(client.clone(), &namespace).get(&arguments.name).await?;
    let rules = Rules::new(&backup_policy::selection(&policy.spec)).map_err(anyhow::Error::msg)?;
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), &namespace);
    let volumes = match claims.list(&ListParams::default()).await {
        Ok(claims) => volumes(&policy, &claims.items).map_err(anyhow::Error::msg)?,
        // Said with the other kinds that can't be listed.
        Err(kube::Error::Api(status)) if status.code == 403 => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let from = Reader { objects: client.clone(), cluster: client, namespace };
    let (gathered, paths) = look(&from, &rules).await.map_err(anyhow::Error::msg)?;
    let needs: Vec<(Need, Needed)> =
        gathered.needs.into_iter().map(|(need, reading)| (need, standing(reading))).collect();
    let planned = Planned { policy: &policy, tally: &gathered.tally, volumes: &volumes, needs: &needs };
    if arguments.output == Some(Output::Json) {
        return print_json(&as_json(&planned, &paths));
    }
    let (suffix, plugin) = (arguments.connection.suffix(), is_plugin());
    let command = |line: &str| explain::copyable(line, plugin, "", &suffix);
    print(&table::sections(&backup::plan(&planned), arguments.speech.language(), command))
}

/// Looks until a pass needs to know no more than it did.
async fn look(from: &Reader, rules: &Rules) -> Result<(Gathered, Vec<String>), String> {
    let mut known = Known::default();
    loop {
        let mut paths = Paths::default();
        match gather::objects(from, rules, &mut known, &mut paths).await {
            Ok(gathered) => return Ok((gathered, paths.0)),
            Err(Broken::Again) => {}
            Err(Broken::Failed(error)) => return Err(error),
        }
    }
}

fn volumes(policy: &BackupPolicy, claims: &[PersistentVolumeClaim]) -> Result<Vec<Volume>, String> {
    let rules = ClaimRules::new(&policy.spec.include, &policy.spec.exclude)?;
    let volume = |claim: &PersistentVolumeClaim| {
        let size = claim.status.as_ref().and_then(|status| status.capacity.as_ref());
        Volume {
            name: claim.name_any(),
            size: size.and_then(|capacity| capacity.get("storage")).map(|amount| amount.0.clone()),
            class: claim.spec.as_ref().and_then(|spec| spec.storage_class_name.clone()),
            fate: rules.claim(&gather::claim(claim)),
        }
    };
    Ok(claims.iter().map(volume).collect())
}

fn standing(reading: Reading) -> Needed {
    match reading {
        Reading::Recorded => Needed::Recorded,
        Reading::Absent => Needed::Absent,
        Reading::Forbidden => Needed::Forbidden,
    }
}

/// For machines: stable words, and messages in English.
fn as_json(of: &Planned<'_>, paths: &[String]) -> Value {
    let volumes: Vec<Value> = of
        .volumes
        .iter()
        .map(|volume| {
            let mut value = fate(&volume.fate);
            value["name"] = json!(volume.name);
            value["size"] = json!(volume.size);
            value["storageClass"] = json!(volume.class);
            value
        })
        .collect();
    let cluster: Vec<Value> = of
        .needs
        .iter()
        .map(|(need, standing)| json!({"object": need.title(), "state": standing.code()}))
        .collect();
    json!({
        "policy": of.policy.name_any(),
        "namespace": of.policy.namespace(),
        "kinds": kinds(of.tally),
        "paths": paths,
        "volumes": volumes,
        "buckets": of.policy.spec.include.buckets,
        "cluster": cluster,
        "notListed": of.tally.not_listed,
    })
}

fn kinds(tally: &Tally) -> BTreeMap<&str, Value> {
    let mut kinds = BTreeMap::new();
    for (kind, of) in &tally.kinds {
        let left_out: Vec<Value> = of
            .left_out
            .iter()
            .map(|(code, left)| {
                let first: Vec<Value> = left
                    .first
                    .iter()
                    .map(|(name, reason)| json!({"name": name, "message": reason.line().en}))
                    .collect();
                json!({"reason": code, "count": left.count, "first": first})
            })
            .collect();
        let mut value = json!({"taken": of.taken, "leftOut": left_out});
        if let Some(reason) = &of.whole {
            value["all"] = left(reason);
        }
        kinds.insert(kind.as_str(), value);
    }
    kinds
}

fn fate(fate: &Fate) -> Value {
    match fate {
        Fate::Taken => json!({"taken": true}),
        Fate::LeftOut(reason) => {
            let mut value = left(reason);
            value["taken"] = json!(false);
            value
        }
    }
}

fn left(reason: &Reason) -> Value {
    json!({"reason": reason.code(), "message": reason.line().en})
}
