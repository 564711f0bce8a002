//! Reads the kubeconfig, each time: another one takes effect at once.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::config::Kubeconfig;
use kube::{Api, ResourceExt};
use tripod_crds::Cloud;
use tripod_domain::cloud::{self, Observed};

use super::{Memory, SECRETS};
use crate::context::{Ctx, Error};

pub(super) async fn observe(ctx: &Ctx, memory: &Memory, object: &Cloud) -> Result<Observed, Error> {
    let reference = &object.spec.kubeconfig_secret_ref;
    let secret = if reference.name.starts_with(SECRETS) {
        ctx.api::<Secret>(&ctx.namespace).get_opt(&reference.name).await?
    } else {
        None
    };
    let version = secret.as_ref().and_then(ResourceExt::resource_version).unwrap_or_default();
    Ok(Observed {
        cloud: object.clone(),
        kubeconfig: kubeconfig(ctx, object, secret),
        version,
        last: memory.last(object),
        counted: counted(ctx, memory, object).await?,
    })
}

fn kubeconfig(ctx: &Ctx, object: &Cloud, secret: Option<Secret>) -> Result<Kubeconfig, String> {
    let reference = &object.spec.kubeconfig_secret_ref;
    let (name, key) = (&reference.name, &reference.key);
    if !name.starts_with(SECRETS) {
        return Err(format!("a Secret whose name does not begin with {SECRETS} is not read; rename {name}"));
    }
    let secret = secret.ok_or_else(|| format!("there is no Secret {name} in namespace {}", ctx.namespace))?;
    let bytes = secret.data.and_then(|mut data| data.remove(key));
    let bytes = bytes.ok_or_else(|| format!("Secret {name} has no key {key}"))?;
    let text = String::from_utf8(bytes.0).map_err(|_| format!("Secret {name}, key {key}: it is no text"))?;
    cloud::kubeconfig(&text).map_err(|why| format!("Secret {name}, key {key}: {why}"))
}

/// This cluster, and those of the clouds that were described before this one.
async fn counted(ctx: &Ctx, memory: &Memory, object: &Cloud) -> Result<BTreeMap<String, String>, Error> {
    let own = memory.own_cluster.get_or_try_init(|| async {
        let namespaces: Api<Namespace> = Api::all(ctx.client.clone());
        Ok::<_, Error>(namespaces.get_metadata("kube-system").await?.uid().unwrap_or_default())
    });
    let own = own.await?.clone();
    let age = |cloud: &Cloud| (cloud.creation_timestamp().map(|t| t.0), cloud.name_any());
    let clouds = ctx.clouds.state();
    let older = clouds.iter().filter(|other| age(other) < age(object));
    let others =
        older.filter_map(|other| Some((memory.last(other)?.cluster?, format!("Cloud {}", other.name_any()))));
    Ok(others.chain([(own, "this very cluster".to_owned())]).collect())
}
