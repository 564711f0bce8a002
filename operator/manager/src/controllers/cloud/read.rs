//! Lists what a reading of another cluster is made of: page by page, of each object as little as it takes, and of
//! namespaces, quotas and pods only what belongs to departments is kept.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::ResourceQuota;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{ListParams, ObjectList, ObjectMeta, Request};
use kube::{Client, ResourceExt};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tripod_crds::quantities::Quantities;
use tripod_domain::cloud::{Gap, Part, Quota, Reading, Usage};
use tripod_domain::tenancy::{DEPARTMENT, QUOTA};
use tripod_domain::{ledger, quantity};

/// Objects a page.
const PAGE: u32 = 500;
/// More objects than any cluster has; who sends more wants to fill our memory.
const MOST: usize = 1_000_000;

/// Why nothing was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The server does not know who asks.
    Unauthorised,
    /// In words.
    Unreachable(String),
}

/// An object of which only its metadata is read.
#[derive(Deserialize, Clone)]
struct Named {
    metadata: ObjectMeta,
}

#[derive(Deserialize, Clone)]
struct PodMetrics {
    metadata: ObjectMeta,
    containers: Option<Vec<ContainerMetrics>>,
}

#[derive(Deserialize, Clone)]
struct ContainerMetrics {
    usage: BTreeMap<String, Quantity>,
}

#[derive(Deserialize, Clone)]
struct DepartmentThere {
    metadata: ObjectMeta,
    spec: BudgetThere,
}

#[derive(Deserialize, Clone)]
struct BudgetThere {
    /// Numbers or text, as it was written.
    #[serde(default)]
    budget: BTreeMap<String, Value>,
}

/// Reads all parts; what the user may not read, or is not served, is missing on its own.
pub(super) async fn read(client: &Client) -> Result<Reading, Trouble> {
    let namespaces = part("list namespaces", namespaces(client).await)?;
    let none = BTreeMap::new();
    let ours = namespaces.as_ref().unwrap_or(&none);
    Ok(Reading {
        cluster: part("list namespaces", cluster(client).await)?.unwrap_or_default(),
        quotas: part("list resourcequotas", quotas(client, ours).await)?,
        usage: usage(client, ours).await?,
        budgets: part("list departments.tripod.cloud", budgets(client).await)?,
        namespaces,
    })
}

/// One part, or why it is missing. What is wrong with the whole cluster is no gap.
fn part<T>(right: &str, result: Result<T, kube::Error>) -> Result<Part<T>, Trouble> {
    match result {
        Ok(part) => Ok(Ok(part)),
        Err(kube::Error::Api(status)) => match status.code {
            401 => Err(Trouble::Unauthorised),
            403 => Ok(Err(Gap::Forbidden(right.to_owned()))),
            // What every Kubernetes serves is not missing: that server is none.
            404 if right.contains('.') => Ok(Err(Gap::Absent)),
            // An API that is served by somebody else may be down while the others are not.
            _ if right.contains(".k8s.io") => Ok(Err(Gap::Failed(status.message.clone()))),
            code => Err(Trouble::Unreachable(format!("{right}: {} (HTTP {code})", status.message))),
        },
        Err(error) => Err(Trouble::Unreachable(words(&error))),
    }
}

/// An error with its causes: most say little without them, and many say what their cause says.
pub(super) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Which cluster it is.
async fn cluster(client: &Client) -> Result<Option<String>, kube::Error> {
    let mut uid = None;
    let this = ListParams::default().fields("metadata.name=kube-system");
    each(client, "/api/v1/namespaces", this, true, |namespace: Named| uid = namespace.metadata.uid).await?;
    Ok(uid)
}

async fn namespaces(client: &Client) -> Result<BTreeMap<String, String>, kube::Error> {
    let mut found = BTreeMap::new();
    let labelled = ListParams::default().labels(DEPARTMENT);
    each(client, "/api/v1/namespaces", labelled, true, |namespace: Named| {
        let department = namespace.metadata.labels.and_then(|mut labels| labels.remove(DEPARTMENT));
        found.extend(namespace.metadata.name.zip(department));
    })
    .await?;
    Ok(found)
}

async fn quotas(
    client: &Client,
    namespaces: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Quota>, kube::Error> {
    let mut found = BTreeMap::new();
    let ours = ListParams::default().labels(DEPARTMENT).fields(&format!("metadata.name={QUOTA}"));
    each(client, "/api/v1/resourcequotas", ours, false, |quota: ResourceQuota| {
        let namespace = quota.namespace().unwrap_or_default();
        if namespaces.get(&namespace).is_some_and(|owner| quota.labels().get(DEPARTMENT) == Some(owner)) {
            let read =
                |amounts: Option<&Quantities>| amounts.and_then(|amounts| ledger::read("", amounts).ok());
            let hard = read(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref())).unwrap_or_default();
            let used = read(quota.status.as_ref().and_then(|status| status.used.as_ref()));
            found.insert(namespace, Quota { hard, used });
        }
    })
    .await?;
    Ok(found)
}

