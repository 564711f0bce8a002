//! What the lab is doing and for how long, a line a step.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Prints steps to standard error.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    quiet: bool,
    line: Mutex<()>,
}

impl Progress {
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        Self { start: Instant::now(), quiet, line: Mutex::new(()) }
    }

    /// Does a step; says so when it begins, again every 30 s, and when it is done.
    ///
    /// # Errors
    /// Those of the step, with its name.
    pub fn step<T>(&self, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let start = Instant::now();
        self.note(&format!("{what} …"));
        let (done, waiting) = std::sync::mpsc::channel::<()>();
        let result = std::thread::scope(|scope| {
            scope.spawn(move || {
                while waiting.recv_timeout(Duration::from_secs(30))
                    == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    self.note(&format!("{what}: still at it, {} s", start.elapsed().as_secs()));
                }
            });
            let result = work();
            drop(done);
            result
        });
        if result.is_ok() && start.elapsed() > Duration::from_secs(2) {
            self.note(&format!("{what}: done in {:.1} s", start.elapsed().as_secs_f32()));
        }
        result.with_context(|| what.to_owned())
    }

    /// One line.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            // Whole lines, though centres start side by side.
            let _line = self.line.lock();
            eprintln!("[{:6.1}s] {text}", self.start.elapsed().as_secs_f32());
        }
    }
}
