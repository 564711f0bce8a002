//! Metrics in OpenMetrics: base units, one unit a metric, no free text as a label. What is unknown has no
//! series: an absent reading must never look like a zero.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use axum::http::Method;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::policies::Policies;

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
struct At {
    centre: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct From {
    source: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    code: u16,
}

/// How something ended: `success` or `failure`.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct By {
    method: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Direction {
    centre: String,
    work: &'static str,
}

/// Recovery points at a centre, and how they stand there.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stand {
    centre: String,
    state: &'static str,
}

/// One target of a replication.
#[derive(Clone, Debug, Hash, PartialEq, Eq, PartialOrd, Ord, EncodeLabelSet)]
pub struct Replicated {
    pub namespace: String,
    pub name: String,
    /// Names of centres.
    pub source: String,
    pub target: String,
}

/// How a target stands. What is unknown has no series.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standings {
    pub lag: Option<i64>,
    pub objects: Option<i64>,
    pub bytes: Option<i64>,
    pub complete_at: Option<i64>,
    pub objective: Option<i64>,
}

/// Messages of a centre's store, and what became of them.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Told {
    centre: String,
    result: &'static str,
}

#[derive(Debug, Default)]
struct Replications {
    events: Family<Told, Counter>,
    lag: Family<Replicated, Gauge>,
    objects: Family<Replicated, Gauge>,
    bytes: Family<Replicated, Gauge>,
    complete_at: Family<Replicated, Gauge>,
    objective: Family<Replicated, Gauge>,
    drifted: Family<Replicated, Counter>,
    copied: Family<Replicated, Counter>,
}

impl Replications {
    fn register(&self, registry: &mut Registry) {
        let help = "Age of the oldest object that a target lacked when it was looked at last";
        registry.register_with_unit("replication_lag", help, Unit::Seconds, self.lag.clone());
        let help = "Objects known to be missing at a target";
        registry.register("replication_pending_objects", help, self.objects.clone());
        let help = "Bytes of objects known to be missing at a target";
        registry.register_with_unit("replication_pending", help, Unit::Bytes, self.bytes.clone());
        let help = "When the last run ended that left nothing";
        let name = "replication_last_complete_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, self.complete_at.clone());
        let help = "How old the oldest object may be that a target lacks";
        registry.register_with_unit("replication_objective", help, Unit::Seconds, self.objective.clone());
        let help = "Events of buckets that stores have sent";
        registry.register("replication_events", help, self.events.clone());
        let help = "Objects that somebody else had changed at a target";
        registry.register("replication_drifted_objects", help, self.drifted.clone());
        let help = "Bytes copied to a target";
        registry.register_with_unit("replication_copied", help, Unit::Bytes, self.copied.clone());
    }
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// By namespace, when its last drill ended, and whether it passed.
pub type Drills = Arc<Mutex<BTreeMap<String, (i64, bool)>>>;

/// All metrics of the operator itself; those of departments and systems are made when they are asked for.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    live: OnceLock<Registry>,
    reconciles: Family<Reconcile, Counter>,
    durations: Histograms<Kind>,
    leader: Gauge,
    pub policies: Policies,
    moved: Family<Direction, Counter>,
    points: Family<Stand, Gauge>,
    removed: Family<At, Counter>,
    mended: Family<At, Counter>,
    recalled_at: Family<At, Gauge>,
    replications: Replications,
    probed: Family<At, Gauge>,
    probed_at: Family<At, Gauge>,
    sampled_at: Family<From, Gauge>,
    sampling: Histogram,
    delivery: Histogram,
    asked: Family<Asked, Counter>,
    answers: Histograms<By>,
    pub drills: Drills,
    restores: Family<Ended, Counter>,
}

/// From milliseconds to a minute.
fn quick() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 4.0, 8))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            live: OnceLock::new(),
            reconciles: Family::default(),
            durations: Family::new_with_constructor(quick),
            leader: Gauge::default(),
            policies: Policies::default(),
            moved: Family::default(),
            points: Family::default(),
            removed: Family::default(),
            mended: Family::default(),
            recalled_at: Family::default(),
            replications: Replications::default(),
            probed: Family::default(),
            probed_at: Family::default(),
            sampled_at: Family::default(),
            sampling: quick(),
            // From a second to twelve days: a day is what is promised.
            delivery: Histogram::new([
                1.0,
                5.0,
                15.0,
                60.0,
                300.0,
                3600.0,
                14400.0,
                86400.0,
                259_200.0,
                1_036_800.0,
            ]),
            asked: Family::default(),
            answers: Family::new_with_constructor(quick),
            drills: Drills::default(),
            restores: Family::default(),
        };
        metrics.registry = metrics.registered();
        metrics
    }
}

