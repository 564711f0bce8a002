//! Puts the operator together: who it is, what it serves, and the controllers that run while it leads.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use kube::client::ClientBuilder;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::{Writer, store};
use kube::{Api, Client, Config};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tripod_crds::{Cloud, Department, RequestClass, ResourceRequest, SupervisionPolicy, UtilisationReport};

use crate::context::Ctx;
use crate::controllers;
use crate::controllers::bucket_replication::{JobArguments, RunsOfAll};
use crate::events::{self, Desk};
use crate::gateway::{self, KubeGatekeeper, certificate};
use crate::leader::Candidate;
use crate::reach::ReachArguments;
use crate::stores::Stores;
use crate::telemetry::api_calls::CountCalls;
use crate::telemetry::http;
use crate::telemetry::live::Live;
use crate::telemetry::metrics::Metrics;
use crate::tenancy::{Tenancy, Triggers};
use crate::utilisation::{Sampler, Source, SourceArguments, Utilisation, windows};

/// How long passes that are under way may take once the process was told to stop.
const GRACE: Duration = Duration::from_secs(20);

/// Run the operator of one centre.
#[derive(Args, Debug)]
pub struct OperatorArguments {
    /// Name of the Centre that this operator is.
    #[arg(long, env = "TRIPOD_CENTRE")]
    centre: String,
    /// The operator's own namespace: its Secrets are there.
    #[arg(long, env = "TRIPOD_NAMESPACE", default_value = "tripod-system")]
    namespace: String,
    /// Image of the pods that move data: this one.
    #[arg(long, env = "TRIPOD_IMAGE")]
    image: String,
    /// Secret with the master key that new points are made with, under `key`, and beside it those that older ones were made
    /// with; the same at all centres.
    #[arg(long, env = "TRIPOD_VAULT_KEY_SECRET", default_value = "tripod-vault-key")]
    vault_key_secret: String,
    /// Where /livez, /readyz and /metrics are served.
    #[arg(long, env = "TRIPOD_METRICS_ADDRESS", default_value = "0.0.0.0:8080")]
    metrics_address: SocketAddr,
    /// Where movers are served.
    #[arg(long, env = "TRIPOD_GATEWAY_ADDRESS", default_value = "0.0.0.0:8443")]
    gateway_address: SocketAddr,
    /// Where stores send events of buckets to. Without it none are heard.
    #[arg(long, env = "TRIPOD_EVENTS_ADDRESS", requires = "events_token_file")]
    events_address: Option<SocketAddr>,
    /// File with the token that a store has in its URL: /events/<name of its Centre>/<token>
    #[arg(long, env = "TRIPOD_EVENTS_TOKEN_FILE", value_name = "FILE")]
    events_token_file: Option<PathBuf>,
    /// URL of the gateway as pods reach it. Default: the Service `tripod-gateway` of the own namespace.
    #[arg(long, env = "TRIPOD_GATEWAY_URL")]
    gateway_url: Option<String>,
    /// Act without waiting for the lease: for one replica, outside a cluster.
    #[arg(long, env = "TRIPOD_NO_LEADER_ELECTION")]
    no_leader_election: bool,
    #[command(flatten)]
    utilisation: SourceArguments,
    #[command(flatten)]
    stores: ReachArguments,
    #[command(flatten)]
    replication_jobs: JobArguments,
}

/// Runs until the process is told to stop.
///
/// # Errors
/// When the API server can't be reached, an address can't be listened on, or leadership is lost.
pub async fn run(arguments: OperatorArguments) -> Result<()> {
    let config = Config::infer().await.context("no way to the API server")?;
    let metrics = Arc::new(Metrics::default());
    let counted = ClientBuilder::try_from(config.clone()).context("no client")?;
    let client = counted.with_layer(&CountCalls(metrics.clone())).build();
    let (centre, namespace) = (arguments.centre.clone(), arguments.namespace.clone());
    let service = format!("tripod-gateway.{namespace}.svc");
    let names = [service.clone(), format!("{service}.cluster.local")];
    let certificate = certificate::ensure(client.clone(), &namespace, &names).await?;
    let identity = std::env::var("POD_NAME").unwrap_or_else(|_| format!("process-{}", std::process::id()));
    let gateway_url = arguments.gateway_url.clone().unwrap_or_else(|| format!("https://{service}:8443"));
    let gateway = Door { url: gateway_url, ca: certificate.ca_pem.clone() };
    let stores = Stores::new(
        client.clone(),
        config,
        centre.clone(),
        namespace.clone(),
        arguments.vault_key_secret.clone(),
        arguments.stores.reach().await,
    );
    let (ctx, feeds) = assemble(&arguments, stores, client.clone(), &metrics, gateway, &identity)?;
    // Ready means that movers are served: so the gateway's socket first, then what answers the kubelet.
    let doors = TcpListener::bind(arguments.gateway_address).await.context("--gateway-address")?;
    let gateway = {
        let gatekeeper = Arc::new(KubeGatekeeper::new(client.clone(), centre.clone(), ctx.stores.clone()));
        tokio::spawn(async move { gateway::serve(doors, &certificate, gatekeeper, told_to_stop()).await })
    };
    let hearing = hear(&arguments, &ctx).await?;
    let window = TcpListener::bind(arguments.metrics_address).await.context("--metrics-address")?;
    let observed = tokio::spawn(http::serve(window, metrics, told_to_stop()));
    tracing::info!(centre, namespace, version = env!("CARGO_PKG_VERSION"), "started");
    let candidate =
        (!arguments.no_leader_election).then(|| Candidate::new(client, &namespace, &centre, identity));
    tokio::select! {
        result = lead(candidate, Arc::new(ctx), feeds) => result,
        error = failed("the gateway", gateway) => Err(error),
        error = failed("the server of metrics", observed) => Err(error),
        error = failed("the server of events", hearing) => Err(error),
        () = grace_is_over() => {
            tracing::warn!("what is under way takes longer than may be waited for; the next operator goes on with it");
            Ok(())
        }
    }
}

