//! What the operator and the cluster around it have used, from `/proc`, and what the API server was asked, from its own
//! metrics.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kube::Client;
use serde::Serialize;
use tripod_e2e::lab::Lab;
use tripod_e2e::lab::process::{Process, Usage};

pub const OPERATOR: &str = "operator";
/// Who is watched while the benchmark runs. The benchmark shares the machine with the others; what is left between them
/// and the whole machine is what has nothing to do with it, and spoils the figures when it is much.
pub const WHO: [&str; 6] =
    [OPERATOR, "kube-apiserver", "etcd", "kube-controller-manager", "benchmark", MACHINE];
const MACHINE: &str = "the whole machine";
const CENTRE: &str = "production";

/// Requests that any cluster makes at rest: leases, nodes, tokens, reviews, events, what says that its pods are well.
const CLUSTERS_OWN: [&str; 13] = [
    "coordination.k8s.io/leases",
    "nodes",
    "nodes/status",
    "events",
    "events.k8s.io/events",
    "serviceaccounts/token",
    "pods",
    "pods/status",
    "apps/deployments/status",
    "apps/replicasets/status",
    "apiregistration.k8s.io/apiservices/status",
    "endpoints",
    "discovery.k8s.io/endpointslices",
];

/// Processor time by name since the start of what runs now, and before it.
pub struct Meter {
    lab: Lab,
    fixed: Vec<(&'static str, Process)>,
    /// Every process that was seen; one that has ended keeps what it had used when it was last looked at.
    seen: Mutex<BTreeMap<(&'static str, Process), Usage>>,
}

/// All counters at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    pub at: Instant,
    pub cpu: BTreeMap<&'static str, Duration>,
    pub requests: Requests,
}

/// Requests to the API server until now, by resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub reads: BTreeMap<String, u64>,
    pub writes: BTreeMap<String, u64>,
}

/// What happened between two readings.
#[derive(Clone, Debug, Serialize)]
pub struct Interval {
    pub seconds: f64,
    /// Seconds of processor time.
    pub cpu: BTreeMap<&'static str, f64>,
    pub reads: u64,
    pub writes: u64,
    /// What was written, but for what any cluster writes at rest.
    pub written: BTreeMap<String, u64>,
}

impl Meter {
    pub fn new(lab: Lab) -> Result<Self> {
        let own = Process::of(i32::try_from(std::process::id())?).context("this process")?;
        let components = &WHO[1..4];
        let mut fixed = vec![("benchmark", own)];
        for component in components {
            fixed.push((component, lab.component(CENTRE, component)?));
        }
        let meter = Self { lab, fixed, seen: Mutex::default() };
        meter.sample()?;
        ensure!(meter.operators() > 0, "there is no process of the operator in the containers of {CENTRE}");
        Ok(meter)
    }

    /// Reads all processes once. Called often, so that little is lost when the operator ends.
    pub fn sample(&self) -> Result<()> {
        let operators = self.lab.contained(CENTRE, "tripod")?.into_iter().map(|p| (OPERATOR, p));
        let usages: Vec<_> = operators
            .chain(self.fixed.iter().copied())
            .filter_map(|(who, process)| Some(((who, process), process.usage().ok()?)))
            .collect();
        self.seen.lock().map_err(|_| anyhow::anyhow!("a sampler has panicked"))?.extend(usages);
        Ok(())
    }

    /// Processes of the operator that were seen; more than one: it was started again.
    pub fn operators(&self) -> usize {
        let seen = self.seen.lock();
        seen.map_or(0, |seen| seen.keys().filter(|(who, _)| *who == OPERATOR).count())
    }

    /// Memory of the operator that runs now: at present, and at most so far.
    pub fn operator_memory(&self) -> Result<Usage> {
        let running = self.lab.contained(CENTRE, "tripod")?;
        running.first().context("the operator does not run")?.usage()
    }

    /// The most that any process of the operator had in memory.
    pub fn operator_peak(&self) -> u64 {
        let seen = self.seen.lock();
        seen.map_or(0, |s| {
            s.iter().filter(|((w, _), _)| *w == OPERATOR).map(|(_, u)| u.peak).max().unwrap_or(0)
        })
    }

