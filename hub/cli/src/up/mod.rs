//! `drover up`: a whole fleet on one machine, with the real programs, over loopback.

pub mod child;
pub mod clusters;
pub mod event;
pub mod example;
pub mod fleet;
pub mod folder;
pub mod settled;
pub mod show;
pub mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::checkout::Renders;
use crate::output::Output;
use crate::output::time::parse_span;
use clusters::Kubeconfig;
use fleet::{Fleet, Outcome};

/// Arguments of `drover up`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The Git repository to read, a path or an https URL [default: an example, in a repository made for this run]
    #[arg(long, value_name = "URL|PATH")]
    source: Option<String>,
    /// The branch or tag to follow
    #[arg(long = "ref", value_name = "REF", requires = "source")]
    reference: Option<String>,
    /// The folder inside the repository
    #[arg(long, value_name = "PATH", requires = "source")]
    path: Option<String>,
    /// Clusters to start if the source declares none [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=200))]
    clusters: Option<u16>,
    /// Use this real cluster in place of one in memory; repeat for more, in the order of the declared names
    #[arg(long = "kubeconfig", value_name = "FILE[:CONTEXT]", value_parser = Kubeconfig::parse)]
    kubeconfigs: Vec<Kubeconfig>,
    /// Keep everything in this folder, and go on from there next time [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// End with exit code 0 once every cluster runs what Git says, or with 1 after this time
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    until_settled: Option<Duration>,
    /// Take the example from this folder
    #[arg(long, value_name = "DIR", conflicts_with = "source", hide = true)]
    example: Option<PathBuf>,
    #[command(flatten)]
    renders: Renders,
    #[command(flatten)]
    output: Output,
}

/// Starts the fleet, shows it, and ends it.
///
/// # Errors
/// Something cannot be started, or ended early.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let mut fleet = Fleet::prepare(arguments)?;
    let outcome = tokio::select! {
        outcome = fleet.run() => outcome,
        () = signals.next() => Ok(Outcome::Interrupted),
    };
    // A second Ctrl-C means: at once.
    let code = fleet.end(&outcome, signals.next()).await;
    // What stopped the run matters more than what went wrong with ending it.
    outcome?;
    code
}

/// The signals that end a run.
struct Signals([Signal; 3]);

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
