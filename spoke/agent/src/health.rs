//! `drover-spoke health`: how the live objects of a file are doing.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use spoke_agent::verdict;

use crate::args::{HealthArgs, Output};
use crate::write;

/// Prints the verdict for each object.
pub(crate) fn show(args: &HealthArgs) -> anyhow::Result<()> {
    let checks = match &args.checks {
        None => verdict::Checks::default(),
        Some(file) => verdict::checks(&read(file)?).with_context(|| format!("{}", file.display()))?,
    };
    let verdicts =
        verdict::verdicts(&read(&args.file)?, &checks).with_context(|| format!("{}", args.file.display()))?;
    write(&match args.output {
        Output::Table => verdict::table(&verdicts),
        Output::Json => serde_json::to_string_pretty(&verdicts).context("write JSON")? + "\n",
    })
}

fn read(file: &Path) -> anyhow::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read stdin")?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))
}
