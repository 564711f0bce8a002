//! The body of an answer: read with a deadline on silence, hashed as it comes, cut into parts where it is long.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};

use crate::StoreError;
use crate::error::{Target, chain};

/// A body that is being read. The SDK's deadlines end with the headers; without one here a peer that dies in the
/// middle of an object would hold its reader for ever.
pub(crate) struct Body<'a> {
    stream: ByteStream,
    silence: Duration,
    target: Target<'a>,
    rest: BytesMut,
    hash: Sha256,
    size: u64,
    ended: bool,
}

impl<'a> Body<'a> {
    pub(crate) fn new(stream: ByteStream, silence: Duration, target: Target<'a>) -> Self {
        Self { stream, silence, target, rest: BytesMut::new(), hash: Sha256::new(), size: 0, ended: false }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        match tokio::time::timeout(self.silence, self.stream.next()).await {
            Ok(Some(Ok(chunk))) => {
                self.hash.update(&chunk);
                self.size += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Ok(Some(Err(error))) => Err(self.target.broke_off(&chain(&error))),
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(_) => Err(self.target.broke_off(&format!("nothing came for {:?}", self.silence))),
        }
    }

    /// The next bytes, `length` of them unless the body ends before; empty at the end.
    pub(crate) async fn next_part(&mut self, length: usize) -> Result<Bytes, StoreError> {
        // One byte more than is handed out: only then is it known whether this was the last part.
        while self.rest.len() <= length {
            match self.chunk().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => break,
            }
        }
        let length = self.rest.len().min(length);
        Ok(self.rest.split_to(length).freeze())
    }

    /// Reads to the end and keeps nothing but the digest.
    pub(crate) async fn drain(&mut self) -> Result<(), StoreError> {
        while self.chunk().await?.is_some() {}
        Ok(())
    }

    /// Whether everything was handed out.
    pub(crate) fn is_spent(&self) -> bool {
        self.ended && self.rest.is_empty()
    }

    /// SHA-256 in hex, and size in bytes, of what was read so far.
    pub(crate) fn digest(&self) -> (String, u64) {
        (hex::encode(self.hash.clone().finalize()), self.size)
    }
}

/// Reads a whole body into memory.
pub(crate) async fn collect(
    mut stream: ByteStream,
    silence: Duration,
    target: Target<'_>,
) -> Result<Bytes, StoreError> {
    let mut whole = BytesMut::new();
    loop {
        match tokio::time::timeout(silence, stream.next()).await {
            Ok(Some(Ok(chunk))) => whole.extend_from_slice(&chunk),
            Ok(Some(Err(error))) => return Err(target.broke_off(&chain(&error))),
            Ok(None) => return Ok(whole.freeze()),
            Err(_) => return Err(target.broke_off(&format!("nothing came for {silence:?}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Target<'_> = Target { endpoint: "e", bucket: "b", key: "k" };

    async fn parts(content: &'static [u8], length: usize) -> (Vec<Bytes>, bool) {
        let mut body = Body::new(ByteStream::from_static(content), Duration::from_secs(1), TARGET);
        let first = body.next_part(length).await.unwrap();
        let (mut parts, one) = (vec![first], body.is_spent());
        while !body.is_spent() {
            parts.push(body.next_part(length).await.unwrap());
        }
        assert_eq!(body.digest(), (hex::encode(Sha256::digest(content)), content.len() as u64));
        (parts, one)
    }

    #[tokio::test]
    async fn a_body_is_cut_without_a_byte_lost_and_its_end_is_known_in_time() {
        assert_eq!(parts(b"", 4).await, (vec![Bytes::new()], true));
        assert_eq!(parts(b"abcd", 4).await, (vec![Bytes::from_static(b"abcd")], true));
        let (cut, one) = parts(b"abcdefghi", 4).await;
        assert_eq!((cut.concat(), cut.len(), one), (b"abcdefghi".to_vec(), 3, false));
    }
}
