//! The watches that fill the index: of namespaces and children only what their metadata says, of quotas all.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{LimitRange, Namespace as KubeNamespace, ResourceQuota};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tripod_crds::Approval;
use tripod_domain::ledger::{self, Quota};
use tripod_domain::namespace::{Child, ChildName, Namespace};
use tripod_domain::tenancy::{APPLIED, DEPARTMENT, PROMISE, QUOTA, home};

use super::Tenancy;
use super::index::version;

/// Watches that have to be complete before anything is decided.
const WATCHES: usize = 6;

/// Counts the watches whose first list is complete.
struct Progress {
    left: AtomicUsize,
    complete: std::sync::Mutex<Option<tokio::sync::oneshot::Sender<()>>>,
}

impl Progress {
    fn one_more(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1
            && let Ok(mut complete) = self.complete.lock()
            && let Some(complete) = complete.take()
        {
            let _ = complete.send(());
        }
    }
}

pub(super) async fn all(
    tenancy: Arc<Tenancy>,
    client: Client,
    operator_namespace: String,
    complete: tokio::sync::oneshot::Sender<()>,
) {
    let progress = Progress { left: AtomicUsize::new(WATCHES), complete: Some(complete).into() };
    let (tenancy, progress, own) = (tenancy.as_ref(), &progress, operator_namespace.as_str());
    let ours = || watcher::Config::default().labels(DEPARTMENT);
    let quotas = watcher(Api::<ResourceQuota>::all(client.clone()), ours());
    let approvals = watcher(Api::<Approval>::namespaced(client.clone(), own), watcher::Config::default());
    futures::join!(
        namespaces(
            tenancy,
            progress,
            watcher(Api::<PartialObjectMeta<KubeNamespace>>::all(client.clone()), ours())
        ),
        follow(quotas, progress, |event| quota(tenancy, event)),
        children::<LimitRange>(tenancy, progress, own, client.clone()),
        children::<NetworkPolicy>(tenancy, progress, own, client.clone()),
        children::<RoleBinding>(tenancy, progress, own, client.clone()),
        follow(approvals, progress, |event| approval(tenancy, event)),
    );
}

/// Namespace and name.
type Key = (String, String);

/// What became of an object.
enum Seen<K> {
    There(K),
    Gone(K),
    /// Anew, there are these and no others: some may have gone while nobody watched.
    Only(HashSet<Key>),
}

/// Hands every object to `take`. An error of the watch is retried with growing pauses; what was seen stays.
async fn follow<K: Resource<DynamicType = ()> + Clone + Debug>(
    stream: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>>,
    progress: &Progress,
    mut take: impl FnMut(Seen<K>),
) {
    let mut first = true;
    let mut listed = HashSet::new();
    let mut stream = std::pin::pin!(stream.default_backoff());
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Apply(object)) => take(Seen::There(object)),
            Ok(watcher::Event::InitApply(object)) => {
                if !first {
                    listed.insert((object.namespace().unwrap_or_default(), object.name_any()));
                }
                take(Seen::There(object));
            }
            Ok(watcher::Event::Delete(object)) => take(Seen::Gone(object)),
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitDone) if std::mem::take(&mut first) => progress.one_more(),
            Ok(watcher::Event::InitDone) => take(Seen::Only(std::mem::take(&mut listed))),
            Err(error) => tracing::debug!(kind = %K::kind(&()), %error, "watch"),
        }
    }
}

async fn namespaces(
    tenancy: &Tenancy,
    progress: &Progress,
    stream: impl Stream<Item = Result<watcher::Event<PartialObjectMeta<KubeNamespace>>, watcher::Error>>,
) {
    let take = |seen: Seen<PartialObjectMeta<KubeNamespace>>| match seen {
        Seen::There(object) => {
            let name = object.name_any();
            tenancy.change(|index| index.put_namespace(&name, namespace_of(&object)));
        }
        Seen::Gone(object) => tenancy.change(|index| index.drop_namespace(&object.name_any())),
        Seen::Only(listed) => {
            let left =
                tenancy.read().namespaces_without(|name| listed.contains(&(String::new(), name.to_owned())));
            for name in &left {
                tenancy.change(|index| index.drop_namespace(name));
            }
        }
    };
    follow(stream, progress, take).await;
}

