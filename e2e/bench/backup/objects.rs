//! The objects that are backed up.

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use futures::{TryStreamExt, stream};
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

/// Requests under way at a time.
pub const AT_ONCE: usize = 32;
const PAGE: u32 = 1000;
/// Bytes of a Secret or a ConfigMap.
const SIZE: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    ConfigMap,
    Secret,
    ServiceAccount,
    /// Headless: a cluster has fewer addresses than this has services.
    Service,
    /// Without pods: what starts is not what is measured.
    Deployment,
}

/// So many of one kind.
pub fn only(kind: Kind, count: usize) -> Vec<(Kind, usize)> {
    vec![(kind, count)]
}

/// So many of all kinds.
pub fn mixed(count: usize) -> Vec<(Kind, usize)> {
    let shares = [(Kind::Secret, 30), (Kind::ServiceAccount, 10), (Kind::Service, 5), (Kind::Deployment, 5)];
    let mut kinds: Vec<_> = shares.iter().map(|(kind, percent)| (*kind, count * percent / 100)).collect();
    let rest = count - self::count(&kinds);
    kinds.push((Kind::ConfigMap, rest));
    kinds
}

pub fn count(kinds: &[(Kind, usize)]) -> usize {
    kinds.iter().map(|(_, count)| count).sum()
}

/// Creates all of them.
pub async fn fill(client: &Client, namespace: &str, kinds: &[(Kind, usize)]) -> Result<()> {
    let all = kinds.iter().flat_map(|(kind, count)| (0..*count).map(move |n| (*kind, n)));
    stream::iter(all.map(Ok))
        .try_for_each_concurrent(AT_ONCE, |(kind, n)| async move {
            let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
            let object: DynamicObject = serde_json::from_value(kind.object(n))?;
            let created = api.create(&PostParams::default(), &object).await;
            created.map(drop).with_context(|| format!("{kind:?} {n} in {namespace}"))
        })
        .await
}

/// How many of them are in a namespace, with the content that they had.
pub async fn there(client: &Client, namespace: &str, kinds: &[(Kind, usize)]) -> Result<usize> {
    let mut found = 0;
    for (kind, _) in kinds {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind.resource());
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = api.list(&page).await?;
            let ours = listed.items.iter().filter_map(|object| Some((object, number(object)?)));
            for (object, n) in ours {
                let wanted = kind.object(n);
                let field = if *kind == Kind::Secret || *kind == Kind::ConfigMap { "data" } else { "kind" };
                let same = field == "kind" || object.data.get(field) == wanted.get(field);
                ensure!(same, "{kind:?} {n} in {namespace} is another one");
                found += 1;
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => break,
            }
        }
    }
    Ok(found)
}

fn number(object: &DynamicObject) -> Option<usize> {
    object.metadata.name.as_deref()?.strip_prefix("bench-")?.parse().ok()
}

impl Kind {
    fn resource(self) -> ApiResource {
        let (group, plural) = match self {
            Self::ConfigMap => ("", "configmaps"),
            Self::Secret => ("", "secrets"),
            Self::ServiceAccount => ("", "serviceaccounts"),
            Self::Service => ("", "services"),
            Self::Deployment => ("apps", "deployments"),
        };
        let api_version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        ApiResource {
            group: group.into(),
            version: "v1".into(),
            api_version,
            kind: format!("{self:?}"),
            plural: plural.into(),
        }
    }

    /// Every one has another content.
    fn object(self, n: usize) -> Value {
        let name = format!("bench-{n:06}");
        let resource = self.resource();
        let mut object = json!({"apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {"name": name, "labels": {"app": "bench", "part": (n % 50).to_string()}}});
        let mut random = fastrand::Rng::with_seed(n as u64);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(SIZE * 3 / 4).collect();
        let text = base64::engine::general_purpose::STANDARD.encode(noise);
        match self {
            Self::Secret | Self::ConfigMap => object["data"] = json!({"value": text}),
            Self::ServiceAccount => object["automountServiceAccountToken"] = json!(false),
            Self::Service => {
                object["spec"] =
                    json!({"clusterIP": "None", "selector": {"app": name}, "ports": [{"port": 80}]});
            }
            Self::Deployment => {
                object["spec"] = json!({"replicas": 0, "selector": {"matchLabels": {"app": name}},
                    "template": {"metadata": {"labels": {"app": name}}, "spec": {"automountServiceAccountToken": false,
                        "containers": [{"name": "c", "image": "example.org/none:1",
                            "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}}}]}}});
            }
        }
        object
    }
}
