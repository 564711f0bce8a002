//! Those who copy: the engine, others, and a loop that does nothing else.

use std::path::{Path, PathBuf};

/// Any key does: the stores in memory ask for none.
const KEY: &str = "benchmark";
const SECRET: &str = "benchmark-secret";
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
        let named = [(Kind::Rclone, "rclone"), (Kind::S3sync, "s3sync"), (Kind::Juicefs, "juicefs")];
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
        let program = self.program.display().to_string();
        let (source, target) = (task.source, task.target);
        let text = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let many = if task.far { "512" } else { AT_ONCE };
        let state = task.state.display().to_string();
        let mut environment: Vec<(String, String)> =
            vec![("AWS_ACCESS_KEY_ID".into(), KEY.into()), ("AWS_SECRET_ACCESS_KEY".into(), SECRET.into())];
        let words = match self.kind {
            Kind::Tripod => text(&[
                "replicate",
                "s3://source",
                "s3://target",
                "--source-endpoint",
                source,
                "--target-endpoint",
                target,
                "--manifest",
                &state,
                "--adopt",
            ]),
            Kind::Bare => text(&["--source", source, "--target", target, "--at-once", many]),
            Kind::Rclone => {
                for (name, endpoint) in [("A", source), ("B", target)] {
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
                    let named = |(setting, value): (&str, &str)| {
                        (format!("RCLONE_CONFIG_{name}_{setting}"), value.to_owned())
                    };
                    environment.extend(settings.into_iter().map(named));
                }
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
            Kind::S3sync => text(&[
                "--source-endpoint-url",
                source,
                "--target-endpoint-url",
                target,
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
            ]),
            Kind::Juicefs => {
                let url = |endpoint: &str, bucket: &str| {
                    format!("minio://{KEY}:{SECRET}@{}/{bucket}/", endpoint.trim_start_matches("http://"))
                };
                text(&[
                    "sync",
                    "--no-https",
                    "--threads",
                    AT_ONCE,
                    &url(source, "source"),
                    &url(target, "target"),
                ])
            }
        };
        (std::iter::once(program).chain(words).collect(), environment)
    }
}
