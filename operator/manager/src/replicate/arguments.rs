//! What people say on the command line, and what of it is right.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::history::HistoryArguments;
use super::location::Location;

/// Shown below the help of every command.
const EXIT_CODES: &str = "\
Exit codes: 0 the destination is whole; 1 it could not be done at all; 2 wrong usage;
3 some objects could not be copied or are not as they should be; 4 more would have been deleted than is allowed.

Credentials, region and endpoint: options, then the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, AWS_PROFILE), then ~/.aws. For one side only:
TRIPOD_SOURCE_ACCESS_KEY_ID, TRIPOD_TARGET_SECRET_ACCESS_KEY and so on.";

/// S3 to S3.
#[derive(Subcommand)]
pub enum Replication {
    /// Make one bucket, or a folder of it, like another.
    #[command(after_help = EXIT_CODES)]
    Replicate(ReplicateArguments),
    /// Say what `replicate` would do, and do nothing.
    #[command(after_help = EXIT_CODES)]
    Plan(PlanArguments),
    /// Compare both sides and what is on record of them.
    #[command(after_help = EXIT_CODES)]
    Verify(VerifyArguments),
    /// List objects in the order of their keys.
    #[command(after_help = EXIT_CODES)]
    Ls(LsArguments),
    /// Measure a store with objects of its own, in a new folder below the prefix. Nothing else is touched, and nothing stays.
    #[command(after_help = EXIT_CODES)]
    Bench(BenchArguments),
    /// Work on a large run beside others (run by the operator as a Job).
    #[command(hide = true)]
    ReplicateWorker(super::worker::WorkerArguments),
}

/// Both sides.
#[derive(Args)]
pub struct Sides {
    /// Where objects come from: s3://bucket/prefix/
    pub source: Location,
    /// Where they go to: s3://bucket/prefix/
    pub target: Location,
    /// URL of the source's store, for instance https://s3.example
    #[arg(long, value_name = "URL")]
    pub source_endpoint: Option<String>,
    /// URL of the target's store.
    #[arg(long, value_name = "URL")]
    pub target_endpoint: Option<String>,
    /// Profile of ~/.aws for the source.
    #[arg(long, value_name = "NAME")]
    pub source_profile: Option<String>,
    /// Profile of ~/.aws for the target.
    #[arg(long, value_name = "NAME")]
    pub target_profile: Option<String>,
    #[arg(long, value_name = "NAME")]
    pub source_region: Option<String>,
    #[arg(long, value_name = "NAME")]
    pub target_region: Option<String>,
    /// PEM certificates to trust beside the machine's own.
    #[arg(long, value_name = "FILE")]
    pub source_ca_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    pub target_ca_file: Option<PathBuf>,
    /// The source's store lists objects in no order: listings are sorted on this machine's disk first.
    #[arg(long)]
    pub source_unsorted: bool,
    /// The target's store does.
    #[arg(long)]
    pub target_unsorted: bool,
    /// Where it is recorded what was copied. Without it a folder below $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, value_name = "FOLDER")]
    pub manifest: Option<PathBuf>,
    /// Keep no record: both sides are compared by size and ETag alone, and deletions are not recognised.
    #[arg(long, conflicts_with = "manifest")]
    pub no_manifest: bool,
    #[command(flatten)]
    pub filter: FilterArguments,
    /// How results are written.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

#[derive(Args)]
pub struct FilterArguments {
    /// Only keys that match, for instance 'reports/**/*.pdf'; can be repeated.
    #[arg(long, value_name = "GLOB")]
    pub include: Vec<String>,
    /// No keys that match; can be repeated.
    #[arg(long, value_name = "GLOB")]
    pub exclude: Vec<String>,
    /// Only objects of at least so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub min_size: Option<u64>,
    /// Only objects of at most so many bytes.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub max_size: Option<u64>,
    /// Only objects with this tag, for instance keep=yes; with all of them, where it is repeated. A request more for each object
    /// that would be copied.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub tag: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Text,
    Json,
}

#[derive(Args)]
pub struct ReplicateArguments {
    #[command(flatten)]
    pub sides: Sides,
    #[command(flatten)]
    pub history: HistoryArguments,
    #[command(flatten)]
    pub how: How,
}

#[derive(Args)]
pub struct How {
    /// Delete at the target what was replicated and is gone at the source.
    #[arg(long)]
    pub delete: bool,
    /// Delete nothing at all where more objects than these would be deleted.
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "delete")]
    pub max_delete: u64,
    /// Take a target over that is not empty: what differs is replaced.
    #[arg(long)]
    pub adopt: bool,
    /// At most so many bytes a second, for instance 20Mi.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub bandwidth: Option<u64>,
    /// At most so many objects begun a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// At most so many objects under way at once. Up to there it finds out by itself how many help.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..))]
    pub at_once: u16,
}

