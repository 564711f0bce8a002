//! Versions of one side: its objects as they were at a moment, or its chains, a page ahead of whoever reads them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::chain::Link;
use super::listing::Range;
use super::{Filter, Side};
use crate::StoreError;
use crate::wire::{ETag, Entry, Page, Version, Versions};

/// Pages that are fetched ahead.
const AHEAD: usize = 2;
/// Times a page is asked for that is not in order.
const ATTEMPTS: u32 = 3;
/// The id of what was written while a bucket kept no versions.
const NULL: &str = "null";

/// A moment of the past, and what can't be known about it.
#[derive(Debug)]
pub(super) struct AsOf {
    /// By the source's clock, in milliseconds since 1970.
    moment: i64,
    filter: Filter,
    uncertain: AtomicU64,
}

impl AsOf {
    pub(super) fn new(moment: i64, filter: Filter) -> Self {
        Self { moment, filter, uncertain: AtomicU64::new(0) }
    }

    /// Objects that may not have been what they are said to have been.
    pub(super) fn uncertain(&self) -> u64 {
        self.uncertain.load(Ordering::Relaxed)
    }
}

/// Pages of versions, in order, with keys relative to the prefix.
struct Pages<'a> {
    side: &'a Side,
    /// What is listed begins so; the side's prefix at least.
    prefix: String,
    after: Option<(String, Option<String>)>,
    /// The last that was listed.
    last: Option<(String, Box<str>)>,
    ended: bool,
}

impl<'a> Pages<'a> {
    fn open(side: &'a Side, prefix: String, after: Option<&str>) -> Self {
        let last = after.map(|after| (after.to_owned(), Box::default()));
        let after = after.map(|after| (side.key(after), None));
        Self { side, prefix, after, last, ended: false }
    }

    async fn next(&mut self) -> Result<Option<Versions>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let side = self.side;
        let mut why = String::new();
        for _ in 0..ATTEMPTS {
            let after = self.after.as_ref().map(|(key, id)| (key.as_str(), id.as_deref()));
            let list = || side.wire.versions(&side.bucket, &self.prefix, after);
            let mut page = side.wire.persist(list).await?;
            let end = page.versions.last().map(|v| (v.entry.key.clone(), v.entry.version.clone()));
            if let Err(disorder) = relative(&mut page, &side.prefix, self.last.as_ref()) {
                why = disorder;
                continue;
            }
            let end = end.map(|(key, id)| (key, id.map(String::from)));
            if page.truncated {
                let next = page.next.clone().or(end);
                if next.is_none() || next == self.after {
                    "more are said to follow, and not where".clone_into(&mut why);
                    continue;
                }
                self.after = next;
            }
            self.ended = !page.truncated;
            if let Some(Version { entry, .. }) = page.versions.last() {
                self.last = Some((entry.key.clone(), entry.version.clone().unwrap_or_default()));
            }
            return Ok(Some(page));
        }
        Err(StoreError::Other {
            what: format!("bucket {:?} at {}", side.bucket, side.wire.endpoint()),
            detail: format!("does not list its versions in the order of their keys, the newest first: {why}"),
        })
    }
}

/// Takes the prefix off, and sees that every version is behind the one before.
fn relative(page: &mut Versions, prefix: &str, last: Option<&(String, Box<str>)>) -> Result<(), String> {
    for Version { entry, .. } in &mut page.versions {
        let Some(rest) = entry.key.strip_prefix(prefix) else {
            return Err(format!("{:?} is listed, and does not begin with {prefix:?}", entry.key));
        };
        if !prefix.is_empty() {
            entry.key = rest.to_owned();
        }
    }
    page.versions.retain(|version| !version.entry.key.is_empty());
    if let (Some(Version { entry, .. }), Some((before, id))) = (page.versions.first(), last) {
        // Between two pages a version may have been deleted, and some stores then begin again with the key.
        let is_behind = if id.is_empty() { entry.key > *before } else { entry.key >= *before };
        if !is_behind {
            return Err(format!("{:?} is listed behind {before:?}", entry.key));
        }
    }
    let disorder = page.versions.iter().zip(page.versions.iter().skip(1)).find(|(before, version)| {
        let (above, below) = (&before.entry, &version.entry);
        let same = above.key == below.key;
        above.key > below.key || (same && (version.is_latest || above.version == below.version))
    });
    disorder.map_or(Ok(()), |(before, version)| {
        let shown = |entry: &Entry| {
            format!("{:?} (version {})", entry.key, entry.version.as_deref().unwrap_or_default())
        };
        Err(format!("{} is listed behind {}", shown(&version.entry), shown(&before.entry)))
    })
}

