//! Fills an empty volume, then reads it again from the disk and compares: what counts is what is there.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use futures::TryStreamExt as _;
use reqwest::Response;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::unpack::Unpack;
use super::walk::{Visitor, walk};
use super::{MoverError, PullArgs, connect, disk};
use crate::gateway::{DIGEST_HEADER, FILES_HEADER};
use crate::vault::digest::{Totals, TreeDigest};
use crate::vault::wire::{self, Meta};

/// What a pull did.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    files: u64,
    bytes: u64,
    /// Of what is on the disk.
    pub(super) digest: String,
    /// Of what was archived.
    expected: String,
    pub(super) matches: bool,
    /// Entries whose owner could not be set.
    owners_kept: u64,
}

/// Pulls. Attempts end where the first byte was written: a volume that is half filled is not empty, and only whoever
/// owns it may empty it.
pub(super) async fn run(args: &PullArgs) -> Result<Report, MoverError> {
    let client = connect::client(&args.common)?;
    let claim = &args.common.claim;
    let path = match &args.restore {
        Some(restore) => format!("restores/{restore}/volumes/{claim}"),
        None => format!("restore/volumes/{claim}"),
    };
    let url = connect::url(&args.common, &path);
    if args.replace {
        disk::empty(&args.common.path)?;
    }
    // Looked at before anything is asked for.
    Unpack::into_empty(&args.common.path)?;
    let response = connect::attempts(|| connect::send(&args.common, client.get(&url))).await?;
    let expected = header(&response, DIGEST_HEADER)?;
    let files = header(&response, FILES_HEADER)?;
    tracing::info!(files, expected, "pulling");
    let body = response.bytes_stream().map_err(io::Error::other);
    let stream = SyncIoBridge::new(StreamReader::new(Box::pin(body)));
    let path = args.common.path.clone();
    let done = tokio::task::spawn_blocking(move || fill(stream, &path));
    let (on_disk, owners_kept) = done.await.map_err(|error| MoverError::Failed(error.to_string()))??;
    let matches = on_disk.digest == expected;
    Ok(Report {
        files: on_disk.files,
        bytes: on_disk.bytes,
        digest: on_disk.digest,
        expected,
        matches,
        owners_kept,
    })
}

fn header(response: &Response, name: &str) -> Result<String, MoverError> {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.map(str::to_owned).ok_or_else(|| MoverError::Failed(format!("the gateway sent no {name}")))
}

fn fill(stream: impl Read, path: &Path) -> Result<(Totals, u64), MoverError> {
    let mut unpack = Unpack::into_empty(path)?;
    wire::receive(stream, &mut unpack).map_err(|error| MoverError::Failed(error.to_string()))?;
    let owners_kept = unpack.finish()?;
    rustix::fs::syncfs(File::open(path)?).map_err(io::Error::from)?;
    Ok((digest(path)?, owners_kept))
}

/// The digest of what is on a disk.
pub(super) fn digest(path: &Path) -> io::Result<Totals> {
    let mut reading = Reading::default();
    walk(disk::open_root(path)?, &mut reading)?;
    Ok(reading.0.finish())
}

#[derive(Default)]
struct Reading(TreeDigest);

impl Visitor for Reading {
    fn directory(&mut self, meta: &Meta) -> io::Result<()> {
        if !meta.path.is_empty() {
            self.0.directory(&meta.path);
        }
        Ok(())
    }

    fn link(&mut self, meta: &Meta, target: &[u8]) -> io::Result<()> {
        self.0.link(&meta.path, target);
        Ok(())
    }

    fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> io::Result<()> {
        let mut hasher = Sha256::new();
        let size = io::copy(content, &mut hasher)?;
        self.0.file(&meta.path, size, &hasher.finalize());
        Ok(())
    }

    // Neither was in the stream; that they are there now shows in no digest, as they hold no data.
    fn special(&mut self, _path: &[u8]) {}
    fn vanished(&mut self, _path: &[u8]) {}
}
