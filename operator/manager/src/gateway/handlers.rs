//! What the gateway answers.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::pipe::{Incoming, Outgoing};
use super::{DIGEST_HEADER, FILES_HEADER, Gatekeeper, Refusal};
use crate::vault::{Part, SystemVault, VaultError, layout};

/// Streams at a time: each holds a few packs of 16 MiB and more in memory.
const STREAMS: usize = 4;

#[derive(Clone)]
struct Gateway {
    gatekeeper: Arc<dyn Gatekeeper>,
    streams: Arc<Semaphore>,
}

pub(super) fn router(gatekeeper: Arc<dyn Gatekeeper>) -> Router {
    let gateway = Gateway { gatekeeper, streams: Arc::new(Semaphore::new(STREAMS)) };
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/v1/points/{point}/volumes/{claim}", get(ask).put(push))
        .route("/v1/restore/volumes/{claim}", get(pull))
        .route("/v1/restores/{restore}/volumes/{claim}", get(fill))
        .with_state(gateway)
}

/// Any answer but a good one.
#[derive(Debug)]
enum Failure {
    Refused(Refusal),
    Busy,
    Vault(VaultError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self::Vault(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Refused(refusal) => {
                let status = match refusal {
                    Refusal::Unauthenticated(_) => StatusCode::UNAUTHORIZED,
                    Refusal::Forbidden(_) => StatusCode::FORBIDDEN,
                    Refusal::NotNow(_) => StatusCode::CONFLICT,
                    Refusal::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
                };
                (status, refusal.to_string())
            }
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "as many streams as may be are open".to_owned()),
            Self::Vault(error) => {
                // Keys and addresses of the vault are in its errors: those are for the operator's log.
                tracing::error!(%error, "the vault failed under a stream");
                match error {
                    VaultError::Incomplete(reason) => (StatusCode::BAD_REQUEST, reason),
                    _ => (StatusCode::INTERNAL_SERVER_ERROR, "the vault failed".to_owned()),
                }
            }
        };
        let body = Json(serde_json::json!({ "error": message }));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return (status, [(header::RETRY_AFTER, "15")], body).into_response();
        }
        (status, body).into_response()
    }
}

fn token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.strip_prefix("Bearer "))
        .filter(|token| !token.is_empty())
        .ok_or_else(|| Refusal::Unauthenticated("there is no bearer token".to_owned()))
}

/// Names go into keys of the vault. The gatekeeper finds them in the cluster and so vouches for them; that a name can
/// be nothing but one is made sure before it is asked.
fn name(name: &str) -> Result<&str, Refusal> {
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let good = !name.is_empty()
        && name.len() <= 253
        && name.bytes().all(valid)
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && !name.contains("..");
    if good { Ok(name) } else { Err(Refusal::Forbidden("that is no name of an object".to_owned())) }
}

impl Gateway {
    fn stream(&self) -> Result<OwnedSemaphorePermit, Failure> {
        Arc::clone(&self.streams).try_acquire_owned().map_err(|_| Failure::Busy)
    }
}

async fn ask(
    State(gateway): State<Gateway>,
    Path((point, claim)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Failure> {
    gateway.gatekeeper.may_push(token(&headers)?, name(&point)?, name(&claim)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn push(
    State(gateway): State<Gateway>,
    Path((point, claim)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Part>, Failure> {
    let vault = gateway.gatekeeper.may_push(token(&headers)?, name(&point)?, name(&claim)?).await?;
    let _held = gateway.stream()?;
    vault.ensure_repository().await?;
    let part = vault.archive_stream(&point, &claim, Incoming::new(body)).await?;
    let key = layout::volume_part(&vault.system, &point, &claim);
    let json = serde_json::to_vec(&part).map_err(|error| VaultError::Stream(error.into()))?;
    vault.store.put(&vault.bucket, &key, json.into()).await.map_err(VaultError::from)?;
    tracing::info!(
        system = vault.system,
        point,
        claim,
        files = part.files,
        bytes = part.bytes,
        "a volume was archived"
    );
    Ok(Json(part))
}

async fn pull(
    State(gateway): State<Gateway>,
    Path(claim): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (vault, part) = gateway.gatekeeper.may_pull(token(&headers)?, name(&claim)?).await?;
    send(&gateway, vault, part, claim)
}

async fn fill(
    State(gateway): State<Gateway>,
    Path((restore, claim)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (restore, claim) = (name(&restore)?, name(&claim)?.to_owned());
    let (vault, part) = gateway.gatekeeper.may_fill(token(&headers)?, restore, &claim).await?;
    send(&gateway, vault, part, claim)
}

/// Streams a volume out.
fn send(gateway: &Gateway, vault: SystemVault, part: Part, claim: String) -> Result<Response, Failure> {
    let (writer, breaker, body) = Outgoing::new(gateway.stream()?);
    let headers = [(DIGEST_HEADER, part.digest.clone()), (FILES_HEADER, part.files.to_string())];
    tokio::spawn(async move {
        if let Err(error) = vault.write_tar(&part.snapshot, writer).await {
            tracing::error!(system = vault.system, claim, %error, "a restore was broken off");
            // A body that ends in an error is broken off by the server: the mover sees no good end.
            let _ = breaker.send(Err(io::Error::other("the vault failed"))).await;
        }
    });
    Ok((headers, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_only_a_name() {
        for good in ["data", "data-0", "a.b", "0"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", "..", "a..b", "a/b", ".a", "-a", "A", "a b", "ä", &"x".repeat(254)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_a_bearer_token() {
        let mut headers = HeaderMap::new();
        assert!(token(&headers).is_err());
        for (value, good) in [("Bearer t", true), ("Bearer ", false), ("Basic t", false)] {
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            assert_eq!(token(&headers).is_ok(), good, "{value}");
        }
    }
}
