//! The same from a Prometheus that evaluates the recording rules which come with the chart.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use reqwest::{Certificate, Client, Url};
use serde::Deserialize;
use tripod_domain::utilisation::pods::{self, Pod};
use tripod_domain::utilisation::{Measured, Readings};

use super::source::{PATIENCE, SourceArguments};
use super::volumes;
use crate::context::Ctx;

/// Billionths in one.
const NANO: f64 = 1e9;

/// One Prometheus.
pub(super) struct Prometheus {
    client: Client,
    query: Url,
    token: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: HashMap<String, String>,
    value: (f64, String),
}

type Values = HashMap<String, f64>;

impl Prometheus {
    /// # Errors
    /// When a certificate can't be read.
    pub(super) fn new(url: Url, arguments: &SourceArguments) -> anyhow::Result<Self> {
        let mut builder = Client::builder().timeout(PATIENCE);
        if let Some(file) = &arguments.prometheus_ca_file {
            let pem = fs::read(file).with_context(|| format!("--prometheus-ca-file {}", file.display()))?;
            builder = builder.tls_certs_only(Certificate::from_pem_bundle(&pem)?);
        }
        let mut base = url;
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let query = base.join("api/v1/query").context("--prometheus-url")?;
        Ok(Self { client: builder.build()?, query, token: arguments.prometheus_token_file.clone() })
    }

    /// Of every wanted namespace.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn read(
        &self,
        ctx: &Ctx,
        running: &HashMap<String, Vec<Pod>>,
        wanted: &HashSet<String>,
    ) -> Result<HashMap<String, Readings>, String> {
        let cpu = self.values("tripod:namespace_cpu_usage_cores").await?;
        let memory = self.values("tripod:namespace_memory_working_set_bytes").await?;
        let measured = self.values("tripod:namespace_measured_pods").await?;
        if measured.is_empty() && !running.is_empty() {
            return Err("Prometheus knows no pod: does it evaluate the rules of the chart, and scrape the kubelets' /metrics/resource?".to_owned());
        }
        let on_volumes = self.values("tripod:namespace_volume_used_bytes").await?;
        let volumes = self.values("tripod:namespace_measured_volumes").await?;
        let gpu = self.values("tripod:namespace_gpu_usage_devices").await?;
        let claims = volumes::claims(&ctx.client).await;
        let none = Vec::new();
        let one = |namespace: &String| {
            let pods = running.get(namespace).unwrap_or(&none);
            let count = measured.get(namespace).map_or(0, |n| whole(*n));
            let amount = |of: &Values| of.get(namespace).map(|v| nano(*v));
            let mut readings = pods::counted(pods, count, amount(&cpu), amount(&memory));
            if let Ok(claims) = &claims {
                let read = volumes.get(namespace).map_or(0, |n| whole(*n));
                let storage =
                    volumes::sum(claims.get(namespace).copied().unwrap_or(0), read, amount(&on_volumes));
                readings.insert(Measured::Storage, storage);
            }
            readings.extend(amount(&gpu).map(|busy| (Measured::Gpu, Ok(busy))));
            (namespace.clone(), readings)
        };
        Ok(wanted.iter().map(one).collect())
    }

    /// By namespace.
    async fn values(&self, rule: &str) -> Result<Values, String> {
        let failed = |error: &dyn std::fmt::Display| format!("Prometheus does not answer {rule}: {error}");
        let mut url = self.query.clone();
        url.query_pairs_mut().append_pair("query", rule);
        let mut request = self.client.get(url);
        if let Some(file) = &self.token {
            let token = fs::read_to_string(file).map_err(|error| failed(&error))?;
            request = request.bearer_auth(token.trim());
        }
        let response = request.send().await.map_err(|error| failed(&error.without_url()))?;
        let code = response.status();
        let answer: Answer =
            response.json().await.map_err(|_| failed(&format!("{code}, and not what its API says")))?;
        if answer.status != "success" {
            return Err(failed(&answer.error));
        }
        let samples = answer.data.map(|data| data.result).unwrap_or_default();
        let value = |mut sample: Sample| {
            let value = sample.value.1.parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0)?;
            Some((sample.metric.remove("namespace")?, value))
        };
        Ok(samples.into_iter().filter_map(value).collect())
    }
}

#[allow(clippy::cast_possible_truncation, reason = "amounts are far below 2^127")]
fn nano(units: f64) -> i128 {
    (units * NANO).round() as i128
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it counts pods")]
fn whole(number: f64) -> usize {
    number.round() as usize
}
