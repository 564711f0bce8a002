//! List, GET, PUT: the least that a copy can be, over the engine's own data plane. No record, no proof, no second attempt: a
//! ceiling to measure against, and no product.

use std::sync::Arc;

use clap::Parser;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tripod_replication::wire::{Condition, Part, Wire};
use tripod_replication::{Reach, StoreConfig};

#[derive(Parser)]
struct Arguments {
    /// URL of the store with the bucket `source`.
    #[arg(long)]
    source: String,
    /// URL of the store with the bucket `target`.
    #[arg(long)]
    target: String,
    #[arg(long, default_value_t = 64)]
    at_once: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let wire = |endpoint: &str| {
        Wire::connect(&StoreConfig {
            endpoint: endpoint.to_owned(),
            region: "us-east-1".into(),
            ca_pem: None,
            access_key_id: "benchmark".into(),
            secret_access_key: "benchmark-secret".into(),
            session_token: None,
            reach: Reach::default(),
        })
    };
    let (from, to) = (wire(&arguments.source)?, wire(&arguments.target)?);
    let permits = Arc::new(Semaphore::new(arguments.at_once));
    let mut copies = JoinSet::new();
    let mut after: Option<String> = None;
    loop {
        let page = from.list("source", "", after.as_deref(), None).await?;
        after = page.entries.last().map(|entry| entry.key.clone());
        for entry in page.entries {
            let permit = permits.clone().acquire_owned().await?;
            let (from, to) = (from.clone(), to.clone());
            copies.spawn(async move {
                let _permit = permit;
                let found = from.get("source", &entry.key, Part::default()).await?;
                let about = found.about.clone();
                let (body, passed) = from.pass(found, false, None);
                to.put("target", &entry.key, &about, &Condition::None, body, Some(passed)).await
            });
            while let Some(copied) = copies.try_join_next() {
                copied??;
            }
        }
        if !page.truncated {
            break;
        }
    }
    while let Some(copied) = copies.join_next().await {
        copied??;
    }
    Ok(())
}
