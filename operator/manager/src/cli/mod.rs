//! Commands for people: as `kubectl tripod …` the only ones, as `tripod …` beside the others.

mod approve;
mod backup;
mod browse;
mod department;
mod explain;
mod plan;
mod points;
mod requests;
mod restore;
mod scorecard;
mod table;

use std::ffi::OsStr;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use tripod_domain::explain::Line;

/// Shown below the help of every command.
const EXIT_CODES: &str = "Exit codes: 0 fine, 1 refused or failed, 2 wrong usage.";

// The command that kubectl starts under the name `kubectl-tripod`.
/// Tripod (鼎) for people: what departments ask for and have, the verdicts on it, and their data back.
#[derive(Parser)]
#[command(name = "kubectl-tripod", bin_name = "kubectl tripod", version, propagate_version = true)]
#[command(after_help = EXIT_CODES)]
pub struct Plugin {
    #[command(subcommand)]
    pub command: Said,
}

/// What is said to the plugin. As `tripod …`, `plan` is a word of replication; there it is `tripod backup plan`.
#[derive(Subcommand)]
#[allow(clippy::large_enum_variant, reason = "there is one a process")]
pub enum Said {
    #[command(flatten)]
    People(People),
    /// Show what would be done, and do nothing.
    #[command(subcommand)]
    Plan(plan::Plans),
}

/// What people do.
#[derive(Subcommand)]
pub enum People {
    /// Approve a ResourceRequest exactly as it stands.
    #[command(after_help = EXIT_CODES)]
    Approve(approve::Arguments),
    /// Reject a ResourceRequest exactly as it stands; a changed one is asked for anew.
    #[command(after_help = EXIT_CODES)]
    Reject(approve::Arguments),
    /// List ResourceRequests with where they stand and why.
    #[command(after_help = EXIT_CODES)]
    Requests(requests::Arguments),
    /// Show a department: its budget, what of it is committed, asked for and used, and its systems.
    #[command(after_help = EXIT_CODES)]
    Department(department::Arguments),
    /// Explain why a ResourceRequest stands where it stands, and who has to do what next.
    #[command(after_help = EXIT_CODES)]
    Explain(explain::Arguments),
    /// Restore a recovery point into a namespace, or show what that would change.
    #[command(after_help = EXIT_CODES)]
    Restore(restore::Arguments),
    /// Make a recovery point, or show what one would hold.
    #[command(subcommand)]
    Backup(backup::Backups),
    /// List recovery points with where each is and since when that is proved.
    #[command(after_help = EXIT_CODES)]
    Points(points::Arguments),
    /// List what a recovery point holds: Kubernetes objects, files, objects of buckets.
    #[command(after_help = EXIT_CODES)]
    Browse(browse::Browse),
    /// Show what became otherwise from one recovery point to another.
    #[command(after_help = EXIT_CODES)]
    Diff(browse::Diff),
    /// Write a department's month on a page: what it had, what it used, and where its systems stand.
    #[command(after_help = EXIT_CODES)]
    Scorecard(scorecard::Arguments),
}

/// Where to ask, and as whom. The same words as kubectl's.
#[derive(Args, Clone, Debug, Default)]
pub struct Connection {
    /// Context of the kubeconfig to use.
    #[arg(long)]
    context: Option<String>,
    /// Path of the kubeconfig file. Without it $KUBECONFIG counts, then ~/.kube/config.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// User to impersonate.
    #[arg(long = "as", value_name = "USER")]
    as_user: Option<String>,
    /// Group to impersonate; can be repeated.
    #[arg(long = "as-group", value_name = "GROUP", requires = "as_user")]
    as_group: Vec<String>,
}

impl Connection {
    /// A client; its default namespace is that of the context.
    async fn client(&self) -> anyhow::Result<Client> {
        let options = KubeConfigOptions { context: self.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (&self.kubeconfig, &self.context) {
            (Some(path), _) => Config::from_custom_kubeconfig(Kubeconfig::read_from(path)?, &options).await?,
            (None, Some(_)) => Config::from_kubeconfig(&options).await?,
            (None, None) => Config::infer().await?,
        };
        if let Some(user) = &self.as_user {
            config.auth_info.impersonate = Some(user.clone());
            config.auth_info.impersonate_groups = Some(self.as_group.clone());
        }
        Ok(Client::try_from(config)?)
    }

    /// What a command for people has to have at its end to reach the same cluster. Whom to impersonate is not in it: the
    /// next step is mostly another person's.
    fn suffix(&self) -> String {
        let context = self.context.as_ref().map(|context| format!(" --context {context}"));
        let kubeconfig = self.kubeconfig.as_ref().map(|path| format!(" --kubeconfig {}", path.display()));
        format!("{}{}", context.unwrap_or_default(), kubeconfig.unwrap_or_default())
    }
}

/// The language that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    /// English
    En,
    /// 中文
    Zh,
}

