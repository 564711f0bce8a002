//! The HTTP server for stores outside: so many connections and no more, and none that says nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::Desk;

/// Connections at once; others wait.
const CONNECTIONS: usize = 128;
/// Who has not said what it wants by then is not served.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves until `stop` is done.
///
/// # Errors
/// None, at present.
pub async fn serve(
    listener: TcpListener,
    desk: Desk,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let router = super::router(desk);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    tracing::info!(address = ?listener.local_addr(), "events of stores are heard");
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            // Reaped as they end, or the set would keep every one of them.
            Some(_) = connections.join_next() => continue,
            accepted = async {
                let place = places.clone().acquire_owned().await;
                (listener.accept().await, place)
            } => accepted,
        };
        match accepted {
            (Ok((socket, peer)), place) => {
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let _place = place;
                    let served = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .header_read_timeout(PATIENCE)
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                    if let Err(error) = served {
                        tracing::debug!(%peer, %error, "a connection ended badly");
                    }
                });
            }
            (Err(error), _) => {
                // Out of file descriptors, as a rule: to try again at once would only turn the wheel.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
    connections.shutdown().await;
    Ok(())
}
