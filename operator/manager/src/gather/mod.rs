//! Reads a namespace's objects, by discovery, page by page, and hands on what a policy takes, in the order in which a point
//! is written. Who gathers a point and who asks what it would hold both come here, each with its own rights.
//!
//! A page of objects is held at a time, and of a kind whose list is in another order than its paths all objects.

mod cluster;
mod kinds;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::{Api, DynamicObject, ListParams};
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use tripod_domain::selection::claims::Claim;
use tripod_domain::selection::needs::{self, Need};
use tripod_domain::selection::order::Reorder;
use tripod_domain::selection::tally::Tally;
use tripod_domain::selection::{Fate, Kind, Rules, strip};

pub use cluster::Reading;

use crate::vault::{Document, DocumentFeed};

/// Objects asked for in one page.
const PAGE: u32 = 500;
/// Passes over a namespace. Each learns what the next has to know; more than a few don't change anything.
const PASSES: u8 = 4;

/// Whose rights are used.
pub struct Reader {
    /// Lists the namespace's objects.
    pub objects: Client,
    /// Discovers kinds, and gets what is needed of the cluster, by name.
    pub cluster: Client,
    pub namespace: String,
}

/// Where documents go.
pub trait Sink: Send {
    /// Takes the next one.
    fn take(&mut self, document: Document) -> impl Future<Output = Result<(), String>> + Send;
}

impl Sink for DocumentFeed {
    async fn take(&mut self, document: Document) -> Result<(), String> {
        self.send(document).await.map_err(|error| error.to_string())
    }
}

/// What a pass has found.
#[derive(Debug, Default)]
pub struct Gathered {
    pub tally: Tally,
    /// What is needed of the cluster, and what reading it came to.
    pub needs: BTreeMap<Need, Reading>,
}

/// What passes before have taught.
#[derive(Debug, Default)]
pub struct Known {
    /// What is needed of the cluster comes first in a point, and is known only when all was read.
    needs: Option<BTreeSet<Need>>,
    /// Kinds that are sorted whole.
    unordered: BTreeSet<String>,
    passes: u8,
}

/// Why a pass came to no end.
#[derive(Debug)]
pub enum Broken {
    /// Something was learnt that has to be known from the start: once more.
    Again,
    Failed(String),
}

impl From<String> for Broken {
    fn from(error: String) -> Self {
        Self::Failed(error)
    }
}

/// One pass over the namespace. After [`Broken::Again`] another is made with the same `known` and a new sink.
pub async fn objects(
    from: &Reader,
    rules: &Rules,
    known: &mut Known,
    sink: &mut impl Sink,
) -> Result<Gathered, Broken> {
    known.passes += 1;
    let kinds = kinds::all(&from.cluster).await?;
    let foreseen = match &known.needs {
        Some(needs) => needs.clone(),
        None => foresee(from, rules, &kinds).await?,
    };
    let mut gathered = Gathered::default();
    cluster::record(&from.cluster, &foreseen, &mut gathered.needs, sink).await?;
    let mut found = BTreeSet::new();
    for (kind, resource) in &kinds {
        if let Fate::LeftOut(reason) = rules.kind(kind) {
            gathered.tally.kind(&kind.name(), reason);
            continue;
        }
        let whole = known.unordered.contains(&kind.name());
        let mut lane =
            Lane { sink: &mut *sink, reorder: Reorder::default(), whole: whole.then(BTreeMap::new) };
        let mut pages = Pages::new(from, resource);
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) | Err(Unlisted::Unserved) => break,
                Err(Unlisted::Forbidden) => {
                    gathered.tally.not_listed.push(kind.name());
                    break;
                }
                Err(Unlisted::Failed(error)) => return Err(Broken::Failed(error)),
            };
            for object in page {
                let value = described(kind, &object)?;
                let fate = rules.object(kind, &value);
                gathered.tally.object(&kind.name(), &object.name_any(), &fate);
                if fate.is_taken() {
                    found.extend(needs::of(kind, &value));
                    let sent = lane.send(kind, value).await;
                    sent.map_err(|broken| known.learn_order(kind, broken))?;
                }
            }
        }
        lane.end().await.map_err(|broken| known.learn_order(kind, broken))?;
    }
    if found.is_subset(&foreseen) || known.passes >= PASSES {
        return Ok(gathered);
    }
    known.needs = Some(found.union(&foreseen).cloned().collect());
    Err(Broken::Again)
}

impl Known {
    fn learn_order(&mut self, kind: &Kind, broken: Untaken) -> Broken {
        match broken {
            Untaken::Unordered if self.passes < PASSES && self.unordered.insert(kind.name()) => Broken::Again,
            Untaken::Unordered => Broken::Failed(format!(
                "{}: two objects would have the same path in the point, or its list changes its order; exclude one of them, or the kind in spec.exclude.kinds",
                kind.name()
            )),
            Untaken::Sink(error) => Broken::Failed(error),
        }
    }
}

