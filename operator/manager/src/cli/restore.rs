//! `restore`: asks for a Restore of a recovery point, and shows how far it is until it is over.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ValueEnum;
use jiff::Timestamp;
use kube::api::PostParams;
use kube::core::{Expression, Selector};
use kube::{Api, ResourceExt};
use tripod_crds::restore::{
    ChangeAction, ExistingPolicy, ObjectCounts, PartStanding, PartState, Renamed, RestoreInclude,
    RestorePhase,
};
use tripod_crds::{Restore, RestoreSpec, RestoreStatus};
use tripod_domain::explain::Line;

use super::table::clean;
use super::{Connection, Language, Output, Speech, print, print_json};

/// How often the Restore is looked at.
const PAUSE: Duration = Duration::from_millis(500);
/// Places of a bar.
const BAR: usize = 24;

/// What is restored, and how.
#[derive(clap::Args)]
pub struct Arguments {
    /// Name of the RecoveryPoint; `kubectl get recoverypoints` lists them.
    point: String,
    /// Namespace that it is restored into. Without it that of the context.
    #[arg(short, long)]
    namespace: Option<String>,
    /// Name of the Restore that is made. Default: the point's name and the time.
    #[arg(long)]
    name: Option<String>,
    /// Centre from whose vault it is read. Default: that of the cluster.
    #[arg(long)]
    centre: Option<String>,
    /// Namespace of the system whose point it is, of the same department. Default: the one that it is restored into.
    #[arg(long)]
    system: Option<String>,
    /// What happens to what is there already.
    #[arg(long, value_enum, default_value_t = Existing::Skip)]
    existing: Existing,
    /// Write nothing, and show what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Only these kinds: configmaps,deployments.apps
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    kinds: Vec<String>,
    /// Not these kinds.
    #[arg(long, value_delimiter = ',', value_name = "KINDS")]
    exclude_kinds: Vec<String>,
    /// Only objects with such labels: app=web
    #[arg(short = 'l', long, value_parser = selector)]
    selector: Option<Selector>,
    /// Only objects of these names.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    names: Vec<String>,
    /// Files of these claims only; `none` for no volume.
    #[arg(long, value_delimiter = ',', value_name = "CLAIMS")]
    volumes: Option<Vec<String>>,
    /// Objects of these buckets only; `none` for no bucket.
    #[arg(long, value_delimiter = ',', value_name = "BUCKETS")]
    buckets: Option<Vec<String>>,
    /// A storage class that is named otherwise here; can be repeated.
    #[arg(long, value_parser = renamed, value_name = "FROM=TO")]
    map_storage_class: Vec<Renamed>,
    /// A registry whose images are elsewhere here; can be repeated.
    #[arg(long, value_parser = renamed, value_name = "FROM=TO")]
    map_registry: Vec<Renamed>,
    /// Ask for it, and do not wait until it is over.
    #[arg(long)]
    no_wait: bool,
    /// `json`: the Restore itself, once it is over.
    #[arg(short, long, value_enum)]
    output: Option<Output>,
    #[command(flatten)]
    speech: Speech,
    #[command(flatten)]
    connection: Connection,
}

/// As in a Restore.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Existing {
    /// It stays as it is.
    Skip,
    /// It becomes what it was in the point.
    Update,
    /// Nothing is restored at all.
    Fail,
}

fn renamed(text: &str) -> Result<Renamed, String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => {
            Ok(Renamed { from: from.to_owned(), to: to.to_owned() })
        }
        _ => Err("write it like old=new".to_owned()),
    }
}

/// Labels that all have to be there: `app=web,tier=front`.
fn selector(text: &str) -> Result<Selector, String> {
    let one = |part: &str| match part.split_once('=') {
        Some((key, value)) if !key.is_empty() && !key.ends_with('!') => {
            Ok(Expression::Equal(key.to_owned(), value.trim_start_matches('=').to_owned()))
        }
        _ => Err(format!("{part:?}: write labels like app=web,tier=front")),
    };
    text.split(',').map(one).collect()
}

