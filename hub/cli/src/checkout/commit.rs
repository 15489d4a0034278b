//! A commit of a checkout as the hub would read it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use hub_core::snapshot::is_declaration;
use hub_render::Renderer;
use hub_render::offline::{Offline, Role};

/// Where a folder lies in its repository.
#[derive(Debug)]
pub struct Place {
    /// The folder with `.git`.
    pub repository: PathBuf,
    /// The folder, relative to that; empty for the same.
    pub path: String,
}

/// Finds the repository that a folder belongs to.
///
/// # Errors
/// There is none above it.
pub fn place(folder: &Path) -> Result<Place> {
    let folder = folder.canonicalize().with_context(|| format!("{}: cannot be read", folder.display()))?;
    for above in folder.ancestors() {
        if above.join(".git").exists() {
            let path = folder.strip_prefix(above).unwrap_or(Path::new("")).to_string_lossy().into_owned();
            return Ok(Place { repository: above.to_owned(), path });
        }
    }
    bail!("{}: lies in no Git repository; --source names a folder of a checkout", folder.display())
}

/// A commit and what a hub would make of it that has read another one before, where one is given.
///
/// # Errors
/// There is no such commit, or it cannot be read.
pub async fn load(
    place: &Place,
    reference: &str,
    role: &Role,
    before: Option<&Offline>,
    renderer: &Renderer,
) -> Result<(String, Offline)> {
    let last = before.map(Offline::catalog);
    let commit = hub_git::resolve(&place.repository, reference).await?;
    let tree = hub_git::read(&place.repository, &commit, &place.path, |path, _| is_declaration(path)).await?;
    let mut snapshot = tree.snapshot;
    loop {
        let asks = Offline::asks(&snapshot, role, last, renderer);
        if asks.is_empty() {
            return Ok((commit, Offline::after(&snapshot, role, last, renderer)));
        }
        // What is too large has no content afterwards, and whoever needs it says so.
        hub_git::fill(&place.repository, &mut snapshot, &asks).await?;
        snapshot.asked.extend(asks);
    }
}
