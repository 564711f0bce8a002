//! A month of a thousand systems on a real API server, the clock in our hands: every figure of every report is what an
//! independent reckoning of the same readings says. `make bench-utilisation` runs it; the readings are made up.

use std::collections::HashMap;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use jiff::SignedDuration;
use jiff::civil::date;
use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use kube::api::PostParams;
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::store::{Writer, store};
use kube::runtime::watcher::Event;
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tripod_crds::{Department, UtilisationReport};
use tripod_domain::ledger::Quota;
use tripod_domain::namespace::Namespace;
use tripod_domain::quantity;
use tripod_domain::tenancy::{DEPARTMENT, REQUEST};
use tripod_replication::Reach;

use super::*;
use crate::controllers::bucket_replication::{JobArguments, RunsOfAll};
use crate::stores::Stores;
use crate::telemetry::metrics::Metrics;
use crate::tenancy::Tenancy;

const CORE: i128 = 1_000_000_000;
const MIB: i128 = CORE << 20;
const DAYS: i64 = 31;
const MINUTES: i64 = DAYS * 24 * 60;

/// Of system `i`, at `minute`: nothing is read in these.
fn is_missing(i: i64, minute: i64) -> bool {
    let one_in = if i % 20 == 13 { 5 } else { 50 };
    i % 10 == 3 && (minute / 60 + i) % one_in == 0
}

/// Made up, but not constant: a day and a week, and something of every system's own. In thousandths.
fn level(i: i64, minute: i64) -> i128 {
    let hour = minute / 60 % 24;
    let weekend = minute / 1440 % 7 >= 5;
    let works = (8..18).contains(&hour) && !weekend;
    let busy = match i % 10 {
        // Busy around the clock.
        8 => 2800,
        rank if works => 300 * (1 + rank),
        rank => 50 * (1 + rank),
    };
    i128::from(busy + (minute * 7919 + i * 104_729) % 97)
}

fn cpu(i: i64, minute: i64) -> i128 {
    level(i, minute) * CORE / 1000
}

fn memory(i: i64, minute: i64) -> i128 {
    (500 + level(i, minute)) * MIB
}

fn number(variable: &str, default: i64) -> i64 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn name(i: i64) -> String {
    format!("d{}-s{i}", i / 10)
}

fn start() -> Timestamp {
    slot::start(date(2026, 10, 1), &slot::zone("+08:00"))
}

/// Namespaces on the API server, and an index that knows them.
async fn departments(client: &Client, systems: i64, writer: &mut Writer<Department>, tenancy: &Tenancy) {
    let api: Api<KubeNamespace> = Api::all(client.clone());
    let homes = (0..(systems + 9) / 10).map(|d| (format!("dept-d{d}"), d, None));
    let all = homes.chain((0..systems).map(|i| (name(i), i / 10, Some(format!("s{i}")))));
    futures::stream::iter(all.clone())
        .map(|(name, _, _)| {
            let api = api.clone();
            async move {
                let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
                match api.create(&PostParams::default(), &object).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
                    result => result.map(drop),
                }
            }
        })
        .buffer_unordered(16)
        .try_collect::<Vec<()>>()
        .await
        .unwrap();
    for (name, d, request) in all {
        let mut labels = [(DEPARTMENT.to_owned(), format!("d{d}"))].into_iter().collect::<BTreeMap<_, _>>();
        labels.extend(request.map(|request| (REQUEST.to_owned(), request)));
        let amounts = |cpu: i128| {
            [("requests.cpu".to_owned(), cpu * CORE), ("requests.memory".to_owned(), 4096 * MIB)].into()
        };
        let quota = Quota {
            version: "1".into(),
            promise: String::new(),
            spec: amounts(4),
            enforced: Some(amounts(4)),
            used: Some(amounts(2)),
        };
        let namespace =
            Namespace { version: "1".into(), labels, created: start().as_second(), ..Namespace::default() };
        tenancy.change(|index| index.put_namespace(&name, namespace));
        tenancy.change(|index| index.put_quota(&name, quota, 0));
    }
    for d in 0..(systems + 9) / 10 {
        let department = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Department", "metadata": {"name": format!("d{d}")},
            "spec": {"displayName": "d", "budget": {"requests.cpu": "100", "requests.memory": "100Gi"}}});
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(department).unwrap()));
    }
}

