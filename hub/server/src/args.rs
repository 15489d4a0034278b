//! The arguments of `drover-hub`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hub_core::catalog::Span;
use proto_model::limits;

use crate::hooks::Files;
use crate::identity::Role;

/// The verbs; without one, `run` is meant.
const VERBS: &[&str] = &["init", "run", "operator", "help"];

/// The hub of a Drover fleet.
#[derive(Debug, Parser)]
#[command(name = "drover-hub", version, about, max_term_width = 100)]
pub struct Cli {
    /// How the log on stderr is written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// End when the process that started this one, of this id, ends.
    #[arg(long, global = true, hide = true, value_name = "PID")]
    pub die_with_parent: Option<u32>,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a new hub: its id, CA, keys, and the first administrator's context file.
    Init(Init),
    /// Run the hub (the default).
    Run(Box<Run>),
    /// Make a certificate and context file for a further operator.
    Operator(Operator),
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct Init {
    /// The hub's directory; it must be empty or absent.
    #[arg(long)]
    pub dir: PathBuf,
    /// Where spokes and operators will reach the hub, HOST:PORT; port 0 lets the system choose.
    #[arg(long, required = true, value_delimiter = ',', value_name = "HOST:PORT")]
    pub advertise: Vec<String>,
    /// Where to write the first administrator's context [default: admin.context.json in the
    /// directory].
    #[arg(long, value_name = "FILE")]
    pub context: Option<PathBuf>,
}

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The hub's directory, made by `drover-hub init`.
    #[arg(long)]
    pub dir: PathBuf,
    /// Where to listen; a port of 0 takes the one of the last start where it is free.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// The Git repository to read: a path, an https URL, or ssh. Left out: as at the last start.
    #[arg(long)]
    pub source: Option<String>,
    /// The branch, tag or commit to follow.
    #[arg(long = "ref", default_value = "main", requires = "source")]
    pub reference: String,
    /// The folder within the repository.
    #[arg(long, default_value = "", requires = "source")]
    pub path: String,
    /// A file with a token for the repository.
    #[arg(long, value_name = "FILE", conflicts_with = "credentials")]
    pub token_file: Option<PathBuf>,
    /// The Kubernetes version to render charts for where their bundle says none.
    #[arg(long, value_name = "VERSION", default_value = hub_render::KUBE_VERSION)]
    pub kube_version: String,
    /// How often to ask the repository for news, as `30s` or `5m` [default: 1s for a path, 1m for a
    /// URL].
    #[arg(long, value_name = "SPAN", value_parser = poll)]
    pub poll: Option<Duration>,
    /// Where to take webhooks of Git servers, at /hooks/github, /hooks/gitlab and /hooks/gitea; left
    /// out: nowhere. Plain HTTP, for a proxy in front, unless --hooks-tls is given.
    #[arg(long, value_name = "ADDR")]
    pub hooks: Option<SocketAddr>,
    /// The certificate chain and the key, both PEM, to take webhooks over TLS.
    #[arg(long, value_name = "CERT,KEY", value_parser = files, requires = "hooks")]
    pub hooks_tls: Option<Files>,
    /// A file with the secret of the webhooks of --source; several lines are several secrets.
    #[arg(long, value_name = "FILE")]
    pub hook_secret_file: Option<PathBuf>,
    /// A directory with a folder for each name of credentials, as Kubernetes mounts a Secret.
    #[arg(long, value_name = "DIR")]
    pub credentials_dir: Option<PathBuf>,
    /// The credentials for the repository: the name of a folder in --credentials-dir.
    #[arg(long, value_name = "NAME", requires = "credentials_dir")]
    pub credentials: Option<String>,
    /// A file with the public keys (SSH, OpenPGP) of those who may sign; heads without a good
    /// signature are not read.
    #[arg(long, value_name = "FILE")]
    pub verify_with: Option<PathBuf>,
    /// Follow the repository without signatures from now on, although a start before had --verify-with.
    #[arg(long, conflicts_with = "verify_with")]
    pub unverified: bool,
    /// The Helm to render charts with; left out: the one in PATH.
    #[arg(long, value_name = "FILE")]
    pub helm: Option<PathBuf>,
    /// The Kustomize to render kustomizations and patches with; left out: the one in PATH.
    #[arg(long, value_name = "FILE")]
    pub kustomize: Option<PathBuf>,
    /// Where to serve metrics over plain HTTP; left out: nowhere.
    #[arg(long, value_name = "ADDR")]
    pub metrics: Option<SocketAddr>,
    /// Print a line of JSON to stdout once the hub serves.
    #[arg(long)]
    pub print_ready: bool,
}

