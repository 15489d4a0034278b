//! Arguments of `drover-spoke`.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand, ValueEnum};
use proto_model::token::JoinToken;
use spoke_core::agent::AskPolicy;
use spoke_core::local::time::parse_span;

/// Keeps one cluster as its hub says.
///
/// Without a command it runs: it needs --dir and --cluster then.
#[derive(Debug, Parser)]
#[command(name = "drover-spoke", version, about, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    // Missing only where there is a command.
    #[command(flatten)]
    pub(crate) run: Option<RunArgs>,
}

/// What it does instead of running.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Say how the live objects of a file are doing, with the words of a running spoke
    Health(HealthArgs),
    /// Say how the cluster stands, as the spoke that runs here sees it: hub, lease, bundles
    Status(LookArgs),
    /// Say, object by object, what a bundle waits for, what failed and who meddles
    Explain(BundleArgs),
    /// List what the bundles own in the cluster
    Inventory(BundleArgs),
    /// Leave a bundle, or the whole cluster, alone for a while: no apply, no correction, no deletion
    Suspend(SuspendArgs),
    /// End a suspension before its time
    Resume(BundleArgs),
}

/// Where the deployment in deploy/spoke keeps the spoke's directory.
const DIR: &str = "/var/lib/drover-spoke/state";

/// How to reach the spoke that runs, and how to print.
#[derive(Debug, clap::Args)]
pub(crate) struct LookArgs {
    /// Directory of the spoke that runs
    #[arg(long, env = "DROVER_DIR", default_value = DIR)]
    pub(crate) dir: PathBuf,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// Arguments of commands about a bundle.
#[derive(Debug, clap::Args)]
pub(crate) struct BundleArgs {
    /// The bundle; its own name is enough where one source has it. Without one: all, for `resume` the
    /// suspension of the whole cluster
    pub(crate) bundle: Option<String>,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

/// Arguments of `drover-spoke suspend`.
#[derive(Debug, clap::Args)]
pub(crate) struct SuspendArgs {
    /// The bundle; without one, the whole cluster
    pub(crate) bundle: Option<String>,
    /// For how long, such as 30m, 2h or 7d; 30 days at most
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span)]
    pub(crate) secs: u64,
    /// Why; everybody who looks will see it
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) look: LookArgs,
}

/// Arguments of `drover-spoke health`.
#[derive(Debug, clap::Args)]
pub(crate) struct HealthArgs {
    /// YAML documents or a List, as `kubectl get -o yaml` prints them; - is stdin
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// HealthCheck documents that decide first, as they stand in Git
    #[arg(long, value_name = "FILE")]
    pub(crate) checks: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
}

/// How a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A line an object, for people.
    Table,
    /// For programs; docs/schemas/cli describes it.
    Json,
}

/// Arguments of a spoke that runs.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
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

impl RunArgs {
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
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use std::path::Path;

    use proto_model::Digest;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("drover-spoke").chain(line.split_whitespace()))
    }

    fn run(line: &str) -> RunArgs {
        let args = parse(line).unwrap();
        assert!(args.command.is_none(), "{line}");
        args.run.unwrap()
    }

    #[test]
    fn without_a_command_it_runs() {
        for bad in ["", "--dir d", "--cluster c", "--cluster c health -f x", "health", "health -f x --dir d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let args = parse("health -f x -o json").unwrap();
        let Some(Command::Health(health)) = args.command else { panic!("{args:?}") };
        assert!(health.file == Path::new("x") && health.output == Output::Json && args.run.is_none());
    }

    #[test]
    fn a_suspension_has_a_span_and_a_reason() {
        let args = parse("suspend main/web --for 1h30m --reason night --dir d").unwrap();
        let Some(Command::Suspend(suspend)) = args.command else { panic!("{args:?}") };
        assert!(suspend.secs == 5_400 && suspend.look.dir == Path::new("d"));
        for bad in ["suspend", "suspend --reason x", "suspend --for 2h", "suspend --for 2 --reason x"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_a_text_or_a_file() {
        let token =
            JoinToken { addresses: vec!["hub:1".into()], ca: Digest::of(b"ca"), id: "i".into(), secret: "s".into() };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{}\n", token.encode())).unwrap();
        for given in [token.encode(), format!("@{}", file.path().display())] {
            let args = run(&format!("--dir d --cluster c --token {given} --memory"));
            assert_eq!(args.token().unwrap().as_ref(), Some(&token));
        }
        for given in ["@", "@/nonexistent", "nonsense"] {
            let args = run(&format!("--dir d --cluster c --token {given}"));
            assert!(args.token().is_err(), "{given}");
        }
    }

    #[test]
    fn one_kind_of_cluster_at_a_time() {
        assert!(parse("--dir d --cluster c --memory --kubeconfig f").is_err());
        assert!(parse("--dir d --cluster c --context x").is_err());
        let args = run("--dir d --cluster c --kubeconfig f --context x --die-with-parent=7");
        assert!(args.die_with_parent == Some(7) && args.log == LogFormat::Text && args.ask == Ask::Diff);
    }
}
