//! Asks the cluster who a caller is and whether its wish is the operator's own.
//!
//! A mover acts for nobody but the operator, which wrote down beforehand what is to be moved: a push needs a recovery
//! point that is running here and lists the claim; a pull needs a namespace that the operator made for a restore.
//! Nothing that a department can write opens either.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use tripod_crds::recovery_point::PointPhase;
use tripod_crds::{RecoveryPoint, Restore};
use tripod_domain::restore;

use super::{AUDIENCE, Gatekeeper, Refusal};
use crate::stores::Stores;
use crate::vault::{Part, SystemVault, layout};

/// The account that movers run as, in every namespace.
pub const ACCOUNT: &str = "tripod-mover";
/// On a namespace that the operator made to restore into.
pub const DRILL_LABEL: &str = "tripod.cloud/drill";
/// On such a namespace: the centre from whose vault it is restored.
pub const RESTORE_CENTRE: &str = "tripod.cloud/restore-centre";
/// On such a namespace: the system whose point is restored.
pub const RESTORE_SYSTEM: &str = "tripod.cloud/restore-system";
/// On such a namespace: the point.
pub const RESTORE_POINT: &str = "tripod.cloud/restore-point";

/// The gatekeeper of a cluster.
pub struct KubeGatekeeper {
    client: kube::Client,
    centre: String,
    stores: Stores,
}

impl KubeGatekeeper {
    /// For the operator of `centre`. Its account may create `TokenReview`s and get `RecoveryPoint`s, `Restore`s and `Namespace`s.
    #[must_use]
    pub fn new(client: kube::Client, centre: String, stores: Stores) -> Self {
        Self { client, centre, stores }
    }

    /// The namespace whose mover holds this token.
    async fn caller(&self, token: &str) -> Result<String, Refusal> {
        let spec =
            TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviews: Api<TokenReview> = Api::all(self.client.clone());
        let reviewed = reviews.create(&PostParams::default(), &review).await.map_err(unavailable)?;
        caller_of(&reviewed)
    }

    /// The volume's part of the point that is restored.
    async fn part(&self, restored: &Restored, claim: &str) -> Result<(SystemVault, Part), Refusal> {
        let Restored { centre, system, point } = restored;
        let vault = self.vault(centre, system).await?;
        let key = layout::volume_part(system, point, claim);
        let known = vault.store.head(&vault.bucket, &key).await.map_err(store_failed)?;
        if known.is_none() {
            return Err(Refusal::Forbidden(format!("the recovery point {point} has no volume {claim}")));
        }
        let json = vault.store.get(&vault.bucket, &key).await.map_err(store_failed)?;
        let unreadable = |error: &dyn std::fmt::Display| {
            tracing::error!(key, %error, "a part is unreadable");
            Refusal::Unavailable("the recovery point's part is unreadable".to_owned())
        };
        let part: Part = serde_json::from_slice(&json).map_err(|error| unreadable(&error))?;
        let vault = vault.made_with(&part.key).map_err(|error| unreadable(&error))?;
        Ok((vault, part))
    }

    async fn vault(&self, centre: &str, system: &str) -> Result<SystemVault, Refusal> {
        let vault = self.stores.vault_at(centre, system).await.map(|(_, vault)| vault);
        vault.map_err(|error| {
            tracing::error!(centre, system, %error, "no vault for a mover");
            Refusal::Unavailable("the vault can't be reached".to_owned())
        })
    }
}

#[async_trait::async_trait]
impl Gatekeeper for KubeGatekeeper {
    async fn may_push(&self, token: &str, point: &str, claim: &str) -> Result<SystemVault, Refusal> {
        let namespace = self.caller(token).await?;
        let points: Api<RecoveryPoint> = Api::namespaced(self.client.clone(), &namespace);
        let found = points.get_opt(point).await.map_err(unavailable)?;
        takes(found.as_ref(), &self.centre, claim)?;
        self.vault(&self.centre, &namespace).await
    }

    async fn may_pull(&self, token: &str, claim: &str) -> Result<(SystemVault, Part), Refusal> {
        let namespace = self.caller(token).await?;
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = namespaces.get_opt(&namespace).await.map_err(unavailable)?;
        self.part(&restores(found.as_ref())?, claim).await
    }

