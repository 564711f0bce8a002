//! `demo`: the story that Tripod exists for, told with real clusters and real data, from nothing to a drill report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tripod_e2e::installation::{Installation, repository};
use tripod_e2e::kubectl::Kubectl;
use tripod_e2e::lab::LabSpec;
use tripod_e2e::lab::progress::Progress;
use tripod_e2e::system::{System, state_at};

/// Files of the bucket at least; real ones of this machine.
const OBJECTS: usize = 300;
/// Rows that the demonstration's workload writes into its database.
const ROWS: u32 = 500;
const PATIENCE: Duration = Duration::from_mins(3);

/// From nothing to a drill report, on real clusters on this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// One cluster and three stores instead of three clusters.
    #[arg(long)]
    quick: bool,
    /// OCI archive of the operator.
    #[arg(long)]
    image: PathBuf,
    /// OCI archive of the workload.
    #[arg(long)]
    workload: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let start = Instant::now();
    let spec = if arguments.quick { LabSpec::quick("tripod-quick") } else { LabSpec::whole("tripod") };
    title(1, "The lab and the operator", "实验环境与控制器");
    let at = Installation::ensure(&spec, &arguments.image, &Progress::new(false))?;
    let production = at.kubectl("production")?;
    show(&production, &["get", "centres"])?;
    show(&production, &["-n", "tripod-system", "get", "pods"])?;

    let system = department(&at, &production)?;
    workload(&system, &production, &arguments.workload)?;
    let point = recovery_point(&system, &production)?;
    let (kubectl, drill) = rehearsal(&system, &point)?;

    title(6, "What was proved", "结论");
    summary(&point, &drill, &report_of(&system, &drill)?);
    println!("\nThe whole story took {} s.\n", start.elapsed().as_secs());
    look_around(&at, &kubectl, drill["metadata"]["name"].as_str().unwrap_or_default(), arguments.quick)
}

fn department<'a>(at: &'a Installation, production: &Kubectl) -> Result<System<'a>> {
    title(2, "A department with its namespace, quota and rights", "委办局：命名空间、配额与权限");
    let system = System::ensure(at, "health")?;
    show(production, &["get", "departments"])?;
    show(production, &["-n", "health-registration", "get", "resourcequota,limitrange,networkpolicy,rolebinding"])?;
    Ok(system)
}

fn workload(system: &System<'_>, production: &Kubectl, image: &Path) -> Result<()> {
    title(3, "Its system: PostgreSQL on a volume, files in a bucket", "业务系统：数据库卷与对象桶");
    system.start_registration(image)?;
    let files = real_files(OBJECTS)?;
    let bytes: usize = files.iter().map(|(_, body)| body.len()).sum();
    system.fill_bucket(&files)?;
    println!("{} files of this machine ({bytes} bytes) are in bucket {}", files.len(), system.bucket());
    show(production, &["-n", "health-registration", "get", "deployment,pod,pvc"])
}

/// The point as production shows it when every centre has proved its copy.
fn recovery_point(system: &System<'_>, production: &Kubectl) -> Result<Value> {
    title(
        4,
        "A policy makes a recovery point; the other centres pull and verify it",
        "恢复点：生成、拉取与校验",
    );
    system.protect(&json!({"include": {"buckets": [system.bucket()]}, "schedule": "*/15 * * * *", "objectives": [
        {"centre": "same-city", "rpo": "30m"}, {"centre": "remote", "rpo": "2h"}]}))?;
    let point = system.back_up()?;
    let verified = system.await_verified(&point, &["production", "same-city", "remote"], PATIENCE)?;
    show(production, &["-n", "health-registration", "get", "backuppolicies,recoverypoints"])?;
    Ok(verified)
}

/// The drill when it has ended, and the cluster that it was made in.
fn rehearsal(system: &System<'_>, point: &Value) -> Result<(Kubectl, Value)> {
    title(5, "A drill at the same-city centre", "同城中心演练");
    let point = point["metadata"]["name"].as_str().unwrap_or_default();
    let name = format!("demo-{}", point.rsplit('-').next().unwrap_or("1"));
    let kubectl = system.start_drill(&name, "same-city", None, &System::rows_check(ROWS))?;
    let drill = system.await_drill(&kubectl, &name, PATIENCE)?;
    show(&kubectl, &["-n", "health-registration", "get", "drill"])?;
    let about = format!("regarding.name={name}");
    let columns = "custom-columns=REASON:.reason,NOTE:.note";
    let words = ["--field-selector", &about, "--sort-by=.metadata.creationTimestamp", "-o", columns];
    show(&kubectl, &[&["-n", "health-registration", "get", "events.events.k8s.io"], &words[..]].concat())?;
    let namespaces = kubectl.run(&["get", "namespaces", "-o", "name"])?;
    ensure!(!namespaces.contains("/drill-"), "a drill's namespace is left: {namespaces}");
    Ok((kubectl, drill))
}