/// Hears events of stores, where that is wanted.
async fn hear(arguments: &OperatorArguments, ctx: &Ctx) -> Result<JoinHandle<std::io::Result<()>>> {
    let (Some(address), Some(token)) = (arguments.events_address, &arguments.events_token_file) else {
        return Ok(tokio::spawn(async { Ok(()) }));
    };
    let desk =
        Desk::open(token.clone(), ctx.runs.clone(), ctx.metrics.clone()).context("--events-token-file")?;
    let listener = TcpListener::bind(address).await.context("--events-address")?;
    Ok(tokio::spawn(events::serve(listener, desk, told_to_stop())))
}

/// How movers reach the gateway, and the certificate they trust for it.
struct Door {
    url: String,
    ca: String,
}

/// What the controllers share, and the watches that fill it. What is scraped is made from the same.
fn assemble(
    arguments: &OperatorArguments,
    stores: Stores,
    client: Client,
    metrics: &Arc<Metrics>,
    gateway: Door,
    identity: &str,
) -> Result<(Ctx, Feeds)> {
    let reporter = Reporter { controller: "tripod".into(), instance: Some(identity.to_owned()) };
    let ((departments, for_departments), (requests, for_requests), (classes, for_classes)) =
        (store(), store(), store());
    let ((windows, for_windows), (supervision, for_supervision)) = (store(), store());
    let (clouds, for_clouds) = store();
    let (tenancy, triggers) = Tenancy::new(departments, requests);
    let feeds = Feeds {
        departments: for_departments,
        requests: for_requests,
        classes: for_classes,
        clouds: for_clouds,
        windows: for_windows,
        supervision: for_supervision,
        source: Source::new(&arguments.utilisation)?,
        sampling_interval: arguments.utilisation.sampling_interval,
        triggers,
    };
    let (centre, namespace) = (arguments.centre.clone(), arguments.namespace.clone());
    let ctx = Ctx {
        tenancy,
        classes,
        clouds,
        utilisation: Utilisation::default(),
        windows,
        supervision,
        recorder: Recorder::new(client.clone(), reporter),
        stores,
        gateway_url: gateway.url,
        gateway_ca: gateway.ca,
        image: arguments.image.clone(),
        metrics: metrics.clone(),
        runs: Arc::new(RunsOfAll::new(metrics.clone())),
        replication_jobs: arguments.replication_jobs.clone(),
        links: Arc::default(),
        hooks: Arc::default(),
        client,
        centre,
        namespace,
    };
    metrics.add_live(Box::new(Live {
        tenancy: ctx.tenancy.clone(),
        utilisation: ctx.utilisation.clone(),
        windows: ctx.windows.clone(),
        clouds: ctx.clouds.clone(),
        drills: metrics.drills.clone(),
    }));
    Ok((ctx, feeds))
}

/// Runs the controllers while the lease is held, and gives it up when they have ended.
async fn lead(candidate: Option<Candidate>, ctx: Arc<Ctx>, feeds: Feeds) -> Result<()> {
    let Some(mut candidate) = candidate else {
        run_controllers(ctx, feeds).await;
        return Ok(());
    };
    tokio::select! {
        () = candidate.acquire() => {}
        () = told_to_stop() => return Ok(()),
    }
    ctx.metrics.set_leader(true);
    let centre = ctx.centre.clone();
    tokio::select! {
        () = run_controllers(ctx, feeds) => {
            candidate.release().await;
            tracing::info!("stopped");
            Ok(())
        }
        // Two that act would be worse than none: out at once, and start again as a candidate.
        () = candidate.hold() => bail!("leadership of {centre} is lost"),
    }
}

