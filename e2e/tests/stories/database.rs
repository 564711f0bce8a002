//! A database is backed up while it is written to, by a hook that dumps it, and comes back at another centre: every row that was
//! acknowledged before is there, no transaction is half there, and no row names an object of the bucket that is not.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tripod_e2e::kubectl::{Kubectl, described};
use tripod_e2e::lab::command::wait_for;
use tripod_e2e::system::System;

use crate::bucket_replication::keys as bucket_keys;
use crate::fixture::{PATIENCE, protect, system};

const NAMESPACE: &str = "database-registration";
const IMAGE: &str = "docker.io/library/tripod-demo:dev";
const PSQL: [&str; 11] = [
    "psql",
    "-X",
    "-q",
    "-A",
    "-t",
    "-v",
    "ON_ERROR_STOP=1",
    "-h/tmp",
    "-Uregistration",
    "-dregistration",
    "-f-",
];

#[test]
fn a_database_under_load_comes_back_whole() -> Result<()> {
    let system = system("database")?;
    let kubectl = system.production()?;
    kubectl.apply(&manifest().to_string())?;
    kubectl.wait("deployment/registration", Some(NAMESPACE), "Available", PATIENCE)?;
    sql(
        &kubectl,
        "DROP TABLE IF EXISTS scans, ledger; CREATE TABLE scans (id bigint PRIMARY KEY, key text NOT NULL); CREATE TABLE ledger (id bigint PRIMARY KEY);",
    )?;
    system.fill_bucket(&[])?;
    let dump = json!({"exec": {"selector": {"matchLabels": {"app": "registration"}}, "command": ["registration", "dump"]}});
    protect(
        &system,
        &json!({"include": {"buckets": [system.bucket()]}, "exclude": {"volumes": ["data"]}, "hooks": [{"name": "dump", "before": dump}]}),
    )?;

    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (before, point, after) = std::thread::scope(|scope| -> Result<_> {
        let writer = scope.spawn(|| write(&system, &kubectl, &stop, &acknowledged));
        let backed_up = back_up_under_load(&system, &acknowledged);
        stop.store(true, Ordering::SeqCst);
        let written = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
        written.context("the writer")?;
        backed_up
    })?;

    let remote = system.at.kubectl("remote")?;
    let restore = json!({"apiVersion": "tripod.cloud/v1alpha1", "kind": "Restore",
        "metadata": {"name": "elsewhere", "namespace": NAMESPACE}, "spec": {"recoveryPoint": point}});
    remote.apply(&restore.to_string())?;
    remote.until("the restore to end", PATIENCE, &["-n", NAMESPACE, "restore/elsewhere"], |restore| {
        ensure!(restore["status"]["phase"] == "Succeeded", "{}", described(restore, "Ready"));
        Ok(())
    })?;
    remote.wait("deployment/registration", Some(NAMESPACE), "Available", PATIENCE)?;

    let number = |query: &str| -> Result<u64> { Ok(sql(&remote, query)?.trim().parse()?) };
    let rows = number("SELECT count(*) FROM scans")?;
    ensure!(rows >= before, "{before} rows were acknowledged before the point, {rows} came back");
    ensure!(rows < after, "{rows} of {after} came back: nothing was written while it was made");
    ensure!(number("SELECT max(id) FROM scans")? == rows, "there are gaps");
    let halves = "SELECT count(*) FROM scans FULL JOIN ledger USING (id) WHERE scans.ctid IS NULL OR ledger.ctid IS NULL";
    ensure!(number(halves)? == 0, "transactions are half there");
    let keys = sql(&remote, "SELECT key FROM scans")?;
    let there = system.store("remote")?.block_on(async |s3| bucket_keys(&s3, &system.bucket()).await)?;
    let dangling: Vec<&str> = keys.lines().filter(|key| !there.iter().any(|object| object == key)).collect();
    ensure!(dangling.is_empty(), "rows name objects that are not there: {dangling:?}");
    println!(
        "{before} rows acknowledged before the point, {rows} in it, {after} at the end; 0 dangling of {}",
        keys.lines().count()
    );
    Ok(())
}

