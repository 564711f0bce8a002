//! Sends a volume. The stream is made while it is sent: nothing is kept but the piece on its way.

use std::fs::File;
use std::io::{self, Read, Write};

use bytes::Bytes;
use reqwest::Body;
use serde::Serialize;
use tokio::sync::mpsc;

use super::walk::{Visitor, walk};
use super::{MoverError, PushArgs, connect, disk};
use crate::vault::Part;
use crate::vault::digest::Totals;
use crate::vault::wire::{Meta, Sender};

const CHUNK: usize = 256 * 1024;
/// Pieces between the disk and the connection.
const PIECES: usize = 8;
/// Lists in the report end here: it must fit into 4 KiB.
const NAMED: usize = 10;

/// What a push did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    #[serde(flatten)]
    pub(super) part: Part,
    #[serde(flatten)]
    pub(super) oddities: Oddities,
}

/// What was on the volume and did not travel as it was.
#[derive(Debug, Default, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Oddities {
    /// Files that grew, shrank or were written to while they were read; the archive has the announced size.
    pub(super) changed_while_read: u64,
    /// Names of the first of them.
    pub(super) changed: Vec<String>,
    /// Sockets, pipes and devices: not sent.
    pub(super) special: u64,
    /// What was removed while the walk came to it: not sent.
    pub(super) vanished: u64,
}

/// Pushes, in up to three attempts.
pub(super) async fn run(args: &PushArgs) -> Result<Report, MoverError> {
    let client = connect::client(&args.common)?;
    let path = format!("points/{}/volumes/{}", args.point, args.common.claim);
    let url = connect::url(&args.common, &path);
    connect::attempts(|| attempt(args, &client, &url)).await
}

async fn attempt(args: &PushArgs, client: &reqwest::Client, url: &str) -> Result<Report, MoverError> {
    // Asked first, with an empty hand: whoever is refused in the middle of a stream often sees a broken
    // connection and not the reason.
    connect::send(&args.common, client.get(url)).await?;
    let root = disk::open_root(&args.common.path)?;
    let (to, mut from) = mpsc::channel::<io::Result<Bytes>>(PIECES);
    let reading = tokio::task::spawn_blocking(move || {
        let mut pushing = Pushing::new(Pipe { to: to.clone(), piece: Vec::with_capacity(CHUNK) });
        let walked = walk(root, &mut pushing).and_then(|()| pushing.finish());
        if let Err(error) = &walked {
            // Breaks the stream: without it the gateway would wait for more.
            let _ = to.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        walked
    });
    let body = futures::stream::poll_fn(move |context| from.poll_recv(context));
    let sent = connect::send(&args.common, client.put(url).body(Body::wrap_stream(body))).await;
    let read = reading.await.map_err(|error| MoverError::Failed(error.to_string()))?;
    let response = match (sent, &read) {
        (Ok(response), _) => response,
        // The pipe is broken because the connection is: that one has the reason.
        (Err(error), Err(pipe)) if pipe.kind() == io::ErrorKind::BrokenPipe => return Err(error),
        (Err(_), Err(disk)) => return Err(MoverError::Failed(disk.to_string())),
        (Err(error), Ok(_)) => return Err(error),
    };
    let part: Part = response.json().await.map_err(|error| MoverError::Passing(connect::chain(&error)))?;
    let (totals, oddities) = read?;
    if part.digest != totals.digest {
        return Err(MoverError::Passing(format!("sent {}, archived {}", totals.digest, part.digest)));
    }
    Ok(Report { part, oddities })
}

/// Walks a disk and writes what it meets into a stream.
struct Pushing<W> {
    sender: Sender<W>,
    oddities: Oddities,
    files: u64,
    bytes: u64,
}

impl<W: Write> Pushing<W> {
    fn new(sink: W) -> Self {
        Self { sender: Sender::new(sink), oddities: Oddities::default(), files: 0, bytes: 0 }
    }

    fn finish(self) -> io::Result<(Totals, Oddities)> {
        let (_, totals) = self.sender.finish()?;
        Ok((totals, self.oddities))
    }

    fn changed(&mut self, path: &[u8]) {
        self.oddities.changed_while_read += 1;
        if self.oddities.changed.len() < NAMED {
            self.oddities.changed.push(path.escape_ascii().to_string());
        }
    }
}

impl<W: Write> Visitor for Pushing<W> {
    fn directory(&mut self, meta: &Meta) -> io::Result<()> {
        self.sender.directory(meta)
    }

    fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()> {
        self.sender.link(meta, target)
    }

    fn file(&mut self, meta: &Meta, mut content: File) -> io::Result<()> {
        let mut changed = false;
        self.sender.file::<io::Error>(meta, |sink| {
            let copied = io::copy(&mut (&mut content).take(meta.size), sink)?;
            if copied < meta.size {
                changed = true;
                io::copy(&mut io::repeat(0).take(meta.size - copied), sink)?;
            } else {
                changed = content.read(&mut [0])? > 0;
            }
            Ok(())
        })?;
        if changed {
            self.changed(&meta.path);
        }
        self.files += 1;
        self.bytes += meta.size;
        if self.files.is_multiple_of(10_000) {
            tracing::info!(files = self.files, bytes = self.bytes, "pushing");
        }
        Ok(())
    }

    fn special(&mut self, path: &[u8]) {
        tracing::warn!(path = %path.escape_ascii(), "not sent: neither a file, a directory nor a link");
        self.oddities.special += 1;
    }

    fn vanished(&mut self, path: &[u8]) {
        tracing::warn!(path = %path.escape_ascii(), "not sent: removed while the walk came to it");
        self.oddities.vanished += 1;
    }
}

/// Collects what is written into pieces, and waits while the connection is slower than the disk.
struct Pipe {
    to: mpsc::Sender<io::Result<Bytes>>,
    piece: Vec<u8>,
}

impl Write for Pipe {
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
        self.to
            .blocking_send(Ok(piece.into()))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the connection is gone"))
    }
}