/// Arguments of `operator`.
#[derive(Debug, Args)]
pub struct Operator {
    /// The hub's directory.
    #[arg(long)]
    pub dir: PathBuf,
    /// Who: shown in the audit trail.
    #[arg(long)]
    pub name: String,
    /// admin: reads and commands; viewer: reads.
    #[arg(long, default_value = "viewer")]
    pub role: Role,
    /// Where to write the context file.
    #[arg(long, value_name = "FILE")]
    pub context: PathBuf,
}

/// Two paths with a comma between them.
fn files(text: &str) -> Result<Files, String> {
    let parts = text.split_once(',').filter(|(certificate, key)| !certificate.is_empty() && !key.is_empty());
    let (certificate, key) = parts.ok_or("give two files, as `tls.crt,tls.key`")?;
    Ok(Files { certificate: certificate.into(), key: key.into() })
}

/// A time between polls within its limits.
fn poll(text: &str) -> Result<Duration, String> {
    let (min, max) = (limits::POLL_SECS_MIN, limits::POLL_SECS_MAX);
    let span = Span::parse(text).filter(|span| (min..=max).contains(&span.secs));
    span.map(|span| Duration::from_secs(span.secs)).ok_or_else(|| format!("give a span from {min}s to {max}s, as `5m`"))
}

/// The arguments with `run` put in where no verb is given.
#[must_use]
pub fn with_verb(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    let ends = ["-h", "--help", "-V", "--version"];
    let has_verb = arguments
        .iter()
        .skip(1)
        .any(|argument| argument.to_str().is_some_and(|text| VERBS.contains(&text) || ends.contains(&text)));
    if !has_verb && arguments.len() > 1 {
        arguments.insert(1, "run".into());
    }
    arguments
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(with_verb(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn run_is_what_is_meant_without_a_verb() {
        let Verb::Run(run) = parse("drover-hub --dir d --source /r --print-ready").unwrap().verb else {
            panic!("another verb");
        };
        assert_eq!(run.reference, "main");
        assert!(run.print_ready);
        let cli = parse("drover-hub --die-with-parent=7 --dir d").unwrap();
        assert!(cli.die_with_parent == Some(7) && matches!(cli.verb, Verb::Run(_)));
    }

    #[test]
    fn verbs_are_taken_as_they_stand() {
        let cli = parse("drover-hub init --dir d --advertise a:1,b:2").unwrap();
        let Verb::Init(init) = cli.verb else { panic!("another verb") };
        assert_eq!(init.advertise, ["a:1", "b:2"]);
        assert!(parse("drover-hub init --dir d").is_err());
        assert!(parse("drover-hub operator --dir d --name n --role root --context c").is_err());
        assert!(parse("drover-hub run --dir d --path p").is_err(), "--path needs --source");
        assert!(parse("drover-hub run --dir d --credentials c").is_err(), "--credentials needs their directory");
        assert!(parse("drover-hub run --dir d --credentials-dir c --credentials c --token-file f").is_err());
    }

    #[test]
    fn webhooks_take_an_address_and_two_files() {
        let run = |line: &str| match parse(&format!("drover-hub --dir d {line}")).map(|cli| cli.verb) {
            Ok(Verb::Run(run)) => Some(run),
            _ => None,
        };
        let tls = run("--hooks 127.0.0.1:0 --hooks-tls a.pem,b.key").and_then(|run| run.hooks_tls).unwrap();
        assert_eq!((tls.certificate, tls.key), (PathBuf::from("a.pem"), PathBuf::from("b.key")));
        assert!(run("--hooks 127.0.0.1:0").unwrap().hooks_tls.is_none());
        assert!(run("--hooks-tls a,b").is_none() && run("--hooks 127.0.0.1:0 --hooks-tls a").is_none());
        assert_eq!(run("--poll 1h30m").unwrap().poll, Some(Duration::from_secs(5400)));
        for wrong in ["0s", "2d", "often"] {
            assert!(run(&format!("--poll {wrong}")).is_none(), "{wrong}");
        }
    }
}
