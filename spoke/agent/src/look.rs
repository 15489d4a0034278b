//! `drover-spoke status`, `explain`, `inventory`, `suspend` and `resume`: asks the spoke that runs here.

use anyhow::{Context as _, bail};
use serde::Serialize;
use spoke_agent::door;
use spoke_core::local::{Ask, Told};

use crate::args::{BundleArgs, LookArgs, Output, SuspendArgs};
use crate::{show, write};

/// Prints how the cluster stands.
pub(crate) fn status(args: &LookArgs) -> anyhow::Result<()> {
    match ask(args, Ask::Status)? {
        Told::Status(status) => print(args, &*status, show::status),
        _ => another(),
    }
}

/// Prints what is not as it should be, or all of one bundle.
pub(crate) fn explain(args: &BundleArgs) -> anyhow::Result<()> {
    match ask(&args.look, Ask::Explain { bundle: args.bundle.clone() })? {
        Told::Explained(bundles) => print(&args.look, &bundles, |bundles| show::explained(bundles)),
        _ => another(),
    }
}

/// Prints what bundles own.
pub(crate) fn inventory(args: &BundleArgs) -> anyhow::Result<()> {
    match ask(&args.look, Ask::Inventory { bundle: args.bundle.clone() })? {
        Told::Inventory(bundles) => print(&args.look, &bundles, |bundles| show::inventory(bundles)),
        _ => another(),
    }
}

/// Suspends, and prints what is suspended.
pub(crate) fn suspend(args: SuspendArgs) -> anyhow::Result<()> {
    let SuspendArgs { bundle, secs, reason, look } = args;
    suspended(&look, Ask::Suspend { bundle, secs, reason })
}

/// Ends a suspension, and prints what is still suspended.
pub(crate) fn resume(args: &BundleArgs) -> anyhow::Result<()> {
    suspended(&args.look, Ask::Resume { bundle: args.bundle.clone() })
}

fn suspended(args: &LookArgs, order: Ask) -> anyhow::Result<()> {
    match ask(args, order)? {
        Told::Suspended(all) => print(args, &all, |all| show::suspended(all)),
        _ => another(),
    }
}

fn ask(args: &LookArgs, ask: Ask) -> anyhow::Result<Told> {
    Ok(door::ask(&args.dir, ask)?)
}

fn another() -> anyhow::Result<()> {
    bail!("the spoke answered another question; it may be of another version: ask with its own program")
}

fn print<T: Serialize>(args: &LookArgs, told: &T, table: impl Fn(&T) -> String) -> anyhow::Result<()> {
    write(&match args.output {
        Output::Table => table(told),
        Output::Json => serde_json::to_string_pretty(told).context("write JSON")? + "\n",
    })
}
