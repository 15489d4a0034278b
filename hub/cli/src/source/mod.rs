//! `drover source`: what is read from Git.

pub mod approve;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::client::Client;
use crate::fleet::get;
use crate::output::Output;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// List the sources
    List {
        /// How to show them
        #[command(flatten)]
        output: Output,
    },
    /// Accept a head that does not descend from the one before
    Approve(approve::Arguments),
}

/// Does it.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(client: Client, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::List { output } => get::run(client, get::What::Sources { output }).await,
        Verb::Approve(arguments) => approve::run(client, arguments).await,
    }
}
