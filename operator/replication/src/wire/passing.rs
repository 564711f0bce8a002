//! A body on its way from one store to another: counted, digested as it passes, slowed down where a link has a limit, and
//! broken off where the source goes silent or says something else than it announced.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use md5::{Digest as _, Md5};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::fair::{Lane, Turn};
use crate::rate::Pace;

/// What passed, seen from outside.
#[derive(Clone, Debug)]
pub struct Passed(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    bytes: AtomicU64,
    /// The source broke the body off, not the destination.
    broken: AtomicBool,
    /// We hold it back: a link has a limit.
    held: AtomicBool,
    end: Mutex<Option<Digests>>,
}

/// Digests of all that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digests {
    pub bytes: u64,
    /// CRC-64/NVME.
    pub crc64: u64,
    /// Taken only where it was asked for: it costs more than all the rest.
    pub md5: Option<[u8; 16]>,
}

impl Passed {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Seen {
            bytes: AtomicU64::new(0),
            broken: AtomicBool::new(false),
            held: AtomicBool::new(false),
            end: Mutex::new(None),
        }))
    }

    fn ended(&self, digests: Digests) {
        *self.0.end.lock().unwrap_or_else(PoisonError::into_inner) = Some(digests);
    }

    /// Bytes so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Whether the source broke off.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Relaxed)
    }

    /// Whether it waits for a link and not for a peer.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Digests, once the body has ended as it should.
    #[must_use]
    pub fn digests(&self) -> Option<Digests> {
        *self.0.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is sent.
pub enum Outgoing {
    /// Bytes in memory; `None` once they were taken.
    Whole(Option<Bytes>),
    /// The answer of another store.
    Passing(Box<Passing>),
    /// The same, proved before it ends.
    Hashed(Box<super::Hashed>),
}

/// The answer of a store, passed on.
pub struct Passing {
    body: Incoming,
    announced: u64,
    crc: Crc,
    md5: Option<Md5>,
    seen: Passed,
    silence: Duration,
    deadline: Pin<Box<Sleep>>,
    pace: Option<Pace>,
    pause: Option<Pin<Box<Sleep>>>,
    lanes: Vec<Lane>,
    /// What has to come before more is taken.
    turns: Vec<Turn>,
    bytes: u64,
}

impl Passing {
    /// `announced`: bytes that the source has said it sends.
    pub(crate) fn new(
        body: Incoming,
        announced: u64,
        with_md5: bool,
        silence: Duration,
        pace: Option<Pace>,
    ) -> (Self, Passed) {
        let seen = Passed::new();
        if announced == 0 {
            seen.ended(of_bytes(&[], with_md5));
        }
        let passing = Self {
            body,
            announced,
            crc: Crc::new(CrcAlgorithm::Crc64Nvme),
            md5: with_md5.then(Md5::new),
            seen: seen.clone(),
            silence,
            deadline: Box::pin(sleep_until(Instant::now() + silence)),
            pace,
            pause: None,
            lanes: Vec::new(),
            turns: Vec::new(),
            bytes: 0,
        };
        (passing, seen)
    }

    /// All of it goes over this link too.
    pub(super) fn goes_over(&mut self, lane: Lane) {
        self.lanes.push(lane);
    }

    /// Whether neither a limit of its own nor a link holds it back.
    fn may_go_on(&mut self, cx: &mut Context<'_>) -> bool {
        let was_held = self.pause.is_some() || !self.turns.is_empty();
        if self.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
            return false;
        }
        self.pause = None;
        while let Some(turn) = self.turns.last_mut() {
            if Pin::new(turn).poll(cx).is_pending() {
                return false;
            }
            self.turns.pop();
        }
        if was_held {
            // While it was held back by us, the source was not silent.
            self.deadline.as_mut().reset(Instant::now() + self.silence);
            self.seen.0.held.store(false, Ordering::Relaxed);
        }
        true
    }

    fn broke(&self, why: &str) -> std::io::Error {
        self.seen.0.broken.store(true, Ordering::Relaxed);
        std::io::Error::other(format!("the source broke off: {why}"))
    }

    fn take(&mut self, data: &Bytes) -> Result<(), std::io::Error> {
        self.bytes += data.len() as u64;
        if self.bytes > self.announced {
            return Err(self.broke(&format!("more than the {} bytes that were announced", self.announced)));
        }
        self.crc.update(data);
        if let Some(md5) = &mut self.md5 {
            md5.update(data);
        }
        self.seen.0.bytes.store(self.bytes, Ordering::Relaxed);
        self.deadline.as_mut().reset(Instant::now() + self.silence);
        if let Some(wait) = self.pace.as_ref().and_then(|pace| pace.charge(data.len() as u64)) {
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
        let length = data.len() as u64;
        self.turns.extend(self.lanes.iter().filter_map(|lane| lane.passed(length)));
        // After the last byte nobody may ask again, and only the destination is waited for.
        if self.bytes < self.announced && (self.pause.is_some() || !self.turns.is_empty()) {
            self.seen.0.held.store(true, Ordering::Relaxed);
        }
        if self.bytes == self.announced {
            let digests = Digests {
                bytes: self.bytes,
                crc64: self.crc.finalize(),
                md5: self.md5.take().map(|m| m.finalize().into()),
            };
            self.seen.ended(digests);
        }
        Ok(())
    }

    /// Whether all that was announced has come.
    pub(super) fn is_spent(&self) -> bool {
        self.bytes == self.announced
    }

    fn left(&self) -> u64 {
        self.announced - self.bytes
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if !self.may_go_on(cx) {
            return Poll::Pending;
        }
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers of one store are no business of another.
                    let Ok(data) = frame.into_data() else { continue };
                    let taken = self.take(&data);
                    return Poll::Ready(Some(taken.map(|()| Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(self.broke(&error.to_string()))));
                }
                Poll::Ready(None) if self.bytes < self.announced => {
                    let why = format!("after {} of {} bytes", self.bytes, self.announced);
                    return Poll::Ready(Some(Err(self.broke(&why))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    if self.deadline.as_mut().poll(cx).is_ready() {
                        let why = format!("nothing came for {:?}", self.silence);
                        return Poll::Ready(Some(Err(self.broke(&why))));
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Passing(passing) => passing.poll(cx),
            Self::Hashed(hashed) => hashed.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Passing(passing) => passing.announced == 0,
            Self::Hashed(hashed) => hashed.passing.announced == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Passing(passing) => SizeHint::with_exact(passing.left()),
            Self::Hashed(hashed) => SizeHint::with_exact(hashed.passing.left()),
        }
    }
}

/// Digests of bytes in memory, as if they had passed.
#[must_use]
pub fn of_bytes(bytes: &[u8], with_md5: bool) -> Digests {
    Digests {
        bytes: bytes.len() as u64,
        crc64: crc_fast::checksum(CrcAlgorithm::Crc64Nvme, bytes),
        md5: with_md5.then(|| Md5::digest(bytes).into()),
    }
}
