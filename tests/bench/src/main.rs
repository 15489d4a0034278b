//! What Drover's speed is held to, each figure against a reference that is taken in the same run: how long a commit
//! takes to reach every connected cluster, what it costs beside many other bundles, the first read of a large
//! repository, charts a second, a push until it is applied in real clusters, and what a spoke costs its cluster.
//!
//! `make bench` runs everything in the release profile. Hubs, spokes and references are processes of their own.

mod child;
mod commits;
mod delivery;
mod log;
mod lone;
mod metrics;
mod push;
mod reading;
mod reference;
mod renders;
mod spoke;
mod spokes;
mod stats;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand, ValueEnum};

/// Measures Drover against references
#[derive(Parser)]
struct Args {
    /// What to measure [default: everything]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Measure>,
    /// Connected clusters of `delivery`
    #[arg(long, default_value_t = 1000)]
    spokes: usize,
    /// Processes that they share
    #[arg(long, default_value_t = 2)]
    processes: usize,
    /// Commits to measure of each thing, and runs of its reference
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Objects of each run of `spoke`
    #[arg(long, value_delimiter = ',', default_value = "1000,10000", value_parser = clap::value_parser!(u32).range(50..=50_000))]
    objects: Vec<u32>,
    /// Kinds that they are of
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=10))]
    kinds: u8,
    /// Seconds that an idle spoke is looked at
    #[arg(long, default_value_t = 180)]
    idle_secs: u64,
    #[command(subcommand)]
    part: Option<Part>,
}

/// What can be measured.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Measure {
    /// A commit until a thousand clusters have acked it, against bare tonic
    Delivery,
    /// A commit to one of 1,000 bundles for 1,000 clusters, against one bundle
    Commits,
    /// The first read of 100,000 files, against Git alone
    Reading,
    /// Charts rendered a second, against bare Helm
    Renders,
    /// A push until it is applied in four real clusters, against a bare program
    Push,
    /// What a spoke costs on a real API server, idle and busy, against a bare loop
    Spoke,
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
        None => measure(&args),
    }
}

fn measure(args: &Args) -> Result<()> {
    let shape = Shape { spokes: args.spokes, processes: args.processes, rounds: args.rounds };
    for measure in Measure::value_variants() {
        if !args.only.is_empty() && !args.only.contains(measure) {
            continue;
        }
        let name = measure.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        show(&[("measure", name)]);
        match measure {
            Measure::Delivery => {
                let fleet = runtime(2)?.block_on(delivery::measure(shape))?;
                let bare = reference::measure(shape, fleet.delta_bytes, fleet.record_bytes)?;
                fleet.show(shape, &bare);
            }
            Measure::Commits => commits::run(args.rounds)?,
            Measure::Reading => reading::run(args.rounds)?,
            Measure::Renders => renders::run(args.rounds)?,
            Measure::Push => runtime(2)?.block_on(push::run(args.rounds))?,
            Measure::Spoke => {
                for objects in &args.objects {
                    let size = spoke::Size { objects: *objects as usize, kinds: usize::from(args.kinds) };
                    runtime(2)?.block_on(spoke::run(size, args.rounds, Duration::from_secs(args.idle_secs)))?;
                }
            }
        }
    }
    Ok(())
}

fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().build().context("start the runtime")
}

/// Prints what was measured, one figure a line.
#[allow(clippy::print_stdout, reason = "the figures are what this program is for")]
fn show(lines: &[(&str, String)]) {
    for (name, value) in lines {
        println!("{name:<48}{value}");
    }
}

/// A folder for all files of a run; it goes with the run.
fn folder() -> Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = dir.path().to_path_buf();
    Ok((dir, path))
}
