//! Writes one object of a point, or says what would become of it.

use std::time::Duration;

use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tripod_crds::Restore;
use tripod_crds::restore::{ChangeAction, ExistingPolicy};
use tripod_domain::restoring::archived::Archived;
use tripod_domain::restoring::differences::differences;
use tripod_domain::restoring::existing::{Settled, settle};
use tripod_domain::restoring::order::CLAIMS;
use tripod_domain::restoring::tally::Fate;

use super::objects::{Counting, Mode};

/// The field manager of what is restored.
const FIELD_MANAGER: &str = "tripod-restore";
/// How often a request is made whose failure may pass.
const TRIES: u32 = 6;

/// Why an object was not written.
pub(super) enum Trouble {
    /// It is the object's own; the others go on.
    Object(String),
    /// The API server does not answer as it should; nothing goes on.
    Server(String),
}

pub(super) struct Writer<'a> {
    client: Client,
    namespace: String,
    uid: String,
    policy: ExistingPolicy,
    mode: Mode,
    counting: &'a Counting,
}

impl<'a> Writer<'a> {
    pub(super) fn new(client: Client, restore: &Restore, mode: Mode, counting: &'a Counting) -> Self {
        Self {
            client,
            namespace: restore.namespace().unwrap_or_default(),
            uid: restore.uid().unwrap_or_default(),
            policy: restore.spec.existing,
            mode,
            counting,
        }
    }

    /// Brings the object into the namespace, as far as the policy lets it.
    pub(super) async fn put(&self, archived: &Archived, object: Value) -> Result<Fate, Trouble> {
        let api = self.api(archived, &object);
        match self.mode {
            Mode::Write => self.write(&api, archived, object).await,
            Mode::Compare => self.compare(&api, archived, object).await,
        }
    }

    fn api(&self, archived: &Archived, object: &Value) -> Api<DynamicObject> {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let resource = ApiResource {
            group: archived.group.clone(),
            version: archived.version.clone(),
            api_version: text("apiVersion"),
            kind: text("kind"),
            plural: archived.plural.clone(),
        };
        Api::namespaced_with(self.client.clone(), &self.namespace, &resource)
    }

    async fn write(
        &self,
        api: &Api<DynamicObject>,
        archived: &Archived,
        object: Value,
    ) -> Result<Fate, Trouble> {
        let (parameters, wanted) = (parameters(false), dynamic(&object)?);
        match patiently(|| api.create(&parameters, &wanted)).await {
            Ok(_) => return Ok(Fate::Created),
            Err(error) if is(&error, "AlreadyExists") => {}
            Err(error) => return Err(trouble(&error)),
        }
        for _ in 0..TRIES {
            let Some(live) = self.live(api, archived).await? else {
                return Err(Trouble::Server("it comes and goes".to_owned()));
            };
            let next = match settle(&object, &live, self.policy, &self.uid) {
                Settled::Own => return Ok(Fate::Created),
                Settled::Unchanged => return Ok(Fate::Unchanged),
                Settled::Skip => return Ok(Fate::Skipped),
                Settled::Conflict => {
                    return Err(Trouble::Object("it is there already (spec.existing: Fail)".to_owned()));
                }
                // What a claim asks for is never changed; its files are.
                Settled::Replace(_) if archived.kind() == CLAIMS => {
                    return Ok(Fate::Unchanged);
                }
                Settled::Replace(next) => dynamic(&next)?,
            };
            match patiently(|| api.replace(archived.name(), &parameters, &next)).await {
                Ok(_) => return Ok(Fate::Updated),
                // It was changed meanwhile: looked at again.
                Err(error) if is(&error, "Conflict") => {}
                Err(error) => return Err(trouble(&error)),
            }
        }
        Err(Trouble::Object("it is changed again and again by somebody else".to_owned()))
    }

    async fn compare(
        &self,
        api: &Api<DynamicObject>,
        archived: &Archived,
        object: Value,
    ) -> Result<Fate, Trouble> {
        let title = archived.title();
        let would = |action, lines| self.counting.with(|tally| tally.would(&title, action, lines));
        let Some(live) = self.live(api, archived).await? else {
            let (parameters, wanted) = (parameters(true), dynamic(&object)?);
            return match patiently(|| api.create(&parameters, &wanted)).await {
                Ok(_) => {
                    would(ChangeAction::Create, Vec::new());
                    Ok(Fate::Created)
                }
                Err(error) => {
                    let trouble = trouble(&error);
                    if let Trouble::Object(words) = &trouble {
                        would(ChangeAction::Refused, vec![words.clone()]);
                    }
                    Err(trouble)
                }
            };
        };
        Ok(match settle(&object, &live, self.policy, &self.uid) {
            Settled::Own | Settled::Unchanged => Fate::Unchanged,
            Settled::Skip => {
                would(ChangeAction::Skip, differences(&live, &object));
                Fate::Skipped
            }
            Settled::Conflict => {
                self.counting.conflict();
                would(ChangeAction::Conflict, differences(&live, &object));
                Fate::Skipped
            }
            Settled::Replace(_) => {
                would(ChangeAction::Update, differences(&live, &object));
                Fate::Updated
            }
        })
    }

    async fn live(&self, api: &Api<DynamicObject>, archived: &Archived) -> Result<Option<Value>, Trouble> {
        match patiently(|| api.get_opt(archived.name())).await {
            Ok(None) => Ok(None),
            Ok(Some(live)) => {
                let mut live = serde_json::to_value(live).map_err(|e| Trouble::Object(e.to_string()))?;
                // One object of many says by itself what it is; those in lists do not.
                live["kind"] = archived.object["kind"].clone();
                live["apiVersion"] = json!(archived.object["apiVersion"]);
                Ok(Some(live))
            }
            Err(error) => Err(trouble(&error)),
        }
    }
}

fn parameters(dry_run: bool) -> PostParams {
    PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) }
}

fn dynamic(object: &Value) -> Result<DynamicObject, Trouble> {
    serde_json::from_value(object.clone()).map_err(|e| Trouble::Object(format!("it is no object: {e}")))
}

fn is(error: &kube::Error, reason: &str) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == reason)
}

/// Makes a request again while its failure may pass. The admission of quotas answers with a conflict when many ask at once.
async fn patiently<T, F>(request: impl Fn() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut wait = Duration::from_millis(100);
    for _ in 1..TRIES {
        match request().await {
            Err(error) if may_pass(&error) => tokio::time::sleep(wait).await,
            result => return result,
        }
        wait *= 2;
    }
    request().await
}

fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => {
            let quota = status.code == 409 && status.message.contains("resourcequotas");
            status.code == 429 || status.code >= 500 || quota
        }
        _ => true,
    }
}

fn trouble(error: &kube::Error) -> Trouble {
    match error {
        kube::Error::Api(status) if status.code == 404 => Trouble::Object(
            "its kind is not served here; install its definition, or leave it out with spec.include.excludeKinds".to_owned(),
        ),
        kube::Error::Api(status) if status.code < 500 && status.code != 429 => {
            Trouble::Object(format!("{} ({})", status.message, status.reason))
        }
        error => Trouble::Server(error.to_string()),
    }
}
