//! `drover-spoke`: keeps one cluster as its hub says, and goes on without the hub.

mod args;
mod health;
mod look;
mod show;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use spoke_agent::Config;
use spoke_core::port::Cluster;
use spoke_kube::{Access, KubeCluster};
use spoke_memory::Memory;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use args::{Args, Command, LogFormat, RunArgs};

/// Folder in the spoke's directory for what of the ledger has no room in the cluster.
const PACKS: &str = "packs";

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match (args.command, args.run) {
        (Some(command), _) => carry_out(command),
        (None, Some(run)) => {
            log_to_stderr(run.log);
            match start(run) {
                Ok(()) => Ok(()),
                Err(error) => {
                    tracing::error!("{error:#}");
                    return ExitCode::FAILURE;
                }
            }
        }
        (None, None) => Args::command()
            .error(ErrorKind::MissingRequiredArgument, "give --dir and --cluster to run, or a command")
            .exit(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Does what was asked instead of running.
fn carry_out(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Health(args) => health::show(&args),
        Command::Status(args) => look::status(&args),
        Command::Explain(args) => look::explain(&args),
        Command::Inventory(args) => look::inventory(&args),
        Command::Suspend(args) => look::suspend(args),
        Command::Resume(args) => look::resume(&args),
    }
}

/// Writes data to stdout.
fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to stdout")
}

/// Writes what is not data to stderr. Where stderr is closed nobody wants to know.
fn tell(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

fn start(args: RunArgs) -> anyhow::Result<()> {
    if let Some(parent) = args.die_with_parent {
        die_with(parent)?;
    }
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("another TLS provider is installed already"))?;
    // One cluster is little work; ten spokes on a laptop should not mean a hundred threads.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the runtime")?;
    runtime.block_on(run(args))
}

async fn run(args: RunArgs) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let token = args.token()?;
    let cluster = cluster(&args).await?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let config = Config { ask: args.ask.into(), ..Config::new(args.dir, args.cluster, token) };
    Ok(spoke_agent::run(config, cluster, stop).await?)
}

async fn cluster(args: &RunArgs) -> anyhow::Result<Arc<dyn Cluster>> {
    if args.memory {
        let memory = Memory::open(&args.dir.join("cluster"), &args.cluster);
        return Ok(Arc::new(memory.context("open the in-memory cluster")?));
    }
    let access = match &args.kubeconfig {
        Some(path) => Access::Kubeconfig { path: path.clone(), context: args.context.clone() },
        None => Access::InCluster,
    };
    let cluster = KubeCluster::connect(&access, args.dir.join(PACKS)).await;
    Ok(Arc::new(cluster.context("connect to the cluster (or give --memory)")?))
}

fn log_to_stderr(format: LogFormat) {
    // What goes wrong with a request is told where it is known what it was for.
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,kube_client=off,kube_runtime=off"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}

/// Asks the kernel to kill this process when its parent ends, however that ends.
#[cfg(target_os = "linux")]
fn die_with(parent: u32) -> anyhow::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL)).context("ask to end with the parent")?;
    // The parent may have ended before the request: then somebody else has adopted this process.
    let now = getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    anyhow::ensure!(u32::try_from(now) == Ok(parent), "the parent process {parent} has ended");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn die_with(_: u32) -> anyhow::Result<()> {
    anyhow::bail!("--die-with-parent works on Linux only")
}
