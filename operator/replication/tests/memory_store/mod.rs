//! An S3 server in memory: a fake, for tests and benchmarks, fast enough that what is measured is the client.
//!
//! It answers as S3 does, in path style over HTTP/1.1, and does wrong what it is told to do wrong ([`Fault`]). It can
//! also be like other stores: without conditions, with `ETag`s that say nothing, with short pages, with a clock that
//! is off. It does not check signatures, encrypts nothing, and forgets everything when it is dropped.

// Every test uses a part of it.
#![allow(dead_code, unused_imports)]

mod answer;
mod buckets;
mod clock;
mod content;
mod digest;
mod direct;
mod elements;
mod fault;
pub mod latency;
mod list;
mod lock;
mod multipart;
mod read;
mod receive;
mod request;
mod server;
mod state;
pub mod synthetic;
mod write;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tripod_replication::{Reach, StoreConfig};

pub use content::{Content, Flip};
pub use digest::ETags;
pub use direct::{NewObject, Snapshot};
pub use fault::{Fault, Faults, Seen};
pub use latency::Latency;
pub use request::Operation;
pub use state::{Became, BucketOptions, ObjectLock, Version, Versioning};
pub use synthetic::Synthetic;

use answer::Failure;
use clock::Clock;
use digest::Naming;
use request::Request;
use state::State;

/// What the store does with `If-Match` and `If-None-Match` of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conditions {
    #[default]
    Honoured,
    /// `If-None-Match: *` holds, `If-Match` is ignored.
    OnlyAbsent,
    /// Written in any case.
    Ignored,
    /// 501.
    Refused,
}

/// How objects are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// In the order of their keys.
    #[default]
    Keys,
    /// By their keys read backwards.
    Backwards,
}

/// What a body takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memory {
    /// As much as it is long.
    #[default]
    OfEach,
    /// What repeats in it, page by page, once.
    Shared,
}

/// What kind of store it is.
#[derive(Clone, Debug)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fault of a store, and any of them may go together"
)]
pub struct Options {
    /// Where it listens; port 0 is any that is free.
    pub listen: SocketAddr,
    /// With a certificate it speaks TLS only.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who may ask; anybody, if `None`.
    pub access_key_id: Option<String>,
    /// After so many requests the credentials have expired.
    pub expire_after: Option<u64>,
    pub etags: ETags,
    pub conditions: Conditions,
    /// `partNumber` of a GET is ignored: the whole object is the answer.
    pub no_part_number: bool,
    /// Tags of objects are not known: 501.
    pub no_tags: bool,
    /// Checksums and `Content-MD5` are neither verified nor returned.
    pub no_checksums: bool,
    /// Entries on a page of a listing, at most.
    pub page_size: usize,
    pub order: Order,
    /// Bytes of a part that is not the last one, at least.
    pub min_part_size: usize,
    /// How far the clock is off.
    pub clock_offset: SignedDuration,
    pub memory: Memory,
    /// Whether the order in which things became current is kept.
    pub history: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: None,
            access_key_id: None,
            expire_after: None,
            etags: ETags::Md5,
            conditions: Conditions::Honoured,
            no_part_number: false,
            no_tags: false,
            no_checksums: false,
            page_size: 1000,
            order: Order::Keys,
            min_part_size: 5 << 20,
            clock_offset: SignedDuration::ZERO,
            memory: Memory::OfEach,
            history: false,
        }
    }
}

/// A store that is being served; it ends when it is dropped, with all its connections.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl MemoryStore {
    /// Starts one on the runtime that calls.
    ///
    /// # Errors
    /// When the address is not free.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(options));
        let task = tokio::spawn(server::serve(listener, shared.clone()));
        Ok(Self { shared, address, task })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a URL.
    pub fn endpoint(&self) -> String {
        let scheme = if self.shared.options.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// How it is reached.
    pub fn config(&self) -> StoreConfig {
        StoreConfig {
            endpoint: self.endpoint(),
            region: "us-east-1".into(),
            ca_pem: None,
            access_key_id: "key".into(),
            secret_access_key: "secret".into(),
            session_token: None,
            reach: Reach::default(),
        }
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who may ask, and how often still.
#[derive(Clone, Debug)]
struct Credential {
    access_key_id: String,
    left: Option<u64>,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    options: Options,
    state: RwLock<State>,
    clock: Clock,
    naming: Naming,
    faults: Faults,
    counts: [AtomicU64; Operation::COUNT],
    /// Without a credential, a request costs one look at this.
    guarded: AtomicBool,
    credential: Mutex<Option<Credential>>,
}

impl Shared {
    fn new(options: Options) -> Self {
        let clock = Clock::default();
        clock.set(options.clock_offset);
        let mut state = State::default();
        state.history = options.history.then(Vec::new);
        let credential = options
            .access_key_id
            .clone()
            .map(|access_key_id| Credential { access_key_id, left: options.expire_after });
        Self {
            state: RwLock::new(state),
            clock,
            naming: Naming::new(options.etags),
            faults: Faults::default(),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            guarded: AtomicBool::new(credential.is_some()),
            credential: Mutex::new(credential),
            options,
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, operation: Operation) {
        self.counts[operation as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn set_credential(&self, credential: Option<Credential>) {
        self.guarded.store(credential.is_some(), Ordering::Release);
        *self.credential.lock().unwrap_or_else(PoisonError::into_inner) = credential;
    }

    /// Whether a request is answered, by who asks.
    fn admit(&self, request: &Request) -> Result<(), Failure> {
        if !self.guarded.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut credential = self.credential.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(credential) = &mut *credential else { return Ok(()) };
        match request.access_key_id() {
            None => Err(Failure::new(403, "AccessDenied", "The request is not signed.")),
            Some(id) if id != credential.access_key_id => Err(Failure::new(
                403,
                "InvalidAccessKeyId",
                "The access key id does not exist in our records.",
            )),
            Some(_) => match &mut credential.left {
                Some(0) => Err(server::expired()),
                Some(left) => {
                    *left -= 1;
                    Ok(())
                }
                None => Ok(()),
            },
        }
    }
}
