//! The mover: runs as a Job in a department's namespace, mounts one volume, and brings its files to the gateway
//! or gets them from there. It holds no credential but its own projected token.

use std::io::{self, BufReader, BufWriter, Write};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures::TryStreamExt;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::io::{StreamReader, SyncIoBridge};

use crate::files::{unpack, walk};
use crate::gateway::DIGEST_HEADER;

/// Where Kubernetes reads a container's last words.
const LAST_WORDS: &str = "/dev/termination-log";
const ATTEMPTS: u32 = 3;

/// Move the files of one volume (run by the operator as a Job).
#[derive(Args, Debug)]
pub struct MoverArguments {
    #[command(subcommand)]
    work: Work,
    /// URL of the gateway.
    #[arg(long, env = "TRIPOD_GATEWAY", global = true, default_value = "")]
    gateway: String,
    /// PEM of the certificate to trust for it.
    #[arg(long, env = "TRIPOD_GATEWAY_CA", global = true, default_value = "", hide_env_values = true)]
    gateway_ca: String,
    /// File with the pod's token for the gateway.
    #[arg(long, default_value = "/var/run/secrets/tripod/token", global = true)]
    token_file: PathBuf,
}

#[derive(Subcommand, Debug)]
enum Work {
    /// Read a folder into a recovery point.
    Push { point: String, claim: String, folder: PathBuf },
    /// Restore a volume into an empty folder, and prove it by reading it again.
    Pull { claim: String, folder: PathBuf },
}

/// The result, as the controller reads it.
#[derive(Debug, Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LastWords {
    pub ok: bool,
    pub message: String,
    /// Digest of what was restored, read back from the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

#[derive(thiserror::Error, Debug)]
enum MoveError {
    /// The gateway will not take it: trying again is of no use.
    #[error("the gateway refuses: {0}")]
    Refused(String),
    #[error("{0}")]
    Failed(String),
}

impl From<io::Error> for MoveError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Does the work; the exit code is 0 when it is done and proved, 1 otherwise.
pub async fn run(arguments: MoverArguments) -> std::process::ExitCode {
    let words = attempt_all(&arguments).await;
    if words.ok {
        tracing::info!("{}", words.message);
    } else {
        tracing::error!("{}", words.message);
    }
    if let Ok(text) = serde_json::to_vec(&words) {
        // Absent outside a pod.
        let _ = std::fs::OpenOptions::new().write(true).open(LAST_WORDS).and_then(|mut f| f.write_all(&text));
    }
    if words.ok { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}

async fn attempt_all(arguments: &MoverArguments) -> LastWords {
    let mut wait = Duration::from_secs(2);
    let mut attempt = 1;
    loop {
        let result = match &arguments.work {
            Work::Push { point, claim, folder } => push(arguments, point, claim, folder).await,
            Work::Pull { claim, folder } => pull(arguments, claim, folder).await,
        };
        match result {
            Ok(words) => return words,
            Err(error) if attempt == ATTEMPTS || matches!(error, MoveError::Refused(_)) => {
                return LastWords { ok: false, message: error.to_string(), digest: None };
            }
            Err(error) => tracing::warn!(%error, attempt, "trying again"),
        }
        tokio::time::sleep(wait).await;
        wait *= 3;
        attempt += 1;
    }
}

fn client(arguments: &MoverArguments) -> Result<reqwest::Client, MoveError> {
    let certificate = reqwest::Certificate::from_pem(arguments.gateway_ca.as_bytes())
        .map_err(|e| MoveError::Failed(format!("--gateway-ca is not a PEM certificate: {e}")))?;
    reqwest::Client::builder()
        .tls_certs_only([certificate])
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|e| MoveError::Failed(format!("no HTTP client: {e:?}")))
}

/// Read at each attempt: a projected token is renewed while the pod runs.
fn token(arguments: &MoverArguments) -> Result<String, MoveError> {
    let text = std::fs::read_to_string(&arguments.token_file);
    text.map(|t| t.trim().to_owned())
        .map_err(|e| MoveError::Failed(format!("--token-file {}: {e}", arguments.token_file.display())))
}