#[derive(Args)]
pub struct PlanArguments {
    #[command(flatten)]
    pub sides: Sides,
    #[command(flatten)]
    pub history: HistoryArguments,
    /// Delete at the target what was replicated and is gone at the source.
    #[arg(long)]
    pub delete: bool,
}

#[derive(Args)]
pub struct VerifyArguments {
    #[command(flatten)]
    pub sides: Sides,
    /// Read every object at both sides.
    #[arg(long)]
    pub read: bool,
    /// Compare all versions in their order, with delete markers.
    #[arg(long)]
    pub all_versions: bool,
}

/// A place in one store.
#[derive(Args)]
pub struct Place {
    /// s3://bucket/prefix
    pub location: Location,
    /// URL of the store.
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// Profile of ~/.aws.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    #[arg(long, value_name = "NAME")]
    pub region: Option<String>,
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

#[derive(Args)]
pub struct LsArguments {
    #[command(flatten)]
    pub place: Place,
    /// Only count.
    #[arg(long)]
    pub summary: bool,
    /// All versions and delete markers, the newest of a key first; the current one has a star.
    #[arg(long)]
    pub versions: bool,
}

#[derive(Args)]
pub struct BenchArguments {
    #[command(flatten)]
    pub place: Place,
    /// Objects that are written, read and deleted.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub objects: u64,
    /// Bytes of each; at most what S3 takes in one piece, 5Gi.
    #[arg(long, value_name = "BYTES", default_value = "4Ki", value_parser = one_piece)]
    pub size: u64,
    /// Calls under way at once.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub at_once: u16,
    /// How results are written.
    #[arg(short, long, value_enum, default_value = "text")]
    pub output: Output,
}

/// `10`, `5k`, `20Mi`, `1G`: as Kubernetes writes quantities.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1_u64 << 40),
        ("k", 1000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
    ];
    let (number, unit) = units
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))
        .unwrap_or((text, 1));
    let number: u64 = number.parse().map_err(|_| "write it like 500, 20Mi or 1G".to_owned())?;
    number.checked_mul(unit).filter(|n| *n > 0).ok_or_else(|| "it is zero, or too much".to_owned())
}

/// Bytes of an object that is written in one piece.
fn one_piece(text: &str) -> Result<u64, String> {
    bytes(text)
        .and_then(|size| if size <= 5 << 30 { Ok(size) } else { Err("it is more than 5Gi".to_owned()) })
}

/// `name=value`, as S3 takes them.
fn tag(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it like name=value")?;
    if !(1..=128).contains(&name.chars().count()) || value.chars().count() > 256 {
        return Err("a name has 1 to 128 characters, a value at most 256".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{bytes, one_piece, tag};

    #[test]
    fn a_tag_is_a_name_and_a_value() {
        let pair = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(tag("a=b=c"), pair("a", "b=c"));
        assert_eq!(tag("目录="), pair("目录", ""));
        for wrong in ["", "a", "=b", &"x".repeat(130), &format!("a={}", "x".repeat(257))] {
            assert!(tag(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_read_as_kubernetes_writes_them() {
        assert_eq!(bytes("500"), Ok(500));
        assert_eq!(bytes("20Mi"), Ok(20 << 20));
        assert_eq!(bytes("5k"), Ok(5000));
        assert!(one_piece("5Gi").is_ok() && one_piece("6Gi").is_err());
        for wrong in ["", "0", "-1", "Mi", "1.5Gi", "99999999999Ti"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }
}
