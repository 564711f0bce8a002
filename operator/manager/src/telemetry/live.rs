//! Gauges of departments and systems, made at each scrape from what the operator knows: nothing is kept twice, and what is
//! unknown, or gone, has no series.
//!
//! At most 40 series a department and 30 a system; `tests` counts them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::{ObjectRef, Store};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use tripod_crds::resource_request::Phase;
use tripod_crds::utilisation_report::UseVerdict;
use tripod_crds::{Cloud, Department, ResourceRequest, UtilisationReport};
use tripod_domain::ledger::Amounts;
use tripod_domain::tenancy::home;
use tripod_domain::utilisation::report::{Standing, WINDOW};
use tripod_domain::utilisation::{Measured, Readings, sum};
use tripod_domain::{cloud, conditions, quantity};

use crate::tenancy::Tenancy;
use crate::utilisation::Utilisation;

type Labels = Vec<(&'static str, String)>;

/// What is scraped.
pub struct Live {
    pub tenancy: Arc<Tenancy>,
    pub utilisation: Utilisation,
    pub windows: Store<UtilisationReport>,
    pub clouds: Store<Cloud>,
    /// By namespace, when its last drill ended, and whether it passed.
    pub drills: Arc<std::sync::Mutex<BTreeMap<String, (i64, bool)>>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

/// One metric with its series.
struct Family {
    help: &'static str,
    unit: Option<Unit>,
    rows: Vec<(Labels, f64)>,
}

/// All metrics by name.
#[derive(Default)]
struct Families(BTreeMap<String, Family>);

impl Families {
    fn add(&mut self, name: &str, help: &'static str, unit: Option<Unit>, labels: Labels, value: f64) {
        let family = self.0.entry(name.to_owned()).or_insert_with(|| Family { help, unit, rows: Vec::new() });
        family.rows.push((labels, value));
    }

    /// One of the columns that stand side by side, for everything that is measured and bounded.
    fn column(
        &mut self,
        of: &str,
        column: &'static str,
        labels: &Labels,
        amount: impl Fn(Measured) -> Option<i128>,
    ) {
        for measured in [Measured::Cpu, Measured::Memory, Measured::Storage, Measured::Gpu] {
            let unit = match measured {
                Measured::Cpu => Unit::Other("cores".into()),
                Measured::Gpu => Unit::Other("devices".into()),
                _ => Unit::Bytes,
            };
            if let Some(amount) = amount(measured) {
                let name = format!("{of}_{}_{column}", measured.name());
                self.add(&name, help(column), Some(unit), labels.clone(), quantity::units(amount));
            }
        }
    }
}

fn help(column: &str) -> &'static str {
    match column {
        "budget" => "What the department may have over all of its namespaces",
        "committed" => "What of the budget is reserved or could be used",
        "granted" => "What quotas allow",
        "requested" => "What pods and claims ask for, as quotas count it",
        _ => "What is really used; absent when unknown",
    }
}

impl Collector for Live {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let mut families = Families::default();
        for department in self.tenancy.departments.state() {
            self.department(&mut families, &department);
        }
        self.requests(&mut families);
        self.clouds(&mut families);
        for (name, family) in &families.0 {
            let mut metric =
                encoder.encode_descriptor(name, family.help, family.unit.as_ref(), MetricType::Gauge)?;
            for (labels, value) in &family.rows {
                let gauge = prometheus_client::metrics::gauge::ConstGauge::new(*value);
                gauge.encode(metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }

    // Every row has its own labels: see above.
}

impl Live {
    fn department(&self, families: &mut Families, department: &Department) {
        let name = department.name_any();
        let labels = vec![("department", name.clone())];
        let Some(standing) = self.tenancy.standing(&home(&name)) else { return };
        let namespaces = self.tenancy.read().namespaces_of(&name);
        let readings = self.utilisation.of(namespaces.iter().map(|(n, _)| n)).unwrap_or_default();
        let total = sum(&namespaces.iter().map(|(n, _)| (n.as_str(), readings.get(n))));
        let lines = department.status.as_ref().map(|status| &status.budget);
        let committed = |measured: Measured| {
            let resource = measured.bounded_by(&standing.budget)?;
            quantity::parse(lines?.get(resource)?.committed.as_ref()?).ok()
        };
        families.column("department", "budget", &labels, |m| m.of(&standing.budget));
        families.column("department", "committed", &labels, committed);
        side_by_side(families, "department", &labels, &standing, &total);
        placements(families, department, &namespaces);
        for (namespace, request) in &namespaces {
            if request.is_some() {
                self.system(families, &name, namespace, readings.get(namespace));
            }
        }
    }

    fn system(
        &self,
        families: &mut Families,
        department: &str,
        namespace: &str,
        readings: Option<&Readings>,
    ) {
        let labels = vec![("department", department.to_owned()), ("system", namespace.to_owned())];
        let Some(standing) = self.tenancy.standing(namespace) else { return };
        let none = Readings::new();
        let readings = readings.unwrap_or(&none);
        side_by_side(families, "system", &labels, &standing, readings);
        let known = |measured: Measured| readings.get(&measured)?.as_ref().ok().copied();
        if let Some(bytes) = known(Measured::BucketBytes) {
            let help = "Bytes in the buckets of a system";
            families.add(
                "system_bucket_used",
                help,
                Some(Unit::Bytes),
                labels.clone(),
                quantity::units(bytes),
            );
        }
        if let Some(objects) = known(Measured::BucketObjects) {
            let help = "Objects in the buckets of a system";
            families.add("system_bucket_objects", help, None, labels.clone(), quantity::units(objects));
        }
        self.coverage(families, namespace, &labels);
        self.verdict(families, namespace, &labels);
        if let Some((ended, passed)) = self.drills.lock().ok().and_then(|d| d.get(namespace).copied()) {
            let help = "When the last drill of a system ended";
            let moment = Some(Unit::Seconds);
            families.add("system_last_drill_timestamp", help, moment, labels.clone(), seconds(ended));
            let help = "1 where the last drill of a system has passed, 0 where it has not";
            families.add("system_last_drill_success", help, None, labels, f64::from(u8::from(passed)));
        }
    }

    fn coverage(&self, families: &mut Families, namespace: &str, labels: &Labels) {
        let book = self.utilisation.book();
        let Some(today) = book.today(namespace).filter(|day| day.of > 0) else { return };
        for (measured, tally) in today.tallies() {
            let mut labels = labels.clone();
            let resource = match measured {
                Measured::BucketBytes => "bucket_bytes",
                Measured::BucketObjects => "bucket_objects",
                other => other.name(),
            };
            labels.push(("resource", resource.to_owned()));
            let share = f64::from(tally.readings()) / f64::from(today.of);
            let help = "Share of the readings of the running day that could be made";
            families.add("system_coverage", help, Some(Unit::Ratios), labels, share);
        }
    }

    fn verdict(&self, families: &mut Families, namespace: &str, labels: &Labels) {
        let report = self.windows.get(&ObjectRef::new(WINDOW).within(namespace));
        let said = report.and_then(|r| r.status.as_ref()?.verdict).unwrap_or(UseVerdict::Unknown);
        for verdict in [UseVerdict::Low, UseVerdict::Fit, UseVerdict::High, UseVerdict::Unknown] {
            let mut labels = labels.clone();
            labels.push(("verdict", format!("{verdict:?}")));
            let help = "How well the grant of a system is used: of these, one is 1";
            families.add("system_verdict", help, None, labels, f64::from(u8::from(verdict == said)));
        }
    }

    fn clouds(&self, families: &mut Families) {
        let now = Timestamp::now();
        for cloud in self.clouds.state() {
            let labels = vec![("cloud", cloud.name_any())];
            let known = f64::from(u8::from(cloud::unknown(&cloud, now).is_none()));
            let help = "1 while what departments have on another cloud is known";
            families.add("cloud_known", help, None, labels.clone(), known);
            if let Some(read) = cloud.status.as_ref().and_then(|status| status.read_at.as_ref()) {
                let help = "When another cloud was read last, successfully";
                let at = seconds(read.0.as_second());
                families.add("cloud_read_timestamp", help, Some(Unit::Seconds), labels, at);
            }
        }
    }

    fn requests(&self, families: &mut Families) {
        let mut phases: BTreeMap<(String, Phase), (usize, Timestamp)> = BTreeMap::new();
        for request in self.tenancy.requests.state() {
            let at_home = request.namespace().unwrap_or_default();
            let Some(department) = tripod_domain::tenancy::department_of_home(&at_home) else { continue };
            let Some(phase) = request.status.as_ref().and_then(|s| s.phase) else { continue };
            let (count, oldest) = phases.entry((department.to_owned(), phase)).or_insert((0, Timestamp::MAX));
            *count += 1;
            *oldest = (*oldest).min(since(&request, phase));
            lease(families, department, &request);
        }
        for ((department, phase), (count, oldest)) in phases {
            let labels = vec![("department", department), ("phase", format!("{phase:?}"))];
            families.add("department_requests", "Resource requests", None, labels.clone(), count_of(count));
            if matches!(phase, Phase::Assessing | Phase::AwaitingApproval | Phase::Provisioning) {
                let help = "Since when the oldest request in this phase waits";
                let value = seconds(oldest.as_second());
                families.add(
                    "department_oldest_pending_request_timestamp",
                    help,
                    Some(Unit::Seconds),
                    labels,
                    value,
                );
            }
        }
    }
}

/// How many systems there are, on the cloud and off it.
fn placements(families: &mut Families, department: &Department, namespaces: &[(String, Option<String>)]) {
    let on = namespaces.iter().filter(|(_, request)| request.is_some()).count();
    let exempt = department.spec.off_cloud.iter().filter(|system| system.reason.is_exempt()).count();
    let off = department.spec.off_cloud.len() - exempt;
    for (placement, count) in [("on_cloud", on), ("off_cloud", off), ("exempt", exempt)] {
        let labels = vec![("department", department.name_any()), ("placement", placement.to_owned())];
        let help = "Information systems; the goal is that none is off the cloud but those that are exempt";
        families.add("department_systems", help, None, labels, count_of(count));
    }
}

/// Since when a request is in its phase, as far as its conditions tell.
fn since(request: &ResourceRequest, phase: Phase) -> Timestamp {
    let created = request.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |t| t.0);
    let kind = match phase {
        Phase::AwaitingApproval => "Assessed",
        Phase::Provisioning => "Approved",
        _ => return created,
    };
    let status = request.status.as_ref();
    status
        .and_then(|s| conditions::find(&s.conditions, kind))
        .filter(|c| c.status == "True")
        .map_or(created, |c| c.last_transition_time.0)
}

fn lease(families: &mut Families, department: &str, request: &ResourceRequest) {
    let status = request.status.as_ref();
    let Some((namespace, term)) = status.and_then(|s| Some((s.namespace.clone()?, s.term.as_ref()?))) else {
        return;
    };
    let labels = vec![("department", department.to_owned()), ("system", namespace)];
    let help = "When the term of a system ends";
    let value = seconds(term.ends_at.0.as_second());
    families.add("system_lease_expiry_timestamp", help, Some(Unit::Seconds), labels.clone(), value);
    if let Some(used) = status.and_then(|s| s.utilisation.as_ref()) {
        let help = "1 while the supervision policy exempts a system from being told to shrink";
        families.add("system_exempt", help, None, labels, f64::from(u8::from(used.exempt.is_some())));
    }
}

fn side_by_side(
    families: &mut Families,
    of: &str,
    labels: &Labels,
    standing: &Standing,
    readings: &Readings,
) {
    let nothing = Amounts::new();
    let requested = standing.requested.as_ref().unwrap_or(&nothing);
    families.column(of, "granted", labels, |m| m.of(&standing.granted));
    families.column(of, "requested", labels, |m| m.of(requested));
    families.column(of, "used", labels, |m| readings.get(&m)?.as_ref().ok().copied());
}

#[allow(clippy::cast_precision_loss, reason = "a gauge has no more digits")]
fn count_of(count: usize) -> f64 {
    count as f64
}

#[allow(clippy::cast_precision_loss, reason = "a gauge has no more digits")]
fn seconds(moment: i64) -> f64 {
    moment as f64
}