/// Asks, and follows unless told not to.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = arguments.connection.client().await?;
    let namespace = arguments.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
    let api = Api::<Restore>::namespaced(client, &namespace);
    let wanted = Restore::new(&name(&arguments, Timestamp::now()), spec(&arguments));
    let made = api.create(&PostParams::default(), &wanted).await.context("the Restore was not made")?;
    let (language, name) = (arguments.speech.language(), made.name_any());
    if arguments.no_wait {
        let said = Line::new(
            format!(
                "restore {name} in {namespace}: kubectl wait --for=condition=Succeeded restore/{name} -n {namespace}"
            ),
            format!(
                "恢复 {name}（{namespace}）已提交：kubectl wait --for=condition=Succeeded restore/{name} -n {namespace}"
            ),
        );
        return print(&format!("{}\n", language.of(&said)));
    }
    let ended = follow(&api, &name, language).await?;
    if arguments.output == Some(Output::Json) {
        print_json(&ended)?;
    } else {
        print(&report(&ended, language))?;
    }
    let status = ended.status.unwrap_or_default();
    if status.phase == Some(RestorePhase::Failed) {
        bail!("{}", ready(&status));
    }
    Ok(())
}

fn name(arguments: &Arguments, now: Timestamp) -> String {
    arguments.name.clone().unwrap_or_else(|| {
        let start: String = arguments.point.chars().take(24).collect();
        format!("{}-{}", start.trim_end_matches(['-', '.']), now.strftime("%m%d%H%M%S"))
    })
}

fn spec(arguments: &Arguments) -> RestoreSpec {
    let named = |names: &Option<Vec<String>>| {
        names.as_ref().map(|n| n.iter().filter(|n| *n != "none").cloned().collect::<Vec<_>>())
    };
    RestoreSpec {
        recovery_point: Some(arguments.point.clone()),
        velero: None,
        centre: arguments.centre.clone(),
        system: arguments.system.clone(),
        include: RestoreInclude {
            objects: true,
            kinds: arguments.kinds.clone(),
            exclude_kinds: arguments.exclude_kinds.clone(),
            label_selector: arguments.selector.clone().map(Into::into),
            names: arguments.names.clone(),
            volumes: named(&arguments.volumes),
            buckets: named(&arguments.buckets),
        },
        existing: match arguments.existing {
            Existing::Skip => ExistingPolicy::Skip,
            Existing::Update => ExistingPolicy::Update,
            Existing::Fail => ExistingPolicy::Fail,
        },
        dry_run: arguments.dry_run,
        storage_classes: arguments.map_storage_class.clone(),
        image_registries: arguments.map_registry.clone(),
        patches: Vec::new(),
        wait_for_workloads: true,
        deadline_seconds: 86_400,
    }
}

