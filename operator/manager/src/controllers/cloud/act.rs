//! Looks at the other cluster. Whatever goes wrong there is an outcome, and never a failed pass.

use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tripod_crds::Cloud;
use tripod_domain::cloud::{self, Observed, Outcome, Plan};

use super::read::{self, Trouble, words};

const CONNECT: Duration = Duration::from_secs(5);
/// Without a byte for so long, nothing more is waited for.
const SILENCE: Duration = Duration::from_secs(20);
/// All of a look, whatever the interval.
const LONGEST: Duration = Duration::from_mins(2);

pub(super) async fn act(seen: &Observed, plan: &Plan) -> Outcome {
    match (plan, &seen.kubeconfig) {
        (Plan::Refuse(why), _) => Outcome::failed("KubeconfigInvalid", why),
        (Plan::Read, Ok(kubeconfig)) => look(&seen.cloud, kubeconfig.clone()).await,
        (Plan::Keep, _) | (Plan::Read, Err(_)) => Outcome::Kept,
    }
}

async fn look(cloud: &Cloud, kubeconfig: Kubeconfig) -> Outcome {
    let secret = &cloud.spec.kubeconfig_secret_ref.name;
    let invalid = |error: &dyn std::error::Error| {
        Outcome::failed("KubeconfigInvalid", format!("Secret {secret}: {}", words(error)))
    };
    let mut config = match Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await {
        Ok(config) => config,
        Err(error) => return invalid(&error),
    };
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(SILENCE);
    // A connection may have waited before it is used again, and that is not the server's silence.
    config.reset_reader_on_write = true;
    // An API that is down there would be asked for minutes, and take the others with it; the next look comes soon.
    config.default_retry = false;
    let server = config.cluster_url.host().unwrap_or_default().to_owned();
    let client = match Client::try_from(config) {
        Ok(client) => client,
        Err(error) => return invalid(&error),
    };
    let deadline = cloud::interval(cloud).unsigned_abs().clamp(SILENCE, LONGEST);
    match tokio::time::timeout(deadline, read::read(&client)).await {
        Ok(Ok(reading)) => Outcome::Read(reading),
        Ok(Err(Trouble::Unauthorised)) => Outcome::failed(
            "Unauthorised",
            format!(
                "{server} takes neither the token nor the certificate of Secret {secret}; it may have expired"
            ),
        ),
        Ok(Err(Trouble::Unreachable(why))) => {
            Outcome::failed("Unreachable", format!("{server} can't be read: {why}"))
        }
        Err(_) => Outcome::failed(
            "Unreachable",
            format!("{server} could not be read within {} s", deadline.as_secs()),
        ),
    }
}