/// Objects as they were at a moment, in pages like those of what is current.
pub(super) async fn fetch_as_of(
    side: Side,
    range: Range,
    as_of: Arc<AsOf>,
    sender: mpsc::Sender<Result<Page, StoreError>>,
) {
    let mut pages = Pages::open(&side, side.prefix.clone(), range.after.as_deref());
    let mut reduced = Reduced::default();
    loop {
        let page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => return,
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        let ends = page.versions.last().is_some_and(|version| range.is_behind(&version.entry.key));
        let wanted = page.versions.into_iter().filter(|version| !range.is_behind(&version.entry.key));
        let entries = wanted.filter_map(|version| reduced.take(version, &as_of)).collect();
        let page = Page { entries, now: page.now, ..Page::default() };
        if sender.send(Ok(page)).await.is_err() || ends {
            return;
        }
    }
}

/// Versions on their way to what was current.
#[derive(Default)]
struct Reduced {
    key: String,
    is_decided: bool,
    is_uncertain: bool,
}

impl Reduced {
    /// The object that was current under a key, when its version comes.
    fn take(&mut self, version: Version, as_of: &AsOf) -> Option<Entry> {
        let Version { entry, is_marker, .. } = version;
        if entry.key != self.key {
            self.key.clone_from(&entry.key);
            (self.is_decided, self.is_uncertain) = (false, false);
        }
        if self.is_decided {
            return None;
        }
        let is_later = entry.modified > as_of.moment;
        // Written without versions since: it has taken the place of what may have been current. Written in parts: it is
        // dated by when that began, and may have been completed since.
        let doubtful = if is_later {
            entry.version.as_deref() == Some(NULL)
        } else {
            matches!(entry.etag, ETag::Parts(..))
        };
        if doubtful && !self.is_uncertain && as_of.filter.wants_key(&entry.key) {
            self.is_uncertain = true;
            as_of.uncertain.fetch_add(1, Ordering::Relaxed);
        }
        self.is_decided = !is_later;
        (self.is_decided && !is_marker).then_some(entry)
    }
}

