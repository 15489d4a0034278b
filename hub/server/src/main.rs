//! `drover-hub`: reads Git, works out what each cluster should run, and streams it to the spokes.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context as _;
use clap::Parser as _;
use hub_server::args::{Cli, LogFormat, Verb, with_verb};
use hub_server::dir::Dir;
use hub_server::identity;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // Fetches and renderings run in children of this same program.
    if let Some(code) = hub_git::child_main().or_else(hub_render::child_main) {
        return code;
    }
    let cli = Cli::parse_from(with_verb(std::env::args_os()));
    log_to_stderr(cli.log_format);
    if let Some(parent) = cli.die_with_parent {
        die_with(parent);
    }
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(carry_out(cli.verb)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn carry_out(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Init(args) => {
            let dir = Dir::new(&args.dir);
            let made = identity::init(&dir, &args.advertise, args.context.as_deref(), SystemTime::now()).await?;
            print_line(&serde_json::json!({"hub_id": made.hub_id, "context": made.context}));
            Ok(())
        }
        Verb::Operator(args) => {
            let dir = Dir::new(&args.dir);
            Ok(identity::operator(&dir, &args.name, args.role, &args.context, SystemTime::now())?)
        }
        Verb::Run(args) => {
            let print_ready = args.print_ready;
            let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
            let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
            let mut hub = hub_server::start(*args).await?;
            if print_ready {
                print_line(&serde_json::json!({
                    "ready": true,
                    "address": hub.address().to_string(),
                    "hooks": hub.hooks_address().map(|address| address.to_string()),
                    "metrics": hub.metrics_address().map(|address| address.to_string()),
                    "hub_id": hub.hub_id(),
                }));
            }
            let failure = tokio::select! {
                _ = terminate.recv() => None,
                _ = interrupt.recv() => None,
                reason = hub.failed() => Some(reason),
            };
            hub.stop().await;
            failure.map_or(Ok(()), |reason| Err(anyhow::anyhow!(reason)))
        }
    }
}

#[allow(clippy::print_stdout, reason = "the one thing that goes to stdout")]
fn print_line(line: &serde_json::Value) {
    println!("{line}");
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            builder.with_target(false).with_ansi(has_colour && std::io::stderr().is_terminal()).init();
        }
        LogFormat::Json => builder.json().init(),
    }
}

/// Asks the kernel to kill this process when its parent ends, however that ends.
#[allow(unsafe_code, reason = "there is no other way to ask the kernel")]
fn die_with(parent: u32) {
    // SAFETY: both calls take plain numbers, touch no memory and cannot fail with these.
    let now = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::getppid()
    };
    // The parent may have ended before the request: then somebody else has adopted this process.
    if u32::try_from(now) != Ok(parent) {
        std::process::exit(1);
    }
}