fn title(step: u32, english: &str, chinese: &str) {
    println!("\n=== {step}. {english} · {chinese}");
}

/// Runs kubectl before the reader's eyes.
fn show(kubectl: &Kubectl, words: &[&str]) -> Result<()> {
    println!("[{}] $ kubectl {}", kubectl.centre, words.join(" "));
    println!("{}", kubectl.run(words)?.trim_end());
    Ok(())
}

/// Small files that every Debian machine has: licences and change logs.
fn real_files(count: usize) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir("/usr/share/doc")?.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    for folder in folders {
        for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if files.len() == count {
                return Ok(files);
            }
            if file.file_type().is_ok_and(|t| t.is_file()) {
                let key = file.path().strip_prefix("/usr/share/doc")?.display().to_string();
                files.push((key, std::fs::read(file.path())?));
            }
        }
    }
    ensure!(files.len() > count / 2, "only {} files under /usr/share/doc", files.len());
    Ok(files)
}

/// Reads the report from the vault, and makes sure that it is the one the drill's status names.
fn report_of(system: &System<'_>, drill: &Value) -> Result<Value> {
    use sha2::{Digest, Sha256};
    let reference = &drill["status"]["report"];
    let key = reference["key"].as_str().context("the drill has no report")?;
    let store = system.store("same-city")?;
    let body = store.block_on(async |s3| {
        let object =
            s3.get_object().bucket(&store.bucket).key(key).send().await.context("reading the report")?;
        Ok(object.body.collect().await?.into_bytes())
    })?;
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&body)));
    ensure!(reference["digest"] == digest, "the report in the vault is not the one of the drill");
    Ok(serde_json::from_slice(&body)?)
}

fn summary(point: &Value, drill: &Value, report: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("–").to_owned();
    let name = text(&point["metadata"]["name"]);
    println!("{:<12} {:<34} {:<10} verified at", "centre", "recovery point", "state");
    for copy in point["status"]["centres"].as_array().into_iter().flatten() {
        let centre = text(&copy["centre"]);
        println!("{centre:<12} {name:<34} {:<10} {}", state_at(point, &centre), text(&copy["verifiedAt"]));
    }
    let contents = &point["status"]["contents"];
    println!(
        "\nin it        {} Kubernetes objects, {} files ({} bytes), {} bucket objects ({} bytes)",
        contents["objects"],
        contents["files"],
        contents["fileBytes"],
        contents["bucketObjects"],
        contents["bucketBytes"]
    );
    println!("root digest  {}", text(&point["status"]["rootDigest"]));
    let (status, rto) = (&drill["status"], &drill["status"]["rto"]);
    println!(
        "RPO          {} (measured: age of the restored data when the drill was asked for)",
        text(&status["rpo"])
    );
    println!(
        "RTO          {} (measured: decide {}, execute {}, verify {})",
        text(&rto["total"]),
        text(&rto["decide"]),
        text(&rto["execute"]),
        text(&rto["verify"])
    );
    for check in report["checks"].as_array().into_iter().flatten() {
        let verdict = if check["passed"] == true { "passed" } else { "FAILED" };
        println!("check        {verdict}: {}: {}", text(&check["name"]), text(&check["message"]).trim());
    }
    println!(
        "report       {} in the vault, {}",
        text(&status["report"]["key"]),
        text(&status["report"]["digest"])
    );
}

fn look_around(at: &Installation, drill: &Kubectl, name: &str, quick: bool) -> Result<()> {
    let kubeconfig =
        |centre: &str| -> Result<String> { Ok(at.lab.centre(centre)?.kubeconfig.display().to_string()) };
    let folder = at.lab.program("kubectl");
    println!("Look around:");
    println!("  export PATH={}:$PATH", folder.parent().unwrap_or(Path::new("/")).display());
    println!("  export KUBECONFIG={}", kubeconfig("production")?);
    println!("  kubectl get centres,departments; kubectl -n health-registration get backuppolicies,recoverypoints");
    println!(
        "  kubectl get --raw /api/v1/namespaces/tripod-system/services/tripod-metrics:8080/proxy/metrics | grep ^tripod_"
    );
    println!("  KUBECONFIG={} kubectl -n health-registration get drill {name} -o yaml", kubeconfig(&drill.centre)?);
    println!("Run it again: make {}. Stop it: make demo-down.", if quick { "demo-quick" } else { "demo" });
    println!("Read on: {}", repository().join("docs/architecture.md").canonicalize()?.display());
    Ok(())
}
