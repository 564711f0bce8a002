//! `kubectl` against one centre, as the people who use Tripod would type it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::lab::command::{describe, output, tail, wait_for};

/// One centre's cluster, as an administrator sees it.
#[derive(Clone, Debug)]
pub struct Kubectl {
    pub(crate) program: PathBuf,
    pub kubeconfig: PathBuf,
    pub centre: String,
}

impl Kubectl {
    /// A command with the centre's kubeconfig.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("KUBECONFIG", &self.kubeconfig).args(words);
        command
    }

    /// Runs to the end and returns what was printed.
    ///
    /// # Errors
    /// With kubectl's own words.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        output(&mut self.command(words)).with_context(|| format!("at {}", self.centre))
    }

    /// Runs with a manifest on standard input.
    ///
    /// # Errors
    /// With kubectl's own words.
    pub fn with_input(&self, words: &[&str], manifest: &str) -> Result<String> {
        let mut command = self.command(words);
        let line = describe(&command);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(manifest.as_bytes())?;
        }
        let result = child.wait_with_output()?;
        if !result.status.success() {
            bail!("at {}: {line}: {}", self.centre, tail(&String::from_utf8_lossy(&result.stderr), 12));
        }
        Ok(String::from_utf8_lossy(&result.stdout).into_owned())
    }

    /// Applies a manifest server-side, as GitOps would.
    ///
    /// # Errors
    /// With kubectl's own words.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.with_input(&["apply", "--server-side", "--force-conflicts", "-f", "-"], manifest)
    }

    /// An object or a list as JSON.
    ///
    /// # Errors
    /// With kubectl's own words; that there is none is an error.
    pub fn get(&self, words: &[&str]) -> Result<Value> {
        let words: Vec<&str> = [&["get", "-o", "json"], words].concat();
        Ok(serde_json::from_str(&self.run(&words)?)?)
    }

    /// Who we are, as the API server knows us.
    ///
    /// # Errors
    /// With kubectl's own words.
    pub fn user(&self) -> Result<String> {
        self.run(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"])
    }

    /// Whether there is such an object.
    ///
    /// # Errors
    /// When the API server does not answer.
    pub fn exists(&self, words: &[&str]) -> Result<bool> {
        let words: Vec<&str> = [&["get", "--ignore-not-found", "-o", "name"], words].concat();
        Ok(!self.run(&words)?.trim().is_empty())
    }

    /// Waits until an object is as wanted; `wanted` says what it saw instead.
    ///
    /// # Errors
    /// Says what was last seen when the deadline is over.
    pub fn until<T>(
        &self,
        what: &str,
        deadline: Duration,
        words: &[&str],
        mut wanted: impl FnMut(&Value) -> Result<T>,
    ) -> Result<T> {
        wait_for(&format!("{what} at {}", self.centre), deadline, || wanted(&self.get(words)?))
    }

    /// Waits with `kubectl wait` for a condition, which is a promise of the API.
    ///
    /// # Errors
    /// With the object as it was last seen.
    pub fn wait(
        &self,
        object: &str,
        namespace: Option<&str>,
        condition: &str,
        deadline: Duration,
    ) -> Result<()> {
        let (condition, timeout) =
            (format!("--for=condition={condition}"), format!("--timeout={}s", deadline.as_secs()));
        let namespace: Vec<&str> = namespace.iter().flat_map(|n| ["-n", *n]).collect();
        let words: Vec<&str> = [&["wait", object, &condition, &timeout], &namespace[..]].concat();
        self.run(&words).map(drop).map_err(|error| {
            let seen =
                self.run(&[&["get", object, "-o", "yaml"], &namespace[..]].concat()).unwrap_or_default();
            error.context(format!("last seen:\n{}", tail(&seen, 60)))
        })
    }
}

/// The condition of a type, from an object's status.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind)
}

/// What a condition says, for messages: `Ready=False StoreUnreachable: …`.
#[must_use]
pub fn described(object: &Value, kind: &str) -> String {
    condition(object, kind).map_or_else(
        || format!("no condition {kind}"),
        |c| {
            let text = |field: &str| c[field].as_str().unwrap_or_default().to_owned();
            format!("{kind}={} {}: {}", text("status"), text("reason"), text("message"))
        },
    )
}
