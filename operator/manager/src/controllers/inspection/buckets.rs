//! A bucket in a point: its inventory, by folders of its keys.

use std::collections::BTreeMap;
use std::convert::Infallible;

use tripod_crds::inspection::{Change, Entry, EntryType};
use tripod_domain::inspection::Page;
use tripod_replication::replica::Version;

use super::look::{Points, Stop};

pub(super) async fn list(
    points: &Points,
    bucket: &str,
    prefix: &str,
    mut page: Page,
) -> Result<(Page, bool), Stop> {
    let Some(versions) = points.vault.inventory(&points.later, bucket).await? else {
        return Ok((page, false));
    };
    let empty = versions.is_empty();
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for version in versions.into_iter().filter(|version| is_in(&version.key, prefix)) {
        // `2026` as well as `2026/` is the folder: its slash is the first one behind what was asked for.
        let from = if version.key[prefix.len()..].starts_with('/') { prefix.len() + 1 } else { prefix.len() };
        if let Some(slash) = version.key[from..].find('/') {
            let path = format!("buckets/{bucket}/{}", &version.key[..=from + slash]);
            let new = || Entry::new(&path, EntryType::Directory);
            let folder = entries.entry(path.clone()).or_insert_with(new);
            folder.files = Some(folder.files.unwrap_or_default() + 1);
            folder.size = Some(folder.size.unwrap_or_default() + version.size);
        } else {
            let entry = object(bucket, &version);
            entries.insert(entry.path.clone(), entry);
        }
    }
    let found = !entries.is_empty() || (empty && prefix.is_empty());
    for (path, entry) in entries {
        let Ok(()) = page.take(&path, None, || Ok::<_, Infallible>(entry));
    }
    Ok((page, found))
}

pub(super) async fn compare(
    points: &Points,
    bucket: &str,
    prefix: &str,
    mut page: Page,
) -> Result<(Page, bool), Stop> {
    let mut pairs: BTreeMap<String, (Option<Version>, Option<Version>)> = BTreeMap::new();
    let mut found = false;
    if let Some(earlier) = &points.earlier
        && let Some(versions) = points.vault.inventory(earlier, bucket).await?
    {
        found = true;
        pairs.extend(versions.into_iter().map(|version| (version.key.clone(), (Some(version), None))));
    }
    if let Some(versions) = points.vault.inventory(&points.later, bucket).await? {
        found = true;
        for version in versions {
            let key = version.key.clone();
            pairs.entry(key).or_default().1 = Some(version);
        }
    }
    pairs.retain(|key, _| is_in(key, prefix));
    for (key, pair) in &pairs {
        let path = format!("buckets/{bucket}/{key}");
        let (change, version) = match pair {
            (None, Some(later)) => (Change::Added, later),
            (Some(earlier), None) => (Change::Removed, earlier),
            (Some(earlier), Some(later)) if is_other(earlier, later) => (Change::Changed, later),
            _ => continue,
        };
        let Ok(()) = page.take(&path, Some(change), || {
            let mut entry = object(bucket, version);
            if let (Some(earlier), Some(later)) = pair {
                let sizes = format!("size: {} → {}", earlier.size, later.size);
                entry.differences =
                    vec![if earlier.size == later.size { "content".to_owned() } else { sizes }];
            }
            Ok::<_, Infallible>(entry)
        });
    }
    Ok((page, found && (prefix.is_empty() || !pairs.is_empty())))
}

/// Whether the prefix names the object, or a folder that it is in.
fn is_in(key: &str, prefix: &str) -> bool {
    let Some(rest) = key.strip_prefix(prefix) else { return false };
    prefix.is_empty() || prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/')
}

/// By content where both are known; stores do not make ETags alike.
fn is_other(earlier: &Version, later: &Version) -> bool {
    match (&earlier.sha256, &later.sha256) {
        (Some(earlier), Some(later)) => earlier != later,
        _ => (earlier.size, &earlier.etag) != (later.size, &later.etag),
    }
}

fn object(bucket: &str, version: &Version) -> Entry {
    let entry = Entry::new(format!("buckets/{bucket}/{}", version.key), EntryType::Object);
    Entry { size: Some(version.size), ..entry }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_names_a_folder_or_an_object() {
        for (key, prefix, expected) in [
            ("2026/a", "", true),
            ("2026/a", "2026", true),
            ("2026/a", "2026/", true),
            ("2026/a", "2026/a", true),
            ("2026/a", "20", false),
            ("2026/ab", "2026/a", false),
        ] {
            assert_eq!(is_in(key, prefix), expected, "{key} {prefix}");
        }
    }
}
