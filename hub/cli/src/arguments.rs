//! The command line as a whole: each verb has its own arguments beside its code.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

use crate::client::Client;
use crate::context::{self, Context};
use crate::{checkout, cluster, fleet, hub, rollout, source, up};

const AFTER_HELP: &str = "\
Data goes to stdout, everything else to stderr.

Exit codes: 0 done; 1 refused, or not as it should be (defects, differences, not settled); 2 wrong arguments; \
3 the hub cannot be reached; 4 this operator may not; 5 there is no such thing; \
6 and 7 see `drover plan --exit-code`; 8 the spoke gave no answer.";

/// Manage a fleet of Kubernetes clusters from Git
#[derive(Parser)]
#[command(name = "drover", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Arguments {
    /// Where the hub is and who you are; `hub init` writes it [default: context.json in ~/.config/drover]
    // Any text is taken here: a variable that is set to nothing counts as not set.
    #[arg(long, global = true, env = context::VARIABLE, hide_env_values = true, value_name = "FILE",
        value_parser = clap::builder::OsStringValueParser::new())]
    context: Option<OsString>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a whole fleet on this machine: a hub, and a spoke for each cluster
    Up(up::Arguments),
    /// Look for mistakes in a folder before it is merged
    Lint(checkout::lint::Arguments),
    /// Show the objects that a cluster would get of a bundle
    Render(checkout::render::Arguments),
    /// Pin the charts that bundles take from elsewhere
    Lock(checkout::lock::Arguments),
    /// Show what a change would do to the fleet, before it is merged
    Plan(checkout::plan::Arguments),
    /// Show every bundle in every cluster, worst first
    Status(fleet::status::Arguments),
    /// List clusters, bundles, sources, tokens or what was done
    #[command(subcommand)]
    Get(fleet::get::What),
    /// Say why a cluster, or one bundle in it, is not as Git says
    Explain(fleet::explain::Arguments),
    /// Show how a bundle is live in a cluster against what is bound, asked of its spoke now
    Diff(fleet::diff::Arguments),
    /// Leave a bundle in a cluster, or a whole cluster, alone for a while
    Suspend(fleet::suspend::Suspend),
    /// End that before its time
    Resume(fleet::suspend::Resume),
    /// Let clusters join, and part with them
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Look at what is read from Git
    #[command(subcommand)]
    Source(source::Verb),
    /// Decide about what is held
    #[command(subcommand)]
    Rollout(rollout::Verb),
    /// Make a hub
    #[command(subcommand)]
    Hub(hub::Verb),
}

impl Arguments {
    /// Does what the arguments say.
    ///
    /// # Errors
    /// What went wrong and what to do next.
    pub fn run(self) -> Result<ExitCode> {
        let Self { context, verb } = self;
        let context = context.filter(|path| !path.is_empty()).map(PathBuf::from);
        let client = || Ok::<_, anyhow::Error>(Client::new(Context::load(context.as_deref())?));
        match verb {
            Verb::Up(arguments) => block_on(up::run(arguments)),
            Verb::Lint(arguments) => checkout::lint::run(&arguments),
            Verb::Render(arguments) => checkout::render::run(&arguments),
            Verb::Lock(arguments) => checkout::lock::run(&arguments),
            Verb::Plan(arguments) => block_on(checkout::plan::run(arguments)),
            Verb::Status(arguments) => block_on(fleet::status::run(client()?, arguments)),
            Verb::Get(what) => block_on(fleet::get::run(client()?, what)),
            Verb::Diff(arguments) => block_on(fleet::diff::run(client()?, arguments)),
            Verb::Explain(arguments) => block_on(fleet::explain::run(client()?, arguments)),
            Verb::Suspend(arguments) => block_on(fleet::suspend::suspend(client()?, arguments)),
            Verb::Resume(arguments) => block_on(fleet::suspend::resume(client()?, arguments)),
            Verb::Cluster(verb) => block_on(cluster::run(client()?, verb)),
            Verb::Source(verb) => block_on(source::run(client()?, verb)),
            Verb::Rollout(verb) => block_on(rollout::run(client()?, verb)),
            Verb::Hub(verb) => hub::run(verb, context),
        }
    }
}

/// One thread is enough for a client. It is the main one, which matters to `up`: the kernel ends a child when the
/// *thread* that started it ends.
fn block_on(run: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a runtime; this machine may be out of file descriptors (ulimit -n)")?;
    runtime.block_on(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
