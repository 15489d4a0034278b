//! `drover cluster join-token`: what a spoke needs to join.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::ArgGroup;
use proto_wire::control::CreateJoinToken;
use proto_wire::control::execute_request::Command;

use crate::client::Client;
use crate::output::time::parse_span;
use crate::output::{self, Output, document};

/// Arguments of `drover cluster join-token`.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("who").required(true).multiple(true))]
pub struct Arguments {
    /// A cluster that may join with it; repeat for more
    #[arg(long = "cluster", value_name = "NAME", group = "who")]
    clusters: Vec<String>,
    /// Clusters that may join with it, as a glob such as 'edge-*'; repeat for more
    #[arg(long = "names", value_name = "GLOB", group = "who")]
    names: Vec<String>,
    /// A label of the clusters that join with it; repeat for more. Labels in Git win
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// How many clusters may join with it [default: as many as are named with --cluster, else 1]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    uses: Option<u32>,
    /// How long it is good for
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_span)]
    ttl: std::time::Duration,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    output: Output,
}

fn parse_label(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("a label is written as KEY=VALUE"),
    }
}

impl Arguments {
    fn command(&self) -> CreateJoinToken {
        let named = u32::try_from(self.clusters.len()).unwrap_or(u32::MAX);
        CreateJoinToken {
            labels: self.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
            names: self.clusters.iter().chain(&self.names).cloned().collect(),
            uses: self.uses.unwrap_or(if self.names.is_empty() { named.max(1) } else { 1 }),
            ttl_secs: self.ttl.as_secs(),
        }
    }
}

/// Makes a token and prints it; how to use it goes to stderr.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(mut client: Client, arguments: Arguments) -> Result<ExitCode> {
    let command = arguments.command();
    let name = match arguments.clusters.first() {
        Some(name) => name.clone(),
        None => "NAME".to_owned(),
    };
    let answer = client.execute(Command::CreateJoinToken(command), &arguments.reason).await?;
    let document = document::JoinToken { applied_index: answer.applied_index, token: answer.token };
    arguments.output.show(&document, |_| format!("{}\n", document.token))?;
    output::tell(&format!(
        "The token is shown this once. In the cluster run\n  \
         drover-spoke --dir /var/lib/drover-spoke --cluster {name} --token TOKEN --kubeconfig FILE"
    ));
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<CreateJoinToken, clap::Error> {
        let words = std::iter::once("join-token").chain(line.split_whitespace());
        Ok(Line::try_parse_from(words)?.arguments.command())
    }

    #[test]
    fn a_token_says_whom_it_admits() {
        assert!(parse("").is_err());
        assert!(parse("--cluster a --label x").is_err());
        let two = parse("--cluster a --cluster b --label tier=edge --ttl 30m").unwrap();
        assert_eq!((two.uses, two.ttl_secs), (2, 1800));
        assert_eq!(two.names, ["a", "b"]);
        assert_eq!(two.labels["tier"], "edge");
        assert_eq!(parse("--names edge-* --uses 40").unwrap().uses, 40);
    }
}