/// Why a server ended that was not told to. One that was told to stop is no reason to hurry.
async fn failed(what: &str, server: JoinHandle<std::io::Result<()>>) -> anyhow::Error {
    match server.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => anyhow::Error::new(error).context(what.to_owned()),
        Err(error) => anyhow::Error::new(error).context(what.to_owned()),
    }
}

/// Kubernetes kills what has not ended 30 s after it was asked to.
async fn grace_is_over() {
    told_to_stop().await;
    tracing::info!("told to stop");
    tokio::time::sleep(GRACE).await;
}

/// The watches of departments and requests, and what they feed.
struct Feeds {
    departments: Writer<Department>,
    requests: Writer<ResourceRequest>,
    classes: Writer<RequestClass>,
    clouds: Writer<Cloud>,
    windows: Writer<UtilisationReport>,
    supervision: Writer<SupervisionPolicy>,
    source: Source,
    sampling_interval: i64,
    triggers: Triggers,
}

async fn run_controllers(ctx: Arc<Ctx>, feeds: Feeds) {
    let departments = controllers::watched(Api::<Department>::all(ctx.client.clone()), feeds.departments);
    let requests = controllers::watched(Api::<ResourceRequest>::all(ctx.client.clone()), feeds.requests);
    let classes = controllers::watched(Api::<RequestClass>::all(ctx.client.clone()), feeds.classes);
    let clouds = controllers::watched(Api::<Cloud>::all(ctx.client.clone()), feeds.clouds);
    let policies = controllers::watched(Api::<SupervisionPolicy>::all(ctx.client.clone()), feeds.supervision);
    let (complete, completed) = tokio::sync::oneshot::channel();
    let completed = completed.map(|known| known.is_ok()).shared();
    let sampler = sample(ctx.clone(), feeds.source, feeds.sampling_interval, completed.clone());
    let tenancy = {
        let (ctx, triggers) = (ctx.clone(), feeds.triggers);
        async move {
            // Nothing is decided before everything is known.
            if !completed.await
                || ctx.classes.wait_until_ready().await.is_err()
                || ctx.clouds.wait_until_ready().await.is_err()
            {
                return;
            }
            tracing::info!("the namespaces of all departments are known");
            join_all::<[BoxFuture<'static, ()>; 2]>([
                Box::pin(controllers::department::run(
                    ctx.clone(),
                    departments,
                    ctx.tenancy.departments.clone(),
                    triggers.departments,
                )),
                Box::pin(controllers::resource_request::run(
                    ctx.clone(),
                    requests,
                    ctx.tenancy.requests.clone(),
                    triggers.requests,
                )),
            ])
            .await;
        }
    };
    // These only keep up with what is there: they end when the process is told to stop.
    let watches = join_all::<[BoxFuture<'static, ()>; 4]>([
        Box::pin(ctx.tenancy.clone().watch(ctx.client.clone(), ctx.namespace.clone(), complete)),
        Box::pin(classes.for_each(|_| async {})),
        Box::pin(windows::watch(ctx.clone(), feeds.windows)),
        Box::pin(sampler),
    ]);
    let all: [BoxFuture<'static, ()>; 11] = [
        Box::pin(tenancy),
        Box::pin(controllers::cloud::run(ctx.clone(), clouds, ctx.clouds.clone())),
        Box::pin(controllers::supervision_policy::run(ctx.clone(), policies, ctx.supervision.clone())),
        Box::pin(controllers::centre::run(ctx.clone())),
        Box::pin(controllers::backup_policy::run(ctx.clone())),
        Box::pin(controllers::recovery_point::run(ctx.clone())),
        Box::pin(controllers::pull::run(ctx.clone())),
        Box::pin(controllers::bucket_replication::run(ctx.clone())),
        Box::pin(controllers::restore::run(ctx.clone())),
        Box::pin(controllers::inspection::run(ctx.clone())),
        Box::pin(controllers::disaster_recovery_drill::run(ctx)),
    ];
    tokio::select! {
        _ = join_all(all) => {}
        _ = watches => tracing::error!("the watches of departments have ended"),
    }
}

/// Samples once everything is known: a department that is not known yet would be taken for one that is gone.
async fn sample(
    ctx: Arc<Ctx>,
    source: Source,
    interval: i64,
    known: impl Future<Output = bool> + Send + 'static,
) {
    let ready = known.await
        && ctx.supervision.wait_until_ready().await.is_ok()
        && ctx.windows.wait_until_ready().await.is_ok();
    if ready {
        Sampler::new(ctx.clone(), ctx.supervision.clone(), source, interval).run().await;
    }
}

/// Done when the process is asked to end.
pub async fn told_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