struct Bench {
    sampler: Sampler,
    // While these live their stores do.
    _writers: (Writer<Department>, Writer<tripod_crds::ResourceRequest>, Writer<UtilisationReport>),
}

async fn bench(systems: i64) -> Bench {
    let config = Config::infer().await.expect("KUBECONFIG of a cluster with Tripod's definitions");
    let client = Client::try_from(config.clone()).unwrap();
    let (departments_store, mut department_writer) = store();
    let (requests, request_writer) = store();
    let (tenancy, _triggers) = Tenancy::new(departments_store, requests);
    departments(&client, systems, &mut department_writer, &tenancy).await;
    let (windows, window_writer) = store();
    let (supervision, mut policies) = store();
    let policy = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "SupervisionPolicy", "metadata": {"name": "month", "generation": 1},
        "spec": {"source": {"title": "bench", "effective": "2026-01-01"}, "windowDays": 30,
            "thresholds": {"cpu": {"lowAverage": 30, "lowPeak": 60, "highAverage": 50}}}});
    policies.apply_watcher_event(&Event::Apply(serde_json::from_value(policy).unwrap()));
    // Only written to, here.
    Box::leak(Box::new(policies));
    let reporter = Reporter { controller: "bench".into(), instance: None };
    let namespace = "default".to_owned();
    let jobs = <JobArguments as clap::Args>::augment_args(clap::Command::new("bench"));
    let jobs = <JobArguments as clap::FromArgMatches>::from_arg_matches(&jobs.get_matches_from(["bench"]));
    let ctx = Arc::new(Ctx {
        tenancy,
        classes: store().0,
        utilisation: Utilisation::default(),
        windows,
        supervision: supervision.clone(),
        clouds: store().0,
        recorder: Recorder::new(client.clone(), reporter),
        stores: Stores::new(
            client.clone(),
            config,
            "bench".into(),
            namespace.clone(),
            "none".into(),
            Reach::default(),
        ),
        gateway_url: String::new(),
        gateway_ca: String::new(),
        image: String::new(),
        metrics: Arc::new(Metrics::default()),
        runs: Arc::new(RunsOfAll::new(Arc::default())),
        replication_jobs: jobs.unwrap(),
        links: Arc::default(),
        hooks: Arc::default(),
        client,
        centre: "bench".into(),
        namespace,
    });
    let arguments = <SourceArguments as clap::Args>::augment_args(clap::Command::new("bench"));
    let matches = arguments.get_matches_from(["bench"]);
    let arguments = <SourceArguments as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
    let source = Source::new(&arguments).unwrap();
    let sampler = Sampler::new(ctx, supervision, source, 60);
    Bench { sampler, _writers: (department_writer, request_writer, window_writer) }
}

fn readings(systems: i64, minute: i64) -> HashMap<String, Readings> {
    let one = |i: i64| {
        let readings: Readings = if is_missing(i, minute) {
            tripod_domain::utilisation::pods::unknown("made up")
        } else {
            [(Measured::Cpu, Ok(cpu(i, minute))), (Measured::Memory, Ok(memory(i, minute)))].into()
        };
        (name(i), readings)
    };
    let homes = (0..(systems + 9) / 10)
        .map(|d| (format!("dept-d{d}"), Readings::from([(Measured::Cpu, Ok(0)), (Measured::Memory, Ok(0))])));
    (0..systems).map(one).chain(homes).collect()
}

/// From the readings alone, without any of the code that reports are made by.
fn recompute(i: i64, of: fn(i64, i64) -> i128) -> (i64, i128, i128, i128) {
    let mut values: Vec<i128> = (0..MINUTES).filter(|m| !is_missing(i, *m)).map(|m| of(i, m)).collect();
    values.sort_unstable();
    let p95 = values[95 * (values.len() - 1) / 100];
    (i64::try_from(values.len()).unwrap(), values.iter().sum(), *values.last().unwrap(), p95)
}

