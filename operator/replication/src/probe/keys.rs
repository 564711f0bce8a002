//! Keys that AWS keeps byte for byte, and that other stores refuse, change or mistake for one another: those that keep
//! objects as files above all.

use std::collections::BTreeMap;

use aws_sdk_s3::types::EncodingType;
use bytes::Bytes;
use futures::future::join_all;
use percent_encoding::percent_decode_str;

use super::{Ability, Trial, decided, right};
use crate::StoreError;

/// The longest that AWS takes, in bytes.
const LONGEST: usize = 1024;
/// Of a key, and of the one that it is taken for.
const BODIES: [&[u8]; 2] = [b"the one", b"the other"];

/// A kind of odd key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum OddKey {
    /// `a` and `A`.
    Case,
    /// A character that XML has no word for.
    Control,
    /// Segments `..`.
    DotSegments,
    /// `//`.
    DoubleSlash,
    /// A `/` at the end: the folder of some clients.
    Folder,
    /// A `/` at the beginning.
    LeadingSlash,
    /// The two line ends, which XML reads as one.
    LineEnds,
    /// A name between slashes that is longer than that of a file may be.
    LongName,
    /// 1,024 bytes.
    Longest,
    /// `<`, `&` and quotes.
    Markup,
    /// An object whose key goes on, after a slash, in another's.
    Nested,
    /// `%41`, which is not `A`.
    Percent,
    /// `+`, which is not a space.
    Plus,
    /// A space at the end.
    TrailingSpace,
    /// One letter with an accent, and the letter and the accent.
    UnicodeForms,
}

impl OddKey {
    pub const ALL: [Self; 15] = [
        Self::Case,
        Self::Control,
        Self::DotSegments,
        Self::DoubleSlash,
        Self::Folder,
        Self::LeadingSlash,
        Self::LineEnds,
        Self::LongName,
        Self::Longest,
        Self::Markup,
        Self::Nested,
        Self::Percent,
        Self::Plus,
        Self::TrailingSpace,
        Self::UnicodeForms,
    ];

    /// As it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Case => "case",
            Self::Control => "control",
            Self::DotSegments => "dotSegments",
            Self::DoubleSlash => "doubleSlash",
            Self::Folder => "folder",
            Self::LeadingSlash => "leadingSlash",
            Self::LineEnds => "lineEnds",
            Self::LongName => "longName",
            Self::Longest => "longest",
            Self::Markup => "markup",
            Self::Nested => "nested",
            Self::Percent => "percent",
            Self::Plus => "plus",
            Self::TrailingSpace => "trailingSpace",
            Self::UnicodeForms => "unicodeForms",
        }
    }

    /// A key of the kind, and one that a store takes for it which takes it for something else.
    fn pair(self, folder: &str) -> [String; 2] {
        let within = |names: [&str; 2]| names.map(|name| format!("{folder}{name}"));
        match self {
            Self::Case => within(["Case", "case"]),
            Self::Control => within(["a\u{1}b", "ab"]),
            Self::DotSegments => within(["a/../b", "b"]),
            Self::DoubleSlash => within(["a//b", "a/b"]),
            Self::Folder => within(["a/", "a/b"]),
            Self::LeadingSlash => [format!("/{folder}a"), format!("{folder}a")],
            Self::LineEnds => within(["a\nb", "a\r\nb"]),
            Self::LongName => within([&"n".repeat(300), &"n".repeat(299)]),
            Self::Longest => ["a", "b"].map(|last| longest(folder, last)),
            Self::Markup => within(["<a&b>\"c'", "&lt;a&amp;b&gt;&quot;c&apos;"]),
            Self::Nested => within(["a", "a/b"]),
            Self::Percent => within(["%41%2F%zz", "A/%zz"]),
            Self::Plus => within(["a+b", "a b"]),
            Self::TrailingSpace => within(["a ", "a"]),
            Self::UnicodeForms => within(["caf\u{e9}", "cafe\u{301}"]),
        }
    }
}

/// In names that a file system takes.
fn longest(folder: &str, last: &str) -> String {
    let mut key = folder.to_owned();
    while key.len() + 101 < LONGEST {
        key += &"x".repeat(99);
        key.push('/');
    }
    key += &"y".repeat(LONGEST - last.len() - key.len());
    key + last
}

