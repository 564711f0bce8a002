//! The gateway: where movers in departments' namespaces bring the files of a volume, and get them back. It
//! holds the vault's credentials and keys so that no namespace of a department ever does.
//!
//! `PUT /v1/points/{point}/volumes/{claim}` takes a stream, `GET /v1/restore/volumes/{claim}` gives one. The
//! caller is who its projected service-account token says, and may do only what is under way for it.

pub mod certificate;
pub mod gatekeeper;

use std::io::{self, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use bytes::Bytes;
use futures::TryStreamExt;
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::vault::{VaultError, layout};
use certificate::Certificate;
use gatekeeper::{Gatekeeper, Refusal};

/// Header with the digest that a restored volume must have.
pub const DIGEST_HEADER: &str = "x-tripod-digest";
/// Streams at once: each holds a packer's buffers.
const MOST_STREAMS: usize = 4;
/// A sender that is silent for so long has died.
const SILENCE: Duration = Duration::from_secs(60);
/// Buffered between the network and the repository, in bytes.
const BUFFER: usize = 256 << 10;

struct Gateway {
    gatekeeper: Gatekeeper,
    streams: Semaphore,
}

/// Serves until the process is told to stop.
///
/// # Errors
/// When the certificate can't be used or the address can't be listened on.
pub async fn serve(address: SocketAddr, certificate: &Certificate, gatekeeper: Gatekeeper) -> io::Result<()> {
    let gateway = Arc::new(Gateway { gatekeeper, streams: Semaphore::new(MOST_STREAMS) });
    let routes = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/v1/points/{point}/volumes/{claim}", put(push))
        .route("/v1/restore/volumes/{claim}", get(pull))
        .with_state(gateway);
    let pem = |text: &str| text.as_bytes().to_vec();
    let tls =
        axum_server::tls_rustls::RustlsConfig::from_pem(pem(&certificate.certificate_pem), pem(&certificate.key_pem)).await?;
    let handle = axum_server::Handle::new();
    let stop = handle.clone();
    tokio::spawn(async move {
        crate::operator::told_to_stop().await;
        stop.graceful_shutdown(Some(Duration::from_secs(20)));
    });
    axum_server::bind_rustls(address, tls).handle(handle).serve(routes.into_make_service()).await
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Self::Unauthenticated(message) => (StatusCode::UNAUTHORIZED, message),
            Self::Forbidden(message) => (StatusCode::FORBIDDEN, message),
            Self::NotNow(message) => (StatusCode::CONFLICT, message),
            Self::Unavailable(message) => (StatusCode::SERVICE_UNAVAILABLE, message),
        };
        (status, Json(json!({"error": message}))).into_response()
    }
}

/// A vault that fails may be well later; a stream that is wrong stays wrong.
fn refusal_of(error: &VaultError) -> Refusal {
    match error {
        VaultError::Stream { .. } => Refusal::NotNow(error.to_string()),
        _ => Refusal::Unavailable(error.to_string()),
    }
}

fn token(headers: &HeaderMap) -> Result<&str, Refusal> {
    let value = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    value
        .and_then(|v| v.strip_prefix("Bearer "))
        .ok_or_else(|| Refusal::Unauthenticated("send the pod's token as Authorization: Bearer".into()))
}

async fn push(
    State(gateway): State<Arc<Gateway>>,
    Path((point, claim)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let Ok(_permit) = gateway.streams.try_acquire() else {
        return Err(Refusal::Unavailable(format!("{MOST_STREAMS} streams are under way; try again")));
    };
    let vault = gateway.gatekeeper.may_push(token(&headers)?, &point, &claim).await?;
    let system = vault.system.clone();
    tracing::info!(system, point, claim, "a volume comes in");
    let chunks = body.into_data_stream().map_err(io::Error::other);
    let chunks = Box::pin(tokio_stream_timeout(chunks));
    let stream = BufReader::with_capacity(BUFFER, SyncIoBridge::new(StreamReader::new(chunks)));
    let part = vault.archive_stream(&point, &claim, stream).await;
    let part = part.inspect_err(|error| tracing::warn!(system, point, claim, %error, "a volume did not come in whole"));
    let part = part.map_err(|e| refusal_of(&e))?;
    let key = layout::volume_part(&system, &point, &claim);
    vault.write_json(&key, &part).await.map_err(|e| Refusal::Unavailable(e.to_string()))?;
    tracing::info!(system, point, claim, files = part.files, bytes = part.bytes, "a volume is archived");
    Ok(Json(part).into_response())
}

/// Ends a stream with an error when nothing comes for too long.
fn tokio_stream_timeout<S>(stream: S) -> impl futures::Stream<Item = io::Result<Bytes>>
where
    S: futures::Stream<Item = io::Result<Bytes>> + Unpin,
{
    futures::stream::try_unfold(stream, |mut stream| async move {
        match tokio::time::timeout(SILENCE, stream.try_next()).await {
            Ok(next) => Ok(next?.map(|chunk| (chunk, stream))),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the sender fell silent")),
        }
    })
}

async fn pull(
    State(gateway): State<Arc<Gateway>>,
    Path(claim): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (vault, part) = gateway.gatekeeper.may_pull(token(&headers)?, &claim).await?;
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let sink = BufWriter::with_capacity(BUFFER, Chunks(sender.clone()));
    let snapshot = part.snapshot.clone();
    tokio::spawn(async move {
        if let Err(error) = vault.write_stream(&snapshot, sink).await {
            tracing::warn!(system = vault.system, snapshot, %error, "a restore broke off");
            // The response must end badly, not early: what is half must not look whole.
            let _ = sender.send(Err(io::Error::other(error.to_string()))).await;
        }
    });
    let chunks = futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|chunk| (chunk, r)) });
    let mut response = Body::from_stream(chunks).into_response();
    if let Ok(value) = HeaderValue::from_str(&part.digest) {
        response.headers_mut().insert(DIGEST_HEADER, value);
    }
    Ok(response)
}

/// A blocking writer whose chunks go to an asynchronous body.
struct Chunks(mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(buffer)));
        sent.map(|()| buffer.len()).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the receiver went away"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
