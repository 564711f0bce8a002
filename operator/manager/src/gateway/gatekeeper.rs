//! Who may push and pull what. A caller is a mover's service account, proved by its token; it may push a volume
//! only into a recovery point of its own namespace that is being made, and pull only in a namespace that the
//! operator made for a drill.

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, ResourceExt};
use tripod_crds::RecoveryPoint;
use tripod_crds::recovery_point::PointPhase;
use tripod_domain::manifest::{Part, PointManifest};

use crate::context::Ctx;
use crate::vault::layout;
use crate::vault::repository::SystemVault;

/// Audience of the tokens that are taken: one for the API server is of no use here, nor the other way round.
pub const AUDIENCE: &str = "tripod-vault";
/// The service account of movers.
pub const MOVER: &str = "tripod-mover";
/// Label of namespaces made for a drill, with the drill's uid.
pub const DRILL_LABEL: &str = "tripod.cloud/drill";
/// Annotations of such a namespace: what is restored into it.
pub const RESTORE_SYSTEM: &str = "tripod.cloud/restore-system";
pub const RESTORE_POINT: &str = "tripod.cloud/restore-point";

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Unauthenticated(String),
    Forbidden(String),
    /// Not under way, or over.
    NotNow(String),
    Unavailable(String),
}

/// Decides from the cluster's own objects.
#[derive(Clone)]
pub struct Gatekeeper {
    ctx: Ctx,
}

impl Gatekeeper {
    #[must_use]
    pub fn new(ctx: Ctx) -> Self {
        Self { ctx }
    }

    /// The vault into which the caller may push this volume.
    ///
    /// # Errors
    /// Says why not.
    pub async fn may_push(&self, token: &str, point: &str, claim: &str) -> Result<SystemVault, Refusal> {
        let namespace = self.namespace_of(token).await?;
        let found = self.ctx.api::<RecoveryPoint>(&namespace).get_opt(point).await.map_err(unavailable)?;
        let Some(object) = found else {
            return Err(Refusal::Forbidden(format!("there is no recovery point {namespace}/{point}")));
        };
        if object.spec.origin != self.ctx.centre || !object.spec.volumes.iter().any(|v| v == claim) {
            return Err(Refusal::Forbidden(format!("claim {claim} is not part of {namespace}/{point}")));
        }
        if object.status.and_then(|s| s.phase) != Some(PointPhase::Running) {
            return Err(Refusal::NotNow(format!("recovery point {namespace}/{point} is not being made")));
        }
        self.vault(&namespace).await
    }

    /// The vault and the part that the caller may pull.
    ///
    /// # Errors
    /// Says why not.
    pub async fn may_pull(&self, token: &str, claim: &str) -> Result<(SystemVault, Part), Refusal> {
        let namespace = self.namespace_of(token).await?;
        let object = Api::<Namespace>::all(self.ctx.client.clone()).get(&namespace).await.map_err(unavailable)?;
        let annotation = |name: &str| object.annotations().get(name).cloned();
        let (Some(system), Some(point), Some(_)) =
            (annotation(RESTORE_SYSTEM), annotation(RESTORE_POINT), object.labels().get(DRILL_LABEL))
        else {
            return Err(Refusal::Forbidden(format!("nothing is being restored into namespace {namespace}")));
        };
        let vault = self.vault(&system).await?;
        let manifest: Option<PointManifest> =
            vault.read_json(&layout::manifest(&system, &point)).await.map_err(unavailable)?;
        let part = manifest.and_then(|mut m| m.volumes.remove(claim));
        let part = part.ok_or_else(|| Refusal::Forbidden(format!("claim {claim} is not part of {system}/{point}")))?;
        Ok((vault, part))
    }

    /// Who calls, proved by the API server.
    async fn namespace_of(&self, token: &str) -> Result<String, Refusal> {
        let review = TokenReview {
            metadata: ObjectMeta::default(),
            spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) },
            status: None,
        };
        let api: Api<TokenReview> = Api::all(self.ctx.client.clone());
        let status = api.create(&PostParams::default(), &review).await.map_err(unavailable)?.status.unwrap_or_default();
        let meant_for_us = status.audiences.iter().flatten().any(|a| a == AUDIENCE);
        if status.authenticated != Some(true) || !meant_for_us {
            let why = status.error.unwrap_or_else(|| "the token is not valid here".into());
            return Err(Refusal::Unauthenticated(why));
        }
        let user = status.user.and_then(|u| u.username).unwrap_or_default();
        mover_namespace(&user).ok_or_else(|| Refusal::Forbidden(format!("{user} is not a mover")))
    }

    async fn vault(&self, system: &str) -> Result<SystemVault, Refusal> {
        let centre = self.ctx.stores.own_centre().await.map_err(unavailable)?;
        self.ctx.stores.vault(&centre, system).await.map_err(unavailable)
    }
}

fn unavailable(error: impl std::fmt::Display) -> Refusal {
    Refusal::Unavailable(error.to_string())
}

/// The namespace of a mover's service account, and `None` for everyone else.
fn mover_namespace(user: &str) -> Option<String> {
    let (namespace, account) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (account == MOVER).then(|| namespace.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_movers_pass() {
        assert_eq!(mover_namespace("system:serviceaccount:dept-health:tripod-mover").as_deref(), Some("dept-health"));
        for user in ["tripod-mover", "system:serviceaccount:dept-health:default", "system:serviceaccount:a:b:tripod-mover"] {
            assert_eq!(mover_namespace(user), None, "{user}");
        }
    }
}
