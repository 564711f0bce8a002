//! Serves the in-memory store of the tests on a port, for benchmarks. It is a fake: what it holds is gone when it ends.

#[path = "../tests/memory_store/mod.rs"]
mod memory_store;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use memory_store::{
    BucketOptions, Conditions, Content, ETags, Latency, MemoryStore, NewObject, Options, Synthetic,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

type Failed = Box<dyn std::error::Error>;

/// An S3 server in memory, for benchmarks. Takes any credentials.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Bucket to create; the first one is filled
    #[arg(long, default_value = "b")]
    bucket: Vec<String>,
    /// Keep versions
    #[arg(long)]
    versioned: bool,
    /// Objects to fill the first bucket with
    #[arg(long, default_value_t = 0)]
    objects: u64,
    /// Bytes of each of them
    #[arg(long, default_value_t = 4096)]
    size: usize,
    /// Bytes of their parts, as if they had been uploaded in parts; 0: they are written whole
    #[arg(long, default_value_t = 0)]
    part_size: usize,
    /// What their keys begin with
    #[arg(long, default_value = "")]
    prefix: String,
    /// Make the first bucket a synthetic one of so many objects of --size, which can be listed and read only
    #[arg(long, conflicts_with = "objects")]
    synthetic: Option<u64>,
    /// Round trip to simulate, in milliseconds
    #[arg(long, default_value_t = 0)]
    rtt_ms: u64,
    /// Threads
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// What the store calls a content
    #[arg(long, value_enum, default_value_t = Naming::Md5)]
    etags: Naming,
    /// Ignore If-Match and If-None-Match of writes
    #[arg(long)]
    no_conditions: bool,
    /// Ignore partNumber of reads
    #[arg(long)]
    no_part_number: bool,
    /// Entries on a page of a listing
    #[arg(long, default_value_t = 1000)]
    page_size: usize,
    /// PEM files of a certificate chain and its key, to speak TLS
    #[arg(long, value_name = "CERTIFICATE,KEY", value_delimiter = ',')]
    tls: Vec<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Naming {
    /// MD5, as S3 does
    Md5,
    /// The same for the same content, at no cost
    Crc,
    /// Random
    Opaque,
}

fn main() -> Result<(), Failed> {
    let arguments = Arguments::parse();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(arguments.workers).enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<(), Failed> {
    let far = arguments.rtt_ms > 0;
    let near = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let store = MemoryStore::start(Options {
        listen: if far { near } else { arguments.listen },
        tls: server_config(&arguments.tls)?,
        etags: match arguments.etags {
            Naming::Md5 => ETags::Md5,
            Naming::Crc => ETags::Crc,
            Naming::Opaque => ETags::Opaque,
        },
        conditions: if arguments.no_conditions { Conditions::Ignored } else { Conditions::Honoured },
        no_part_number: arguments.no_part_number,
        page_size: arguments.page_size,
        ..Options::default()
    })
    .await?;
    for bucket in &arguments.bucket {
        let versioned = BucketOptions::versioned();
        store.create_bucket(bucket, if arguments.versioned { versioned } else { BucketOptions::default() });
    }
    fill(&store, arguments);
    if !far {
        println!("listening on {}", store.address());
        return Ok(tokio::signal::ctrl_c().await?);
    }
    let round_trip = Duration::from_millis(arguments.rtt_ms);
    let proxy = Latency::start(arguments.listen, store.address(), round_trip).await?;
    println!("listening on {}", proxy.address());
    Ok(tokio::signal::ctrl_c().await?)
}

fn fill(store: &MemoryStore, arguments: &Arguments) {
    let Some(bucket) = arguments.bucket.first() else { return };
    let size = arguments.size;
    if let Some(objects) = arguments.synthetic {
        store.create_synthetic_bucket(bucket, Synthetic { objects, size });
    }
    let noise = noise();
    for index in 0..arguments.objects {
        let content = content(index, size, &noise);
        let object = match arguments.part_size {
            0 => NewObject::new(content),
            part => NewObject::in_parts((0..size.max(1)).step_by(part).map(|at| content.slice(at, part))),
        };
        store.put_object(bucket, &format!("{}{index:010}", arguments.prefix), object);
    }
}

/// Different for each object, and where it is large yet but a few bytes of memory: its index, and noise that all share.
fn content(index: u64, size: usize, noise: &Bytes) -> Content {
    let own = Bytes::copy_from_slice(&index.to_be_bytes());
    let own = own.slice(..own.len().min(size));
    let mut left = size - own.len();
    let mut pieces = vec![own];
    while left > 0 {
        let piece = noise.slice(..noise.len().min(left));
        left -= piece.len();
        pieces.push(piece);
    }
    Content::new(pieces)
}

/// A MiB that does not compress (xorshift).
fn noise() -> Bytes {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.take((1 << 20) / 8).flatten().collect()
}

fn server_config(files: &[PathBuf]) -> Result<Option<Arc<rustls::ServerConfig>>, Failed> {
    let [chain, key] = files else {
        return if files.is_empty() { Ok(None) } else { Err("--tls takes two files".into()) };
    };
    let chain = CertificateDer::pem_file_iter(chain)?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Some(Arc::new(config)))
}
