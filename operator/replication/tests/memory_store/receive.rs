//! Bodies of requests: received in pieces, freed of `aws-chunked`, digested on the way.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::answer::{Cut, Failure};
use super::content::{Content, Flip};
use super::digest::{Digester, Digests};
use super::{Memory, Options};

/// Bytes of a page.
const PAGE: usize = 1 << 20;

/// A body that is here.
pub(super) struct Received {
    pub(super) content: Content,
    pub(super) digests: Digests,
    /// What came after it.
    pub(super) trailers: Vec<(String, String)>,
    /// The framing of `aws-chunked` was wrong.
    pub(super) malformed: bool,
}

/// Reads a body to its end; `flip` is a byte that arrives as another one.
pub(super) async fn receive(
    mut body: Incoming,
    headers: &HeaderMap,
    options: &Options,
    flip: Option<Flip>,
) -> Result<Received, Cut> {
    let mut pieces = Vec::new();
    let mut pages = (options.memory == Memory::Shared).then(Pages::default);
    let mut digester = Digester::new(options.etags, headers);
    let mut chunked = is_chunked(headers).then(Chunked::default);
    let (mut at, mut malformed) = (0, false);
    let mut keep = |mut piece: Bytes| {
        if let Some(flip) = flip.and_then(|flip| flip.within(at, piece.len())) {
            piece = flip.of(&piece);
        }
        at += piece.len();
        digester.update(&piece);
        match &mut pages {
            None => pieces.push(piece),
            Some(pages) => pages.add(piece),
        }
    };
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Cut)?.into_data() else { continue };
        match &mut chunked {
            None => keep(data),
            Some(chunked) => malformed |= chunked.feed(data, &mut keep).is_err(),
        }
    }
    malformed |= chunked.as_ref().is_some_and(|chunked| !chunked.ended());
    pieces.extend(pages.into_iter().flat_map(Pages::end));
    let trailers = chunked.map(|chunked| chunked.trailers).unwrap_or_default();
    Ok(Received { content: Content::new(pieces), digests: digester.finish(), trailers, malformed })
}

/// A body in pages of one size; one that is like the page before is the same memory.
#[derive(Default)]
struct Pages {
    done: Vec<Bytes>,
    page: BytesMut,
}

impl Pages {
    fn add(&mut self, mut piece: Bytes) {
        while !piece.is_empty() {
            let room = PAGE - self.page.len();
            self.page.extend_from_slice(&piece.split_to(piece.len().min(room)));
            if self.page.len() < PAGE {
                return;
            }
            match self.done.last() {
                Some(last) if *last == self.page => {
                    let last = last.clone();
                    self.page.clear();
                    self.done.push(last);
                }
                _ => self.done.push(self.page.split().freeze()),
            }
        }
    }

    fn end(mut self) -> Vec<Bytes> {
        self.done.extend(Some(self.page.freeze()).filter(|rest| !rest.is_empty()));
        self.done
    }
}

impl Received {
    /// Whether it came as it was sent, as far as the sender has said how.
    pub(super) fn verify(&self, headers: &HeaderMap) -> Result<(), Failure> {
        if self.malformed {
            return Err(Failure::new(400, "IncompleteBody", "The body is not framed as aws-chunked."));
        }
        let length = headers.get("x-amz-decoded-content-length").and_then(|v| v.to_str().ok());
        if length.is_some_and(|length| length.parse() != Ok(self.content.size())) {
            return Err(Failure::new(400, "IncompleteBody", "The body is not as long as was said."));
        }
        self.digests.verify(headers, &self.trailers)
    }
}

fn is_chunked(headers: &HeaderMap) -> bool {
    let has = |name: &str, text: &str| {
        headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|value| value.contains(text)))
    };
    has("content-encoding", "aws-chunked") || has("x-amz-content-sha256", "STREAMING-")
}

/// What comes next.
#[derive(Default)]
enum Expect {
    #[default]
    Size,
    Data(usize),
    /// The line end after data.
    End,
    Trailer,
    Nothing,
}

/// Takes `aws-chunked` apart: `size;chunk-signature=…`, data, and so on to a chunk of no bytes and trailers.
#[derive(Default)]
struct Chunked {
    expect: Expect,
    line: BytesMut,
    trailers: Vec<(String, String)>,
}

impl Chunked {
    fn feed(&mut self, mut input: Bytes, keep: &mut impl FnMut(Bytes)) -> Result<(), ()> {
        while !input.is_empty() {
            if let Expect::Data(left) = &mut self.expect {
                let piece = input.split_to(input.len().min(*left));
                *left -= piece.len();
                if *left == 0 {
                    self.expect = Expect::End;
                }
                keep(piece);
            } else if let Some(end) = input.iter().position(|byte| *byte == b'\n') {
                self.line.extend_from_slice(&input.split_to(end + 1));
                let line = self.line.split();
                let line = std::str::from_utf8(&line).map_err(drop)?.trim_ascii();
                self.expect = self.line(line)?;
            } else {
                self.line.extend_from_slice(&input);
                return Ok(());
            }
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<Expect, ()> {
        match self.expect {
            Expect::Size => {
                let size = line.split(';').next().unwrap_or_default();
                match usize::from_str_radix(size, 16).map_err(drop)? {
                    0 => Ok(Expect::Trailer),
                    size => Ok(Expect::Data(size)),
                }
            }
            Expect::End if line.is_empty() => Ok(Expect::Size),
            Expect::Trailer | Expect::Nothing if line.is_empty() => Ok(Expect::Nothing),
            Expect::Trailer => {
                let (name, value) = line.split_once(':').ok_or(())?;
                self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
                Ok(Expect::Trailer)
            }
            _ => Err(()),
        }
    }

    /// Some senders leave out the last empty line.
    fn ended(&self) -> bool {
        matches!(self.expect, Expect::Trailer | Expect::Nothing)
    }
}
