//! `drover hub`: what is done to a hub as a whole.

pub mod init;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// Make a hub: its id, its keys and the first administrator's context
    Init(init::Arguments),
}

/// Does it.
///
/// # Errors
/// What went wrong and what to do next.
pub fn run(verb: Verb, context: Option<PathBuf>) -> Result<ExitCode> {
    match verb {
        Verb::Init(arguments) => init::run(&arguments, context),
    }
}
