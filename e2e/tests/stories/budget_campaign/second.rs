//! What goes wrong in the campaign: the operator dies, and somebody runs another one beside it that heeds no lease.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use serde_json::{Value, json};
use tripod_e2e::installation::{Installation, NAMESPACE};
use tripod_e2e::kubectl::Kubectl;

use super::{CENTRE, Campaign};
use crate::fixture::{given, kill_operator};

/// An operator outside of the cluster, with the rights of the one inside.
pub struct SecondOperator {
    image: String,
    kubeconfig: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

impl SecondOperator {
    pub fn new(at: &Installation) -> Result<Self> {
        let kubectl = at.kubectl(CENTRE)?;
        let token = kubectl.run(&["-n", NAMESPACE, "create", "token", "tripod", "--duration=24h"])?;
        let view = kubectl.run(&["config", "view", "--raw", "--flatten", "-o", "json"])?;
        let mut config: Value = serde_json::from_str(&view)?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        let kubeconfig = at.lab.data().join("second-operator.kubeconfig");
        std::fs::write(&kubeconfig, config.to_string())?;
        let log = at.lab.data().join("second-operator.log");
        Ok(Self { image: at.image.clone(), kubeconfig, log, process: None })
    }

    fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let (metrics, gateway) = (free_address()?, free_address()?);
        let child = Command::new(given("TRIPOD_BINARY"))
            .args(["operator", "--centre", CENTRE, "--namespace", NAMESPACE, "--image", &self.image])
            .args(["--metrics-address", &metrics, "--gateway-address", &gateway, "--no-leader-election"])
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("the second operator")?;
        self.process = Some(child);
        Ok(())
    }

    /// Kills it, by its own id. An error when it has ended by itself: then it was no second operator.
    fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.process.take() else { return Ok(()) };
        let ended = child.try_wait()?;
        child.kill()?;
        child.wait()?;
        ensure!(
            ended.is_none(),
            "the second operator ended by itself, {ended:?}; see {}",
            self.log.display()
        );
        Ok(())
    }
}

impl Drop for SecondOperator {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("campaign: {error:#}");
        }
    }
}

/// An address that nobody listens on.
fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Kills the operator again and again; the second one acts in the middle half, and is killed once in it. Returns how many
/// were killed.
pub async fn trouble(campaign: &Campaign, kubectl: &Kubectl, mut second: SecondOperator) -> Result<usize> {
    let mut rng = Rng::with_seed(campaign.seed ^ 0x5eed);
    let start = Instant::now();
    let length = campaign.ends.saturating_duration_since(start);
    let mut killed = 0;
    let mut steps = [(1, true), (2, false), (2, true), (3, false)].into_iter().peekable();
    let mut next_kill = start + Duration::from_millis(rng.u64(4000..12_000));
    while Instant::now() < campaign.ends {
        if let Some((_, run)) = steps.next_if(|(quarter, _)| start.elapsed() >= length * *quarter / 4) {
            if run {
                second.start()?;
            } else {
                second.stop()?;
                killed += 1;
            }
        }
        if Instant::now() >= next_kill {
            let kubectl = kubectl.clone();
            tokio::task::spawn_blocking(move || kill_operator(&kubectl)).await??;
            killed += 1;
            next_kill = Instant::now() + Duration::from_millis(rng.u64(8000..25_000));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    second.stop()?;
    Ok(killed)
}
