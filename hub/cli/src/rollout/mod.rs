//! `drover rollout`: decisions about what is under way.

pub mod approve;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

use crate::client::Client;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// Let go what the deletion guard holds
    Approve(approve::Arguments),
}

/// Does it.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(client: Client, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Approve(arguments) => approve::run(client, arguments).await,
    }
}