/// Of a namespace, what decisions are made from.
#[must_use]
pub fn namespace_of(object: &impl ResourceExt) -> Namespace {
    let ours = |key: &&String| {
        key.contains("tripod.cloud/") || key.contains("pod-security.") || key.ends_with("managed-by")
    };
    let keep = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().filter(|(key, _)| ours(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    Namespace {
        uid: object.uid().unwrap_or_default(),
        version: object.resource_version().unwrap_or_default(),
        labels: keep(object.labels()),
        annotations: keep(object.annotations()),
        deleting: object.meta().deletion_timestamp.is_some(),
        created: object.creation_timestamp().map_or(0, |t| t.0.as_second()),
        ..Namespace::default()
    }
}

fn quota(tenancy: &Tenancy, seen: Seen<ResourceQuota>) {
    match seen {
        Seen::There(object) if object.name_any() == QUOTA => {
            let namespace = object.namespace().unwrap_or_default();
            let (quota, written_at) = quota_of(&object);
            tenancy.change(|index| index.put_quota(&namespace, quota, written_at));
        }
        Seen::Gone(object) if object.name_any() == QUOTA => {
            tenancy.change(|index| index.drop_quota(&object.namespace().unwrap_or_default()));
        }
        Seen::Only(listed) => {
            let left =
                tenancy.read().quotas_without(|at| listed.contains(&(at.to_owned(), QUOTA.to_owned())));
            for namespace in &left {
                tenancy.change(|index| index.drop_quota(namespace));
            }
        }
        _ => {}
    }
}

/// Of a quota, what the ledger decides from, and when it was last written by us.
#[must_use]
pub fn quota_of(object: &ResourceQuota) -> (Quota, i64) {
    let read =
        |map: Option<&std::collections::BTreeMap<String, _>>| map.and_then(|m| ledger::read("", m).ok());
    let status = object.status.as_ref();
    let quota = Quota {
        version: object.resource_version().unwrap_or_default(),
        promise: object.annotations().get(PROMISE).cloned().unwrap_or_default(),
        spec: read(object.spec.as_ref().and_then(|s| s.hard.as_ref())).unwrap_or_default(),
        enforced: read(status.and_then(|s| s.hard.as_ref())),
        used: read(status.and_then(|s| s.used.as_ref())),
    };
    let written = object.annotations().get(WRITTEN).and_then(|w| w.parse::<Timestamp>().ok());
    (quota, written.map_or(0, Timestamp::as_second))
}

/// Annotation of a quota: when we wrote it.
pub const WRITTEN: &str = "tripod.cloud/written-at";

async fn children<K>(tenancy: &Tenancy, progress: &Progress, operator_namespace: &str, client: Client)
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let config = watcher::Config::default().labels(DEPARTMENT);
    let take = |seen: Seen<PartialObjectMeta<K>>| match seen {
        Seen::There(object) => {
            let (namespace, key, child) = child_of::<K>(&object, operator_namespace);
            let at = version(object.resource_version().as_deref());
            tenancy.change(|index| index.put_child(&namespace, key, child, at, false));
        }
        Seen::Gone(object) => {
            let (namespace, key, _) = child_of::<K>(&object, operator_namespace);
            tenancy.change(|index| index.drop_child(&namespace, &key));
        }
        Seen::Only(listed) => {
            let there = |at: &str, name: &str| {
                [at, operator_namespace]
                    .iter()
                    .any(|at| listed.contains(&((*at).to_owned(), name.to_owned())))
            };
            let left = tenancy.read().children_without(&K::kind(&()), there);
            for (namespace, key) in left {
                tenancy.change(|index| index.drop_child(&namespace, &key));
            }
        }
    };
    follow(watcher(Api::<PartialObjectMeta<K>>::all(client), config), progress, take).await;
}

/// Where a child belongs, and what is known of it. What lies beside the operator belongs to the department's home.
#[must_use]
pub fn child_of<K: Resource<DynamicType = ()>>(
    object: &impl ResourceExt,
    operator_namespace: &str,
) -> (String, ChildName, Child) {
    let mut namespace = object.namespace().unwrap_or_default();
    if namespace == operator_namespace
        && let Some(department) = object.labels().get(DEPARTMENT)
    {
        namespace = home(department);
    }
    let child = Child {
        uid: object.uid().unwrap_or_default(),
        applied: object.annotations().get(APPLIED).cloned().unwrap_or_default(),
    };
    (namespace, (K::kind(&()).into_owned(), object.name_any()), child)
}

fn approval(tenancy: &Tenancy, seen: Seen<Approval>) {
    match seen {
        Seen::There(approval) => {
            tenancy.change(|index| index.put_approval(&approval.name_any(), approval.clone()));
        }
        Seen::Gone(approval) => tenancy.write().drop_approval(&approval.name_any(), &approval),
        Seen::Only(listed) => tenancy.write().keep_approvals(|name| listed.iter().any(|(_, n)| n == name)),
    }
}
