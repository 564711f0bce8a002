//! Whether a department ever got more than its budget: told from every change that the API server recorded, and from
//! nothing that the operator says of itself, but for the ledger in its status.

mod amount;
mod record;
mod replay;

pub use amount::{Amounts, amounts, show};
pub use record::Recorder;
pub use replay::{Event, Findings, Quota, What, replay};
