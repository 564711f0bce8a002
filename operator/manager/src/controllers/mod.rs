//! All controllers, and the one way in which each is driven: bounded, counted, backed off an object at a time.

pub mod backup_policy;
pub mod bucket_replication;
pub mod centre;
pub mod cloud;
pub mod department;
pub mod disaster_recovery_drill;
pub mod inspection;
pub mod mover_job;
pub mod pull;
pub mod recovery_point;
pub mod resource_request;
pub mod restore;
pub mod supervision_policy;
pub mod workloads;

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use jiff::SignedDuration;
use kube::runtime::controller::{self, Action, Config};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::reflector::store::Writer;
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::context::{Ctx, Error};

/// Objects of one kind that are worked on at once.
pub const FEW: u16 = 4;
/// Where a pass only waits for the API server, and there may be thousands of objects.
pub const MANY: u16 = 24;
/// Until an object is looked at that is gone: the watch says so before.
pub const GONE: SignedDuration = SignedDuration::from_hours(1);
/// Changes that come together are one reason to look.
const TOGETHER: Duration = Duration::from_millis(50);
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_mins(2);

/// A watch that fills a store, without what nobody reads: who wrote which field.
pub fn watched<K>(api: Api<K>, writer: Writer<K>) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + ResourceExt + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    watcher(api, watcher::Config::default())
        .default_backoff()
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .touched_objects()
}

/// Drives a controller until the process is told to stop.
pub async fn drive<K, F>(
    kind: &'static str,
    controller: Controller<K>,
    at_once: u16,
    ctx: Arc<Ctx>,
    reconcile: impl Fn(Arc<K>, Arc<Ctx>) -> F + Clone + Send + Sync + 'static,
) where
    K: Resource<DynamicType = ()> + ResourceExt + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    F: Future<Output = Result<SignedDuration, Error>> + Send + 'static,
{
    let backoff: Arc<Backoff<String>> = Arc::default();
    let counted = {
        let backoff = backoff.clone();
        move |object: Arc<K>, ctx: Arc<Ctx>| {
            let (reconcile, backoff) = (reconcile.clone(), backoff.clone());
            async move {
                let start = Instant::now();
                let key = key_of(object.as_ref());
                let result = reconcile(object, ctx.clone()).await;
                ctx.metrics.reconciled(kind, result.is_ok(), start.elapsed());
                result.map(|again| {
                    backoff.reset(&key);
                    Action::requeue(spread(&key, again.unsigned_abs()))
                })
            }
        }
    };
    let retry = move |object: Arc<K>, error: &Error, _: Arc<Ctx>| {
        let key = key_of(object.as_ref());
        let wait = backoff.next(&key);
        tracing::warn!(kind, object = key, %error, retry_in = ?wait, "a pass failed");
        Action::requeue(wait)
    };
    let metrics = ctx.metrics.clone();
    controller
        .with_config(Config::default().concurrency(at_once).debounce(TOGETHER))
        .graceful_shutdown_on(crate::operator::told_to_stop())
        .run(counted, retry, ctx)
        .for_each(|result| {
            if let Err(error) = result {
                // So a deleted object is told of: it is asked for, and is not there.
                if let controller::Error::ObjectNotFound(gone) = &error {
                    metrics.gone(kind, gone.namespace.as_deref().unwrap_or_default(), &gone.name);
                }
                tracing::debug!(kind, %error, "controller");
            }
            std::future::ready(())
        })
        .await;
}

fn key_of<K: Resource<DynamicType = ()>>(object: &K) -> String {
    ObjectRef::from_obj(object).to_string()
}

/// Up to a tenth longer, the same for the same object: what was started together must not stay together.
fn spread(key: &str, wait: Duration) -> Duration {
    let hash = key.bytes().fold(0u32, |h, b| h.wrapping_mul(31).wrapping_add(b.into()));
    wait + wait.mul_f64(f64::from(hash % 100) / 1000.0)
}

/// Failures in a row, by object.
#[derive(Debug)]
struct Backoff<K>(Mutex<HashMap<K, u32>>);

impl<K> Default for Backoff<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Clone + AsRef<str>> Backoff<K> {
    fn next(&self, key: &K) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(key.clone()).or_insert(0);
        let wait = FIRST_RETRY.saturating_mul(1 << (*count).min(10)).min(LAST_RETRY);
        *count += 1;
        spread(key.as_ref(), wait)
    }

    fn reset(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_and_success_forgets() {
        let backoff: Backoff<String> = Backoff::default();
        let key = "a".to_owned();
        let waits: Vec<u64> = (0..9).map(|_| backoff.next(&key).as_secs()).collect();
        assert!(waits.windows(2).all(|w| w[0] <= w[1]) && waits[8] <= 132, "{waits:?}");
        backoff.reset(&key);
        assert_eq!(backoff.next(&key).as_secs(), waits[0]);
    }
}
