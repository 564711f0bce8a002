//! Kubernetes objects on their way into a snapshot: one after the other, in path order, a few at a time. They take the same
//! way as volumes, so that there is one.

use std::io::{self, Read, Write};

use tokio::sync::mpsc;

use super::repository::Document;
use super::wire::{Meta, Sender};

/// Documents that wait to be archived.
const AHEAD: usize = 16;

enum Fed {
    Document(Document),
    /// There are no more. A feed that is dropped without it has broken off.
    End,
}

/// Where documents go in.
pub struct DocumentFeed(mpsc::Sender<Fed>);

/// Nobody takes documents any more: the archiver failed, and says why itself.
#[derive(thiserror::Error, Clone, Copy, Debug, PartialEq, Eq)]
#[error("the archiver stopped reading")]
pub struct Unread;

impl DocumentFeed {
    /// Sends the next document; waits while there are enough on their way.
    pub async fn send(&self, document: Document) -> Result<(), Unread> {
        self.0.send(Fed::Document(document)).await.map_err(|_| Unread)
    }

    /// Says that this was all.
    pub async fn finish(self) -> Result<(), Unread> {
        self.0.send(Fed::End).await.map_err(|_| Unread)
    }
}

/// Where they come out, as the archiver reads them. Read it on a thread that may block.
pub struct DocumentStream {
    from: mpsc::Receiver<Fed>,
    state: State,
    /// The folder that the last document lies in.
    folder: String,
    ready: io::Cursor<Vec<u8>>,
}

enum State {
    New,
    Open(Sender<Vec<u8>>),
    Done,
}

/// Both ends.
#[must_use]
pub fn documents() -> (DocumentFeed, DocumentStream) {
    let (to, from) = mpsc::channel(AHEAD);
    let stream =
        DocumentStream { from, state: State::New, folder: String::new(), ready: io::Cursor::default() };
    (DocumentFeed(to), stream)
}

impl DocumentStream {
    /// The bytes of what came next; none at the end.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut sender = match std::mem::replace(&mut self.state, State::Done) {
            State::New => {
                let mut sender = Sender::new(Vec::new());
                sender.directory(&directory(""))?;
                sender
            }
            State::Open(mut sender) => match self.from.blocking_recv() {
                Some(Fed::Document(document)) => {
                    self.encode(&mut sender, &document)?;
                    sender
                }
                Some(Fed::End) => return sender.finish().map(|(bytes, _)| bytes),
                None => {
                    return Err(io::Error::new(io::ErrorKind::BrokenPipe, "the objects stopped coming"));
                }
            },
            State::Done => return Ok(Vec::new()),
        };
        let bytes = std::mem::take(sender.sink());
        self.state = State::Open(sender);
        Ok(bytes)
    }

    fn encode(&mut self, sender: &mut Sender<Vec<u8>>, document: &Document) -> io::Result<()> {
        let path = document.path.as_str();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        if folder != self.folder {
            let open = |above: &str| {
                self.folder == above
                    || self.folder.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
            };
            let above = folder.match_indices('/').map(|(slash, _)| &folder[..slash]);
            for new in above.chain([folder]).filter(|above| !above.is_empty() && !open(above)) {
                sender.directory(&directory(new))?;
            }
            folder.clone_into(&mut self.folder);
        }
        let meta = Meta {
            path: path.into(),
            mode: 0o644,
            size: document.body.len() as u64,
            // No time: what did not change is then the same file, in the same tree, and costs nothing.
            ..Meta::default()
        };
        sender.file(&meta, |content| content.write_all(&document.body))
    }
}

fn directory(path: &str) -> Meta {
    Meta { path: path.into(), mode: 0o755, ..Meta::default() }
}

impl Read for DocumentStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.ready.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let bytes = self.next()?;
            if bytes.is_empty() {
                return Ok(0);
            }
            self.ready = io::Cursor::new(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut stream: DocumentStream) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).map(|_| all)
    }

    async fn fed(paths: &[&str], ends: bool) -> io::Result<Vec<u8>> {
        let (feed, stream) = documents();
        let reading = tokio::task::spawn_blocking(move || read(stream));
        for path in paths {
            feed.send(Document { path: (*path).to_owned(), body: b"{}".to_vec() }).await.unwrap();
        }
        if ends {
            feed.finish().await.unwrap();
        } else {
            drop(feed);
        }
        reading.await.unwrap()
    }

    /// Takes entries and forgets them.
    #[derive(Default)]
    struct Paths(Vec<String>);

    impl crate::vault::wire::Receiver for Paths {
        fn directory(&mut self, meta: &Meta) -> io::Result<()> {
            self.0.push(format!("{}/", String::from_utf8_lossy(&meta.path)));
            Ok(())
        }

        fn link(&mut self, _: &Meta, _: &[u8]) -> io::Result<()> {
            Err(io::Error::other("a link"))
        }

        fn file(&mut self, meta: &Meta, content: &mut dyn Read) -> io::Result<()> {
            self.0.push(String::from_utf8_lossy(&meta.path).into_owned());
            io::copy(content, &mut io::sink()).map(drop)
        }
    }

    #[tokio::test]
    async fn folders_are_sent_before_what_is_in_them() {
        let paths =
            ["_cluster/a.b/x.json", "a/1.json", "a/2.json", "a.b/1.json", "b/c/d.json", "b/e.json", "z.json"];
        let stream = fed(&paths, true).await.unwrap();
        let mut seen = Paths::default();
        let totals = crate::vault::wire::receive(io::Cursor::new(stream), &mut seen).unwrap();
        assert_eq!(totals.files, 7);
        let expected = [
            "/",
            "_cluster/",
            "_cluster/a.b/",
            "_cluster/a.b/x.json",
            "a/",
            "a/1.json",
            "a/2.json",
            "a.b/",
            "a.b/1.json",
            "b/",
            "b/c/",
            "b/c/d.json",
            "b/e.json",
            "z.json",
        ];
        assert_eq!(seen.0, expected);
    }

    #[tokio::test]
    async fn a_feed_that_breaks_off_is_no_end() {
        assert!(fed(&["a/1.json"], false).await.is_err());
        let none = fed(&[], true).await.unwrap();
        assert_eq!(
            crate::vault::wire::receive(io::Cursor::new(none), &mut Paths::default()).unwrap().files,
            0
        );
    }
}