    pub async fn read(&self, client: &Client) -> Result<Reading> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await.context("the API server's metrics")?;
        self.sample()?;
        let mut cpu: BTreeMap<_, Duration> = [(MACHINE, machine()?)].into();
        for ((who, _), usage) in
            self.seen.lock().map_err(|_| anyhow::anyhow!("a sampler has panicked"))?.iter()
        {
            *cpu.entry(*who).or_default() += usage.cpu;
        }
        Ok(Reading { at: Instant::now(), cpu, requests: Requests::parse(&text) })
    }
}

/// Time that all processors together were busy.
fn machine() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq: in hundredths of a second.
    let ticks: Vec<u64> = line.split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    let busy: u64 =
        ticks.iter().enumerate().filter(|(i, _)| [0, 1, 2, 5, 6].contains(i)).map(|(_, n)| n).sum();
    Ok(Duration::from_millis(10 * busy))
}

impl Reading {
    pub fn since(&self, before: &Self) -> Interval {
        let cpu = self.cpu.iter().map(|(who, now)| {
            (*who, now.saturating_sub(before.cpu.get(who).copied().unwrap_or_default()).as_secs_f64())
        });
        let written = difference(&self.requests.writes, &before.requests.writes);
        Interval {
            seconds: self.at.duration_since(before.at).as_secs_f64(),
            cpu: cpu.collect(),
            reads: difference(&self.requests.reads, &before.requests.reads).values().sum(),
            writes: written.values().sum(),
            written,
        }
    }
}

impl Interval {
    pub fn cpu_of(&self, who: &str) -> f64 {
        self.cpu.get(who).copied().unwrap_or_default()
    }
}

fn difference(now: &BTreeMap<String, u64>, before: &BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    now.iter()
        .map(|(resource, n)| (resource.clone(), n.saturating_sub(before.get(resource).copied().unwrap_or(0))))
        .filter(|(_, n)| *n > 0)
        .collect()
}

impl Requests {
    /// From the counters `apiserver_request_total`. Watches are none: they last.
    fn parse(text: &str) -> Self {
        let mut requests = Self::default();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let Some((labels, count)) = line.rsplit_once("} ") else { continue };
            let Ok(count) = count.parse::<f64>() else { continue };
            let label = |name: &str| {
                let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
                labels[start..].split('"').next()
            };
            let name = |prefix: &str| label(prefix).unwrap_or_default();
            // Longer names end alike: `subresource` holds `resource`.
            let resource = label(",resource").unwrap_or_default();
            let sub = label(",subresource").unwrap_or_default();
            let group = name("group");
            let full = match (group, sub) {
                ("", "") => resource.to_owned(),
                ("", sub) => format!("{resource}/{sub}"),
                (group, "") => format!("{group}/{resource}"),
                (group, sub) => format!("{group}/{resource}/{sub}"),
            };
            if resource.is_empty() || resource.ends_with("reviews") || CLUSTERS_OWN.contains(&full.as_str()) {
                continue;
            }
            let by_resource = match name("verb") {
                "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION" => &mut requests.writes,
                "GET" | "LIST" => &mut requests.reads,
                _ => continue,
            };
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a counter of requests"
            )]
            let count = count as u64;
            *by_resource.entry(full).or_default() += count;
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_written_by_resource() {
        let line = |group: &str, resource: &str, sub: &str, verb: &str, n: &str| {
            format!(
                "apiserver_request_total{{code=\"200\",component=\"apiserver\",dry_run=\"\",group=\"{group}\",resource=\"{resource}\",scope=\"resource\",subresource=\"{sub}\",verb=\"{verb}\",version=\"v1\"}} {n}"
            )
        };
        let text = [
            line("", "namespaces", "", "PATCH", "2"),
            line("", "namespaces", "", "POST", "1"),
            line("", "resourcequotas", "status", "PUT", "1.2e+03"),
            line("tripod.cloud", "departments", "status", "PATCH", "4"),
            line("coordination.k8s.io", "leases", "", "PUT", "9"),
            line("authorization.k8s.io", "subjectaccessreviews", "", "POST", "9"),
            line("", "namespaces", "", "WATCH", "9"),
            line("", "", "/healthz", "GET", "9"),
            line("", "namespaces", "", "LIST", "3"),
        ]
        .join("\n");
        let requests = Requests::parse(&text);
        let expected =
            [("namespaces", 3), ("resourcequotas/status", 1200), ("tripod.cloud/departments/status", 4)];
        assert_eq!(requests.writes, expected.map(|(k, v)| (k.to_owned(), v)).into());
        assert_eq!(requests.reads, [("namespaces".to_owned(), 3)].into());
    }
}
