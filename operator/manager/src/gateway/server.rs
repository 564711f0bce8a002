//! The HTTPS server: TLS, connections, and their end when the operator ends.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Gatekeeper;
use super::certificate::Certificate;
use super::handlers;

/// Who has not said what it wants by then is not served.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until `stop` is done. Streams that are under way then are broken off: their movers try again.
pub async fn serve(
    listener: TcpListener,
    certificate: &Certificate,
    gatekeeper: Arc<dyn Gatekeeper>,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(tls(certificate)?));
    let router = handlers::router(gatekeeper);
    let mut connections = tokio::task::JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    tracing::info!(address = ?listener.local_addr(), "the gateway is open");
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            // Reaped as they end, or the set would keep every one of them.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let (acceptor, router) = (acceptor.clone(), router.clone());
                connections.spawn(async move {
                    if let Err(error) = connection(socket, acceptor, router).await {
                        tracing::debug!(%peer, error, "a connection ended badly");
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, as a rule: to try again at once would only turn the wheel.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    connections.shutdown().await;
    Ok(())
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, router: Router) -> Result<(), String> {
    let tls = tokio::time::timeout(PATIENCE, acceptor.accept(socket))
        .await
        .map_err(|_| "no handshake came".to_owned())?
        .map_err(|error| error.to_string())?;
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(tls), TowerToHyperService::new(router))
        .await
        .map_err(|error| error.to_string())
}

fn tls(certificate: &Certificate) -> io::Result<ServerConfig> {
    let wrong =
        |error: &dyn std::fmt::Display| io::Error::other(format!("the gateway's certificate: {error}"));
    let chain = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| wrong(&error))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes()).map_err(|error| wrong(&error))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(&error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&error))
}
