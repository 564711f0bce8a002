//! The objects of a side whose store lists them in no order: read to the end, sorted on the disk of this machine, and handed on
//! as if they had come in order.

use std::io::{Error, ErrorKind, Read, Write};

use extsort::{ExternalSorter, Sortable};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Side;
use super::listing::{Range, without_prefix};
use crate::StoreError;
use crate::wire::{Entry, Page};

/// Entries that are sorted in memory before they are written down.
const IN_MEMORY: usize = 50_000;
/// Entries of a page that is handed on.
const PAGE: usize = 1000;
/// Pages that wait to be sorted.
const AHEAD: usize = 4;

/// An entry on disk: its length, and itself.
#[derive(Serialize, Deserialize)]
struct Line(Entry);

impl Sortable for Line {
    fn encode<W: Write>(&self, writer: &mut W) -> Result<(), Error> {
        let bytes = postcard::to_stdvec(self).map_err(Error::other)?;
        let length = u32::try_from(bytes.len()).map_err(Error::other)?;
        writer.write_all(&length.to_le_bytes())?;
        writer.write_all(&bytes)
    }

    fn decode<R: Read>(reader: &mut R) -> Result<Self, Error> {
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(Error::other)?;
        let mut bytes = vec![0; length];
        reader.read_exact(&mut bytes)?;
        postcard::from_bytes(&bytes).map_err(|e| Error::new(ErrorKind::InvalidData, e))
    }
}

/// As [`super::listing`]'s own, for stores that keep no order.
pub(super) async fn fetch(side: Side, range: Range, sender: mpsc::Sender<Result<Page, StoreError>>) {
    let (pages, unsorted) = mpsc::channel(AHEAD);
    let out = sender.clone();
    let what = side.to_string();
    let sorting = tokio::task::spawn_blocking(move || sort(&what, unsorted, &out));
    let read = read(&side, &range, pages).await;
    // What could not be read to its end is not sorted either: the channel ended without a last page.
    let sorted = sorting.await.map_err(|e| failed(&side.to_string(), &e.to_string())).flatten();
    if let Err(error) = read.and(sorted) {
        let _ = sender.send(Err(error)).await;
    }
}

/// All pages, in the order in which they come; the last is marked.
async fn read(side: &Side, range: &Range, pages: mpsc::Sender<Page>) -> Result<(), StoreError> {
    let mut token: Option<String> = None;
    loop {
        let list = || side.wire.list(&side.bucket, &side.prefix, None, token.as_deref());
        let mut page = side.wire.persist(list).await?;
        if page.truncated && (page.token.is_none() || page.token == token) {
            let detail = "a page of its listing does not say where the next one begins";
            return Err(failed(&side.to_string(), detail));
        }
        without_prefix(&mut page, &side.prefix).map_err(|detail| failed(&side.to_string(), &detail))?;
        page.entries.retain(|entry| range.has(&entry.key));
        let more = page.truncated;
        token.clone_from(&page.token);
        if pages.send(page).await.is_err() || !more {
            return Ok(());
        }
    }
}

fn sort(
    what: &str,
    mut pages: mpsc::Receiver<Page>,
    out: &mpsc::Sender<Result<Page, StoreError>>,
) -> Result<(), StoreError> {
    let disk = |e: Error| failed(what, &format!("its listing can't be sorted on this machine's disk: {e}"));
    let sorter = ExternalSorter::new().with_segment_size(IN_MEMORY);
    let mut sorter = sorter.pushed_by(|a: &Line, b: &Line| a.0.key.cmp(&b.0.key));
    let (mut whole, mut now) = (false, None);
    while let Some(page) = pages.blocking_recv() {
        (whole, now) = (!page.truncated, page.now.or(now));
        for entry in page.entries {
            sorter.push(Line(entry)).map_err(disk)?;
        }
    }
    if !whole {
        return Ok(());
    }
    let page = |entries| Page { entries, now, ..Page::default() };
    let mut entries: Vec<Entry> = Vec::with_capacity(PAGE);
    let mut last: Option<String> = None;
    for line in sorter.done().map_err(disk)? {
        let Line(entry) = line.map_err(disk)?;
        // Without an order a store may say something twice.
        if last.as_ref() == Some(&entry.key) {
            continue;
        }
        if entries.len() == PAGE && out.blocking_send(Ok(page(std::mem::take(&mut entries)))).is_err() {
            return Ok(());
        }
        last = Some(entry.key.clone());
        entries.push(entry);
    }
    let _ = out.blocking_send(Ok(page(entries)));
    Ok(())
}

fn failed(what: &str, detail: &str) -> StoreError {
    StoreError::Other { what: what.to_owned(), detail: detail.to_owned() }
}