    async fn may_fill(
        &self,
        token: &str,
        restore: &str,
        claim: &str,
    ) -> Result<(SystemVault, Part), Refusal> {
        let namespace = self.caller(token).await?;
        let restores: Api<Restore> = Api::namespaced(self.client.clone(), &namespace);
        let found = restores.get_opt(restore).await.map_err(unavailable)?;
        self.part(&fills(found.as_ref(), claim)?, claim).await
    }
}

fn unavailable(error: impl std::fmt::Display) -> Refusal {
    tracing::warn!(%error, "the API server did not answer the gatekeeper");
    Refusal::Unavailable("the cluster can't be asked now".to_owned())
}

fn store_failed(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "the store did not answer the gatekeeper");
    Refusal::Unavailable("the vault can't be read now".to_owned())
}

/// The namespace in `system:serviceaccount:<namespace>:tripod-mover`, once the API server vouched for it.
fn caller_of(review: &TokenReview) -> Result<String, Refusal> {
    let unauthenticated = |text: &str| Err(Refusal::Unauthenticated(text.to_owned()));
    let Some(status) = review.status.as_ref().filter(|status| status.authenticated == Some(true)) else {
        return unauthenticated("the token is not good");
    };
    // An API server that knows nothing of audiences names none: its word is not enough.
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return unauthenticated("the token is for another audience");
    }
    let user = status.user.as_ref().and_then(|user| user.username.as_deref()).unwrap_or_default();
    user.strip_prefix("system:serviceaccount:")
        .and_then(|account| account.split_once(':'))
        .filter(|(namespace, name)| !namespace.is_empty() && *name == ACCOUNT)
        .map(|(namespace, _)| namespace.to_owned())
        .ok_or_else(|| Refusal::Forbidden("only a mover is let in".to_owned()))
}

/// Whether a point takes a claim now.
fn takes(point: Option<&RecoveryPoint>, centre: &str, claim: &str) -> Result<(), Refusal> {
    let Some(point) = point else {
        return Err(Refusal::Forbidden("there is no such recovery point".to_owned()));
    };
    if point.spec.origin != centre {
        return Err(Refusal::Forbidden("the recovery point is another centre's".to_owned()));
    }
    if !point.spec.volumes.iter().any(|volume| volume == claim) {
        return Err(Refusal::Forbidden("the recovery point does not list this volume".to_owned()));
    }
    match point.status.as_ref().and_then(|status| status.phase) {
        Some(PointPhase::Running) => Ok(()),
        _ => Err(Refusal::NotNow("the recovery point is not running".to_owned())),
    }
}

/// What a namespace was made to restore.
#[derive(Debug, PartialEq, Eq)]
struct Restored {
    centre: String,
    system: String,
    point: String,
}

fn restores(namespace: Option<&Namespace>) -> Result<Restored, Refusal> {
    let metadata = namespace.map(|namespace| &namespace.metadata);
    let labelled = metadata
        .and_then(|metadata| metadata.labels.as_ref())
        .is_some_and(|labels| labels.contains_key(DRILL_LABEL));
    let annotation = |name: &str| metadata?.annotations.as_ref()?.get(name).cloned();
    match (labelled, annotation(RESTORE_CENTRE), annotation(RESTORE_SYSTEM), annotation(RESTORE_POINT)) {
        (true, Some(centre), Some(system), Some(point)) => Ok(Restored { centre, system, point }),
        _ => Err(Refusal::Forbidden("this namespace is not there to restore into".to_owned())),
    }
}

/// Whether a restore has a claim filled now, and with what. Its status is the operator's word: a department can't write it.
fn fills(restore: Option<&Restore>, claim: &str) -> Result<Restored, Refusal> {
    let Some(restore) = restore else {
        return Err(Refusal::Forbidden("there is no such restore".to_owned()));
    };
    if !restore::is_filling(restore, claim) {
        return Err(Refusal::NotNow("the restore does not fill this volume now".to_owned()));
    }
    let status = restore.status.as_ref();
    match (status.and_then(|s| s.centre.clone()), status.and_then(|s| s.system.clone())) {
        (Some(centre), Some(system)) => {
            Ok(Restored { centre, system, point: restore.spec.point().to_owned() })
        }
        _ => Err(Refusal::NotNow("the restore has not begun".to_owned())),
    }
}

#[cfg(test)]
mod tests;
