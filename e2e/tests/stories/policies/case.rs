//! A case: who tries what, and with which words it is refused, if it is. `policies/README.md` tells how one is written.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kube::api::{DeleteParams, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Answer, Api, Identity, Place};

/// Group that may do everything by RBAC, and nothing that only the platform may: see `policies/setting.yaml`.
const GROUP: &str = "policy-cases";
/// Who tries, when a case does not say.
const SOMEBODY: &str = "wei";

#[derive(Debug, PartialEq, Eq)]
enum Operation {
    Create,
    Update(Option<&'static str>),
    Delete,
    Token,
}

#[derive(Debug)]
pub struct Case {
    /// `rule/deny/case.yaml`.
    pub file: String,
    /// Words of the refusal; `None`: it is accepted.
    pub expect: Option<String>,
    who: Identity,
    /// Who made what was there before; the administrator by default.
    before_as: Identity,
    operation: Operation,
    /// What has to be there before.
    pub before: Option<Value>,
    /// What is sent: an object, or of a change what changes.
    object: Value,
}

impl Case {
    pub fn read(rule: &str, folder: &str, file: &Path) -> Result<Self> {
        let name = format!("{rule}/{folder}/{}", file.file_name().unwrap_or_default().to_string_lossy());
        let text = std::fs::read_to_string(file)?;
        let case = Self::parse(name.clone(), &text).with_context(|| name.clone())?;
        ensure!(
            case.expect.is_some() == (folder == "deny"),
            "{name}: what is refused, and nothing else, says `# expect:`"
        );
        Ok(case)
    }

    /// Somebody creates an object.
    pub fn creation(object: Value) -> Self {
        Self {
            file: String::new(),
            expect: None,
            who: identity(SOMEBODY),
            before_as: Identity::default(),
            operation: Operation::Create,
            before: None,
            object,
        }
    }

    fn parse(file: String, text: &str) -> Result<Self> {
        let mut case = Self { file, ..Self::creation(Value::Null) };
        for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
            match line.split_once(": ").context("a comment at the top is `key: value`")? {
                ("as", user) => case.who.user = Some(user.to_owned()),
                ("groups", groups) => case.who.groups.extend(groups.split(", ").map(str::to_owned)),
                ("only-groups", groups) => {
                    case.who.groups = groups.split(", ").map(str::to_owned).collect();
                }
                ("before-as", user) => case.before_as = identity(user),
                ("expect", words) => case.expect = Some(words.to_owned()),
                ("operation", word) => case.operation = operation(word)?,
                (key, _) => bail!("{key} is not known"),
            }
        }
        let mut documents = documents(text)?;
        let last = documents.pop().context("no document")?;
        match (&case.operation, documents.pop()) {
            (Operation::Update(_), Some(before)) => case.before = Some(before),
            (Operation::Delete, None) => case.before = Some(last.clone()),
            (_, None) => {}
            (_, Some(_)) => bail!("two documents are for a change: what was there, and what changes"),
        }
        ensure!(documents.is_empty(), "at most two documents");
        case.object = last;
        Ok(case)
    }

    /// Makes what has to be there before.
    pub async fn prepare(&self, api: &Api) -> Result<()> {
        match &self.before {
            Some(before) => api.ensure(&self.before_as, before).await.with_context(|| self.file.clone()),
            None => Ok(()),
        }
    }

    /// Tries it, without leaving anything behind; `group` is one more group of who tries it.
    pub async fn attempt(&self, api: &Api, group: Option<&str>) -> Result<Answer> {
        let mut who = self.who.clone();
        who.groups.extend(group.map(str::to_owned));
        let place = Place::of(self.before.as_ref().unwrap_or(&self.object))?;
        let (how, name) = (PostParams { dry_run: true, ..PostParams::default() }, place.name.as_str());
        let request = match &self.operation {
            Operation::Create => place.request.create(&how, serde_json::to_vec(&self.object)?)?,
            Operation::Token => {
                place.request.create_subresource("token", name, &how, serde_json::to_vec(&self.object)?)?
            }
            Operation::Delete => place.request.delete(name, &DeleteParams::default().dry_run())?,
            Operation::Update(subresource) => return self.change(api, &who, &place, *subresource).await,
        };
        api.send(&who, request).await
    }

    /// A change of what is there at this moment; should it have been changed meanwhile, it is changed again.
    async fn change(
        &self,
        api: &Api,
        who: &Identity,
        place: &Place,
        subresource: Option<&str>,
    ) -> Result<Answer> {
        let how = PostParams { dry_run: true, ..PostParams::default() };
        // The door of a namespace's finalizers, and of every status, takes the whole object.
        let door = subresource.filter(|sub| !["status", "finalize"].contains(sub));
        loop {
            let mut object =
                api.get(place, door).await?.with_context(|| format!("{} is gone", place.name))?;
            merge(&mut object, &self.object);
            let body = serde_json::to_vec(&object)?;
            let request = match subresource {
                Some(sub) => place.request.replace_subresource(sub, &place.name, &how, body)?,
                None => place.request.replace(&place.name, &how, body)?,
            };
            let answer = api.send(who, request).await?;
            if answer.code != 409 {
                return Ok(answer);
            }
        }
    }
}

fn identity(user: &str) -> Identity {
    Identity { user: Some(user.to_owned()), groups: vec![GROUP.to_owned()] }
}

fn operation(word: &str) -> Result<Operation> {
    Ok(match word {
        "create" => Operation::Create,
        "update" => Operation::Update(None),
        "delete" => Operation::Delete,
        "token" => Operation::Token,
        "status" => Operation::Update(Some("status")),
        "finalize" => Operation::Update(Some("finalize")),
        "scale" => Operation::Update(Some("scale")),
        "ephemeralcontainers" => Operation::Update(Some("ephemeralcontainers")),
        other => bail!("operation {other} is not known"),
    })
}

/// The YAML documents of a file; empty ones are none.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let all = serde_yaml_ng::Deserializer::from_str(text).map(Value::deserialize);
    let all: Vec<Value> = all.collect::<Result<_, _>>()?;
    Ok(all.into_iter().filter(|document| !document.is_null()).collect())
}

/// RFC 7396: `null` takes away.
fn merge(target: &mut Value, change: &Value) {
    let Some(fields) = change.as_object() else {
        target.clone_from(change);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in fields {
        match target.as_object_mut() {
            Some(object) if value.is_null() => drop(object.remove(key)),
            _ => merge(&mut target[key], value),
        }
    }
}
