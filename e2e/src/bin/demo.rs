//! `demo`: the story that Tripod exists for, told with real clusters and real data, from nothing to a drill report.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::Value;
use tripod_e2e::installation::{Installation, chart, repository};
use tripod_e2e::kubectl::{Kubectl, condition};
use tripod_e2e::lab::LabSpec;
use tripod_e2e::lab::command::output;
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
    /// The `tripod` binary, for `kubectl tripod`.
    #[arg(long)]
    tripod: PathBuf,
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
    gate(&system, &production, &arguments.tripod)?;
    workload(&system, &production, &arguments.workload)?;
    let point = recovery_point(&system, &production)?;
    let (kubectl, drill) = rehearsal(&system, &point)?;

    title(7, "What was proved", "结论");
    summary(&point, &drill, &report_of(&system, &drill)?);
    println!("\nThe whole story took {} s.\n", start.elapsed().as_secs());
    look_around(&at, &kubectl, drill["metadata"]["name"].as_str().unwrap_or_default(), arguments.quick)
}

fn department<'a>(at: &'a Installation, production: &Kubectl) -> Result<System<'a>> {
    title(2, "A department with its budget, and the home that it asks in", "委办局：预算与主命名空间");
    let system = System::department(at, "health")?;
    show(production, &["get", "departments"])?;
    show(production, &["-n", "dept-health", "get", "resourcequota,limitrange,networkpolicy,rolebinding"])?;
    Ok(system)
}

/// In every cluster, since the system is to be restored there; what is shown is production's.
fn gate(system: &System<'_>, production: &Kubectl, tripod: &Path) -> Result<()> {
    title(3, "It asks for a system; its cloud chief approves", "项目总开关：申请、评估、云长审批");
    let values = repository().join("e2e/demo/manifests/request.yaml").display().to_string();
    let (chart, home) = (chart("department-request"), system.home());
    let release = ["upgrade", "--install", "registration", &chart, "-n", &home, "-f", &values];
    let asks =
        [&release[..], &["--kube-as-user", "zhang@health", "--kube-as-group", "health-admins"]].concat();
    for cluster in &system.at.lab.spec.clusters {
        system.at.helm(cluster, &asks)?;
        let kubectl = system.at.kubectl(cluster)?;
        kubectl.until(
            "the request to be looked at",
            PATIENCE,
            &["-n", &home, "resourcerequest/registration"],
            |seen| {
                let waits = seen["metadata"]["generation"] == seen["status"]["observedGeneration"];
                ensure!(waits, "it was not looked at yet");
                Ok(())
            },
        )?;
        let people = |words: &[&str]| -> Result<String> {
            let words = [words, &["-n", &home]].concat();
            output(Command::new(tripod).env("KUBECONFIG", &kubectl.kubeconfig).args(&words))
        };
        let is_shown = cluster == &production.centre;
        if is_shown {
            let head = release[..4].join(" ").replace(&chart, "charts/department-request");
            println!("[production] $ helm {head} -n {home} -f request.yaml      # as zhang@health");
            println!(
                "[production] $ kubectl tripod explain registration -n {home}\n{}",
                people(&["explain", "registration"])?
            );
        }
        let ready = kubectl.get(&["-n", &home, "resourcerequest/registration"])?;
        if condition(&ready, "Ready").is_none_or(|c| c["status"] != "True") {
            let said = people(&["approve", "registration", "--as", "chief@health", "--comment", "同意"])?;
            if is_shown {
                println!(
                    "[production] $ kubectl tripod approve registration -n {home} --comment 同意      # as chief@health\n{said}"
                );
            }
        }
        kubectl.wait("resourcerequest/registration", Some(&home), "Ready", PATIENCE)?;
    }
    let shown = output(
        Command::new(tripod).env("KUBECONFIG", &production.kubeconfig).args(["department", "health"]),
    )?;
    println!("[production] $ kubectl tripod department health\n{shown}");
    Ok(())
}

fn workload(system: &System<'_>, production: &Kubectl, image: &Path) -> Result<()> {
    title(4, "Its system: PostgreSQL on a volume, files in a bucket", "业务系统：数据库卷与对象桶");
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
        5,
        "A policy makes a recovery point; the other centres pull and verify it",
        "恢复点：生成、拉取与校验",
    );
    // The request has brought it along.
    production.wait("backuppolicy/registration", Some(&system.namespace()), "Ready", PATIENCE)?;
    let point = system.back_up()?;
    let verified = system.await_verified(&point, &["production", "same-city", "remote"], PATIENCE)?;
    show(production, &["-n", "health-registration", "get", "backuppolicies,recoverypoints"])?;
    Ok(verified)
}

/// The drill when it has ended, and the cluster that it was made in.
fn rehearsal(system: &System<'_>, point: &Value) -> Result<(Kubectl, Value)> {
    title(6, "A drill at the same-city centre", "同城中心演练");
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
    println!(
        "  kubectl get centres,departments; kubectl -n health-registration get backuppolicies,recoverypoints"
    );
    println!(
        "  kubectl get --raw /api/v1/namespaces/tripod-system/services/tripod-metrics:8080/proxy/metrics | grep ^tripod_"
    );
    println!(
        "  KUBECONFIG={} kubectl -n health-registration get drill {name} -o yaml",
        kubeconfig(&drill.centre)?
    );
    println!("Run it again: make {}. Stop it: make demo-down.", if quick { "demo-quick" } else { "demo" });
    println!("Read on: {}", repository().join("docs/architecture.md").canonicalize()?.display());
    Ok(())
}
