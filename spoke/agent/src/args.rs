//! Arguments of `drover-spoke`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use proto_model::token::JoinToken;
use spoke_core::agent::AskPolicy;

/// Keeps one cluster as its hub says.
#[derive(Debug, Parser)]
#[command(name = "drover-spoke", version, about)]
pub(crate) struct Args {
    /// Directory of this spoke: its key, certificates and, with --memory, its cluster
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Name of the cluster
    #[arg(long)]
    pub(crate) cluster: String,
    /// Join token, or @FILE that holds it; needed once
    #[arg(long, env = "DROVER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Keep a cluster in memory and in --dir, instead of a real one
    #[arg(long, conflicts_with_all = ["kubeconfig", "context"])]
    pub(crate) memory: bool,
    /// Kubeconfig of the cluster; without it, the pod's own service account
    #[arg(long)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig; without it, its current one
    #[arg(long, requires = "kubeconfig")]
    pub(crate) context: Option<String>,
    /// What to answer when the hub asks, for `drover diff`
    #[arg(long, value_enum, default_value_t = Ask::Diff)]
    pub(crate) ask: Ask,
    /// How to write the log, on stderr
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log: LogFormat,
    /// End when the process that started this one, of this id, ends
    #[arg(long, hide = true, value_name = "PID")]
    pub(crate) die_with_parent: Option<u32>,
}

/// What is answered when the hub asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ask {
    /// Nothing
    None,
    /// How a bundle is live against what is bound, without values of Secrets
    Diff,
}

impl From<Ask> for AskPolicy {
    fn from(ask: Ask) -> Self {
        match ask {
            Ask::None => Self::None,
            Ask::Diff => Self::Diff,
        }
    }
}

/// A format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// A line of text an event.
    Text,
    /// A JSON object an event.
    Json,
}

impl Args {
    /// Reads the join token, if one is given.
    pub(crate) fn token(&self) -> anyhow::Result<Option<JoinToken>> {
        let Some(given) = self.token.as_deref().filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let text = match given.strip_prefix('@') {
            None => given.to_owned(),
            Some("") => bail!("--token @FILE needs a file name after the @"),
            Some(file) => std::fs::read_to_string(file).with_context(|| format!("read the join token from {file}"))?,
        };
        Ok(Some(JoinToken::parse(&text)?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proto_model::Digest;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("drover-spoke").chain(line.split_whitespace()))
    }

    #[test]
    fn a_token_is_a_text_or_a_file() {
        let token =
            JoinToken { addresses: vec!["hub:1".into()], ca: Digest::of(b"ca"), id: "i".into(), secret: "s".into() };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{}\n", token.encode())).unwrap();
        for given in [token.encode(), format!("@{}", file.path().display())] {
            let args = parse(&format!("--dir d --cluster c --token {given} --memory")).unwrap();
            assert_eq!(args.token().unwrap().as_ref(), Some(&token));
        }
        for given in ["@", "@/nonexistent", "nonsense"] {
            let args = parse(&format!("--dir d --cluster c --token {given}")).unwrap();
            assert!(args.token().is_err(), "{given}");
        }
    }

    #[test]
    fn one_kind_of_cluster_at_a_time() {
        assert!(parse("--dir d --cluster c --memory --kubeconfig f").is_err());
        assert!(parse("--dir d --cluster c --context x").is_err());
        let args = parse("--dir d --cluster c --kubeconfig f --context x --die-with-parent=7").unwrap();
        assert!(args.die_with_parent == Some(7) && args.log == LogFormat::Text && args.ask == Ask::Diff);
    }
}
