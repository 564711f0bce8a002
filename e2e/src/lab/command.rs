//! Running other programs: what was run, what it said, and a deadline on everything that is waited for.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// With the command line and the end of its standard error when it fails.
pub fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: &[A]) -> Result<String> {
    output(Command::new(program).args(arguments))
}

/// Runs a prepared command to its end and returns what it printed.
///
/// # Errors
/// As [`run`].
pub fn output(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("could not start {line}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{line}: {}: {}", output.status, tail(&errors, 12));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command as a person would type it.
#[must_use]
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The last lines of a text.
#[must_use]
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Tries until it succeeds or the deadline is over; the error then is the last one seen.
///
/// # Errors
/// Says what was waited for, how long, and what was last seen.
pub fn wait_for<T>(what: &str, deadline: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(error) if start.elapsed() >= deadline => {
                return Err(error.context(format!("waited {} s for {what}; last seen", deadline.as_secs())));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}