pub(super) async fn odd_keys(trial: &Trial<'_>) -> BTreeMap<OddKey, Ability> {
    // On the heap: a call is a large thing, and fifteen times two side by side are more than a thread's stack.
    let tried = OddKey::ALL.iter().map(|&kind| Box::pin(async move { (kind, kept(trial, kind).await) }));
    join_all(tried).await.into_iter().collect()
}

/// Both must be there, each with its own content, and listed by their names.
async fn kept(trial: &Trial<'_>, kind: OddKey) -> Ability {
    let folder = trial.key(&format!("keys/{}/", kind.name()));
    let keys = kind.pair(&folder);
    let mut written = Vec::new();
    let tried = async {
        for (key, body) in keys.iter().zip(BODIES) {
            match put(trial, key, body).await {
                Ok(version) => written.push((key, version)),
                Err(error) => return Err(refused(trial, &folder, &error).await),
            }
        }
        for (key, body) in keys.iter().zip(BODIES) {
            match trial.store.get(trial.bucket, key).await {
                Ok(there) if there == *body => {}
                Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(Ability::Refuted),
                Err(error) => return Err(super::lacking(&error)),
            }
        }
        let mut listed = list(trial, &folder).await?;
        if kind == OddKey::LeadingSlash {
            listed.extend(list(trial, &format!("/{folder}")).await?);
        }
        listed.sort();
        let mut expected = keys.to_vec();
        expected.sort();
        Ok(right(listed == expected))
    };
    let ability = decided(tried.await);
    // At once, and by name: a listing that can't be read could not say that they are left.
    for (key, version) in written {
        delete(trial, key, version).await;
    }
    ability
}

/// The version that was made, where versions are kept.
async fn put(trial: &Trial<'_>, key: &str, body: &'static [u8]) -> Result<Option<String>, StoreError> {
    let put = trial.store.once().put_object().bucket(trial.bucket).key(key);
    let sent = put.body(Bytes::from_static(body).into()).send().await;
    Ok(sent.map_err(|e| trial.sort(key, &e))?.version_id)
}

/// What it says of a key that its write failed. Some stores fail as if they were overloaded: one that takes an ordinary
/// key at that moment is not. That key goes through the same folder, and takes with it what a store that keeps files
/// has made for the odd one.
async fn refused(trial: &Trial<'_>, folder: &str, error: &StoreError) -> Ability {
    let ordinary = format!("{folder}ordinary");
    let Ok(version) = put(trial, &ordinary, BODIES[0]).await else { return Ability::Unknown };
    delete(trial, &ordinary, version).await;
    match error {
        StoreError::Unreachable { .. } => Ability::Refuted,
        _ => super::lacking(error),
    }
}

async fn delete(trial: &Trial<'_>, key: &str, version: Option<String>) {
    let delete = trial.store.client().delete_object().bucket(trial.bucket).key(key);
    let _ = delete.set_version_id(version).send().await;
}

/// What is under a prefix, asked for so that every key can be told.
async fn list(trial: &Trial<'_>, prefix: &str) -> Result<Vec<String>, Ability> {
    let list = trial.store.once().list_objects_v2().bucket(trial.bucket).prefix(prefix);
    match list.encoding_type(EncodingType::Url).send().await.map_err(|e| trial.sort("", &e)) {
        Ok(page) => {
            let encoded = page.encoding_type() == Some(&EncodingType::Url);
            let keys = page.contents().iter().filter_map(|object| object.key());
            Ok(keys.map(|key| if encoded { decoded(key) } else { key.to_owned() }).collect())
        }
        // An answer that can't be read.
        Err(StoreError::Other { .. }) => Err(Ability::Refuted),
        Err(error) => Err(super::lacking(&error)),
    }
}

/// As in a form: a plus is a space.
fn decoded(key: &str) -> String {
    percent_decode_str(&key.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_two_keys_that_aws_takes() {
        for kind in OddKey::ALL {
            let [odd, twin] = kind.pair("probes/remote-1-keys/longest/");
            assert_ne!(odd, twin);
            assert!(odd.len() <= LONGEST && twin.len() <= LONGEST, "{kind:?}");
        }
        assert_eq!(OddKey::Longest.pair("probes/").map(|key| key.len()), [LONGEST; 2]);
    }

    #[test]
    fn they_are_in_the_order_of_their_names() {
        assert!(OddKey::ALL.is_sorted());
        assert!(OddKey::ALL.map(OddKey::name).is_sorted());
    }
}