/// How many rows were acknowledged when the point was asked for; the point; and how many when it was complete.
fn back_up_under_load(system: &System<'_>, acknowledged: &AtomicU64) -> Result<(u64, String, u64)> {
    let written = |least: u64| {
        wait_for("rows to be written", PATIENCE, || {
            let rows = acknowledged.load(Ordering::SeqCst);
            ensure!(rows >= least, "{rows} rows");
            Ok(rows)
        })
    };
    let before = written(50)?;
    let point = system.back_up()?;
    system.await_verified(&point, &["remote"], PATIENCE)?;
    let now = acknowledged.load(Ordering::SeqCst);
    Ok((before, point, written(now + 10)?))
}

/// The object first, then the row that names it and its entry in the ledger in one transaction, as fast as it goes.
fn write(system: &System<'_>, kubectl: &Kubectl, stop: &AtomicBool, acknowledged: &AtomicU64) -> Result<()> {
    let mut session = Session::open(kubectl)?;
    let (store, bucket) = (system.store("production")?, system.bucket());
    for id in 1_u64.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let key = format!("scans/{id}");
        store.block_on(async |s3| {
            s3.put_object().bucket(&bucket).key(&key).body(key.clone().into_bytes().into()).send().await?;
            Ok(())
        })?;
        let answer = session.ask(&format!(
            "WITH entry AS (INSERT INTO ledger VALUES ({id})) INSERT INTO scans VALUES ({id}, '{key}') RETURNING id;"
        ))?;
        ensure!(answer == id.to_string(), "row {id}: {answer}");
        acknowledged.store(id, Ordering::SeqCst);
    }
    Ok(())
}

/// A `psql` in the database's pod that is spoken to line by line.
struct Session {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Session {
    fn open(kubectl: &Kubectl) -> Result<Self> {
        let mut words = vec!["-n", NAMESPACE, "exec", "-i", "deployment/registration", "--"];
        words.extend(PSQL);
        let mut process =
            kubectl.command(&words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("psql")?;
        let input = process.stdin.take().context("no input")?;
        let output = BufReader::new(process.stdout.take().context("no output")?);
        Ok(Self { process, input, output })
    }

    fn ask(&mut self, statement: &str) -> Result<String> {
        writeln!(self.input, "{statement}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(!line.is_empty(), "psql has ended: {:?}", self.process.try_wait());
        Ok(line.trim().to_owned())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn sql(kubectl: &Kubectl, statements: &str) -> Result<String> {
    let mut words = vec!["-n", NAMESPACE, "exec", "-i", "deployment/registration", "--"];
    words.extend(PSQL);
    kubectl.with_input(&words, statements)
}

/// PostgreSQL with its data on one volume, and its dump on another: the second is what a point takes.
fn manifest() -> Value {
    let claim = |name: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
    };
    let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
    let volume = |name: &str| json!({"name": name, "persistentVolumeClaim": {"claimName": name}});
    let ready = json!({"exec": {"command": ["pg_isready", "-q", "-h", "/tmp", "-U", "registration"]}, "periodSeconds": 2});
    let container = json!({"name": "postgres", "image": IMAGE, "args": ["serve"], "readinessProbe": ready,
        "env": [{"name": "ROWS", "value": "10"}, {"name": "POSTGRES_PASSWORD", "value": "only-for-this-story"}],
        "volumeMounts": [mount("data"), mount("dumps"), mount("tmp")]});
    let pod = json!({"automountServiceAccountToken": false, "containers": [container],
        "securityContext": {"runAsUser": 999, "runAsGroup": 999, "fsGroup": 999},
        "volumes": [volume("data"), volume("dumps"), {"name": "tmp", "emptyDir": {}}]});
    let labels = json!({"app": "registration"});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "registration", "namespace": NAMESPACE},
        "spec": {"replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod}}});
    json!({"apiVersion": "v1", "kind": "List", "items": [claim("data"), claim("dumps"), deployment]})
}
