//! The stores of a benchmark, in processes of their own: in memory, so that the client is what takes time, and a real one.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tempfile::TempDir;
use tripod_e2e::lab::build::Binaries;
use tripod_e2e::lab::command::wait_for;

/// What stores show to prove who they are; clients trust it by the usual variable.
pub struct Certificate {
    folder: TempDir,
}

impl Certificate {
    pub fn new() -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("certificate.pem"), cert.pem())?;
        std::fs::write(folder.path().join("key.pem"), signing_key.serialize_pem())?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    pub fn trusted(&self) -> (String, String) {
        ("SSL_CERT_FILE".to_owned(), self.path("certificate.pem"))
    }
}

/// Stopped when it is dropped.
pub struct Store {
    child: Child,
    pub endpoint: String,
    /// What a real one keeps.
    _folder: Option<TempDir>,
}

impl Store {
    /// On a port of this machine, with more options.
    pub fn start(
        examples: &Path,
        port: u16,
        more: &[String],
        certificate: Option<&Certificate>,
    ) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let program = examples.join("memory-store");
        let child = Command::new(&program)
            .arg("--listen")
            .arg(address.to_string())
            .args(more)
            .args(certificate.map(|c| format!("--tls={},{}", c.path("certificate.pem"), c.path("key.pem"))))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let scheme = if certificate.is_some() { "https" } else { "http" };
        let mut store = Self { child, endpoint: format!("{scheme}://{address}"), _folder: None };
        // It says so when it is filled.
        let mut said = String::new();
        let output = store.child.stdout.take().context("a store without output")?;
        BufReader::new(output).read_line(&mut said)?;
        ensure!(said.starts_with("listening"), "{} said {said:?}", program.display());
        Ok(store)
    }

    /// A real one, on a file system: the lab's versitygw, with an empty bucket.
    pub fn real(port: u16, bucket: &str, (key, secret): (&str, &str)) -> Result<Self> {
        let program = Binaries::locate()?.path("versitygw");
        ensure!(program.exists(), "{} is not there; any story makes it", program.display());
        let folder = tempfile::tempdir()?;
        std::fs::create_dir_all(folder.path().join(bucket))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = Command::new(&program)
            .args([&format!("--access={key}"), &format!("--secret={secret}"), &format!("--port={address}")])
            .args(["--keep-alive", "--quiet", "posix"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let store = Self { child, endpoint: format!("http://{address}"), _folder: Some(folder) };
        let answers = || {
            let connected = TcpStream::connect_timeout(&address, Duration::from_secs(1));
            connected.map(drop).with_context(|| address.to_string())
        };
        wait_for("versitygw", Duration::from_secs(20), answers)?;
        Ok(store)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // It keeps nothing that could be lost.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
