//! A body that is proved as it passes: it ends only if it is what was expected. A store that was sent less than was announced
//! makes no object of it, so that nothing wrong becomes visible.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::BodyExt as _;
use sha2::{Digest as _, Sha256};

use super::{Outgoing, Passed, Passing};
use crate::StoreError;
use crate::error::chain;

/// The SHA-256 of what passed so far, and maybe of what passed before it: of an object that is sent in parts.
#[derive(Clone, Debug, Default)]
pub struct Hash(Sha256);

impl Hash {
    /// Of bytes behind those so far.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// In hex.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0.clone().finalize())
    }
}

/// What a body turned out to be, seen from outside.
#[derive(Clone, Debug, Default)]
pub struct Turned(Arc<Mutex<Option<Hash>>>);

impl Turned {
    /// Once all of it has come.
    #[must_use]
    pub fn out(&self) -> Option<Hash> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, hash: Hash) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(hash);
    }
}

/// The answer of a store, passed on and hashed.
pub struct Hashed {
    pub(super) passing: Passing,
    hash: Hash,
    /// SHA-256 in hex of the whole.
    expected: Option<String>,
    turned: Turned,
}

impl Hashed {
    pub(super) fn new(passing: Passing, before: Hash, expected: Option<&str>) -> (Self, Turned) {
        let turned = Turned::default();
        if passing.is_spent() {
            turned.set(before.clone());
        }
        let expected = expected.map(str::to_owned);
        (Self { passing, hash: before, expected, turned: turned.clone() }, turned)
    }

    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let polled = ready!(self.passing.poll(cx));
        let Some(Ok(frame)) = &polled else { return Poll::Ready(polled) };
        let Some(data) = frame.data_ref() else { return Poll::Ready(polled) };
        self.hash.update(data);
        if self.passing.is_spent() {
            self.turned.set(self.hash.clone());
            if self.expected.as_ref().is_some_and(|expected| *expected != self.hash.hex()) {
                let wrong = "it is not what it should be, and is not handed on";
                return Poll::Ready(Some(Err(std::io::Error::other(wrong))));
            }
        }
        Poll::Ready(polled)
    }
}

impl super::Wire {
    /// Makes what is left of an object a body for another store, which ends only if the whole has that SHA-256. `before` is
    /// of what was sent of it already.
    #[must_use]
    pub fn pass_hashed(
        &self,
        found: super::Found,
        before: Hash,
        expected: Option<&str>,
    ) -> (Outgoing, Passed, Turned) {
        let (mut passing, passed) = Passing::new(found.body, found.length, false, self.silence(), None);
        self.lane.iter().for_each(|lane| passing.goes_over(lane.clone()));
        let (hashed, turned) = Hashed::new(passing, before, expected);
        (Outgoing::Hashed(Box::new(hashed)), passed, turned)
    }

    /// Reads what is left of an object, and keeps nothing but its SHA-256.
    ///
    /// # Errors
    /// When it breaks off, or is not as long as it said.
    pub async fn hash(&self, bucket: &str, key: &str, found: super::Found) -> Result<Hash, StoreError> {
        let target = self.target(bucket, key);
        let (body, _, turned) = self.pass_hashed(found, Hash::default(), None);
        let mut body = std::pin::pin!(body);
        while let Some(frame) = body.frame().await {
            frame.map_err(|e| target.broke_off(&chain(&e)))?;
        }
        turned.out().ok_or_else(|| target.broke_off("it has no end"))
    }
}
