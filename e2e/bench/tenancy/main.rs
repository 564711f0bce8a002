//! `bench-tenancy`: how the operator does with many departments, on a real cluster of its own. Everything that is
//! waited for has a deadline, and says what was last seen.

mod approval;
mod board;
mod cost;
mod fill;
mod manifests;
mod meter;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::api::{DynamicObject, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::sync::mpsc;
use tripod_e2e::installation::Installation;
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::lab::{Lab, LabSpec};

use board::Board;
use meter::Meter;
use report::Report;

/// Many departments with many systems, on a real cluster of their own on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[arg(long, default_value_t = 1000)]
    departments: usize,
    /// Systems of each department.
    #[arg(long, default_value_t = 10)]
    systems: usize,
    /// How long nobody asks for anything, at the end.
    #[arg(long, default_value_t = 600)]
    quiet_seconds: u64,
    /// OCI archive of the operator.
    #[arg(long)]
    image: PathBuf,
    /// Where the figures are written, as JSON.
    #[arg(long, default_value = "target/bench/tenancy.json")]
    output: PathBuf,
    /// Name of the lab. One of this name that is up is taken down first.
    #[arg(long, default_value = "tripod-bench")]
    lab: String,
    /// How many seconds all departments may take to become Ready. By default some for each.
    #[arg(long)]
    deadline_seconds: Option<u64>,
    /// Leave the lab up for a look.
    #[arg(long)]
    keep: bool,
}

/// What every measurement needs.
pub struct Bench {
    pub client: Client,
    /// Who the API server takes this for: the requester of everything.
    pub user: String,
    pub board: Arc<Board>,
    pub meter: Arc<Meter>,
    pub systems: usize,
    /// For one filling.
    pub deadline: Duration,
    config: Config,
    edits: AtomicUsize,
}

/// Takes the lab down when the benchmark ends, however it ends.
struct Lease(Option<String>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(name) = &self.0
            && let Err(error) = Lab::down(name)
        {
            eprintln!("lab {name}: {error:#}");
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-tenancy: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.departments > 1 && arguments.systems > 0, "two departments and one system at least");
    let (name, progress) = (&arguments.lab, Progress::new(false));
    Lab::down(name)?;
    let _lease = Lease((!arguments.keep).then(|| name.clone()));
    let at = Installation::ensure(&LabSpec::quick(name), &arguments.image, &progress)?;
    // As the chart has it, and not as often as in a lab that is watched.
    at.configure("production", &["utilisation.samplingInterval=60", "utilisation.kubeletVolumes=false"])?;
    at.kubectl("production")?.run(&["-n", "tripod-system", "rollout", "status", "deployment/tripod"])?;
    let kubeconfig = at.lab.centre("production")?.kubeconfig;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let report = runtime.block_on(measure(arguments, &kubeconfig, &progress))?;
    if let Some(folder) = arguments.output.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&arguments.output, serde_json::to_vec_pretty(&report)?)?;
    println!("{}\nFigures: {}", report.table(), arguments.output.display());
    Ok(())
}

async fn measure(arguments: &Arguments, kubeconfig: &Path, progress: &Progress) -> Result<Report> {
    let (sender, mut homes) = mpsc::unbounded_channel();
    let bench = Bench::start(arguments, kubeconfig, sender).await?;
    bench.classes().await?;
    let sampling = tokio::spawn(sample(bench.meter.clone()));
    let all = arguments.departments;
    let quiet = Duration::from_secs(arguments.quiet_seconds);
    // Twice, so that what one change costs can be compared: it should not depend on how many departments there are.
    let first = 100.min(all / 2);
    let (mut stages, mut rests, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for (from, to, rest) in [(0, first, quiet.min(Duration::from_mins(1))), (first, all, quiet)] {
        progress.note(&format!("departments {from} to {to}, {} systems each", arguments.systems));
        stages.push(fill::fill(&bench, &mut homes, from..to).await?);
        progress.note(&format!("all Ready; at rest for {} s", rest.as_secs()));
        let rest = cost::rest(&bench, to, rest).await?;
        progress.note("changing budgets one by one");
        changes.push(cost::change(&bench, &rest).await?);
        rests.push(rest);
    }
    progress.note("approving requests one by one");
    let approval = approval::approvals(&bench, all, 30.min(all)).await?;
    sampling.abort();
    Ok(Report {
        departments: all,
        systems: arguments.systems,
        processors: std::thread::available_parallelism()?.get(),
        stages,
        rests,
        changes,
        approval,
        operator_peak: bench.meter.operator_peak(),
        operator_restarts: bench.meter.operators().saturating_sub(1),
    })
}

/// Looks at the processes every second, since what an operator has used can't be asked after its end.
async fn sample(meter: Arc<Meter>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        if let Err(error) = meter.sample() {
            eprintln!("bench-tenancy: {error:#}");
        }
    }
}

impl Bench {
    async fn start(
        arguments: &Arguments,
        kubeconfig: &Path,
        homes: mpsc::UnboundedSender<String>,
    ) -> Result<Self> {
        let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config.clone())?;
        let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
        let me = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await?;
        let user = me
            .status
            .and_then(|s| s.user_info)
            .and_then(|u| u.username)
            .context("nobody knows who we are")?;
        let systems = arguments.departments * arguments.systems;
        let deadline = arguments.deadline_seconds.unwrap_or(300 + u64::try_from(systems)? / 3);
        Ok(Self {
            board: Board::start(&client, homes),
            meter: Arc::new(Meter::new(Lab::open(&arguments.lab)?)?),
            systems: arguments.systems,
            deadline: Duration::from_secs(deadline),
            edits: AtomicUsize::new(0),
            client,
            user,
            config,
        })
    }

    async fn classes(&self) -> Result<()> {
        let api: Api<DynamicObject> =
            Api::all_with(self.client.clone(), &manifests::resource("RequestClass"));
        for class in manifests::classes() {
            fill::create(&api, class).await?;
        }
        Ok(())
    }

    /// A client that acts as somebody else, in one group.
    fn acting_as(&self, user: &str, group: &str) -> Result<Client> {
        let mut config = self.config.clone();
        config.auth_info.impersonate = Some(user.to_owned());
        config.auth_info.impersonate_groups = Some(vec![group.to_owned()]);
        Ok(Client::try_from(config)?)
    }

    /// Budget edits so far: no two of them ask for the same amount.
    fn edits(&self) -> usize {
        self.edits.load(Ordering::Relaxed)
    }

    fn count_edits(&self, more: usize) {
        self.edits.fetch_add(more, Ordering::Relaxed);
    }
}
