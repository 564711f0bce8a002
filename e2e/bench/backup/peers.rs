//! Other clients that back up files: on the same folder, into a bucket of the same store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use tripod_e2e::installation::Installation;
use tripod_e2e::lab::process::Process;
use tripod_e2e::lab::store::Store;

use crate::Row;
use crate::files::Files;
use crate::process::watch;

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Restic,
    Kopia,
}

/// One with a repository of its own.
pub struct Peer<'a> {
    at: &'a Installation,
    program: PathBuf,
    kind: Kind,
}

impl<'a> Peer<'a> {
    pub fn prepare(at: &'a Installation, kind: Kind, program: &Path) -> Result<Self> {
        let peer = Self { at, program: program.to_owned(), kind };
        let store = at.lab.centre("production")?.store;
        store.ensure_bucket(peer.name(), false)?;
        let words = match kind {
            Kind::Restic => vec!["init".to_owned()],
            Kind::Kopia => peer.create(&store),
        };
        peer.run(&words, "init", 0)?;
        Ok(peer)
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Restic => "restic",
            Kind::Kopia => "kopia",
        }
    }

    fn create(&self, store: &Store) -> Vec<String> {
        let endpoint = store.endpoint.trim_start_matches("http://");
        let words = ["repository", "create", "s3", "--disable-tls"].map(str::to_owned);
        let given = [
            ("bucket", self.name()),
            ("endpoint", endpoint),
            ("region", &store.region),
            ("access-key", &store.operator.access_key_id),
            ("secret-access-key", &store.operator.secret_access_key),
        ];
        words.into_iter().chain(given.map(|(name, value)| format!("--{name}={value}"))).collect()
    }

    pub fn back_up(&self, files: &Files, what: &'static str) -> Result<Row> {
        let folder = files.folder.display().to_string();
        let words = match self.kind {
            Kind::Restic => vec!["backup".to_owned(), folder],
            Kind::Kopia => vec!["snapshot".to_owned(), "create".to_owned(), folder],
        };
        self.run(&words, what, files.count)
    }

    /// Into an empty folder on the same disk.
    pub fn restore(&self, files: &Files) -> Result<Row> {
        let target = self.at.lab.data().join(format!("{}-restored", self.name()));
        let (folder, into) = (files.folder.display().to_string(), target.display().to_string());
        let (words, restored) = match self.kind {
            Kind::Restic => (
                ["restore", "latest", "--target", &into].map(str::to_owned).to_vec(),
                target.join(files.folder.strip_prefix("/")?),
            ),
            Kind::Kopia => (
                ["snapshot", "restore", "--snapshot-time=latest", &folder, &into].map(str::to_owned).to_vec(),
                target.clone(),
            ),
        };
        let row = self.run(&words, "restore", files.count)?;
        files.are_in(&restored)?;
        fs::remove_dir_all(target)?;
        Ok(row)
    }

    fn run(&self, words: &[String], what: &'static str, objects: usize) -> Result<Row> {
        let (store, data) = (self.at.lab.centre("production")?.store, self.at.lab.data());
        let log = fs::File::create(data.join(format!("{}.log", self.name())))?;
        let mut command = Command::new(&self.program);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        match self.kind {
            Kind::Restic => command
                .env("AWS_ACCESS_KEY_ID", &store.operator.access_key_id)
                .env("AWS_SECRET_ACCESS_KEY", &store.operator.secret_access_key)
                .env("RESTIC_PASSWORD", "bench")
                .args(["-r", &format!("s3:{}/{}/files", store.endpoint, self.name()), "--no-cache", "-q"]),
            Kind::Kopia => command
                .env("KOPIA_PASSWORD", "bench")
                .env("KOPIA_CHECK_FOR_UPDATES", "false")
                .env("KOPIA_CONFIG_PATH", data.join("kopia.config"))
                .env("KOPIA_CACHE_DIRECTORY", data.join("kopia-cache"))
                .env("KOPIA_LOG_DIR", data.join("kopia-log"))
                .arg("--no-progress"),
        };
        let mut child = command.args(words).spawn().with_context(|| self.program.display().to_string())?;
        let process = Process::of(i32::try_from(child.id())?);
        let of = || process.into_iter().collect();
        let named = |_| self.name().to_owned();
        let (ended, mut rows) = watch(of, named, what, objects, || Ok(child.wait()?))?;
        ensure!(ended.success(), "{} {words:?}: {ended}; see its log in the lab's data", self.name());
        rows.pop().with_context(|| format!("{} ended before it was looked at", self.name()))
    }
}
