//! How long a commit takes to reach every connected cluster, against the least that gRPC could do: bare tonic that
//! broadcasts the same bytes to as many clients, which write and sync an equal record and ack.
//!
//! `make bench` runs it in the release profile. It starts a real `drover-hub` and real spokes over in-memory clusters,
//! in processes of its own, measures, ends them, and takes the reference with processes of the same shape.

mod child;
mod drover;
mod metrics;
mod reference;
mod spokes;
mod stats;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Measures how long a commit takes to reach a fleet.
#[derive(Parser)]
struct Args {
    /// Connected clusters
    #[arg(long, default_value_t = 1000)]
    spokes: usize,
    /// Processes that they share
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// Commits to measure, and broadcasts of the reference
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    #[command(subcommand)]
    part: Option<Part>,
}

/// The parts that this program starts itself as.
#[derive(Subcommand)]
#[command(hide = true)]
enum Part {
    /// Some of the fleet's spokes.
    Spokes(spokes::Args),
    /// The server of the reference.
    ReferenceServer(reference::server::Args),
    /// Some of the reference's clients.
    ReferenceClients(reference::clients::Args),
}

/// The shape of a run.
#[derive(Clone, Copy)]
struct Shape {
    spokes: usize,
    processes: usize,
    rounds: usize,
}

impl Shape {
    /// First number and count of each process's share.
    fn shares(self) -> Vec<(usize, usize)> {
        let each = self.spokes.div_ceil(self.processes);
        (0..self.spokes).step_by(each.max(1)).map(|first| (first, each.min(self.spokes - first))).collect()
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    match args.part {
        Some(Part::Spokes(part)) => runtime(1)?.block_on(spokes::run(part)),
        Some(Part::ReferenceServer(part)) => runtime(2)?.block_on(reference::server::run(part)),
        Some(Part::ReferenceClients(part)) => runtime(1)?.block_on(reference::clients::run(part)),
        None => {
            let shape = Shape { spokes: args.spokes, processes: args.processes, rounds: args.rounds };
            let fleet = runtime(2)?.block_on(drover::measure(shape))?;
            let bare = reference::measure(shape, fleet.delta_bytes, fleet.record_bytes)?;
            show(shape, &fleet, &bare);
            Ok(())
        }
    }
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().context("start the runtime")
}

#[allow(clippy::print_stdout, reason = "the figures are what this program is for")]
fn show(shape: Shape, fleet: &drover::Figures, bare: &reference::Figures) {
    let kib = |bytes: u64| format!("{:.1} KiB", bytes as f64 / 1024.0);
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
    let lines = [
        ("clusters, commits", format!("{}, {}", shape.spokes, shape.rounds)),
        ("commit seen -> last acked", fleet.last_ack.to_string()),
        ("bare tonic: sent -> last acked", bare.last_ack.to_string()),
        ("ratio of the medians", format!("{:.2}", fleet.last_ack.median() / bare.last_ack.median())),
        ("  the same, nothing applied meanwhile", fleet.last_ack_alone.to_string()),
        ("  ratio of the medians", format!("{:.2}", fleet.last_ack_alone.median() / bare.last_ack.median())),
        ("  of it: seen -> read and rendered", fleet.prepared.to_string()),
        ("  of it: seen -> publishing", fleet.publishing.to_string()),
        ("  of it: seen -> half acked", fleet.half_acked.to_string()),
        ("commit made -> seen (poll of a second)", fleet.seen.to_string()),
        ("seen -> log at rest, all reported", fleet.at_rest.to_string()),
        ("hub's CPU for one commit", fleet.commit_cpu.to_string()),
        ("spokes' CPU for one commit, all of them", fleet.spokes_cpu.to_string()),
        ("reference's CPU for one broadcast", bare.cpu.to_string()),
        ("reports of one commit, entries of the log", format!("{}, {}", fleet.reports, fleet.entries)),
        ("delta bytes per spoke", format!("{} bytes", fleet.delta_bytes)),
        ("ledger record per spoke, before its ack", format!("{} bytes", fleet.record_bytes)),
        ("hub's memory, nobody connected", mib(fleet.rss_alone)),
        ("hub's memory, all connected", mib(fleet.rss_connected)),
        ("  per connected stream", kib(fleet.rss_per_stream())),
        ("  per connected stream, after the commits", kib(fleet.rss_per_stream_used())),
        ("reference's memory per connected stream", kib(bare.rss_per_stream)),
        ("all attached again after a kill of the hub", format!("{:.2} s", fleet.back_secs)),
        ("  delta bytes sent by that", format!("{} bytes", fleet.back_bytes)),
        ("idle CPU of the hub, 10 s", format!("{:.2} % of a core", fleet.idle_percent)),
        ("  its fetches of Git, each second", format!("{:.2} % of a core", fleet.idle_fetch_percent)),
    ];
    for (name, value) in lines {
        println!("{name:<44}{value}");
    }
}

/// A folder for all files of a run; it goes with the run.
fn folder() -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = dir.path().to_path_buf();
    Ok((dir, path))
}
