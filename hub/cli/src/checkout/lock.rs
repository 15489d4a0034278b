//! `drover lock`: which bytes the charts mean that bundles take from elsewhere, written down.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Error, Result, anyhow, bail};
use hub_core::release::lock::{LOCK_FILE, Lock, Locked, Origin};
use hub_render::offline::{Offline, Role};
use proto_model::Digest;

use super::Renders;
use crate::output::{self, count};

/// Arguments of `drover lock`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The folder that the source reads
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Fetch what is pinned already, too, and pin what comes
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    renders: Renders,
}

/// Fetches what is not pinned yet, writes the file, and says what changed.
///
/// # Errors
/// The folder or its lock cannot be read, or a chart cannot be fetched: then nothing is written.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let renderer = arguments.renders.renderer();
    let offline = Offline::load(&arguments.path, &Role::default(), &renderer)?;
    let path = arguments.path.join(LOCK_FILE);
    let before = match std::fs::read(&path) {
        Ok(bytes) => Lock::read(&bytes).map_err(|(line, why)| anyhow!("{}:{line}: {why}", path.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Lock::default(),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut charts = Vec::new();
    for (origin, credentials) in origins(&offline)? {
        let pinned = before.digest(&origin);
        let digest = match pinned.filter(|_| !arguments.update) {
            Some(digest) => digest,
            None => {
                let archive = renderer.charts.fetch(&renderer.programs, &origin, credentials.as_deref());
                Digest::of(&archive.map_err(Error::msg)?)
            }
        };
        if pinned != Some(digest) {
            let word = if pinned.is_some() { "changed" } else { "pinned" };
            output::write(&format!("{word} {} sha256:{digest}\n", origin.words()))?;
        }
        charts.push(Locked { origin, digest });
    }
    let gone: Vec<&Locked> =
        before.charts.iter().filter(|one| !charts.iter().any(|kept| kept.origin == one.origin)).collect();
    if !offline.is_whole() {
        // A pin that were dropped would come back with whatever the registry has by then.
        output::tell("some declarations are defective, and their charts are not looked at: `drover lint` lists them");
        charts.extend(gone.into_iter().cloned());
        charts.sort_by(|one, other| one.origin.cmp(&other.origin));
    } else {
        for one in gone {
            output::write(&format!("removed {}\n", one.origin.words()))?;
        }
    }
    let (number, lock) = (count(charts.len() as u64, "chart"), Lock { charts });
    if lock.charts.is_empty() && before.charts.is_empty() {
        output::tell("no bundle takes a chart from elsewhere");
        return Ok(ExitCode::SUCCESS);
    }
    if !before.charts.is_empty() && lock.write() == before.write() {
        output::tell(&format!("{LOCK_FILE} is as it was: {number}"));
        return Ok(ExitCode::SUCCESS);
    }
    std::fs::write(&path, lock.write()).with_context(|| path.display().to_string())?;
    output::tell(&format!("wrote {} with {number}; commit it", path.display()));
    Ok(ExitCode::SUCCESS)
}

/// Where bundles take charts from, and the credentials that the first of each names, if any does.
fn origins(offline: &Offline) -> Result<BTreeMap<Origin, Option<String>>> {
    let mut found: BTreeMap<Origin, Option<String>> = BTreeMap::new();
    for item in offline.catalog().bundles.values() {
        let Some(helm) = item.spec.render.as_ref().and_then(|render| render.helm.as_ref()) else { continue };
        match Origin::of(helm) {
            Ok(None) => {}
            Ok(Some(origin)) => {
                let credentials = found.entry(origin).or_default();
                *credentials = credentials.take().or_else(|| helm.credentials.clone());
            }
            Err((field, why)) => {
                let line = item.line_of(&format!("spec.render.helm.{field}"));
                bail!("{}:{line}: {why}", item.file);
            }
        }
    }
    Ok(found)
}
