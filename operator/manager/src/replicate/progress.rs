//! What a run is at, on one line of a terminal; nothing where there is none.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tripod_replication::engine::{Counters, Report};

const EVERY: Duration = Duration::from_millis(500);

/// A line that is being shown.
pub struct Shown {
    begun: Instant,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Begins to show.
pub fn show(counters: Arc<Counters>) -> Shown {
    let (stop, stopped) = oneshot::channel();
    let begun = Instant::now();
    let task = tokio::spawn(draw(counters, begun, stopped));
    Shown { begun, stop, task }
}

impl Shown {
    /// Takes the line away, and says how long it was there.
    pub async fn stop(self) -> Duration {
        let took = self.begun.elapsed();
        // It may have ended by itself.
        let _ = self.stop.send(());
        let _ = self.task.await;
        took
    }
}

async fn draw(counters: Arc<Counters>, begun: Instant, mut stopped: oneshot::Receiver<()>) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let mut width = 0;
    loop {
        let more = tokio::time::timeout(EVERY, &mut stopped).await.is_err();
        let line = if more { at(&counters.report(), begun.elapsed()) } else { String::new() };
        eprint!("\r{line:width$}\r");
        let _ = std::io::stderr().flush();
        width = line.chars().count();
        if !more {
            return;
        }
    }
}

/// Rates, what is pending of what was found so far, and how long that takes at this speed.
fn at(report: &Report, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64().max(0.001);
    let pending = report.wanted.saturating_sub(report.copied + report.failed);
    let pending_bytes = report.wanted_bytes.saturating_sub(report.copied_bytes);
    let mut line = format!(
        "{} listed, {} copied ({:.0}/s, {}/s), {pending} pending ({})",
        report.listed,
        report.copied,
        number(report.copied) / seconds,
        size(whole(number(report.copied_bytes) / seconds)),
        size(pending_bytes),
    );
    if report.copied_bytes > 0 && pending_bytes > 0 {
        let left = number(pending_bytes) / number(report.copied_bytes) * seconds;
        // Writing to a String does not fail.
        let _ = write!(line, ", {} to go", time(left));
    }
    if report.failed > 0 {
        let _ = write!(line, ", {} failed", report.failed);
    }
    line
}

/// The end of it, in words.
pub fn told(report: &Report, took: Duration) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    let mut text = format!(
        "{} objects listed, {} as they should be, {} copied ({}) in {} ({:.0}/s, {}/s)",
        report.listed,
        report.kept,
        report.copied,
        size(report.copied_bytes),
        time(seconds),
        number(report.copied) / seconds,
        size(whole(number(report.copied_bytes) / seconds)),
    );
    let mut more = |count: u64, what: &str| {
        if count > 0 {
            let _ = write!(text, "\n{count} {what}");
        }
    };
    more(report.read_back, "proved by reading them back: the two stores make different ETags");
    more(report.drifted, "had been changed or deleted at the target, and were put right");
    more(report.deleted, "deleted");
    more(report.gone.saturating_sub(report.deleted), "are gone at the source and stay at the target");
    more(report.foreign, "only the target has; they were left alone");
    more(report.left_out, "lack the tags that were asked for, and were left out");
    more(report.lost_tags, "lost their tags: a store keeps none");
    more(report.lost_storage_class, "are not of the storage class that they had");
    more(report.lost_lock, "were locked against deletion, and at the target are not");
    text += &history(report);
    if let Some(count) = report.fuse {
        let _ = write!(
            text,
            "\n{count} would have been deleted, which is more than is allowed (--max-delete): none was"
        );
    }
    if report.failed > 0 {
        let _ = write!(text, "\n{} could not be copied:", report.failed);
    }
    for trouble in &report.troubles {
        let _ = write!(text, "\n  {}: {}", trouble.key.escape_debug(), trouble.reason);
    }
    text
}

/// What concerns histories, a line each; empty where there is nothing to say.
pub fn history(report: &Report) -> String {
    let mut text = String::new();
    let mut more = |count: u64, what: &str| {
        if count > 0 {
            let _ = write!(text, "\n{count} {what}");
        }
    };
    more(report.markers, "delete markers put there");
    more(report.missing, "older versions the target lacks: they can't be put below newer ones");
    more(
        report.uncertain,
        "may not be what was current then, so this is not exact: written in parts and dated by when that began, or in the \
         place of one that was not kept",
    );
    text
}

/// Bytes, as people read them.
pub fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => format!("{:.1} {unit}", number(bytes) / number(1 << shift)),
        None => format!("{bytes} B"),
    }
}

fn time(seconds: f64) -> String {
    let whole = whole(seconds);
    match whole {
        0..100 => format!("{seconds:.1} s"),
        100..6000 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole / 60 % 60),
    }
}

#[allow(clippy::cast_precision_loss, reason = "it is shown with three digits")]
fn number(count: u64) -> f64 {
    count as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is shown with three digits")]
fn whole(number: f64) -> u64 {
    number.max(0.0) as u64
}