async fn accepted(response: reqwest::Response) -> Result<reqwest::Response, MoveError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    let words = format!("{status}: {text}");
    Err(if status.as_u16() == 403 { MoveError::Refused(words) } else { MoveError::Failed(words) })
}

async fn push(arguments: &MoverArguments, point: &str, claim: &str, folder: &std::path::Path) -> Result<LastWords, MoveError> {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(4);
    let root = folder.to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        let mut findings = walk::Findings::default();
        let mut send = || {
            let entries = walk::list(&root, &mut findings)?;
            let mut sink = BufWriter::with_capacity(256 << 10, Chunks(&sender));
            walk::send(&root, &entries, &mut sink, &mut findings).map(|_| entries.len())
        };
        let sent = send();
        if let Err(error) = &sent {
            let _ = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        sent.map(|count| (count, findings))
    });
    let chunks = futures::stream::unfold(receiver, |mut r| async move { r.recv().await.map(|chunk| (chunk, r)) });
    let url = format!("{}/v1/points/{point}/volumes/{claim}", arguments.gateway);
    let request = client(arguments)?.put(url).bearer_auth(token(arguments)?).body(reqwest::Body::wrap_stream(chunks));
    let reply = request.send().await;
    let read = reading.await.map_err(|e| MoveError::Failed(e.to_string()))?;
    // What could not be read explains a broken request better than the broken request does.
    let answer = match reply {
        Ok(response) => accepted(response).await,
        Err(error) => match &read {
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(MoveError::Failed(cause.to_string())),
            _ => Err(MoveError::Failed(format!("{}: {error:?}", arguments.gateway))),
        },
    };
    answer?;
    let (count, findings) = read?;
    let message = format!(
        "{count} entries archived; {} special files left out, {} names unreadable, {} files changed while read",
        findings.special.len(),
        findings.unreadable_names,
        findings.changed.len()
    );
    Ok(LastWords { ok: true, message, digest: None })
}

async fn pull(arguments: &MoverArguments, claim: &str, folder: &std::path::Path) -> Result<LastWords, MoveError> {
    let url = format!("{}/v1/restore/volumes/{claim}", arguments.gateway);
    let request = client(arguments)?.get(url).bearer_auth(token(arguments)?);
    let reply = request.send().await.map_err(|e| MoveError::Failed(format!("{}: {e:?}", arguments.gateway)))?;
    let response = accepted(reply).await?;
    let expected = response.headers().get(DIGEST_HEADER).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let body = StreamReader::new(response.bytes_stream().map_err(io::Error::other));
    let mut stream = BufReader::with_capacity(256 << 10, SyncIoBridge::new(Box::pin(body)));
    let root = folder.to_owned();
    let done = tokio::task::spawn_blocking(move || {
        empty(&root)?;
        let unpacked = unpack::unpack(&mut stream, &root)?;
        Ok::<_, io::Error>((unpacked, walk::digest(&root)?))
    });
    let (unpacked, digest) = done.await.map_err(|e| MoveError::Failed(e.to_string()))??;
    let ok = digest == expected;
    let message = if ok {
        format!("{} files, {} bytes restored; {digest} read back from the disk", unpacked.files, unpacked.bytes)
    } else {
        format!("read back {digest}, the recovery point has {expected}")
    };
    Ok(LastWords { ok, message, digest: Some(digest) })
}

/// Takes away what an earlier attempt of this Job left. The volume is the drill's own and new; nothing else
/// could be there.
fn empty(root: &std::path::Path) -> io::Result<()> {
    for item in std::fs::read_dir(root)? {
        let item = item?;
        if item.file_name() == "lost+found" {
            continue;
        }
        if item.file_type()?.is_dir() {
            std::fs::remove_dir_all(item.path())?;
        } else {
            std::fs::remove_file(item.path())?;
        }
    }
    Ok(())
}

/// A blocking writer whose chunks go to an asynchronous body.
struct Chunks<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl Write for Chunks<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(buffer)));
        sent.map(|()| buffer.len()).map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the gateway went away"))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
