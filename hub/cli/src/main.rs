//! `drover`: what operators type.

use std::process::ExitCode;

fn main() -> ExitCode {
    hub_cli::main()
}
