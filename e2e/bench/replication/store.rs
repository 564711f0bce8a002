//! A store in memory, in a process of its own.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use tripod_e2e::lab::command::wait_for;

/// Stopped when it is dropped.
pub struct Store {
    child: Child,
    pub endpoint: String,
}

impl Store {
    /// On a port of this machine, with more options.
    pub fn start(examples: &Path, port: u16, more: &[String]) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let program = examples.join("memory-store");
        let child = Command::new(&program)
            .arg("--listen")
            .arg(address.to_string())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let store = Self { child, endpoint: format!("http://{address}") };
        wait_for("a store in memory", Duration::from_mins(1), || {
            Ok(TcpStream::connect_timeout(&address, Duration::from_secs(1)).map(drop)?)
        })?;
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
