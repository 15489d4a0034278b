//! `drover cluster remove`: a cluster lets go of what it runs, and leaves the fleet.

use std::process::ExitCode;

use anyhow::Result;
use proto_wire::control::RemoveCluster;
use proto_wire::control::execute_request::Command;

use super::part;
use crate::client::Client;

/// Arguments of `drover cluster remove`.
#[derive(clap::Args)]
pub struct Remove {
    #[command(flatten)]
    part: part::Arguments,
    /// Delete the objects of its bundles, as far as the deletion guard lets them go
    #[arg(long)]
    delete_objects: bool,
    /// Forget it at once: its objects stay and keep their marks
    #[arg(long, conflicts_with = "delete_objects")]
    now: bool,
}

/// Sends the command and says what will happen.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(client: Client, arguments: Remove) -> Result<ExitCode> {
    let Remove { part, delete_objects, now } = arguments;
    let command = |cluster| Command::RemoveCluster(RemoveCluster { cluster, delete_objects, now });
    part::run(client, part, command).await
}