impl Metrics {
    fn registered(&self) -> Registry {
        let mut registry = Registry::with_prefix("tripod");
        let seconds = || Unit::Seconds;
        registry.register("reconciles", "Passes of a controller over an object", self.reconciles.clone());
        let help = "Time that passes took";
        registry.register_with_unit("reconcile_duration", help, seconds(), self.durations.clone());
        registry.register("leader", "1 while this replica is the one that acts", self.leader.clone());
        self.policies.register(&mut registry);
        let help = "Bytes copied into or verified in a vault";
        registry.register_with_unit("vault_moved", help, Unit::Bytes, self.moved.clone());
        let help = "Restores that have ended";
        registry.register("restores", help, self.restores.clone());
        let help = "Recovery points that a centre keeps, by how their copies stand";
        registry.register("recovery_points", help, self.points.clone());
        let help = "Recovery points removed at a centre because no rule kept them";
        registry.register("recovery_points_removed", help, self.removed.clone());
        let help = "Damaged recovery points that were made whole from another centre";
        registry.register("recovery_points_mended", help, self.mended.clone());
        let help = "When something was last brought back that was deleted or covered in a vault in spite of its lock";
        registry.register_with_unit("vault_recalled_timestamp", help, seconds(), self.recalled_at.clone());
        self.replications.register(&mut registry);
        let help = "1 where the last probe of a centre's store succeeded, 0 where it did not";
        registry.register("store_probe_success", help, self.probed.clone());
        let help = "When a centre's store was probed last";
        registry.register_with_unit("store_probe_timestamp", help, seconds(), self.probed_at.clone());
        let help = "When the use of all departments was read last, successfully";
        registry.register_with_unit(
            "sampling_last_success_timestamp",
            help,
            seconds(),
            self.sampled_at.clone(),
        );
        let help = "Time that it took to read the use of all departments";
        registry.register_with_unit("sampling_duration", help, seconds(), self.sampling.clone());
        let help = "Time from the last approval of a request to a namespace that can be used";
        registry.register_with_unit("request_delivery_duration", help, seconds(), self.delivery.clone());
        let help = "Requests to the API server; code 0 is no answer";
        registry.register("api_requests", help, self.asked.clone());
        let help = "Time to the first byte of an answer of the API server";
        registry.register_with_unit("api_request_duration", help, seconds(), self.answers.clone());
        registry
    }

    /// Adds what is made at each scrape. Once.
    pub fn add_live(&self, collector: Box<dyn Collector>) {
        let mut registry = Registry::with_prefix("tripod");
        registry.register_collector(collector);
        let _ = self.live.set(registry);
    }

    /// Counts a pass.
    pub fn reconciled(&self, kind: &'static str, ok: bool, took: Duration) {
        let result = if ok { "success" } else { "error" };
        self.reconciles.get_or_create(&Reconcile { kind, result }).inc();
        self.durations.get_or_create(&Kind { kind }).observe(took.as_secs_f64());
    }

    /// How many points a centre keeps in a state.
    pub fn set_points(&self, centre: &str, state: &'static str, count: usize) {
        let stand = Stand { centre: centre.into(), state };
        self.points.get_or_create(&stand).set(count.try_into().unwrap_or(i64::MAX));
    }

    /// Counts a point that was removed.
    pub fn removed(&self, centre: &str) {
        self.removed.get_or_create(&At { centre: centre.into() }).inc();
    }

    /// Counts a point that was mended.
    pub fn mended(&self, centre: &str) {
        self.mended.get_or_create(&At { centre: centre.into() }).inc();
    }

    /// Notes when something was brought back from under its lock, in seconds since 1970.
    pub fn recalled(&self, centre: &str, at: i64) {
        self.recalled_at.get_or_create(&At { centre: centre.into() }).set(at);
    }

    /// Whether this replica leads.
    pub fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// An object was deleted: what was shown of it goes.
    pub fn gone(&self, kind: &str, namespace: &str, name: &str) {
        if kind == "BackupPolicy" {
            self.policies.forget(namespace, name);
        }
    }

    /// A drill has ended. The newest of a namespace is shown.
    pub fn drilled(&self, namespace: &str, ended: i64, passed: bool) {
        let mut drills = self.drills.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = drills.entry(namespace.to_owned()).or_insert((ended, passed));
        if known.0 <= ended {
            *known = (ended, passed);
        }
    }

    /// A restore has ended.
    pub fn restored(&self, succeeded: bool) {
        let result = if succeeded { "success" } else { "failure" };
        self.restores.get_or_create(&Ended { result }).inc();
    }

