//! `drover hub init`: makes a hub, with the hub's own program.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::context;
use crate::output::{self, Output, document};
use crate::programs::Program;

/// Arguments of `drover hub init`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The hub's directory, which must be new or empty
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where spokes and operators will reach the hub, HOST:PORT, several with commas
    #[arg(long, value_name = "HOST:PORT", required = true, value_delimiter = ',')]
    advertise: Vec<String>,
    #[command(flatten)]
    output: Output,
}

/// Runs `drover-hub init`; the administrator's context goes where this program looks for it.
///
/// # Errors
/// A context is there already, or the program is not.
pub fn run(arguments: &Arguments, context: Option<PathBuf>) -> Result<ExitCode> {
    let program = Program::Hub.path()?;
    let context = match context {
        Some(path) => path,
        None => context::default_path()?,
    };
    if context.exists() {
        bail!(
            "{} belongs to another hub, and its key would be lost\nname another file with --context FILE",
            context.display()
        );
    }
    if let Some(folder) = context.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = Command::new(&program);
    command.arg("init").arg("--dir").arg(&arguments.dir);
    command.arg("--advertise").arg(arguments.advertise.join(","));
    command.arg("--context").arg(&context);
    command.stderr(Stdio::inherit());
    let made = command.output().with_context(|| format!("cannot run {}", program.display()))?;
    if !made.status.success() {
        return Ok(ExitCode::FAILURE);
    }
    let made: serde_json::Value = serde_json::from_slice(&made.stdout)
        .with_context(|| format!("{} did not say what it made", program.display()))?;
    let made = document::HubMade {
        hub_id: made["hub_id"].as_str().unwrap_or_default().to_owned(),
        context: made["context"].as_str().unwrap_or_default().to_owned(),
    };
    let dir = output::shell_word(&arguments.dir);
    arguments.output.show(&made, |_| {
        format!("made hub {} in {dir}\nyou are its first administrator: {}\n", made.hub_id, made.context)
    })?;
    let name = Program::Hub.name();
    output::tell(&format!("Next: {name} run --dir {dir} --listen ADDRESS:PORT --source URL|PATH"));
    Ok(ExitCode::SUCCESS)
}
