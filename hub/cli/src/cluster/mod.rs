//! `drover cluster`: who belongs to the fleet.

pub mod join_token;
pub mod part;
pub mod remove;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use proto_wire::control::execute_request::Command;
use proto_wire::control::{ReplaceCluster, RevokeCluster};

use crate::client::Client;
use crate::fleet::get;
use crate::output::Output;

/// What to do.
#[derive(Subcommand)]
pub enum Verb {
    /// Make a token with which spokes join
    JoinToken(join_token::Arguments),
    /// List the clusters
    List {
        /// How to show them
        #[command(flatten)]
        output: Output,
    },
    /// Let a cluster leave the fleet; what runs there stays, without our marks
    Remove(remove::Remove),
    /// Let another spoke take a cluster's name, after a reinstallation
    Replace(part::Arguments),
    /// Refuse a cluster's certificate from now on
    Revoke(part::Arguments),
}

/// Does it.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(client: Client, verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::JoinToken(arguments) => join_token::run(client, arguments).await,
        Verb::List { output } => get::run(client, get::What::Clusters { output }).await,
        Verb::Remove(arguments) => remove::run(client, arguments).await,
        Verb::Replace(arguments) => {
            part::run(client, arguments, |cluster| Command::ReplaceCluster(ReplaceCluster { cluster })).await
        }
        Verb::Revoke(arguments) => {
            part::run(client, arguments, |cluster| Command::RevokeCluster(RevokeCluster { cluster })).await
        }
    }
}
