//! What the charts render is what a real API server takes, to the last field.

use anyhow::{Context, Result};
use tripod_e2e::installation::{chart, repository};

use crate::fixture::{installation, system};

#[test]
fn an_api_server_takes_what_the_charts_render() -> Result<()> {
    let namespace = system("health")?.home();
    let at = installation()?;
    let kubectl = at.kubectl("production")?;
    for (name, namespace) in
        [("tripod-crds", "tripod-system"), ("tripod", "tripod-system"), ("department-request", &namespace)]
    {
        let values = repository().join("charts/tests").join(name).join("good");
        for file in std::fs::read_dir(&values)? {
            let file = file?.path().display().to_string();
            // Without the PodMonitor, whose definition a lab has not.
            let words = [
                "template",
                "tripod",
                &chart(name),
                "-n",
                namespace,
                "-f",
                &file,
                "--set",
                "podMonitor.enabled=false",
            ];
            let words = if name == "tripod" { &words[..] } else { &words[..7] };
            let rendered = at.helm("production", words)?;
            let apply = [
                "apply",
                "-n",
                namespace,
                "--server-side",
                "--force-conflicts",
                "--dry-run=server",
                "--validate=strict",
                "-f",
                "-",
            ];
            kubectl.with_input(&apply, &rendered).with_context(|| file.clone())?;
        }
    }
    Ok(())
}

#[test]
fn a_release_tests_itself() -> Result<()> {
    installation()?
        .helm("production", &["test", "tripod", "-n", "tripod-system", "--timeout", "60s"])
        .map(drop)
}
