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
            // Without the PodMonitor, whose definition a lab has not; and of a request only that, not its test.
            let more: &[&str] = match name {
                "tripod" => &[
                    "--set",
                    "monitoring.podMonitor.enabled=false,monitoring.serviceMonitor.enabled=false,monitoring.rules.enabled=false",
                ],
                "department-request" => &["-s", "templates/resourcerequest.yaml"],
                _ => &[],
            };
            let chart = chart(name);
            let words = [&["template", "tripod", &chart, "-n", namespace, "-f", &file], more].concat();
            let rendered = at.helm("production", &words)?;
            let mut apply = vec!["apply", "-n", namespace, "--server-side", "--force-conflicts"];
            apply.extend(["--dry-run=server", "--validate=strict", "-f", "-"]);
            if name == "department-request" {
                apply.extend(["--as=zhang@health", "--as-group=health-admins"]);
            }
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
