//! The body of an answer of the SDK: its deadlines end with the headers, and without one here a peer that dies in the middle
//! of an object would hold its reader for ever.

use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use bytes::{Bytes, BytesMut};

use crate::StoreError;
use crate::error::{Target, chain};

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
