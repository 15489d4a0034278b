//! `testkube`: real Kubernetes clusters for as long as a command runs.

mod run;

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tests_tools::{preflight, tools};

/// Real Kubernetes clusters for tests and for trying things out.
#[derive(Parser)]
#[command(name = "testkube", version)]
struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// List what this machine has and lacks for tests with real servers; exit 1 if anything is missing
    Preflight,
    /// Build the pinned programs if this machine does not have them yet
    Build,
    /// Start clusters, run a command, end the clusters, and exit with the code of the command
    Run(run::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Verb::Preflight => list_prerequisites(),
        Verb::Build => build(),
        Verb::Run(arguments) => run::run(arguments),
    };
    result.unwrap_or_else(|error| {
        // Where stderr is closed, the exit code has to do.
        let _ = writeln!(io::stderr(), "testkube: {error:#}");
        ExitCode::FAILURE
    })
}

fn list_prerequisites() -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    let mut out = io::stdout().lock();
    for check in preflight::check() {
        match check.found {
            Ok(found) => writeln!(out, "ok       {}: {found}", check.name)?,
            Err(problem) => {
                writeln!(out, "MISSING  {}: {problem}", check.name)?;
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

fn build() -> Result<ExitCode> {
    let begun = Instant::now();
    let mut out = io::stdout().lock();
    for folder in tools::ensure_all()? {
        writeln!(out, "{} ({:.1} s)", folder.display(), begun.elapsed().as_secs_f64())?;
    }
    Ok(ExitCode::SUCCESS)
}
