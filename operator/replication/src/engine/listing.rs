//! The objects of one side in the order of their keys, a page ahead of whoever reads them. A store that does not keep the
//! order, or says something twice, is asked again, and then named.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Side, unsorted, versions};
use crate::StoreError;
use crate::wire::{Entry, Page};

/// Pages that are fetched ahead.
const AHEAD: usize = 2;
/// Times a page is asked for that is not in order.
const ATTEMPTS: u32 = 3;

/// Keys of a part of the key space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Not itself.
    pub after: Option<String>,
    /// Itself too.
    pub until: Option<String>,
}

impl Range {
    /// Whether a key is in it.
    pub(super) fn has(&self, key: &str) -> bool {
        self.after.as_deref().is_none_or(|after| key > after) && !self.is_behind(key)
    }

    pub(super) fn is_behind(&self, key: &str) -> bool {
        self.until.as_deref().is_some_and(|until| key > until)
    }
}

/// A listing that is being read. Keys are relative to the side's prefix.
pub(super) struct Cursor {
    pages: mpsc::Receiver<Result<Page, StoreError>>,
    task: JoinHandle<()>,
    page: std::vec::IntoIter<Entry>,
    next: Option<Entry>,
    ended: bool,
    /// The store's clock at the last page.
    pub(super) now: Option<i64>,
}

impl Cursor {
    pub(super) fn open(side: Side, range: Range) -> Self {
        let (sender, pages) = mpsc::channel(AHEAD);
        let task = match side.as_of.clone() {
            Some(as_of) => tokio::spawn(versions::fetch_as_of(side, range, as_of, sender)),
            None if side.unsorted => tokio::spawn(unsorted::fetch(side, range, sender)),
            None => tokio::spawn(fetch(side, range, sender)),
        };
        Self { pages, task, page: Vec::new().into_iter(), next: None, ended: false, now: None }
    }

    /// The next object, which stays the next. After the last there is none.
    pub(super) async fn peek(&mut self) -> Result<Option<&Entry>, StoreError> {
        while self.next.is_none() && !self.ended {
            self.next = self.page.next();
            if self.next.is_some() {
                break;
            }
            match self.pages.recv().await {
                Some(Ok(page)) => {
                    self.now = page.now.or(self.now);
                    self.page = page.entries.into_iter();
                }
                Some(Err(error)) => return Err(error),
                None => self.ended = true,
            }
        }
        Ok(self.next.as_ref())
    }

    pub(super) fn take(&mut self) -> Option<Entry> {
        self.next.take()
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn fetch(side: Side, range: Range, sender: mpsc::Sender<Result<Page, StoreError>>) {
    let mut last = range.after.clone();
    let mut token: Option<String> = None;
    loop {
        let page = match page(&side, last.as_deref(), token.as_deref()).await {
            Ok(page) => page,
            Err(error) => {
                let _ = sender.send(Err(error)).await;
                return;
            }
        };
        let (mut page, mut more) = (page, false);
        if page.truncated {
            more = true;
            token.clone_from(&page.token);
        }
        if let Some(entry) = page.entries.last() {
            more &= !range.is_behind(&entry.key);
            last = Some(entry.key.clone());
        } else if page.truncated && page.token.is_none() {
            let _ = sender.send(Err(disorder(&side, "a page is empty, and more are said to follow"))).await;
            return;
        }
        page.entries.retain(|entry| !range.is_behind(&entry.key));
        if sender.send(Ok(page)).await.is_err() || !more {
            return;
        }
    }
}

/// One page, in order, with keys relative to the prefix.
async fn page(side: &Side, last: Option<&str>, token: Option<&str>) -> Result<Page, StoreError> {
    let after = last.map(|last| format!("{}{last}", side.prefix));
    let mut why = String::new();
    for _ in 0..ATTEMPTS {
        let mut page =
            side.wire.persist(|| side.wire.list(&side.bucket, &side.prefix, after.as_deref(), token)).await?;
        match relative(&mut page, &side.prefix, last) {
            Ok(()) => return Ok(page),
            Err(disorder) => why = disorder,
        }
    }
    Err(disorder(side, &why))
}

/// Takes the prefix off all keys.
pub(super) fn without_prefix(page: &mut Page, prefix: &str) -> Result<(), String> {
    for entry in &mut page.entries {
        let Some(rest) = entry.key.strip_prefix(prefix) else {
            return Err(format!("{:?} is listed, and does not begin with {prefix:?}", entry.key));
        };
        if !prefix.is_empty() {
            entry.key = rest.to_owned();
        }
    }
    // The prefix itself may be an object: an empty folder. It is as good a key as others, but no name of a file.
    page.entries.retain(|entry| !entry.key.is_empty());
    Ok(())
}

/// Takes the prefix off, and sees that every key is behind the one before.
fn relative(page: &mut Page, prefix: &str, last: Option<&str>) -> Result<(), String> {
    without_prefix(page, prefix)?;
    let mut before = last;
    for entry in &page.entries {
        if before.is_some_and(|before| before >= entry.key.as_str()) {
            return Err(format!("{:?} is listed behind {:?}", entry.key, before.unwrap_or_default()));
        }
        before = Some(&entry.key);
    }
    Ok(())
}

fn disorder(side: &Side, detail: &str) -> StoreError {
    StoreError::Other {
        what: format!("bucket {:?} at {}", side.bucket, side.wire.endpoint()),
        detail: format!(
            "does not list its objects in the order of their keys: {detail}; if it never does, `tripod replicate` has to be \
             told with --source-unsorted or --target-unsorted"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ETag;

    fn page(keys: &[&str]) -> Page {
        let etag = ETag::new("");
        let entry = |key: &&str| Entry {
            key: (*key).into(),
            size: 0,
            etag: etag.clone(),
            modified: 0,
            version: None,
        };
        Page { entries: keys.iter().map(entry).collect(), ..Page::default() }
    }

    #[test]
    fn order_is_that_of_bytes_and_nothing_comes_twice() {
        assert!(relative(&mut page(&["p/B", "p/a", "p/目"]), "p/", Some("A")).is_ok());
        assert!(relative(&mut page(&["p/a", "p/B"]), "p/", None).is_err());
        assert!(relative(&mut page(&["p/a", "p/a"]), "p/", None).is_err());
        assert!(relative(&mut page(&["p/a"]), "p/", Some("a")).is_err());
        assert!(relative(&mut page(&["q/a"]), "p/", None).is_err());
    }
}
