//! Where readings come from: metrics.k8s.io and the kubelets, or a Prometheus. Buckets are listed in either case.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::Url;
use tripod_domain::utilisation::Readings;

use super::buckets::Buckets;
use super::metrics_api;
use super::prometheus::Prometheus;
use super::running::Running;
use super::volumes::Kubelets;
use crate::context::Ctx;

/// What is read where.
#[derive(clap::Args, Clone, Debug)]
pub struct SourceArguments {
    /// Seconds between two readings that count.
    #[arg(long, env = "TRIPOD_SAMPLING_INTERVAL", default_value_t = 60, value_parser = clap::value_parser!(i64).range(5..=3600))]
    pub sampling_interval: i64,
    /// Read from this Prometheus instead of metrics.k8s.io; it has to evaluate the rules that come with the chart.
    #[arg(long, env = "TRIPOD_PROMETHEUS_URL")]
    pub prometheus_url: Option<Url>,
    /// File with a bearer token for that Prometheus.
    #[arg(long, env = "TRIPOD_PROMETHEUS_TOKEN_FILE")]
    pub prometheus_token_file: Option<PathBuf>,
    /// File with the certificates that Prometheus is trusted by. The system's own by default.
    #[arg(long, env = "TRIPOD_PROMETHEUS_CA_FILE")]
    pub prometheus_ca_file: Option<PathBuf>,
    /// Read what is on volumes from the kubelets (port 10250; needs `get` on nodes/stats).
    #[arg(long, env = "TRIPOD_KUBELET_VOLUMES")]
    pub kubelet_volumes: bool,
    /// File with the certificates that kubelets are trusted by. The cluster's own by default.
    #[arg(long, env = "TRIPOD_KUBELET_CA_FILE")]
    pub kubelet_ca_file: Option<PathBuf>,
    /// Seconds between two listings of a bucket.
    #[arg(long, env = "TRIPOD_BUCKET_INTERVAL", default_value_t = 3600, value_parser = clap::value_parser!(i64).range(10..=86400))]
    pub bucket_interval: i64,
}

enum Cluster {
    MetricsApi { kubelets: Option<Kubelets> },
    Prometheus(Prometheus),
}

/// Everything that is read.
pub struct Source {
    cluster: Cluster,
    buckets: Buckets,
}

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

impl Source {
    /// # Errors
    /// When a file can't be read.
    pub fn new(arguments: &SourceArguments) -> anyhow::Result<Self> {
        let cluster = if let Some(url) = &arguments.prometheus_url {
            Cluster::Prometheus(Prometheus::new(url.clone(), arguments)?)
        } else {
            let kubelets = arguments
                .kubelet_volumes
                .then(|| Kubelets::new(arguments.kubelet_ca_file.as_deref()))
                .transpose()?;
            Cluster::MetricsApi { kubelets }
        };
        Ok(Self { cluster, buckets: Buckets::new(arguments.bucket_interval) })
    }

    /// For metrics and logs.
    pub fn name(&self) -> &'static str {
        match self.cluster {
            Cluster::MetricsApi { .. } => "metrics.k8s.io",
            Cluster::Prometheus(_) => "prometheus",
        }
    }

    /// All namespaces with running pods, and those of departments.
    ///
    /// # Errors
    /// Why nothing can be read at all.
    pub(super) async fn read(
        &mut self,
        ctx: &Ctx,
        running: &mut Running,
        interval: i64,
    ) -> Result<HashMap<String, Readings>, String> {
        let pods = running.list(&ctx.client, Timestamp::now()).await?;
        let mut wanted: HashSet<String> = ctx.tenancy.read().namespace_names();
        wanted.extend(pods.keys().cloned());
        let mut all = match &mut self.cluster {
            Cluster::MetricsApi { kubelets } => {
                let mut all = metrics_api::read(&ctx.client, &pods, &wanted, interval).await?;
                if let Some(kubelets) = kubelets {
                    add(&mut all, kubelets.read(&ctx.client, &wanted).await);
                }
                all
            }
            Cluster::Prometheus(prometheus) => prometheus.read(ctx, &pods, &wanted).await?,
        };
        add(&mut all, self.buckets.read(ctx, Timestamp::now()).await);
        Ok(all)
    }
}

fn add(all: &mut HashMap<String, Readings>, more: HashMap<String, Readings>) {
    for (namespace, readings) in more {
        all.entry(namespace).or_default().extend(readings);
    }
}
