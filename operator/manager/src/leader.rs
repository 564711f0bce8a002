//! Of several replicas one acts. Decided by a Lease of the operator's namespace, changed only under its
//! resourceVersion. Who loses it exits: two that act would be worse than none for a moment.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::Instant;

/// How long a lease holds after its renewal.
const LEASE: Duration = Duration::from_secs(15);
/// A leader that could not renew for so long steps down, before another may step up.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(2);

/// What a look at the lease says.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// There is none.
    Absent,
    /// Ours, or given up, or it ran out while we watched.
    Takeable,
    HeldByOther,
}

/// Runs out only by what this process saw itself: the clocks of two nodes are never compared.
fn evaluate(lease: Option<&LeaseSpec>, identity: &str, unchanged_for: Duration) -> Finding {
    let Some(spec) = lease else { return Finding::Absent };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let length =
        spec.lease_duration_seconds.and_then(|s| u64::try_from(s).ok()).map_or(LEASE, Duration::from_secs);
    if holder.is_empty() || holder == identity || unchanged_for > length {
        Finding::Takeable
    } else {
        Finding::HeldByOther
    }
}

/// A candidate for the lease.
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
    /// The renewal that was last seen, and when this process first saw it.
    seen: Option<(Option<MicroTime>, Instant)>,
}

impl Candidate {
    #[must_use]
    pub fn new(client: Client, namespace: &str, centre: &str, identity: String) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: format!("tripod-{centre}"),
            identity,
            seen: None,
        }
    }

    /// Returns when the lease is ours.
    pub async fn acquire(&mut self) {
        tracing::info!(lease = self.name, identity = self.identity, "waiting for leadership");
        while !self.try_hold().await {
            tokio::time::sleep(RETRY).await;
        }
        tracing::info!(lease = self.name, "leading");
    }

    /// Renews until that fails for too long; then returns.
    pub async fn hold(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < RENEW_DEADLINE {
            tokio::time::sleep(RETRY).await;
            let asked = Instant::now();
            if let Ok(true) = tokio::time::timeout(RENEW_DEADLINE / 2, self.try_hold()).await {
                renewed = asked;
            } else {
                tracing::warn!(lease = self.name, "the lease could not be renewed");
            }
        }
    }

    /// Gives the lease up, so that another need not wait.
    pub async fn release(&self) {
        if let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await
            && let Some(spec) = &mut lease.spec
            && spec.holder_identity.as_deref() == Some(&self.identity)
        {
            spec.holder_identity = Some(String::new());
            // Lost races and failures only make the others wait for the lease to run out.
            let _ = self.api.replace(&self.name, &PostParams::default(), &lease).await;
        }
    }

    async fn try_hold(&mut self) -> bool {
        let lease = match self.api.get_opt(&self.name).await {
            Ok(lease) => lease,
            Err(error) => {
                tracing::warn!(%error, "the lease can't be read");
                return false;
            }
        };
        let renewal = lease.as_ref().and_then(|l| l.spec.as_ref()).and_then(|s| s.renew_time.clone());
        if self.seen.as_ref().is_none_or(|(before, _)| *before != renewal) {
            self.seen = Some((renewal, Instant::now()));
        }
        let unchanged_for = self.seen.as_ref().map_or(Duration::ZERO, |(_, since)| since.elapsed());
        let spec = lease.as_ref().and_then(|l| l.spec.as_ref());
        let result = match evaluate(spec, &self.identity, unchanged_for) {
            Finding::HeldByOther => return false,
            Finding::Absent => self.api.create(&PostParams::default(), &self.lease(None)).await,
            Finding::Takeable => {
                self.api.replace(&self.name, &PostParams::default(), &self.lease(lease)).await
            }
        };
        result.is_ok()
    }

    fn lease(&self, before: Option<Lease>) -> Lease {
        let now = MicroTime(Timestamp::now());
        let before = before.unwrap_or_default();
        let old = before.spec.unwrap_or_default();
        let ours = old.holder_identity.as_deref() == Some(&self.identity);
        Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: before.metadata.resource_version,
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.identity.clone()),
                lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
                acquire_time: if ours { old.acquire_time } else { Some(now.clone()) },
                renew_time: Some(now),
                lease_transitions: Some(old.lease_transitions.unwrap_or(0) + i32::from(!ours)),
                ..LeaseSpec::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_lease_that_ran_out_before_our_eyes_is_taken() {
        let spec = |holder: &str| LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            ..LeaseSpec::default()
        };
        let s = Duration::from_secs;
        assert_eq!(evaluate(None, "me", s(0)), Finding::Absent);
        assert_eq!(evaluate(Some(&spec("me")), "me", s(0)), Finding::Takeable);
        assert_eq!(evaluate(Some(&spec("")), "me", s(0)), Finding::Takeable);
        assert_eq!(evaluate(Some(&spec("other")), "me", s(15)), Finding::HeldByOther);
        assert_eq!(evaluate(Some(&spec("other")), "me", s(16)), Finding::Takeable);
    }
}
