//! `drover cluster remove`, `replace` and `revoke`: the three ways to part with a spoke, alike but for the command.

use std::process::ExitCode;

use anyhow::Result;
use proto_wire::control::execute_request::Command;

use crate::client::Client;
use crate::output::{self, Output, document};

/// Arguments of the three.
#[derive(clap::Args)]
pub struct Arguments {
    /// The cluster
    cluster: String,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    output: Output,
}

/// Sends the command and says what was done.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(
    mut client: Client,
    arguments: Arguments,
    command: impl FnOnce(String) -> Command,
) -> Result<ExitCode> {
    let answer = client.execute(command(arguments.cluster), &arguments.reason).await?;
    output::done(arguments.output, document::Done { applied_index: answer.applied_index, message: answer.message })
}