/// Looks at it until it is over. On a terminal one line tells how far it is; elsewhere a line for each phase.
async fn follow(api: &Api<Restore>, name: &str, language: Language) -> anyhow::Result<Restore> {
    let terminal = std::io::stderr().is_terminal();
    let (mut width, mut before) = (0, String::new());
    loop {
        let restore = api.get(name).await?;
        let status = restore.status.clone().unwrap_or_default();
        let line = clean(&at(&status, language));
        if terminal {
            eprint!("\r{line:width$}");
            width = line.chars().count().max(width);
            let _ = std::io::stderr().flush();
        } else if line != before && !line.is_empty() {
            eprintln!("{line}");
        }
        before = line;
        if matches!(status.phase, Some(RestorePhase::Succeeded | RestorePhase::Failed)) {
            if terminal {
                eprintln!();
            }
            return Ok(restore);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `Filling [######      ] 1200 of 31000 objects, 1 of 3 volumes: waiting for …`
fn at(status: &RestoreStatus, language: Language) -> String {
    let phase = status.phase.unwrap_or(RestorePhase::Pending);
    let counts = status.objects.unwrap_or_default();
    let done = counts.created + counts.updated + counts.unchanged + counts.skipped + counts.failed;
    let open = |parts: &[PartStanding]| {
        parts.iter().filter(|p| matches!(p.state, PartState::Pending | PartState::Filling)).count() as u64
    };
    let parts = (status.volumes.len() + status.buckets.len()) as u64;
    let through = done + parts - open(&status.volumes) - open(&status.buckets);
    let filled =
        usize::try_from(through * BAR as u64 / (counts.total + parts).max(1)).unwrap_or(BAR).min(BAR);
    let bar: String = (0..BAR).map(|place| if place < filled { '#' } else { ' ' }).collect();
    let progress = status.progress.clone().unwrap_or_default();
    let words = Line::new(english(phase), chinese(phase));
    let waits = if matches!(phase, RestorePhase::Succeeded | RestorePhase::Failed) {
        String::new()
    } else {
        ready(status)
    };
    format!("{} [{bar}] {progress} {waits}", language.of(&words)).trim_end().to_owned()
}

fn english(phase: RestorePhase) -> String {
    format!("{phase:?}")
}

fn chinese(phase: RestorePhase) -> String {
    match phase {
        RestorePhase::Pending => "等待",
        RestorePhase::Planning => "比对",
        RestorePhase::Configuring => "恢复配置",
        RestorePhase::Filling => "恢复数据",
        RestorePhase::Starting => "启动业务",
        RestorePhase::Waiting => "等待就绪",
        RestorePhase::Succeeded => "成功",
        RestorePhase::Failed => "失败",
    }
    .to_owned()
}

fn ready(status: &RestoreStatus) -> String {
    status.conditions.iter().find(|c| c.type_ == "Ready").map(|c| c.message.clone()).unwrap_or_default()
}

/// What a person wants to know at the end.
fn report(restore: &Restore, language: Language) -> String {
    let status = restore.status.clone().unwrap_or_default();
    let mut lines = Vec::new();
    for change in &status.changes {
        let sign = match change.action {
            ChangeAction::Create => "+",
            ChangeAction::Update => "~",
            ChangeAction::Skip => "=",
            ChangeAction::Conflict | ChangeAction::Refused => "!",
        };
        lines.push(format!("{sign} {} ({:?})", change.object, change.action));
        lines.extend(change.differences.iter().map(|difference| format!("    {difference}")));
    }
    lines.extend(status.problems.iter().map(|problem| format!("! {}: {}", problem.object, problem.message)));
    for (parts, what) in
        [(&status.volumes, Line::new("volume", "卷")), (&status.buckets, Line::new("bucket", "桶"))]
    {
        lines.extend(parts.iter().map(|part| {
            let message = part.message.clone().unwrap_or_default();
            format!("{} {}: {:?} {message}", language.of(&what), part.name, part.state).trim_end().to_owned()
        }));
    }
    let ObjectCounts { created, updated, unchanged, skipped, left_out, failed, .. } =
        status.objects.unwrap_or_default();
    let took = status.took.clone().unwrap_or_default();
    let counted = Line::new(
        format!(
            "{created} created, {updated} updated, {unchanged} unchanged, {skipped} skipped, {left_out} left out, {failed} failed; took {took}"
        ),
        format!(
            "新建 {created}，更新 {updated}，一致 {unchanged}，保留 {skipped}，未纳入 {left_out}，失败 {failed}；用时 {took}"
        ),
    );
    lines.push(language.of(&counted).to_owned());
    lines.push(ready(&status));
    let lines: Vec<String> = lines.iter().map(|line| clean(line)).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_point_and_the_time() {
        let plugin = <super::super::Plugin as clap::Parser>::parse_from(
            "kubectl-tripod restore registration-20261124t0215 -n health-registration".split(' '),
        );
        let super::super::Said::People(super::super::People::Restore(arguments)) = plugin.command else {
            panic!()
        };
        let made = name(&arguments, "2026-11-24T02:20:00Z".parse().unwrap());
        assert_eq!(made, "registration-20261124t02-1124022000");
        assert!(made.len() <= 40);
    }

    #[test]
    fn labels_are_read_as_kubectl_reads_them() {
        assert!(selector("app=web,tier=front").is_ok());
        for wrong in ["app", "=x", "app!=web"] {
            assert!(selector(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_line_tells_how_far_it_is() {
        let status = RestoreStatus {
            phase: Some(RestorePhase::Configuring),
            objects: Some(ObjectCounts { total: 4, created: 2, ..ObjectCounts::default() }),
            progress: Some("2 of 4 objects".into()),
            ..RestoreStatus::default()
        };
        assert_eq!(at(&status, Language::En), "Configuring [############            ] 2 of 4 objects");
        assert!(at(&status, Language::Zh).starts_with("恢复配置 ["));
    }
}
