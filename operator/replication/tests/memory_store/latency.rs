//! Distance: a proxy that holds back what passes for half of a round trip each way, at full speed.
//!
//! Opening a connection costs a round trip too, which the first bytes of the client wait for. Windows of TCP are those
//! of the loopback: what slow start costs on a real line is not in it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Bytes that are read at once.
const READ: usize = 128 << 10;
/// Reads that are on their way in one direction; 64 MiB, if they are full.
const ON_THE_WAY: usize = 512;

/// By so much timers are late on average, which have a granularity of a millisecond.
const LATE: Duration = Duration::from_millis(1);

/// A proxy; it ends when it is dropped, with all its connections.
#[derive(Debug)]
pub struct Latency {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Latency {
    /// Listens on an address, and passes on to another one.
    pub async fn start(listen: SocketAddr, upstream: SocketAddr, round_trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(pass(client, upstream, round_trip));
            }
        });
        Ok(Self { address, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Latency {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, upstream: SocketAddr, round_trip: Duration) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    // What is held back on purpose shall not be held back once more.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let open = Instant::now() + round_trip;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let there = delayed(from_client, to_server, round_trip / 2, open);
    let back = delayed(from_server, to_client, round_trip / 2, open);
    // One side that breaks off ends both; one that has said all it has to say does not.
    let _ = tokio::try_join!(there, back);
}

/// Copies until the end, everything later by a delay, the first not before a connection would have been open.
async fn delayed(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
    open: Instant,
) -> io::Result<()> {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Bytes)>(ON_THE_WAY);
    let read = async move {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(READ);
            let read = from.read_buf(&mut buffer).await?;
            let due = Instant::now().max(open) + delay;
            // An empty one says that it is the end.
            if sender.send((due, buffer.split().freeze())).await.is_err() || read == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = receiver.recv().await {
            if due > Instant::now() + LATE {
                sleep_until(due - LATE).await;
            }
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}
