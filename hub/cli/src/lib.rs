//! `drover`, the program for operators: a folder per noun, a file per verb.
//!
//! What is decided here (what comes first, what has settled, what changed) is pure and tested as text; the rest asks
//! the hub ([`client`]), runs the other programs ([`up`], [`hub`]) or reads files with the hub's own code
//! ([`checkout`]).

pub mod arguments;
pub mod checkout;
pub mod client;
pub mod cluster;
pub mod context;
pub mod error;
pub mod fleet;
pub mod hub;
pub mod output;
pub mod programs;
pub mod rollout;
pub mod source;
pub mod up;
pub mod view;

use std::process::ExitCode;

use clap::Parser;

/// Reads the arguments, does what they say, and tells what went wrong.
#[must_use]
pub fn main() -> ExitCode {
    // Renderings run in children of this same program.
    if let Some(code) = hub_render::child_main() {
        return code;
    }
    // Two providers can end up in one tree; this is the one that is meant. It is set once, so it cannot be set yet.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match arguments::Arguments::parse().run() {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::tell(&format!("drover: {error:#}"));
            error::exit_code(&error)
        }
    }
}

/// Whoever read our output, such as `head`, has had enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
