//! A store in memory, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

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
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let mut store = Self { child, endpoint: format!("http://{address}") };
        // It says so when it is filled.
        let mut said = String::new();
        let output = store.child.stdout.take().context("a store without output")?;
        BufReader::new(output).read_line(&mut said)?;
        ensure!(said.starts_with("listening"), "{} said {said:?}", program.display());
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
