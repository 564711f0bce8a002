//! A Prometheus beside the components of a cluster: it scrapes the kubelet and whatever else it is told to, and evaluates
//! the rules that it is given.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::build::Binaries;
use super::command::{run, wait_for};
use super::layout::CentreLayout;
use super::pki::Pki;
use super::process;

/// What it runs as.
pub const COMPONENT: &str = "prometheus";
const PORT: u16 = 9090;
const READY: Duration = Duration::from_secs(30);

/// One Prometheus of a lab.
#[derive(Clone, Debug)]
pub struct Prometheus {
    /// As the host and the pods of its centre reach it.
    pub url: String,
    promtool: PathBuf,
}

/// Starts it anew, with what it has recorded before. `targets` are `host:port`, scraped at `/metrics` for the job
/// `tripod`; `rules` are texts of rule files.
///
/// # Errors
/// With the end of its log where it does not become ready.
pub fn start(
    binaries: &Binaries,
    centre: &CentreLayout,
    targets: &[String],
    rules: &[String],
) -> Result<Prometheus> {
    stop(centre);
    let folder = centre.data().join(COMPONENT);
    fs::create_dir_all(folder.join("rules"))?;
    for (i, text) in rules.iter().enumerate() {
        fs::write(folder.join(format!("rules/{i}.yaml")), text)?;
    }
    let config = folder.join("prometheus.yaml");
    fs::write(&config, configuration(centre, targets)?.to_string())?;
    let listen = format!("{}:{PORT}", centre.address());
    let words = [
        format!("--config.file={}", config.display()),
        format!("--storage.tsdb.path={}", folder.join("data").display()),
        format!("--web.listen-address={listen}"),
        "--log.level=warn".to_owned(),
    ];
    let path = binaries.folder().display().to_string();
    process::start(centre, COMPONENT, &binaries.path(COMPONENT), &words, &path)?;
    let prometheus = Prometheus { url: format!("http://{listen}"), promtool: binaries.path("promtool") };
    wait_for("Prometheus", READY, || prometheus.query("vector(1)").map(drop)).with_context(|| {
        let log = fs::read_to_string(process::log_path(centre, COMPONENT)).unwrap_or_default();
        super::command::tail(&log, 8)
    })?;
    Ok(prometheus)
}

/// Stops it; what it has recorded stays.
pub fn stop(centre: &CentreLayout) {
    process::stop(centre, COMPONENT, Duration::from_secs(5));
}

fn configuration(centre: &CentreLayout, targets: &[String]) -> Result<Value> {
    let pki = Pki::ensure(centre)?;
    let kubelet = |path: &str| {
        json!({"job_name": format!("kubelet{}", path.replace('/', "-")), "scheme": "https", "metrics_path": path,
            "tls_config": {"ca_file": pki.certificate("ca"), "cert_file": pki.certificate("apiserver-kubelet"),
                "key_file": pki.key("apiserver-kubelet"), "server_name": centre.address()},
            "static_configs": [{"targets": [format!("{}:10250", centre.address())]}]})
    };
    Ok(json!({
        "global": {"scrape_interval": "5s", "evaluation_interval": "5s"},
        "rule_files": [centre.data().join(COMPONENT).join("rules/*.yaml")],
        "scrape_configs": [kubelet("/metrics"), kubelet("/metrics/resource"),
            {"job_name": "tripod", "honor_labels": true, "static_configs": [{"targets": targets}]}],
    }))
}

impl Prometheus {
    /// The samples of an expression, now: labels and value.
    ///
    /// # Errors
    /// With promtool's words.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>> {
        let words = ["query", "instant", "-o", "json", &self.url, expression];
        let answer: Value = serde_json::from_str(&run(&self.promtool, &words)?)?;
        let sample = |s: &Value| {
            let value = s["value"][1].as_str()?.parse().ok()?;
            Some((s["metric"].clone(), value))
        };
        Ok(answer.as_array().into_iter().flatten().filter_map(sample).collect())
    }

    /// The one sample of an expression, now.
    ///
    /// # Errors
    /// Says how many there are.
    pub fn value(&self, expression: &str) -> Result<f64> {
        let samples = self.query(expression)?;
        ensure!(samples.len() == 1, "{expression} has {} samples", samples.len());
        Ok(samples[0].1)
    }
}
