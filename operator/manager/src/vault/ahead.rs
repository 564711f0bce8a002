//! Packs are read in windows, and where they are read one window after the other, the next is fetched while this one is used.
//!
//! What is read of a repository lies in packs in the order in which it was archived: small pieces one after the other are one
//! request. Two windows are held at most.

use std::sync::{Mutex, PoisonError, TryLockError};

use bytes::{Bytes, BytesMut};
use rustic_core::Id;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tripod_replication::StoreError;

/// So much of a pack is read at once, in bytes.
const WINDOW: u32 = 4 << 20;

/// The window that was read last, and the one behind it on its way.
#[derive(Default)]
pub(super) struct Ahead(Mutex<State>);

#[derive(Default)]
struct State {
    window: Option<Window>,
    /// What follows it.
    coming: Option<JoinHandle<Result<Bytes, StoreError>>>,
}

struct Window {
    pack: Id,
    offset: u32,
    bytes: Bytes,
}

/// A piece of a pack.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub pack: Id,
    pub offset: u32,
    pub length: u32,
}

impl Window {
    fn end(&self) -> u32 {
        self.offset.saturating_add(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX))
    }

    fn cut(&self, place: Place) -> Option<Bytes> {
        let start = usize::try_from(place.offset.checked_sub(self.offset)?).ok()?;
        let end = start.checked_add(usize::try_from(place.length).ok()?)?;
        (self.pack == place.pack && end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }

    /// Whether reading goes on where this ends.
    fn leads_to(&self, place: Place) -> bool {
        self.pack == place.pack && self.offset < place.offset && place.offset <= self.end()
    }
}

impl Ahead {
    /// Reads a piece of a pack; `get` fetches so many bytes from an offset of it. Blocks.
    ///
    /// # Errors
    /// Those of `get`. That what was fetched ahead failed is none: it is asked for again.
    pub(super) fn read<F>(
        &self,
        runtime: &Handle,
        place: Place,
        get: impl Fn(u32, u32) -> F,
    ) -> Result<Bytes, StoreError>
    where
        F: Future<Output = Result<Bytes, StoreError>> + Send + 'static,
    {
        let mut state = match self.0.try_lock() {
            Ok(state) => state,
            // A holder that panicked left nothing that is not true.
            Err(TryLockError::Poisoned(state)) => state.into_inner(),
            // Who reads beside another does not read one after the other.
            Err(TryLockError::WouldBlock) => return runtime.block_on(get(place.offset, place.length)),
        };
        if let Some(bytes) = state.window.as_ref().and_then(|window| window.cut(place)) {
            return Ok(bytes);
        }
        let before = state.window.take();
        let coming = state.coming.take();
        let goes_on = before.as_ref().is_some_and(|window| window.leads_to(place));
        let joined = match (before.filter(|_| goes_on), coming) {
            (Some(before), Some(coming)) => join(runtime, &before, coming, place),
            _ => None,
        };
        let (window, bytes) = if let Some(joined) = joined {
            joined
        } else {
            // A store answers with what there is when more is asked for.
            let got = runtime.block_on(get(place.offset, place.length.max(WINDOW)))?;
            let asked = usize::try_from(place.length).unwrap_or(usize::MAX).min(got.len());
            let bytes = got.slice(..asked);
            (Window { pack: place.pack, offset: place.offset, bytes: got }, bytes)
        };
        if goes_on {
            state.coming = Some(runtime.spawn(get(window.end(), WINDOW)));
        }
        state.window = Some(window);
        Ok(bytes)
    }
}

/// What is left of a window from a place on, with what follows it; nothing where that failed, or is not enough.
fn join(
    runtime: &Handle,
    before: &Window,
    coming: JoinHandle<Result<Bytes, StoreError>>,
    place: Place,
) -> Option<(Window, Bytes)> {
    let next = runtime.block_on(coming).ok()?.ok()?;
    let left = before.bytes.slice(usize::try_from(place.offset - before.offset).ok()?..);
    let mut joined = BytesMut::with_capacity(left.len() + next.len());
    joined.extend_from_slice(&left);
    joined.extend_from_slice(&next);
    let window = Window { pack: place.pack, offset: place.offset, bytes: joined.freeze() };
    let bytes = window.cut(place)?;
    Some((window, bytes))
}

impl Drop for Ahead {
    fn drop(&mut self) {
        let state = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(coming) = state.coming.take() {
            coming.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Pack {
        requests: AtomicUsize,
        fails: AtomicBool,
    }

    const SIZE: u32 = 3 * WINDOW + 1000;

    fn byte(at: u32) -> u8 {
        (at % 251).to_le_bytes()[0]
    }

    impl Pack {
        fn get(self: Arc<Self>, offset: u32, length: u32) -> std::future::Ready<Result<Bytes, StoreError>> {
            self.requests.fetch_add(1, Ordering::Relaxed);
            std::future::ready(if self.fails.load(Ordering::Relaxed) {
                Err(StoreError::Other { what: "pack".into(), detail: "on purpose".into() })
            } else {
                Ok((offset.min(SIZE)..offset.saturating_add(length).min(SIZE)).map(byte).collect())
            })
        }
    }

    /// Reads on a thread that may block.
    fn on_a_thread(work: impl FnOnce(Handle) + Send + 'static) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || work(handle)).join().unwrap();
    }

    #[test]
    fn every_piece_is_what_lies_there_and_windows_are_few() {
        on_a_thread(|runtime| {
            let (ahead, pack) = (Ahead::default(), Arc::new(Pack::default()));
            let mut offset = 0;
            while offset < SIZE {
                let length = 70_001.min(SIZE - offset);
                let place = Place { pack: Id::default(), offset, length };
                let got = ahead.read(&runtime, place, |o, l| Arc::clone(&pack).get(o, l)).unwrap();
                assert!(got.iter().copied().eq((offset..offset + length).map(byte)), "at {offset}");
                offset += length;
            }
            assert!(pack.requests.load(Ordering::Relaxed) <= 6, "{:?}", pack.requests);
        });
    }

    #[test]
    fn what_failed_ahead_is_asked_for_again() {
        on_a_thread(|runtime| {
            let (ahead, pack) = (Ahead::default(), Arc::new(Pack::default()));
            let read = |offset| {
                let place = Place { pack: Id::default(), offset, length: 100 };
                ahead.read(&runtime, place, |o, l| Arc::clone(&pack).get(o, l))
            };
            read(0).unwrap();
            read(WINDOW - 50).unwrap();
            let asked = pack.requests.load(Ordering::Relaxed);
            pack.fails.store(true, Ordering::Relaxed);
            // The one that was fetched ahead may have failed or not; what comes behind it does.
            while read(SIZE - 200).is_ok() {}
            pack.fails.store(false, Ordering::Relaxed);
            assert!(read(2 * WINDOW).unwrap().iter().copied().eq((2 * WINDOW..2 * WINDOW + 100).map(byte)));
            assert!(pack.requests.load(Ordering::Relaxed) > asked);
        });
    }
}