async fn budgets(client: &Client) -> Result<BTreeMap<String, Quantities>, kube::Error> {
    let mut found = BTreeMap::new();
    let path = "/apis/tripod.cloud/v1alpha1/departments";
    each(client, path, ListParams::default(), false, |department: DepartmentThere| {
        let text = |amount: Value| amount.as_str().map_or_else(|| amount.to_string(), ToOwned::to_owned);
        let budget = department.spec.budget.into_iter().map(|(name, amount)| (name, Quantity(text(amount))));
        found.extend(department.metadata.name.map(|name| (name, budget.collect())));
    })
    .await?;
    Ok(found)
}

type UsageOf = BTreeMap<String, Result<Usage, String>>;

/// What the running pods of these namespaces use. Readings first: a pod that has started since has none yet.
async fn usage(client: &Client, namespaces: &BTreeMap<String, String>) -> Result<Part<UsageOf>, Trouble> {
    let readings = match part("list pods.metrics.k8s.io", metrics(client, namespaces).await)? {
        Ok(readings) => readings,
        Err(gap) => return Ok(Err(gap)),
    };
    part("list pods", running(client, namespaces, &readings).await)
}

/// Namespace and name of a pod.
type PodKey = (String, String);

async fn metrics(
    client: &Client,
    namespaces: &BTreeMap<String, String>,
) -> Result<HashMap<PodKey, Usage>, kube::Error> {
    let mut found = HashMap::new();
    let path = "/apis/metrics.k8s.io/v1beta1/pods";
    each(client, path, ListParams::default(), false, |pod: PodMetrics| {
        let key = key(pod.metadata);
        if namespaces.contains_key(&key.0) {
            found.extend(pod.containers.as_deref().and_then(sum).map(|usage| (key, usage)));
        }
    })
    .await?;
    Ok(found)
}

fn sum(containers: &[ContainerMetrics]) -> Option<Usage> {
    containers.iter().try_fold(Usage::default(), |sum, container| {
        let read =
            |what: &str| quantity::parse(container.usage.get(what)?).ok().filter(|amount| *amount >= 0);
        add(sum, Usage { cpu: read("cpu")?, memory: read("memory")? })
    })
}

fn add(a: Usage, b: Usage) -> Option<Usage> {
    Some(Usage { cpu: a.cpu.checked_add(b.cpu)?, memory: a.memory.checked_add(b.memory)? })
}

async fn running(
    client: &Client,
    namespaces: &BTreeMap<String, String>,
    readings: &HashMap<PodKey, Usage>,
) -> Result<UsageOf, kube::Error> {
    let mut total = UsageOf::new();
    let pods = ListParams::default().fields("status.phase=Running");
    each(client, "/api/v1/pods", pods, true, |pod: Named| {
        let key = key(pod.metadata);
        if !namespaces.contains_key(&key.0) {
            return;
        }
        let so_far = total.entry(key.0.clone()).or_insert(Ok(Usage::default()));
        if let Ok(sum) = so_far {
            let sum = readings.get(&key).and_then(|reading| add(*sum, *reading));
            *so_far = sum.ok_or_else(|| format!("pod {} runs and has no reading", key.1));
        }
    })
    .await?;
    Ok(total)
}

fn key(metadata: ObjectMeta) -> PodKey {
    (metadata.namespace.unwrap_or_default(), metadata.name.unwrap_or_default())
}

/// Hands over every object of a list, page by page.
async fn each<T: DeserializeOwned + Clone>(
    client: &Client,
    path: &str,
    parameters: ListParams,
    metadata_only: bool,
    mut take: impl FnMut(T),
) -> Result<(), kube::Error> {
    let request = Request::new(path);
    let mut page = parameters.limit(PAGE);
    let mut seen = 0;
    loop {
        let asked = if metadata_only { request.list_metadata(&page) } else { request.list(&page) };
        let list: ObjectList<T> = client.request(asked.map_err(kube::Error::BuildRequest)?).await?;
        seen += list.items.len();
        if seen > MOST {
            let endless = std::io::Error::other(format!("it lists more than {MOST} objects at {path}"));
            return Err(kube::Error::Service(Box::new(endless)));
        }
        list.items.into_iter().for_each(&mut take);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
