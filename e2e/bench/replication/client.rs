//! Those who copy: the engine, others, and a loop that does nothing else.

use std::path::{Path, PathBuf};

const KEY: &str = "benchmark";
const SECRET: &str = "benchmark-secret";
/// Of real stores; those in memory ask for none.
pub const ACCOUNT: (&str, &str) = (KEY, SECRET);
/// As many at once for everyone who has to be told.
const AT_ONCE: &str = "64";

/// One of them.
#[derive(Clone, Debug)]
pub struct Client {
    kind: Kind,
    program: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tripod,
    /// List, GET, PUT and no more: no record, no proof, no second attempt.
    Bare,
    Rclone,
    S3sync,
    Juicefs,
    Mc,
}

/// Both sides of one copy.
pub struct Task<'a> {
    pub source: &'a str,
    pub target: &'a str,
    /// For what a client keeps between runs.
    pub state: &'a Path,
    /// More than one machine's worth of round trips is under way at once.
    pub far: bool,
}

impl Client {
    /// Those that are there.
    pub fn all(tripod: &Path, examples: &Path, peers: Option<&Path>) -> Vec<Self> {
        let ours = [(Kind::Tripod, tripod.to_owned()), (Kind::Bare, examples.join("bare-loop"))];
        let named = [
            (Kind::Rclone, "rclone"),
            (Kind::S3sync, "s3sync"),
            (Kind::Juicefs, "juicefs"),
            (Kind::Mc, "mc"),
        ];
        let others = named.into_iter().filter_map(|(kind, name)| Some((kind, peers?.join(name))));
        ours.into_iter()
            .chain(others)
            .filter(|(_, program)| program.exists())
            .map(|(kind, program)| Self { kind, program })
            .collect()
    }

    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Tripod => "tripod",
            Kind::Bare => "bare loop",
            Kind::Rclone => "rclone",
            Kind::S3sync => "s3sync",
            Kind::Juicefs => "juicefs",
            Kind::Mc => "mc mirror",
        }
    }

    pub fn is_ours(&self) -> bool {
        self.kind == Kind::Tripod
    }

    pub fn is_bare(&self) -> bool {
        self.kind == Kind::Bare
    }

    /// The command, and its environment.
    pub fn command(&self, task: &Task<'_>) -> (Vec<String>, Vec<(String, String)>) {
        let mut environment = vec![
            ("AWS_ACCESS_KEY_ID".to_owned(), KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET.to_owned()),
        ];
        let words = match self.kind {
            Kind::Tripod => tripod(task),
            Kind::Bare => bare(task),
            Kind::Rclone => {
                environment.extend(rclone_remotes(task));
                rclone()
            }
            Kind::S3sync => s3sync(task),
            Kind::Juicefs => juicefs(task),
            Kind::Mc => {
                environment.extend(mc_hosts(task));
                mc(task)
            }
        };
        (std::iter::once(self.program.display().to_string()).chain(words).collect(), environment)
    }
}

fn text(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn tripod(task: &Task<'_>) -> Vec<String> {
    let state = task.state.display().to_string();
    text(&[
        "replicate",
        "s3://source",
        "s3://target",
        "--source-endpoint",
        task.source,
        "--target-endpoint",
        task.target,
        "--manifest",
        &state,
        "--adopt",
    ])
}

fn bare(task: &Task<'_>) -> Vec<String> {
    let many = if task.far { "512" } else { AT_ONCE };
    text(&["--source", task.source, "--target", task.target, "--at-once", many])
}

fn rclone_remotes(task: &Task<'_>) -> Vec<(String, String)> {
    let of = |(name, endpoint): (&str, &str)| {
        let settings = [
            ("TYPE", "s3"),
            ("PROVIDER", "Other"),
            ("ENDPOINT", endpoint),
            ("ACCESS_KEY_ID", KEY),
            ("SECRET_ACCESS_KEY", SECRET),
            ("FORCE_PATH_STYLE", "true"),
            ("NO_CHECK_BUCKET", "true"),
            ("LIST_VERSION", "2"),
        ];
        settings.map(|(setting, value)| (format!("RCLONE_CONFIG_{name}_{setting}"), value.to_owned()))
    };
    [("A", task.source), ("B", task.target)].into_iter().flat_map(of).collect()
}

fn rclone() -> Vec<String> {
    text(&[
        "sync",
        "a:source",
        "b:target",
        "--checksum",
        "--fast-list",
        "--transfers",
        AT_ONCE,
        "--checkers",
        AT_ONCE,
        "--config",
        "/dev/null",
    ])
}

fn s3sync(task: &Task<'_>) -> Vec<String> {
    text(&[
        "--source-endpoint-url",
        task.source,
        "--target-endpoint-url",
        task.target,
        "--source-access-key",
        KEY,
        "--source-secret-access-key",
        SECRET,
        "--target-access-key",
        KEY,
        "--target-secret-access-key",
        SECRET,
        "--source-force-path-style",
        "--target-force-path-style",
        "--source-region",
        "us-east-1",
        "--target-region",
        "us-east-1",
        "--worker-size",
        AT_ONCE,
        "--disable-tagging",
        "s3://source",
        "s3://target",
    ])
}

fn juicefs(task: &Task<'_>) -> Vec<String> {
    let url = |endpoint: &str, bucket: &str| {
        let (_, host) = endpoint.split_once("://").unwrap_or_default();
        format!("minio://{KEY}:{SECRET}@{host}/{bucket}/")
    };
    let (source, target) = (url(task.source, "source"), url(task.target, "target"));
    let mut words = text(&["sync", "--threads", AT_ONCE, &source, &target]);
    words.extend(task.source.starts_with("http://").then(|| "--no-https".to_owned()));
    words
}

fn mc_hosts(task: &Task<'_>) -> Vec<(String, String)> {
    let of = |(name, endpoint): (&str, &str)| {
        let (scheme, host) = endpoint.split_once("://").unwrap_or(("http", endpoint));
        (format!("MC_HOST_{name}"), format!("{scheme}://{KEY}:{SECRET}@{host}"))
    };
    [("A", task.source), ("B", task.target)].map(of).into()
}

fn mc(task: &Task<'_>) -> Vec<String> {
    let state = task.state.display().to_string();
    text(&["--quiet", "--config-dir", &state, "mirror", "--overwrite", "A/source", "B/target"])
}
