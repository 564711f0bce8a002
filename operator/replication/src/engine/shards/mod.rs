//! A run by many processes at once: the key space in many more shards than there are workers, each leased by an object in the
//! store beside the manifest. Nobody speaks with anybody else, and no clock is compared with another's.
//!
//! What holds: a shard has one holder. Each change of its object is made on the condition that it is the one that was read, so
//! that who lost a shard finds out at the next checkpoint and stops. What a killed worker has done is found again by the
//! checkpoint and the journal. Copies themselves are conditional: two that make the same one do no harm.

mod cut;
mod finish;
mod hold;
mod objects;
mod open;
mod split;
mod state;
mod view;
mod work;

use std::time::Duration;

use tokio::sync::watch;

pub use self::finish::{Observer, Standing, close, finish};
pub use self::open::{Inventory, Opened, inventory, open};
pub use self::work::work;

/// Who works on shards, and in which rhythm.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Unlike any other's, also of an earlier process in the same place.
    pub name: String,
    /// How often a lease is renewed, with what was done since.
    pub renew: Duration,
    /// A lease that was not renewed for so long is taken over. Several times as long as `renew`.
    pub expire: Duration,
    /// Shards at once.
    pub hands: usize,
    /// Turns to true when leases are to be given back.
    pub stop: watch::Receiver<bool>,
}

impl Worker {
    /// With the usual rhythm. `stop` turns to true when leases are to be given back.
    #[must_use]
    pub fn new(name: &str, stop: watch::Receiver<bool>) -> Self {
        Self {
            // The same name in another process is another worker.
            name: format!("{name}/{}", super::journal::name_of_run()),
            renew: Duration::from_secs(4),
            expire: Duration::from_secs(20),
            hands: 2,
            stop,
        }
    }
}
