//! Processes of a lab: started in a centre's network namespace, recorded so that only they are ever stopped.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::layout::{CentreLayout, Layout};

/// A process id with the moment it started, so that a reused id is never taken for ours.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks since boot, as in `/proc/PID/stat`.
    pub started: u64,
}

impl Process {
    /// The process that has this id now.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&stat).filter(|(state, _)| *state != 'Z').map(|(_, started)| Self { pid, started })
    }

    #[must_use]
    pub fn is_alive(&self) -> bool {
        Self::of(self.pid) == Some(*self)
    }

    /// What it has used until now.
    ///
    /// # Errors
    /// When it has ended.
    pub fn usage(&self) -> Result<Usage> {
        let gone = || format!("process {} has ended", self.pid);
        let read = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.pid)).with_context(gone);
        let (stat, status) = (read("stat")?, read("status")?);
        // The same process to the end: what was read belongs to it.
        anyhow::ensure!(self.is_alive(), gone());
        let memory = |field: &str| parse_kilobytes(&status, field).map(|kilobytes| kilobytes << 10);
        let ticks = parse_ticks(&stat).context("/proc/PID/stat")?;
        Ok(Usage {
            cpu: Duration::from_millis(ticks * 10),
            resident: memory("VmRSS:").unwrap_or(0),
            peak: memory("VmHWM:").unwrap_or(0),
        })
    }

    fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // It may have ended in between: then there is nothing left to stop.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// Processor time since its start, and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In user and kernel mode, to a hundredth of a second.
    pub cpu: Duration,
    /// Bytes in memory now.
    pub resident: u64,
    /// Bytes in memory when they were most.
    pub peak: u64,
}

/// User and system time, in hundredths of a second on every Linux: the fourteenth and the fifteenth field.
fn parse_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn parse_kilobytes(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// State and start time: the third and the twenty-second field. The name in parentheses may hold anything.
fn parse_stat(stat: &str) -> Option<(char, u64)> {
    let rest = stat.rsplit_once(')')?.1;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

/// Starts a component of a centre, unless it runs already. Its output goes to a log of its own.
///
/// # Errors
/// When it can't be started or recorded.
pub fn start(
    centre: &CentreLayout,
    component: &str,
    program: &Path,
    arguments: &[String],
    path: &str,
) -> Result<bool> {
    if running(centre, component).is_some() {
        return Ok(false);
    }
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", centre.netns().display()))
        .arg(program)
        .args(arguments)
        .env_clear()
        .env("PATH", format!("{path}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"))
        .env("HOME", centre.data())
        .env("TMPDIR", "/tmp");
    launch(&mut command, &log_path(centre, component), &record_path(centre, component))
        .with_context(|| format!("could not start {component} of {}", centre.name))?;
    Ok(true)
}

/// Starts a prepared command whose output goes to a log, and records it.
pub(super) fn launch(command: &mut Command, log: &Path, record: &Path) -> Result<()> {
    let out = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("log {}", log.display()))?;
    let child = command
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        // A group of its own: an interrupt at the terminal that started the lab does not reach it.
        .process_group(0)
        .spawn()?;
    let process = Process::of(i32::try_from(child.id())?)
        .with_context(|| format!("it ended at once; see {}", log.display()))?;
    Ok(fs::write(record, serde_json::to_vec(&process)?)?)
}

/// The process of a record, if it is alive.
pub(super) fn recorded(record: &Path) -> Option<Process> {
    serde_json::from_slice::<Process>(&fs::read(record).ok()?).ok().filter(Process::is_alive)
}

/// The process of a component, if it is alive.
#[must_use]
pub fn running(centre: &CentreLayout, component: &str) -> Option<Process> {
    recorded(&record_path(centre, component))
}

/// Where a component's output goes.
#[must_use]
pub fn log_path(centre: &CentreLayout, component: &str) -> std::path::PathBuf {
    centre.data().join("log").join(format!("{component}.log"))
}

fn record_path(centre: &CentreLayout, component: &str) -> std::path::PathBuf {
    centre.run().join(format!("{component}.pid"))
}

/// Stops one component, politely for as long as `patience`.
pub fn stop(centre: &CentreLayout, component: &str, patience: Duration) {
    if let Some(process) = running(centre, component) {
        end(&[process], patience);
    }
}

/// Everything that runs for a lab: what was recorded, what lives in its network namespaces (shims), and what
/// lives in its cgroups (containers).
#[must_use]
pub fn all_of(lab: &Layout, centres: &[CentreLayout]) -> Vec<Process> {
    let namespaces: BTreeSet<(u64, u64)> =
        centres.iter().filter_map(|c| fs::metadata(c.netns()).ok()).map(|m| (m.dev(), m.ino())).collect();
    let own = std::process::id();
    let _ = lab;
    every()
        .filter(|(pid, folder)| {
            let in_netns = || {
                fs::metadata(folder.join("ns/net")).is_ok_and(|m| namespaces.contains(&(m.dev(), m.ino())))
            };
            u32::try_from(*pid) != Ok(own) && (in_netns() || centres.iter().any(|c| in_cgroup(folder, c)))
        })
        .filter_map(|(pid, _)| Process::of(pid))
        .collect()
}

/// The processes of a program in a centre's containers.
#[must_use]
pub fn contained(centre: &CentreLayout, program: &str) -> Vec<Process> {
    let runs = |folder: &Path| {
        fs::read_link(folder.join("exe")).is_ok_and(|exe| exe.file_name() == Some(OsStr::new(program)))
    };
    every()
        .filter(|(_, folder)| runs(folder) && in_cgroup(folder, centre))
        .filter_map(|(pid, _)| Process::of(pid))
        .collect()
}

/// Ids and folders of everything that runs on the machine.
fn every() -> impl Iterator<Item = (i32, PathBuf)> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
}

fn in_cgroup(folder: &Path, centre: &CentreLayout) -> bool {
    let mark = format!("/{}", centre.mark());
    fs::read_to_string(folder.join("cgroup")).is_ok_and(|text| {
        text.lines().any(|line| {
            let path = line.splitn(3, ':').nth(2).unwrap_or_default();
            path == mark || path.starts_with(&format!("{mark}/"))
        })
    })
}

/// Ends processes: asks, waits, then kills.
pub fn end(processes: &[Process], patience: Duration) {
    for process in processes {
        process.signal(Signal::SIGTERM);
    }
    let asked = Instant::now();
    while processes.iter().any(Process::is_alive) && asked.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(50));
    }
    kill_all(processes);
}

/// Ends processes without asking.
pub fn kill_all(processes: &[Process]) {
    for process in processes {
        process.signal(Signal::SIGKILL);
    }
    let killed = Instant::now();
    while processes.iter().any(Process::is_alive) && killed.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_is_read_right() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        assert_eq!(parse_stat(stat), Some(('S', 987_654)));
        assert_eq!(parse_ticks(stat), Some(5 + 6));
    }

    #[test]
    fn a_process_knows_what_it_used() {
        let me = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        let before = me.usage().unwrap();
        assert!(before.peak >= before.resident && before.resident > 1 << 20, "{before:?}");
        while me.usage().unwrap().cpu == before.cpu {}
    }

    #[test]
    fn a_reused_id_is_another_process() {
        let me = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        assert!(!Process { started: me.started + 1, ..me }.is_alive());
    }
}