fn own_usage() -> (u64, u64) {
    let kib = |line: &str| line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find(|line| line.starts_with("VmRSS")).map_or(0, kib);
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let ticks: Vec<i64> =
        stat.rsplit(')').next().unwrap().split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // What is after the name begins with a letter and the fourth field; processor time is in fields 14 and 15.
    (rss / 1024, u64::try_from(ticks[10] + ticks[11]).unwrap() / 100)
}

fn checked(report: &UtilisationReport, resource: &str, i: i64, of: fn(i64, i64) -> i128) {
    let figures = &report.status.as_ref().unwrap().resources[resource];
    let (readings, sum, peak, p95) = recompute(i, of);
    let at = format!("{}/{resource}", name(i));
    assert_eq!((figures.readings, figures.of), (readings, MINUTES), "{at}");
    assert_eq!(quantity::parse(&figures.sum).unwrap(), sum, "{at}: sum");
    assert_eq!(quantity::parse(figures.peak.as_ref().unwrap()).unwrap(), peak, "{at}: peak");
    let average = quantity::parse(figures.average.as_ref().unwrap()).unwrap();
    let grain = Measured::named(resource).unwrap().grain();
    assert!(
        (average * i128::from(readings) - sum).abs() * 2 <= grain * i128::from(readings),
        "{at}: average"
    );
    let said = quantity::parse(figures.p95.as_ref().unwrap()).unwrap();
    assert!((said - p95).abs() * 100 <= p95 * 2, "{at}: p95 is {said}, not {p95}");
}

#[tokio::test]
#[ignore = "takes minutes and a cluster: make bench-utilisation"]
async fn a_month_of_many_systems_is_reported_exactly() {
    let systems = number("TRIPOD_SYSTEMS", 1000);
    let mut bench = bench(systems).await;
    let zone = slot::zone("+08:00");
    let (begin, mut sampling, mut keeping, mut kept) = (Instant::now(), Duration::ZERO, Duration::ZERO, 0u32);
    for minute in 0..=MINUTES {
        let now = start() + SignedDuration::from_secs(minute * 60 + 10);
        let read = readings(systems, minute);
        let at = Instant::now();
        bench.sampler.record(Some(&read), now, &zone);
        sampling += at.elapsed();
        // Each interval in life; an hour here, or nothing else would be measured.
        if minute % 60 == 0 {
            let at = Instant::now();
            bench.sampler.keep().await;
            keeping += at.elapsed();
            kept += 1;
        }
        if minute % 1440 == 0 && minute > 0 {
            reported(&mut bench, now, &zone).await;
        }
    }
    let (rss, cpu_seconds) = own_usage();
    let client = bench.sampler.ctx.client.clone();
    let mut judged: BTreeMap<String, usize> = BTreeMap::new();
    for i in 0..systems {
        let api: Api<UtilisationReport> = Api::namespaced(client.clone(), &name(i));
        let month = api.get("month-2026-10").await.unwrap();
        checked(&month, "cpu", i, cpu);
        checked(&month, "memory", i, memory);
        let window = api.get("window").await.unwrap();
        *judged.entry(format!("{:?}", window.status.unwrap().verdict.unwrap())).or_default() += 1;
    }
    let per = |total: Duration, n: u32| total.as_secs_f64() * 1000.0 / f64::from(n);
    let figures: Value = json!({
        "systems": systems, "days": DAYS, "readings": systems * MINUTES, "seconds": begin.elapsed().as_secs(),
        "rss_mib": rss, "cpu_seconds": cpu_seconds, "ms_to_record_an_interval": per(sampling, u32::try_from(MINUTES).unwrap() + 1),
        "ms_to_keep_the_book": per(keeping, kept), "verdicts": judged,
    });
    println!("{figures:#}");
}

/// Until nothing is left to report; a pass writes only so many.
async fn reported(bench: &mut Bench, now: Timestamp, zone: &TimeZone) {
    let sampler = &mut bench.sampler;
    loop {
        sampler.reports.write_due(&sampler.ctx, &sampler.utilisation, &sampler.policies, now, zone).await;
        if sampler.utilisation.book().over().next().is_none() {
            break;
        }
    }
}
