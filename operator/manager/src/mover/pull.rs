//! Fills an empty volume, then reads it again from the disk and compares: what counts is what is there.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use futures::TryStreamExt as _;
use reqwest::Response;
use serde::Serialize;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::digest::digest;
use super::unpack::Unpack;
use super::{MoverError, PullArgs, connect, disk};
use crate::gateway::{DIGEST_HEADER, FILES_HEADER};
use crate::vault::digest::Totals;
use crate::vault::wire;

/// Bytes that are taken from the connection at once.
const PIECE: usize = 256 << 10;

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
    // Headers are read in small pieces: not each of them over the bridge to the connection.
    let stream = BufReader::with_capacity(PIECE, stream);
    wire::receive(stream, &mut unpack).map_err(|error| MoverError::Failed(error.to_string()))?;
    let owners_kept = unpack.finish()?;
    rustix::fs::syncfs(File::open(path)?).map_err(io::Error::from)?;
    Ok((digest(path)?, owners_kept))
}
