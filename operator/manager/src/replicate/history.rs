//! Options and listings of what a bucket has been: `--at`, `--all-versions`, `--storage-class`, `ls --versions`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;
use tripod_replication::engine::{self, History, Options, Side};
use tripod_replication::wire::Version;

use super::{print, progress, shown_key};

/// How much of the source's history.
#[derive(Args)]
pub struct HistoryArguments {
    /// What was current at this moment of the source's clock, for instance 2026-05-01T00:00:00Z. The source has to keep versions.
    #[arg(long, value_name = "TIME", conflicts_with = "all_versions")]
    at: Option<Timestamp>,
    /// All versions in their order, with delete markers. Both sides have to keep versions.
    #[arg(long)]
    all_versions: bool,
    /// What a storage class of the source is called at the target, for instance STANDARD_IA=COLD; can be repeated.
    #[arg(long = "storage-class", value_name = "FROM=TO", value_parser = storage_class)]
    storage_classes: Vec<(String, String)>,
}

impl HistoryArguments {
    /// What is asked for.
    pub fn history(&self) -> History {
        match self.at {
            Some(moment) => History::At(moment.as_millisecond()),
            None if self.all_versions => History::All,
            None => History::Latest,
        }
    }

    /// The last one counts where a class is named twice.
    pub fn storage_classes(&self) -> BTreeMap<String, String> {
        self.storage_classes.iter().cloned().collect()
    }
}

fn storage_class(text: &str) -> Result<(String, String), String> {
    let is_class = |class: &str| {
        !class.is_empty() && class.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
    };
    match text.split_once('=') {
        Some((from, to)) if is_class(from) && is_class(to) => Ok((from.to_owned(), to.to_owned())),
        _ => Err("write it like STANDARD_IA=COLD: the source's class, then the target's".to_owned()),
    }
}

/// Says what will not be as it is at the source.
pub async fn warn(source: &Side, target: &Side, options: &Options) -> anyhow::Result<()> {
    for note in engine::limits(source, target, options).await?.notes(options.history) {
        eprintln!("note: {}", note.text());
    }
    Ok(())
}

/// Lists versions and delete markers, the newest of a key first.
pub async fn list(side: &Side, summary: bool) -> anyhow::Result<()> {
    let (mut versions, mut markers, mut total) = (0_u64, 0_u64, 0_u64);
    let mut after: Option<(String, Option<String>)> = None;
    loop {
        let from = after.as_ref().map(|(key, id)| (key.as_str(), id.as_deref()));
        let page = side.wire.versions(&side.bucket, &side.prefix, from).await?;
        let mut lines = String::new();
        for version in &page.versions {
            let counter = if version.is_marker { &mut markers } else { &mut versions };
            *counter += 1;
            total += version.entry.size;
            if !summary {
                // Writing to a String does not fail.
                let _ = writeln!(lines, "{}", line(version));
            }
        }
        write!(std::io::stdout().lock(), "{lines}")?;
        let last = page.versions.last().map(|v| (v.entry.key.clone(), v.entry.version.clone()));
        let next = page.next.or(last.map(|(key, id)| (key, id.map(String::from))));
        if !page.truncated || next.is_none() || next == after {
            break;
        }
        after = next;
    }
    print(&format!("{versions} versions, {markers} delete markers, {}", progress::size(total)))
}

fn line(version: &Version) -> String {
    let entry = &version.entry;
    let modified = Timestamp::from_millisecond(entry.modified).unwrap_or_default();
    let current = if version.is_latest { '*' } else { ' ' };
    let what =
        if version.is_marker { "deleted".to_owned() } else { format!("{:>14} {}", entry.size, entry.etag) };
    let id = entry.version.as_deref().unwrap_or_default();
    format!("{modified:.0} {current} {id} {what} {}", shown_key(&entry.key))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tripod_replication::wire::{ETag, Entry};

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        history: HistoryArguments,
    }

    #[test]
    fn a_moment_or_all_versions_are_asked_for() {
        let parsed = |line: &[&str]| Command::try_parse_from([&["tripod"], line].concat()).map(|c| c.history);
        let history = |line: &[&str]| parsed(line).map(|h| h.history()).ok();
        assert_eq!(history(&[]), Some(History::Latest));
        assert_eq!(history(&["--all-versions"]), Some(History::All));
        assert_eq!(history(&["--at", "1970-01-01T00:00:02Z"]), Some(History::At(2000)));
        assert_eq!(history(&["--at", "1970-01-01T02:00:02+02:00"]), Some(History::At(2000)));
        assert_eq!(history(&["--at", "yesterday"]), None);
        assert_eq!(history(&["--at", "1970-01-01T00:00:02Z", "--all-versions"]), None);
        let classes =
            parsed(&["--storage-class", "A=B", "--storage-class", "C_D=E"]).map(|h| h.storage_classes());
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(classes.ok(), Some([pair("A", "B"), pair("C_D", "E")].into()));
        for wrong in ["A", "A=", "=B", "A=B=C", "A B=C"] {
            assert!(parsed(&["--storage-class", wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_version_is_a_line() {
        let entry = Entry {
            key: "a\nb".into(),
            size: 7,
            etag: ETag::new("e"),
            modified: 1000,
            version: Some("v1".into()),
        };
        let version = Version { entry, is_marker: false, is_latest: true };
        assert_eq!(line(&version), "1970-01-01T00:00:01Z * v1              7 e a\\nb");
        let marker = Version { is_marker: true, is_latest: false, ..version };
        assert_eq!(line(&marker), "1970-01-01T00:00:01Z   v1 deleted a\\nb");
    }
}
