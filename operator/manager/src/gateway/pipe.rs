//! Between the async world of a connection and the blocking one of a repository: bounded, and never waiting for ever.

use std::io::{self, Read, Write};
use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

/// How long a peer may be silent in the middle of a stream.
pub(super) const SILENCE: Duration = Duration::from_mins(1);
const CHUNK: usize = 128 * 1024;
const PIECES: usize = 8;

/// A request's body, to be read on a thread that may block.
pub(super) struct Incoming {
    body: BodyDataStream,
    piece: Bytes,
    runtime: Handle,
}

impl Incoming {
    pub(super) fn new(body: Body) -> Self {
        Self { body: body.into_data_stream(), piece: Bytes::new(), runtime: Handle::current() }
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            let next = async { tokio::time::timeout(SILENCE, self.body.next()).await };
            match self.runtime.block_on(next) {
                Ok(Some(Ok(piece))) => self.piece = piece,
                Ok(Some(Err(error))) => return Err(io::Error::other(error)),
                Ok(None) => return Ok(0),
                Err(_) => return Err(silent()),
            }
        }
        let taken = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}

/// A response's body, to be written on a thread that may block. Whoever starts it keeps a sender, to
/// break the response with when the writing fails.
pub(super) struct Outgoing {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
    runtime: Handle,
}

impl Outgoing {
    /// The writer, and the body it writes. The permit is given back when the body is gone.
    pub(super) fn new(permit: OwnedSemaphorePermit) -> (Self, mpsc::Sender<io::Result<Bytes>>, Body) {
        let (to, mut from) = mpsc::channel(PIECES);
        let body = futures::stream::poll_fn(move |context| {
            let _held = &permit;
            from.poll_recv(context)
        });
        let writer = Self { to: to.clone(), piece: Vec::with_capacity(CHUNK), runtime: Handle::current() };
        (writer, to, Body::from_stream(body))
    }
}

impl Write for Outgoing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(CHUNK - self.piece.len());
        self.piece.extend_from_slice(&data[..taken]);
        if self.piece.len() == CHUNK {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(CHUNK));
        if piece.is_empty() {
            return Ok(());
        }
        let send = async { tokio::time::timeout(SILENCE, self.to.send(Ok(piece.into()))).await };
        match self.runtime.block_on(send) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the mover is gone")),
            Err(_) => Err(silent()),
        }
    }
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the mover was silent for a minute")
}