    /// A store was probed.
    pub fn probed(&self, centre: &str, ok: bool, at: i64) {
        let at_centre = At { centre: centre.to_owned() };
        self.probed.get_or_create(&at_centre).set(i64::from(ok));
        self.probed_at.get_or_create(&at_centre).set(at);
    }

    /// The use of departments was read, or could not be.
    pub fn sampled(&self, source: &'static str, ok: bool, took: Duration) {
        self.sampling.observe(took.as_secs_f64());
        if ok {
            let now = jiff::Timestamp::now().as_second();
            self.sampled_at.get_or_create(&From { source }).set(now);
        }
    }

    /// A grant can be used, so many seconds after it was approved.
    #[allow(clippy::cast_precision_loss, reason = "a bucket has no more digits")]
    pub fn delivered(&self, seconds: i64) {
        self.delivery.observe(seconds as f64);
    }

    /// The API server was asked.
    pub fn asked(&self, method: &Method, code: u16, took: Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        self.asked.get_or_create(&Asked { method, code }).inc();
        self.answers.get_or_create(&By { method }).observe(took.as_secs_f64());
    }

    /// Counts bytes moved; `work` is `copy` or `verify`.
    pub fn moved(&self, centre: &str, work: &'static str, bytes: u64) {
        self.moved.get_or_create(&Direction { centre: centre.into(), work }).inc_by(bytes);
    }

    /// How a target stands.
    pub fn set_replication(&self, of: &Replicated, standings: Standings) {
        let all = &self.replications;
        for (family, value) in [
            (&all.lag, standings.lag),
            (&all.objects, standings.objects),
            (&all.bytes, standings.bytes),
            (&all.complete_at, standings.complete_at),
            (&all.objective, standings.objective),
        ] {
            match value {
                Some(value) => drop(family.get_or_create(of).set(value)),
                None => drop(family.remove(of)),
            }
        }
    }

    /// Counts what was copied to a target, and what was put right there.
    pub fn replicated(&self, of: &Replicated, bytes: u64, drifted: u64) {
        self.replications.copied.get_or_create(of).inc_by(bytes);
        self.replications.drifted.get_or_create(of).inc_by(drifted);
    }

    /// So many events of a centre's store were `taken`, `ignored` or `missed`; or a message was `malformed` or `refused`.
    pub fn told(&self, centre: &str, result: &'static str, count: u64) {
        if count > 0 {
            self.replications.events.get_or_create(&Told { centre: centre.to_owned(), result }).inc_by(count);
        }
    }

    /// A target is a target no more.
    pub fn forget_replication(&self, of: &Replicated) {
        self.set_replication(of, Standings::default());
        self.replications.copied.remove(of);
        self.replications.drifted.remove(of);
    }

    /// The exposition text.
    ///
    /// # Errors
    /// When it can't be formatted.
    pub fn expose(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        text::encode_registry(&mut out, &self.registry)?;
        if let Some(live) = self.live.get() {
            text::encode_registry(&mut out, live)?;
        }
        text::encode_eof(&mut out)?;
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_has_an_end() {
        assert!(Metrics::default().expose().unwrap().ends_with("# EOF\n"));
    }

    #[test]
    fn a_target_that_is_gone_leaves_no_series() {
        let metrics = Metrics::default();
        let of = Replicated {
            namespace: "health-web".into(),
            name: "files".into(),
            source: "production".into(),
            target: "remote".into(),
        };
        metrics.set_replication(&of, Standings { lag: Some(0), bytes: Some(7), ..Standings::default() });
        metrics.replicated(&of, 5, 1);
        let text = metrics.expose().unwrap();
        let labels = r#"{namespace="health-web",name="files",source="production",target="remote"}"#;
        for (series, value) in [
            ("lag_seconds", 0),
            ("pending_bytes", 7),
            ("copied_bytes_total", 5),
            ("drifted_objects_total", 1),
        ] {
            let line = format!("tripod_replication_{series}{labels} {value}\n");
            assert!(text.contains(&line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("tripod_replication_pending_objects{"));
        metrics.forget_replication(&of);
        assert!(!metrics.expose().unwrap().contains("health-web"));
    }

    #[test]
    fn the_newest_drill_is_shown() {
        let metrics = Metrics::default();
        metrics.drilled("a", 10, true);
        metrics.drilled("a", 5, false);
        assert_eq!(metrics.drills.lock().unwrap()["a"], (10, true));
        metrics.drilled("a", 11, false);
        assert_eq!(metrics.drills.lock().unwrap()["a"], (11, false));
    }
}