impl Language {
    /// The one that was asked for, or that of the first locale variable that is set.
    fn choose(asked: Option<Self>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let locale = || {
            let set = ["LC_ALL", "LC_MESSAGES", "LANG"].into_iter().filter_map(variable);
            set.into_iter().find(|locale| !locale.is_empty()).unwrap_or_default()
        };
        asked.unwrap_or_else(|| if locale().to_lowercase().starts_with("zh") { Self::Zh } else { Self::En })
    }

    fn of(self, line: &Line) -> &str {
        match self {
            Self::En => &line.en,
            Self::Zh => &line.zh,
        }
    }
}

/// The language of the output.
#[derive(Args, Clone, Debug)]
struct Speech {
    /// Language of the output. Without it LC_ALL, LC_MESSAGES and LANG decide.
    #[arg(long, value_enum)]
    lang: Option<Language>,
}

impl Speech {
    fn language(&self) -> Language {
        Language::choose(self.lang, |name| std::env::var(name).ok())
    }
}

/// How the output is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Json,
}

/// Whether kubectl has started this program as its plugin.
#[must_use]
pub fn is_plugin() -> bool {
    std::env::args_os().next().is_some_and(|program| is_plugin_name(&program))
}

fn is_plugin_name(program: &OsStr) -> bool {
    Path::new(program).file_stem().is_some_and(|name| name == "kubectl-tripod")
}

