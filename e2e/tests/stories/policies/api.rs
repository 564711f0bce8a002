//! Requests to the API server as somebody, with all that it answers: the code, the words and the warnings.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::{ApiResource, DynamicObject, GroupVersion, Request, Resource};
use kube::{Client, Config};
use serde_json::Value;

/// One cluster.
#[derive(Clone)]
pub struct Api {
    client: Client,
}

/// Who asks. Nobody: the administrator whose kubeconfig it is.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    pub user: Option<String>,
    pub groups: Vec<String>,
}

#[derive(Debug)]
pub struct Answer {
    pub code: u16,
    pub body: Value,
    pub warnings: Vec<String>,
}

impl Answer {
    pub fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// What the API server says, when it refuses.
    pub fn words(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// Where an object lives.
pub struct Place {
    pub request: Request,
    pub name: String,
}

impl Place {
    /// Of an object that is written down as YAML. The plural is guessed, as for all kinds of Kubernetes and Tripod it can.
    pub fn of(object: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let version: GroupVersion = text(&object["apiVersion"]).context("no apiVersion")?.parse()?;
        let kind = text(&object["kind"]).context("no kind")?;
        // A token is asked for at its account.
        let resource = if kind == "TokenRequest" {
            ApiResource::from_gvk(&GroupVersion::gv("", "v1").with_kind("ServiceAccount"))
        } else {
            ApiResource::from_gvk(&version.with_kind(&kind))
        };
        let namespace = text(&object["metadata"]["namespace"]);
        let name = text(&object["metadata"]["name"]).context("no name")?;
        Ok(Self { request: Request::new(DynamicObject::url_path(&resource, namespace.as_deref())), name })
    }
}

impl Api {
    pub async fn new(kubeconfig: &Path) -> Result<Self> {
        let file = Kubeconfig::read_from(kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
        Ok(Self { client: Client::try_from(config)? })
    }

    /// Sends a request, whoever is meant to send it.
    pub async fn send(&self, who: &Identity, mut request: http::Request<Vec<u8>>) -> Result<Answer> {
        if let Some(user) = &who.user {
            request.headers_mut().insert("impersonate-user", user.parse()?);
            for group in &who.groups {
                request.headers_mut().append("impersonate-group", group.parse()?);
            }
        }
        let response = self.client.send(request.map(Body::from)).await?;
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings.map(|w| String::from_utf8_lossy(w.as_bytes()).into_owned()).collect();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect_bytes().await?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| serde_json::json!({"message": String::from_utf8_lossy(&bytes).into_owned()}));
        Ok(Answer { code, body, warnings })
    }

    /// The object, or one of its subresources, as the administrator sees it.
    pub async fn get(&self, place: &Place, subresource: Option<&str>) -> Result<Option<Value>> {
        let request = match subresource {
            Some(sub) => place.request.get_subresource(sub, &place.name)?,
            None => place.request.get(&place.name, &kube::api::GetParams::default())?,
        };
        let answer = self.send(&Identity::default(), request).await?;
        match answer.code {
            404 => Ok(None),
            _ if answer.succeeded() => Ok(Some(answer.body)),
            code => bail!("{}: {code} {}", place.name, answer.words()),
        }
    }

    /// Applies an object for good.
    pub async fn try_apply(&self, object: &Value) -> Result<Answer> {
        let place = Place::of(object)?;
        let how = PatchParams::apply("policy-cases").force();
        let request = place.request.patch(&place.name, &how, &Patch::Apply(object))?;
        self.send(&Identity::default(), request).await
    }

    /// The same; that it is refused is an error.
    pub async fn apply(&self, object: &Value) -> Result<()> {
        let answer = self.try_apply(object).await?;
        ensure!(answer.succeeded(), "{object}: {} {}", answer.code, answer.words());
        Ok(())
    }

    /// Creates an object for good, with its status where it has one, unless it is there.
    pub async fn ensure(&self, who: &Identity, object: &Value) -> Result<()> {
        let place = Place::of(object)?;
        if self.get(&place, None).await?.is_some() {
            return Ok(());
        }
        let request = place.request.create(&PostParams::default(), serde_json::to_vec(object)?)?;
        let answer = self.send(who, request).await?;
        ensure!(answer.succeeded(), "{object}: {} {}", answer.code, answer.words());
        if object["status"].is_object() {
            let patch = Patch::Merge(serde_json::json!({"status": object["status"]}));
            let how = PatchParams::default();
            let request = place.request.patch_subresource("status", &place.name, &how, &patch)?;
            let answer = self.send(&Identity::default(), request).await?;
            ensure!(answer.succeeded(), "status of {object}: {} {}", answer.code, answer.words());
        }
        Ok(())
    }

    /// Deletes an object; it may be gone.
    pub async fn delete(&self, object: &Value) -> Result<()> {
        let place = Place::of(object)?;
        if object["kind"] == "Department" {
            // One that has systems is only deleted when that is said to be meant.
            let patch = Patch::Merge(
                serde_json::json!({"metadata": {"annotations": {"tripod.cloud/on-delete": "Keep"}}}),
            );
            let request = place.request.patch(&place.name, &PatchParams::default(), &patch)?;
            self.send(&Identity::default(), request).await?;
        }
        let request = place.request.delete(&place.name, &DeleteParams::background())?;
        let answer = self.send(&Identity::default(), request).await?;
        // 409: it is being deleted already.
        ensure!(
            answer.succeeded() || [404, 409].contains(&answer.code),
            "{object}: {} {}",
            answer.code,
            answer.words()
        );
        Ok(())
    }

    /// Deletes all objects of a kind that carry a label.
    pub async fn delete_labelled(&self, api_version: &str, kind: &str, label: &str) -> Result<()> {
        let version: GroupVersion = api_version.parse()?;
        let resource = ApiResource::from_gvk(&version.with_kind(kind));
        let all = Request::new(DynamicObject::url_path(&resource, None));
        let request =
            all.delete_collection(&DeleteParams::default(), &ListParams::default().labels(label))?;
        let answer = self.send(&Identity::default(), request).await?;
        ensure!(answer.succeeded(), "{kind}: {} {}", answer.code, answer.words());
        Ok(())
    }
}
