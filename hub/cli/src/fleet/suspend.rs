//! `drover suspend` and `drover resume`: a bundle in a cluster, or the whole cluster, is left alone for a while.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use proto_wire::control as wire;
use proto_wire::control::execute_request::Command;

use crate::client::Client;
use crate::output::{self, Output, document, time};
use crate::programs::full_bundle;

/// Arguments of `drover suspend`.
#[derive(clap::Args)]
pub struct Suspend {
    /// The cluster
    cluster: String,
    /// The bundle: SOURCE/BUNDLE, or BUNDLE of the source main [default: the whole cluster]
    bundle: Option<String>,
    /// For how long, as 30m, 2h or 1d; it ends by itself
    #[arg(long = "for", value_name = "SPAN", value_parser = time::parse_span)]
    span: Duration,
    /// Why, for the record and for whoever looks at the cluster
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    output: Output,
}

/// Arguments of `drover resume`.
#[derive(clap::Args)]
pub struct Resume {
    /// The cluster
    cluster: String,
    /// The bundle: SOURCE/BUNDLE, or BUNDLE of the source main [default: the cluster as a whole]
    bundle: Option<String>,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    output: Output,
}

/// Begins a suspension.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn suspend(client: Client, arguments: Suspend) -> Result<ExitCode> {
    let Suspend { cluster, bundle, span, reason, output } = arguments;
    let command = wire::Suspend { cluster, bundle: full(bundle.as_deref()), span_secs: span.as_secs() };
    send(client, Command::Suspend(command), &reason, output).await
}

/// Ends one before its time.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn resume(client: Client, arguments: Resume) -> Result<ExitCode> {
    let Resume { cluster, bundle, reason, output } = arguments;
    let command = wire::Resume { cluster, bundle: full(bundle.as_deref()) };
    send(client, Command::Resume(command), &reason, output).await
}

fn full(bundle: Option<&str>) -> String {
    bundle.map(full_bundle).unwrap_or_default()
}

async fn send(mut client: Client, command: Command, reason: &str, output: Output) -> Result<ExitCode> {
    let answer = client.execute(command, reason).await?;
    output::done(output, document::Done { applied_index: answer.applied_index, message: answer.message })
}