/// What is needed of the cluster, from the kinds that can need anything: they are few objects in most namespaces. What comes
/// to be while they are read is found by the pass itself.
async fn foresee(
    from: &Reader,
    rules: &Rules,
    kinds: &[(Kind, ApiResource)],
) -> Result<BTreeSet<Need>, Broken> {
    let mut found = BTreeSet::new();
    for (kind, resource) in kinds.iter().filter(|(kind, _)| needs::can_need(kind)) {
        if !rules.kind(kind).is_taken() {
            continue;
        }
        found.extend(needed_by(from, rules, kind, resource).await?);
    }
    Ok(found)
}

async fn needed_by(
    from: &Reader,
    rules: &Rules,
    kind: &Kind,
    resource: &ApiResource,
) -> Result<BTreeSet<Need>, Broken> {
    let (mut found, mut pages) = (BTreeSet::new(), Pages::new(from, resource));
    loop {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) | Err(Unlisted::Forbidden | Unlisted::Unserved) => return Ok(found),
            Err(Unlisted::Failed(error)) => return Err(Broken::Failed(error)),
        };
        for object in page {
            let value = described(kind, &object)?;
            if rules.object(kind, &value).is_taken() {
                found.extend(needs::of(kind, &value));
            }
        }
        // Of custom resources one shows all.
        if needs::definition(kind).is_some() && !found.is_empty() {
            return Ok(found);
        }
    }
}

/// Pages of one kind.
struct Pages<'a> {
    api: Api<DynamicObject>,
    kind: &'a str,
    next: Option<ListParams>,
}

enum Unlisted {
    /// Who asks may not.
    Forbidden,
    /// Nobody can.
    Unserved,
    Failed(String),
}

impl<'a> Pages<'a> {
    fn new(from: &Reader, resource: &'a ApiResource) -> Self {
        Self {
            api: Api::namespaced_with(from.objects.clone(), &from.namespace, resource),
            kind: &resource.kind,
            next: Some(ListParams::default().limit(PAGE)),
        }
    }

    async fn next(&mut self) -> Result<Option<Vec<DynamicObject>>, Unlisted> {
        let Some(page) = self.next.take() else { return Ok(None) };
        let listed = match self.api.list(&page).await {
            Ok(listed) => listed,
            Err(kube::Error::Api(status)) if status.code == 403 => return Err(Unlisted::Forbidden),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 405) => {
                return Err(Unlisted::Unserved);
            }
            Err(error) => return Err(Unlisted::Failed(format!("listing {}: {error}", self.kind))),
        };
        self.next = listed
            .metadata
            .continue_
            .filter(|token| !token.is_empty())
            .map(|token| ListParams::default().limit(PAGE).continue_token(&token));
        Ok(Some(listed.items))
    }
}

/// An object as a list does not have it: with its kind.
fn described(kind: &Kind, object: &DynamicObject) -> Result<Value, String> {
    let mut value =
        serde_json::to_value(object).map_err(|e| format!("{} {}: {e}", kind.name(), object.name_any()))?;
    value["apiVersion"] = json!(kind.api_version());
    value["kind"] = json!(kind.kind);
    Ok(value)
}

/// One kind's documents on their way to the sink.
struct Lane<'a, S> {
    sink: &'a mut S,
    reorder: Reorder<Document>,
    whole: Option<BTreeMap<String, Document>>,
}

enum Untaken {
    Unordered,
    Sink(String),
}

impl<S: Sink> Lane<'_, S> {
    async fn send(&mut self, kind: &Kind, object: Value) -> Result<(), Untaken> {
        let path = kind.path(object["metadata"]["name"].as_str().unwrap_or_default());
        let document = document(path.clone(), object).map_err(Untaken::Sink)?;
        if let Some(whole) = &mut self.whole {
            return match whole.insert(path, document) {
                None => Ok(()),
                Some(_) => Err(Untaken::Unordered),
            };
        }
        let ready = self.reorder.next(path, document).map_err(|_| Untaken::Unordered)?;
        self.give(ready).await
    }

    async fn end(mut self) -> Result<(), Untaken> {
        if let Some(whole) = self.whole.take() {
            return self.give(whole).await;
        }
        let rest = self.reorder.rest().map_err(|_| Untaken::Unordered)?;
        self.give(rest).await
    }

    async fn give<I>(&mut self, ready: I) -> Result<(), Untaken>
    where
        I: IntoIterator<Item = (String, Document), IntoIter: Send> + Send,
    {
        for (_, document) in ready {
            self.sink.take(document).await.map_err(Untaken::Sink)?;
        }
        Ok(())
    }
}

/// What is archived of an object.
fn document(path: String, object: Value) -> Result<Document, String> {
    match serde_json::to_vec_pretty(&strip(object)) {
        Ok(body) => Ok(Document { path, body }),
        Err(error) => Err(format!("{path}: {error}")),
    }
}

/// A claim as the choice among claims sees it.
#[must_use]
pub fn claim(of: &PersistentVolumeClaim) -> Claim {
    let phase = of.status.as_ref().and_then(|status| status.phase.as_deref());
    Claim { name: of.name_any(), labels: of.labels().clone(), bound: phase == Some("Bound") }
}
