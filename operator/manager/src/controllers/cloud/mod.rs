//! Cloud: reads another cluster and writes there nothing; tells the departments here what they have there.

mod act;
mod observe;
mod read;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::Store;
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Api, Resource, ResourceExt};
use tripod_crds::{Cloud, CloudStatus};
use tripod_domain::cloud::{self, Concerned, Look};
use tripod_domain::{conditions, tenancy};

use crate::context::{Ctx, Error};

/// Secrets of the operator's namespace with this beginning are kubeconfigs of clouds; no other is read for one.
const SECRETS: &str = "cloud-";

/// What is remembered of each cloud, by UID. It is lost with the process, and everything is read anew.
#[derive(Default)]
struct Memory {
    looks: Mutex<BTreeMap<String, Look>>,
    own_cluster: tokio::sync::OnceCell<String>,
}

impl Memory {
    fn last(&self, cloud: &Cloud) -> Option<Look> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.get(&cloud.uid().unwrap_or_default()).cloned()
    }

    fn remember(&self, cloud: &Cloud, look: Option<Look>) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.extend(cloud.uid().zip(look));
    }

    fn forget_others(&self, known: &BTreeMap<String, Arc<Cloud>>) {
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        looks.retain(|uid, _| known.values().any(|cloud| cloud.uid().as_ref() == Some(uid)));
    }
}

/// Runs until the process is told to stop.
pub async fn run(
    ctx: Arc<Ctx>,
    stream: impl Stream<Item = Result<Cloud, watcher::Error>> + Send + 'static,
    store: Store<Cloud>,
) {
    let memory: Arc<Memory> = Arc::default();
    let (watching, remembered) = (ctx.clone(), memory.clone());
    let mut known = BTreeMap::new();
    // What the store holds is what departments decide from, so they are woken once it is there.
    let stream = stream.inspect(move |_| {
        notice(&watching, &mut known);
        remembered.forget_others(&known);
    });
    let secrets: Api<PartialObjectMeta<Secret>> = Api::namespaced(ctx.client.clone(), &ctx.namespace);
    let changed = watcher(secrets, watcher::Config::default()).default_backoff().touched_objects();
    let changed = changed.filter_map(|secret| async move {
        secret.ok().filter(|secret| secret.name_any().starts_with(SECRETS)).map(drop)
    });
    let controller = Controller::for_stream(stream, store).reconcile_all_on(changed);
    let pass = move |object, ctx| reconcile(object, ctx, memory.clone());
    super::drive("Cloud", controller, super::FEW, ctx, pass).await;
}

async fn reconcile(object: Arc<Cloud>, ctx: Arc<Ctx>, memory: Arc<Memory>) -> Result<SignedDuration, Error> {
    let seen = observe::observe(&ctx, &memory, &object).await?;
    let plan = cloud::decide(&seen, Timestamp::now());
    let outcome = act::act(&seen, &plan).await;
    let now = Timestamp::now();
    let status = cloud::status(&seen, &outcome, now);
    tell(&ctx, &object, &status).await;
    ctx.write_status(&Api::all(ctx.client.clone()), object.as_ref(), object.status.as_ref(), &status).await?;
    // Not before it is written: what was not, is read again.
    memory.remember(&object, cloud::look(&seen, &outcome, now));
    Ok(cloud::again(&seen, &outcome, now))
}

/// An event for each change of the reason.
async fn tell(ctx: &Ctx, object: &Cloud, status: &CloudStatus) {
    let Some(ready) = conditions::find(&status.conditions, "Ready") else { return };
    let before = object.status.as_ref().and_then(|s| conditions::find(&s.conditions, "Ready"));
    if before.is_none_or(|before| before.reason != ready.reason) {
        ctx.tell(&object.object_ref(&()), ready.reason != "Read", &ready.reason, &ready.message).await;
    }
}

/// Wakes the departments that what has become of the clouds concerns.
fn notice(ctx: &Ctx, known: &mut BTreeMap<String, Arc<Cloud>>) {
    let current: BTreeMap<String, Arc<Cloud>> =
        ctx.clouds.state().into_iter().map(|cloud| (cloud.name_any(), cloud)).collect();
    let before = std::mem::replace(known, current);
    let now = Timestamp::now();
    for name in before.keys().chain(known.keys().filter(|name| !before.contains_key(*name))) {
        let (old, new) = (before.get(name).map(Arc::as_ref), known.get(name).map(Arc::as_ref));
        match cloud::concerned(old, new, now) {
            Concerned::Nobody => {}
            Concerned::These(departments) => {
                let homes: Vec<String> = departments.iter().map(|name| tenancy::home(name)).collect();
                ctx.tenancy.wake_departments_of(homes.iter());
            }
            Concerned::All => return ctx.tenancy.wake_all(),
        }
    }
}