/// Does what was asked for. Says in one line on stderr what was refused or failed.
pub async fn run(command: Said) -> ExitCode {
    let done = match command {
        Said::Plan(plan::Plans::Backup(arguments)) => plan::run(arguments).await,
        Said::People(command) => people(command).await,
    };
    match done {
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", table::clean(&one_line(&error)));
            ExitCode::FAILURE
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

async fn people(command: People) -> anyhow::Result<()> {
    match command {
        People::Approve(arguments) => approve::run(arguments, approve::APPROVE).await,
        People::Reject(arguments) => approve::run(arguments, approve::REJECT).await,
        People::Requests(arguments) => requests::run(arguments).await,
        People::Department(arguments) => department::run(arguments).await,
        People::Explain(arguments) => explain::run(arguments).await,
        People::Restore(arguments) => restore::run(arguments).await,
        People::Backup(command) => backup::run(command).await,
        People::Points(arguments) => points::run(arguments).await,
        People::Browse(arguments) => browse::browse(arguments).await,
        People::Diff(arguments) => browse::diff(arguments).await,
        People::Scorecard(arguments) => scorecard::run(arguments).await,
    }
}

/// Who reads has seen enough: `… | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// All that is known of an error: of the API server's, what it says, in full.
fn one_line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        if let Some(kube::Error::Api(status)) = cause.downcast_ref() {
            parts.push(format!("{} ({}, HTTP {})", status.message, status.reason, status.code));
            break;
        }
        // Many say what their cause says.
        let text = cause.to_string();
        if !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts.join(": ").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Writes to stdout what a pipe may refuse.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// As kubectl writes objects: without the fields' managers, which nobody asked for.
fn print_json(object: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut value = serde_json::to_value(object)?;
    forget_managers(&mut value);
    let text = serde_json::to_string_pretty(&value).context("what was read can't be written as JSON")?;
    print(&format!("{text}\n"))
}

fn forget_managers(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
                metadata.remove("managedFields");
            }
            fields.values_mut().for_each(forget_managers);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_managers),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_are_consistent_and_read_as_documented() {
        Plugin::command().debug_assert();
        let read =
            |line: &str| Plugin::try_parse_from(line.split(' ')).map(drop).map_err(|error| error.exit_code());
        for line in [
            "kubectl-tripod approve registration -n dept-health --comment fine --expires-in 72h",
            "kubectl-tripod reject registration --hash sha256:0123456789ab --context a --kubeconfig b",
            "kubectl-tripod requests -A -w -o json",
            "kubectl-tripod requests --namespace dept-health",
            "kubectl-tripod department health -o json --lang zh",
            "kubectl-tripod plan backup registration -n a -o json --lang zh",
            "kubectl-tripod backup plan registration -n a",
            "kubectl-tripod backup now registration -n a --wait --timeout 10m",
            "kubectl-tripod points -A -o json",
            "kubectl-tripod points -n a --policy registration --lang zh",
            "kubectl-tripod browse p volumes/data/etc -n a --centre remote --limit 0 -o json",
            "kubectl-tripod diff p q objects -n a --system b --timeout 10m --lang zh",
            "kubectl-tripod scorecard health --month 2026-10 -o html --lang zh",
            "kubectl-tripod restore p -n a --existing update --dry-run --volumes none --map-registry a=b -l app=web",
            "kubectl-tripod explain registration -n dept-health --lang en --as zhang@health --as-group g",
        ] {
            assert_eq!(read(line), Ok(()), "{line}");
        }
        for line in [
            "kubectl-tripod operator",
            "kubectl-tripod approve",
            "kubectl-tripod approve a --expires-in 3d",
            "kubectl-tripod approve a --expires-in 0s",
            "kubectl-tripod approve a --hash 0123",
            "kubectl-tripod requests -A -n dept-health",
            "kubectl-tripod restore",
            "kubectl-tripod restore p --existing replace",
            "kubectl-tripod restore p --map-registry a",
            "kubectl-tripod plan",
            "kubectl-tripod plan restore a",
            "kubectl-tripod backup now",
            "kubectl-tripod backup now a --timeout 10m",
            "kubectl-tripod backup now a --wait --timeout soon",
            "kubectl-tripod points -A -n a",
            "kubectl-tripod browse",
            "kubectl-tripod diff p",
            "kubectl-tripod diff p q --timeout soon",
            "kubectl-tripod explain a --lang fr",
            "kubectl-tripod explain a --as-group g",
        ] {
            assert_eq!(read(line), Err(2), "{line}");
        }
        assert_eq!(read("kubectl-tripod approve --help"), Err(0));
    }

    #[test]
    fn the_name_makes_the_plugin() {
        for (program, is) in [
            ("/usr/local/bin/kubectl-tripod", true),
            ("kubectl-tripod", true),
            ("kubectl-tripod.exe", true),
            ("/kubectl-tripod/tripod", false),
            ("tripod", false),
        ] {
            assert_eq!(is_plugin_name(OsStr::new(program)), is, "{program}");
        }
    }

    #[test]
    fn the_first_locale_that_is_set_decides_and_the_flag_before_it() {
        let choose = |asked, all: &str, messages: &str, lang: &str| {
            Language::choose(asked, |name| match name {
                "LC_ALL" => Some(all.to_owned()),
                "LC_MESSAGES" => Some(messages.to_owned()).filter(|m| !m.is_empty()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert_eq!(choose(None, "", "", "zh_CN.UTF-8"), Language::Zh);
        assert_eq!(choose(None, "", "C", "zh_CN.UTF-8"), Language::En);
        assert_eq!(choose(None, "ZH-hans", "C", "C"), Language::Zh);
        assert_eq!(choose(None, "", "", ""), Language::En);
        assert_eq!(choose(Some(Language::En), "zh_CN", "", ""), Language::En);
        assert_eq!(choose(Some(Language::Zh), "C", "", ""), Language::Zh);
    }

    #[test]
    fn an_error_is_one_line_with_all_that_the_server_says() {
        let status = kube::core::Status {
            message: "denied:\n  not you".into(),
            reason: "Forbidden".into(),
            code: 403,
            ..kube::core::Status::default()
        };
        let error = anyhow::Error::from(kube::Error::Api(status.boxed())).context("can't create it");
        assert_eq!(one_line(&error), "can't create it: denied: not you (Forbidden, HTTP 403)");
    }

    #[test]
    fn json_is_without_the_managers_of_fields() {
        let object =
            |metadata| serde_json::json!({"items": [{"metadata": metadata, "spec": {"managedFields": 1}}]});
        let mut value = object(serde_json::json!({"name": "a", "managedFields": []}));
        forget_managers(&mut value);
        assert_eq!(value, object(serde_json::json!({"name": "a"})));
    }

    #[test]
    fn a_copied_command_reaches_the_same_cluster() {
        let connection = Connection { context: Some("production".into()), ..Connection::default() };
        assert_eq!(connection.suffix(), " --context production");
        assert_eq!(Connection::default().suffix(), "");
    }
}