/// Whether the side has an object, now or at its moment.
pub(super) async fn has(side: &Side, key: &str) -> Result<bool, StoreError> {
    let at = side.key(key);
    let Some(as_of) = &side.as_of else {
        let head = side.wire.head(&side.bucket, &at, crate::wire::Part::default()).await?;
        return Ok(head.is_some());
    };
    // Not counted again.
    let as_of = AsOf::new(as_of.moment, as_of.filter.clone());
    let (mut reduced, mut pages) = (Reduced::default(), Pages::open(side, at, None));
    while let Some(page) = pages.next().await? {
        for version in page.versions {
            if version.entry.key != key || reduced.is_decided {
                return Ok(false);
            }
            if reduced.take(version, &as_of).is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// All versions of one key, the oldest first.
pub(super) async fn of_key(side: &Side, key: &str) -> Result<Vec<Link>, StoreError> {
    let mut pages = Pages::open(side, side.key(key), None);
    let mut chain = Building::default();
    'pages: while let Some(page) = pages.next().await? {
        chain.turn_page();
        for version in page.versions {
            if version.entry.key != key {
                break 'pages;
            }
            chain.add(version);
        }
    }
    Ok(chain.links())
}

/// All versions of one key.
#[derive(Clone, Debug, Default)]
pub(super) struct Chain {
    pub(super) key: String,
    /// The oldest first.
    pub(super) links: Vec<Link>,
    /// Listed in more than one answer: between two of them it may have changed.
    pub(super) is_torn: bool,
}

/// A chain while it is listed, the newest first.
#[derive(Default)]
struct Building {
    links: Vec<Link>,
    /// Ids so far, from the second page on: a store may begin again where a version was deleted meanwhile.
    seen: Option<HashSet<Box<str>>>,
}

impl Building {
    fn turn_page(&mut self) {
        if self.seen.is_none() && !self.links.is_empty() {
            self.seen = Some(self.links.iter().map(|link| link.id.clone()).collect());
        }
    }

    fn add(&mut self, version: Version) {
        let link = Link::of(version);
        if self.seen.as_mut().is_none_or(|seen| seen.insert(link.id.clone())) {
            self.links.push(link);
        }
    }

    fn links(mut self) -> Vec<Link> {
        self.links.reverse();
        self.links
    }
}

/// Chains in the order of their keys.
pub(super) struct Chains {
    pages: mpsc::Receiver<Result<Versions, StoreError>>,
    task: JoinHandle<()>,
    page: std::vec::IntoIter<Version>,
    key: String,
    building: Building,
    next: Option<Chain>,
    ended: bool,
    /// The store's clock at the last page.
    pub(super) now: Option<i64>,
}

impl Chains {
    pub(super) fn open(side: Side, range: Range) -> Self {
        let (sender, pages) = mpsc::channel(AHEAD);
        let task = tokio::spawn(fetch(side, range, sender));
        Self {
            pages,
            task,
            page: Vec::new().into_iter(),
            key: String::new(),
            building: Building::default(),
            next: None,
            ended: false,
            now: None,
        }
    }

    /// The next key's, which stays the next. After the last there is none. Whoever waits for this may stop waiting.
    pub(super) async fn peek(&mut self) -> Result<Option<&Chain>, StoreError> {
        while self.next.is_none() && !self.ended {
            if let Some(version) = self.page.next() {
                if version.entry.key != self.key {
                    self.next = self.built();
                    self.key.clone_from(&version.entry.key);
                }
                self.building.add(version);
                continue;
            }
            match self.pages.recv().await {
                Some(Ok(page)) => {
                    self.now = page.now.or(self.now);
                    self.building.turn_page();
                    self.page = page.versions.into_iter();
                }
                Some(Err(error)) => return Err(error),
                None => {
                    self.ended = true;
                    self.next = self.built();
                }
            }
        }
        Ok(self.next.as_ref())
    }

    pub(super) fn take(&mut self) -> Option<Chain> {
        self.next.take()
    }

    fn built(&mut self) -> Option<Chain> {
        let building = std::mem::take(&mut self.building);
        let is_torn = building.seen.is_some();
        let key = std::mem::take(&mut self.key);
        (!building.links.is_empty()).then(|| Chain { key, links: building.links(), is_torn })
    }
}

impl Drop for Chains {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn fetch(side: Side, range: Range, sender: mpsc::Sender<Result<Versions, StoreError>>) {
    let mut pages = Pages::open(&side, side.prefix.clone(), range.after.as_deref());
    loop {
        let mut page = match pages.next().await {
            Ok(Some(page)) => page,
            Ok(None) => return,
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        let ends = page.versions.last().is_some_and(|version| range.is_behind(&version.entry.key));
        page.versions.retain(|version| !range.is_behind(&version.entry.key));
        if sender.send(Ok(page)).await.is_err() || ends {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `key:id@modified`; with a dash in front a marker, with a star the current one, with a hash written in parts.
    fn version(text: &str) -> Version {
        let named = text.trim_start_matches(['-', '*', '#']);
        let (key, rest) = named.split_once(':').unwrap();
        let (id, modified) = rest.split_once('@').unwrap();
        let etag = if text.contains('#') { "0123456789abcdef0123456789abcdef-2" } else { "e" };
        let (key, modified) = (key.to_owned(), modified.parse().unwrap());
        let entry = Entry { key, size: 1, etag: ETag::new(etag), modified, version: Some(id.into()) };
        Version { entry, is_marker: text.starts_with('-'), is_latest: text.contains('*') }
    }

    fn page(texts: &[&str]) -> Versions {
        Versions { versions: texts.iter().map(|text| version(text)).collect(), ..Versions::default() }
    }

    #[test]
    fn keys_are_in_order_and_no_version_comes_twice() {
        let last = ("a".to_owned(), "1".into());
        let mut good = page(&["*p/B:1@9", "p/B:2@8", "*p/a:1@7"]);
        assert!(relative(&mut good, "p/", Some(&("A".to_owned(), "1".into()))).is_ok());
        assert_eq!(good.versions[1].entry.key, "B");
        // Goes on with the key of the page before.
        assert!(relative(&mut page(&["a:2@9"]), "", Some(&last)).is_ok());
        for wrong in
            [&["*p/a:1@9", "*p/B:1@9"][..], &["*p/a:1@9", "p/a:1@9"], &["p/a:2@9", "*p/a:1@9"], &["*q/a:1@9"]]
        {
            assert!(relative(&mut page(wrong), "p/", None).is_err(), "{wrong:?}");
        }
        // Asked for what is behind a key, and answered with the key.
        assert!(relative(&mut page(&["a:1@9"]), "", Some(&("a".to_owned(), "".into()))).is_err());
        assert!(relative(&mut page(&["a:1@9"]), "", Some(&("b".to_owned(), "1".into()))).is_err());
    }

    fn at(moment: i64, versions: &[&str]) -> (Vec<String>, u64) {
        let as_of = AsOf::new(moment, Filter::globs(&[], &["out".to_owned()]).unwrap());
        let mut reduced = Reduced::default();
        let taken = versions.iter().filter_map(|text| reduced.take(version(text), &as_of));
        let taken = taken.map(|entry| format!("{}:{}", entry.key, entry.version.unwrap())).collect();
        (taken, as_of.uncertain())
    }

    #[test]
    fn what_was_current_is_the_newest_that_is_not_later() {
        let versions = ["-a:3@30", "a:2@20", "a:1@10", "b:1@20", "-c:2@20", "c:1@10"];
        let was = |moment| at(moment, &versions).0.join(" ");
        assert_eq!(was(9), "");
        assert_eq!(was(10), "a:1 c:1");
        assert_eq!(was(20), "a:2 b:1");
        assert_eq!(was(30), "b:1");
        // In the order of the list, whatever the dates say: written in parts, and begun before the one below it.
        assert_eq!(at(20, &["#a:2@5", "a:1@10"]), (vec!["a:2".to_owned()], 1));
    }

    #[test]
    fn what_may_have_come_later_is_counted() {
        assert_eq!(at(20, &["#a:2@20", "a:1@10", "out:1@1"]).1, 1);
        // The one above it was there: so was this.
        assert_eq!(at(20, &["a:2@20", "#a:1@10"]).1, 0);
        assert_eq!(at(20, &["#a:2@30", "a:1@10"]).1, 0);
        // Written without versions, in the place of another.
        assert_eq!(at(20, &["a:null@30"]), (vec![], 1));
        assert_eq!(at(20, &["a:null@20"]), (vec!["a:null".to_owned()], 0));
        assert_eq!(at(20, &["#out:null@20"]).1, 0);
    }

    #[test]
    fn a_chain_over_pages_has_each_version_once() {
        let mut chain = Building::default();
        for text in ["*a:3@3", "a:2@2"] {
            chain.add(version(text));
        }
        chain.turn_page();
        for text in ["a:3@3", "a:1@1"] {
            chain.add(version(text));
        }
        let ids: Vec<_> = chain.links().into_iter().map(|link| String::from(link.id)).collect();
        assert_eq!(ids, ["1", "2", "3"]);
    }
}
