//! The gateway: the one door between a mover and the vault.
//!
//! - `GET  /v1/points/{point}/volumes/{claim}` may this mover push? 204, or why not.
//! - `PUT  /v1/points/{point}/volumes/{claim}` a stream in; answers with the [`Part`](crate::vault::Part) it became.
//! - `GET  /v1/restore/volumes/{claim}` a stream out, its digest and count of files in headers: for a drill's namespace.
//! - `GET  /v1/restores/{restore}/volumes/{claim}` the same for a restore.
//! - `GET  /healthz`
//!
//! Promises: whose system it is follows from the caller's token, never from the request; at most four streams at a
//! time, and none waits for a silent peer longer than a minute; a stream that fails is broken off, never ended well.
//! Errors are `{"error": "…"}` with 400 (the stream is none), 401, 403, 404, 409 (not now), 500 (the vault), 503 with
//! `Retry-After`.

pub mod certificate;
pub mod gatekeeper;
mod handlers;
mod pipe;
mod server;

use crate::vault::{Part, SystemVault};

pub use gatekeeper::KubeGatekeeper;
pub use server::serve;

/// Carries the digest of what is restored.
pub const DIGEST_HEADER: &str = "x-tripod-digest";
/// Carries its count of files.
pub const FILES_HEADER: &str = "x-tripod-files";
/// The audience that a mover's token is made for. A token for the API server opens nothing here, nor the reverse.
pub const AUDIENCE: &str = "tripod-vault";

/// Decides who may do what. Every answer of `Ok` carries all that the gateway then uses.
#[async_trait::async_trait]
pub trait Gatekeeper: Send + Sync + 'static {
    /// May the holder of this token add this claim to this point, and to which system's vault?
    async fn may_push(&self, token: &str, point: &str, claim: &str) -> Result<SystemVault, Refusal>;

    /// May the holder of this token have this claim, and from where?
    async fn may_pull(&self, token: &str, claim: &str) -> Result<(SystemVault, Part), Refusal>;

    /// May the holder of this token have this claim for this restore, and from where?
    async fn may_fill(&self, token: &str, restore: &str, claim: &str)
    -> Result<(SystemVault, Part), Refusal>;
}

/// Why not. The message is for whoever runs the mover.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The token proves nothing.
    #[error("{0}")]
    Unauthenticated(String),
    /// It proves someone who may not.
    #[error("{0}")]
    Forbidden(String),
    /// They may, but things are not so.
    #[error("{0}")]
    NotNow(String),
    /// It can't be told now.
    #[error("{0}")]
    Unavailable(String),
}
