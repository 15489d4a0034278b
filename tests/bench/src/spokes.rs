//! Many real spokes in one process, each over an in-memory cluster with a journal of its own, synced as always.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use proto_model::token::JoinToken;
use serde_json::json;
use spoke_agent::Config;
use spoke_core::port::{Answer, Cluster, Depth, Failure, Kind, Live, Op, Outcome, Sink, Write};
use spoke_memory::Memory;
use tokio::sync::watch;

use crate::child;

/// Arguments of this part.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder of the spokes
    #[arg(long)]
    dir: PathBuf,
    /// Number of the first spoke
    #[arg(long)]
    first: usize,
    /// How many
    #[arg(long)]
    count: usize,
    /// File with a join token for all of them
    #[arg(long)]
    token: PathBuf,
    /// Between the starts of two spokes, in milliseconds: a hub lets so many join a second
    #[arg(long)]
    pace_millis: u64,
}

/// What is counted of the writes to ledgers.
#[derive(Default)]
struct Counted {
    /// Rises with each `mark`.
    mark: AtomicU64,
    /// First writes after the mark, one for each spoke at most: that of the delta, before its ack.
    first_writes: AtomicU64,
    first_bytes: AtomicU64,
    /// Whether clusters answer; where not, nothing is applied, and deltas are still stored and acked.
    gate: watch::Sender<bool>,
}

/// Runs until it is killed. Words: `mark` begins to count anew, `counted` tells; `hold` keeps clusters from answering
/// and `let` ends that.
///
/// # Errors
/// A spoke cannot be made.
pub(crate) async fn run(args: Args) -> Result<()> {
    let token = std::fs::read_to_string(&args.token).context("the token cannot be read")?;
    let token = JoinToken::parse(&token)?;
    let counted = Arc::new(Counted { gate: watch::Sender::new(true), ..Counted::default() });
    for number in args.first..args.first + args.count {
        let name = format!("cluster-{number:05}");
        let dir = args.dir.join(&name);
        let memory = Memory::open(&dir.join("cluster"), &name)?;
        let cluster = Measured { memory, counted: Arc::clone(&counted), seen: AtomicU64::new(0) };
        let config = Config::new(dir, name, Some(token.clone()));
        tokio::spawn(spoke_agent::run(config, Arc::new(cluster), std::future::pending()));
        tokio::time::sleep(Duration::from_millis(args.pace_millis)).await;
    }
    child::answer(&json!({"started": args.count}));
    let mut words = child::words();
    while let Some(word) = words.recv().await {
        match word.as_str() {
            "mark" => {
                counted.first_writes.store(0, Ordering::SeqCst);
                counted.first_bytes.store(0, Ordering::SeqCst);
                counted.mark.fetch_add(1, Ordering::SeqCst);
                child::answer(&json!({}));
            }
            "hold" | "let" => {
                counted.gate.send_replace(word == "let");
                child::answer(&json!({}));
            }
            _ => child::answer(&json!({
                "writes": counted.first_writes.load(Ordering::SeqCst),
                "bytes": counted.first_bytes.load(Ordering::SeqCst),
            })),
        }
    }
    Ok(())
}

/// An in-memory cluster whose ledger writes are counted.
struct Measured {
    memory: Memory,
    counted: Arc<Counted>,
    /// The mark at its last write.
    seen: AtomicU64,
}

impl Measured {
    fn count(&self, write: &Write) {
        let mark = self.counted.mark.load(Ordering::SeqCst);
        if self.seen.swap(mark, Ordering::SeqCst) != mark {
            let bytes: usize = write.puts.iter().map(|(key, value)| key.len() + value.len()).sum();
            self.counted.first_writes.fetch_add(1, Ordering::SeqCst);
            self.counted.first_bytes.fetch_add(bytes as u64, Ordering::SeqCst);
        }
    }
}

impl Cluster for Measured {
    fn uid(&self) -> Answer<'_, Result<String, Failure>> {
        self.memory.uid()
    }

    fn execute(&self, op: Op) -> Answer<'_, Outcome> {
        let mut gate = self.counted.gate.subscribe();
        Box::pin(async move {
            // The sender lives as long as the process.
            let _ = gate.wait_for(|is_open| *is_open).await;
            self.memory.execute(op).await
        })
    }

    fn watch(&self, kinds: BTreeMap<Kind, Depth>, sink: Sink) {
        self.memory.watch(kinds, sink);
    }

    fn load(&self) -> Answer<'_, Result<BTreeMap<String, Vec<u8>>, Failure>> {
        self.memory.load()
    }

    fn store(&self, write: Write) -> Answer<'_, Result<(), Failure>> {
        self.count(&write);
        self.memory.store(write)
    }

    fn lease(&self, holder: String, secs: u32) -> Answer<'_, Result<bool, Failure>> {
        self.memory.lease(holder, secs)
    }

    fn kinds(&self) -> Answer<'_, Result<BTreeSet<Kind>, Failure>> {
        self.memory.kinds()
    }

    fn owned(&self, kind: Kind) -> Answer<'_, Result<Vec<Live>, Failure>> {
        self.memory.owned(kind)
    }
}
