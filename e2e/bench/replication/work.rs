//! What is to be done: how the stores are filled, and what counts.

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::Arguments;
use crate::client::{ACCOUNT, Client, Task};
use crate::measure::{Cost, run};
use crate::store::{Certificate, Store};

const SOURCE: u16 = 9701;
const TARGET: u16 = 9702;

/// One kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Work {
    /// 20,000 objects of 4 KiB.
    Small,
    /// The same, with 30 ms to the target and back.
    SmallFar,
    /// The same again, when all is there.
    Nothing,
    /// 8 objects of 256 MiB.
    Large,
    /// 20,000 objects of 4 KiB into a real store on a file system.
    SmallReal,
    /// 20,000 objects of 4 KiB, over TLS.
    SmallTls,
    /// 8 objects of 256 MiB, over TLS.
    LargeTls,
    /// A million keys on both sides, all there.
    Million,
    /// Five million.
    FiveMillion,
    /// Ten million; only how much memory that takes.
    TenMillion,
}

impl Work {
    pub fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub fn title(self) -> &'static str {
        match self {
            Self::Small => "20,000 × 4 KiB",
            Self::SmallFar => "20,000 × 4 KiB, 30 ms",
            Self::Nothing => "20,000 × 4 KiB, all there",
            Self::Large => "8 × 256 MiB",
            Self::SmallReal => "20,000 × 4 KiB, versitygw",
            Self::SmallTls => "20,000 × 4 KiB, TLS",
            Self::LargeTls => "8 × 256 MiB, TLS",
            Self::Million => "1,000,000 keys, all there",
            Self::FiveMillion => "5,000,000 keys, all there",
            Self::TenMillion => "10,000,000 keys, all there",
        }
    }

    /// Whether a client takes part: the longest work is the engine's alone.
    pub fn suits(self, client: &Client) -> bool {
        match self {
            Self::TenMillion => client.is_ours(),
            Self::Nothing | Self::Million | Self::FiveMillion => !client.is_bare(),
            _ => true,
        }
    }

    fn keys(self) -> Option<u64> {
        match self {
            Self::Million => Some(1_000_000),
            Self::FiveMillion => Some(5_000_000),
            Self::TenMillion => Some(10_000_000),
            _ => None,
        }
    }

    /// Does it once, on stores that are fresh.
    pub fn once(self, client: &Client, arguments: &Arguments) -> Result<Cost> {
        let state = std::env::temp_dir().join(format!("bench-replication-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&state);
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (from, to) = match self {
            Self::Small | Self::SmallTls | Self::SmallReal | Self::Nothing => {
                ("--bucket source --objects 20000 --size 4096".to_owned(), "--bucket target".to_owned())
            }
            Self::SmallFar => (
                "--bucket source --objects 20000 --size 4096".to_owned(),
                "--bucket target --rtt-ms 30".to_owned(),
            ),
            Self::Large | Self::LargeTls => {
                ("--bucket source --objects 8 --size 268435456".to_owned(), "--bucket target".to_owned())
            }
            Self::Million | Self::FiveMillion | Self::TenMillion => {
                let keys = self.keys().context("no keys")?;
                (format!("--bucket source --synthetic {keys}"), format!("--bucket target --synthetic {keys}"))
            }
        };
        let certificate =
            matches!(self, Self::SmallTls | Self::LargeTls).then(Certificate::new).transpose()?;
        let start =
            |port, more: &str| Store::start(&arguments.examples, port, &words(more), certificate.as_ref());
        let source = start(SOURCE, &from)?;
        let target = if self == Self::SmallReal {
            Store::real(TARGET, "target", ACCOUNT)?
        } else {
            start(TARGET, &to)?
        };
        let task = Task {
            source: &source.endpoint,
            target: &target.endpoint,
            state: &state,
            far: self == Self::SmallFar,
        };
        let (command, mut environment) = client.command(&task);
        environment.extend(certificate.iter().map(Certificate::trusted));
        let mut cost = run(&command, &environment)?;
        // With what the first run has put down.
        if matches!(self, Self::Nothing) || (self.keys().is_some() && client.is_ours()) {
            cost = run(&command, &environment)?;
        }
        let _ = std::fs::remove_dir_all(&state);
        Ok(cost)
    }
}
