//! Metrics in OpenMetrics: base units, one unit a metric, no free text as a label. What is unknown has no
//! series: an absent reading must never look like a zero.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A reconciled kind and how it went: `success` or `error`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reconcile {
    kind: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct DepartmentLabel {
    department: String,
}

/// A policy's standing at a centre.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Standing {
    namespace: String,
    policy: String,
    centre: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Direction {
    centre: String,
    work: &'static str,
}

type Readings = Family<DepartmentLabel, Gauge<f64, AtomicU64>>;

/// All metrics of the operator. At most three series a department and resource, one a policy and centre.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Reconcile, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    leader: Gauge,
    cpu: [Readings; 3],
    memory: [Readings; 3],
    verified_at: Family<Standing, Gauge>,
    moved: Family<Direction, Counter>,
}

/// Which of the three numbers that stand side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Budget,
    Requested,
    Used,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tripod");
        let durations = Family::new_with_constructor(
            (|| Histogram::new(exponential_buckets(0.005, 4.0, 8))) as fn() -> Histogram,
        );
        let metrics = Self {
            reconciles: Family::default(),
            durations,
            leader: Gauge::default(),
            cpu: Default::default(),
            memory: Default::default(),
            verified_at: Family::default(),
            moved: Family::default(),
            registry: Registry::default(),
        };
        registry.register("reconciles", "Passes of a controller over an object", metrics.reconciles.clone());
        let help = "Time that passes took";
        registry.register_with_unit("reconcile_duration", help, Unit::Seconds, metrics.durations.clone());
        registry.register("leader", "1 while this replica is the one that acts", metrics.leader.clone());
        let help = ["the budget", "what pods ask for", "what is really used; absent when unknown"];
        for (column, what) in ["budget", "requested", "used"].iter().zip(help).enumerate() {
            let (name, help) = what;
            let cores = Unit::Other("cores".into());
            let about = format!("Processors of a department: {help}");
            registry.register_with_unit(
                format!("department_cpu_{name}"),
                about,
                cores,
                metrics.cpu[column].clone(),
            );
            let about = format!("Memory of a department: {help}");
            let gauge = metrics.memory[column].clone();
            registry.register_with_unit(format!("department_memory_{name}"), about, Unit::Bytes, gauge);
        }
        let help = "When the data of the newest recovery point was taken that is proved to be at a centre; its age is the RPO";
        let verified = metrics.verified_at.clone();
        registry.register_with_unit(
            "recovery_point_newest_verified_timestamp",
            help,
            Unit::Seconds,
            verified,
        );
        registry.register_with_unit(
            "vault_moved",
            "Bytes copied into or verified in a vault",
            Unit::Bytes,
            metrics.moved.clone(),
        );
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// Counts a pass.
    pub fn reconciled(&self, kind: &'static str, ok: bool, took: Duration) {
        let result = if ok { "success" } else { "error" };
        self.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.durations.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// Whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// One number of a department's processors, in cores.
    pub fn set_cpu(&self, department: &str, column: Column, cores: Option<f64>) {
        set(&self.cpu[column as usize], department, cores);
    }

    /// One number of a department's memory, in bytes.
    pub fn set_memory(&self, department: &str, column: Column, bytes: Option<f64>) {
        set(&self.memory[column as usize], department, bytes);
    }

    /// Since when the newest proved data at a centre is; `None` where there is none.
    pub fn set_verified(&self, namespace: &str, policy: &str, centre: &str, taken_at: Option<i64>) {
        let standing = Standing { namespace: namespace.into(), policy: policy.into(), centre: centre.into() };
        match taken_at {
            Some(second) => drop(self.verified_at.get_or_create(&standing).set(second)),
            None => drop(self.verified_at.remove(&standing)),
        }
    }

    /// Counts bytes moved; `work` is `copy` or `verify`.
    pub fn moved(&self, centre: &str, work: &'static str, bytes: u64) {
        self.moved.get_or_create(&Direction { centre: centre.into(), work }).inc_by(bytes);
    }

    /// The exposition text.
    ///
    /// # Errors
    /// When it can't be formatted.
    pub fn expose(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

fn set(readings: &Readings, department: &str, value: Option<f64>) {
    let label = DepartmentLabel { department: department.to_owned() };
    match value {
        Some(value) => drop(readings.get_or_create(&label).set(value)),
        None => drop(readings.remove(&label)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unknown_has_no_series() {
        let metrics = Metrics::default();
        metrics.set_cpu("health", Column::Used, Some(1.5));
        assert!(
            metrics.expose().unwrap().contains("tripod_department_cpu_used_cores{department=\"health\"} 1.5")
        );
        metrics.set_cpu("health", Column::Used, None);
        let text = metrics.expose().unwrap();
        assert!(!text.contains("department=\"health\""));
        assert!(text.ends_with("# EOF\n"));
    }
}
