//! `drover source approve`: accepts a rewind.

use std::process::ExitCode;

use anyhow::Result;
use proto_wire::control::execute_request::Command;
use proto_wire::control::get_request::What;
use proto_wire::control::{ApproveRewind, GetSources};

use crate::client::Client;
use crate::error::Error;
use crate::output::{self, Output, document};
use crate::view::Source;

/// Arguments of `drover source approve`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The source
    source: String,
    /// The head to accept: its commit id, or the beginning of it
    #[arg(long, value_name = "COMMIT")]
    head: String,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    output: Output,
}

/// Sends the approval of exactly the head that waits.
///
/// # Errors
/// Another head waits, or none, or what the hub says.
pub async fn run(mut client: Client, arguments: Arguments) -> Result<ExitCode> {
    let answer = client.get(What::Sources(GetSources {})).await?;
    let sources: Vec<Source> = answer.sources.into_iter().map(Source::from).collect();
    let head = head_meant(&sources, &arguments.source, &arguments.head)?;
    let command = ApproveRewind { source: arguments.source, head };
    let answer = client.execute(Command::ApproveRewind(command), &arguments.reason).await?;
    output::done(arguments.output, document::Done { applied_index: answer.applied_index, message: answer.message })
}

/// The full id of the head that waits, if it is the one that is meant.
fn head_meant(sources: &[Source], name: &str, head: &str) -> Result<String, Error> {
    let Some(source) = sources.iter().find(|source| source.source == name) else {
        return Err(Error::NotFound(format!("there is no source {name}; `drover source list` shows all")));
    };
    match &source.rewind_commit {
        Some(commit) if !head.is_empty() && commit.starts_with(head) => Ok(commit.clone()),
        Some(commit) => Err(Error::Refused(format!(
            "{name} waits for the approval of {commit}, not of {head}\n\
             look at that commit, then run `drover source approve {name} --head {commit}`"
        ))),
        None => {
            Err(Error::Refused(format!("no head of {name} waits for approval; `drover source list` shows its state")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_that_waits_can_be_meant() {
        let waiting = Source { source: "main".into(), rewind_commit: Some("abc123".into()), ..Source::default() };
        let calm = Source { source: "other".into(), ..Source::default() };
        let sources = [waiting, calm];
        assert_eq!(head_meant(&sources, "main", "abc").ok().as_deref(), Some("abc123"));
        for (source, head) in [("main", "abd"), ("main", ""), ("other", "abc"), ("none", "abc")] {
            assert!(head_meant(&sources, source, head).is_err(), "{source} {head}");
        }
    }
}
