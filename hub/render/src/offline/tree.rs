//! A working tree as a snapshot: paths first, content only of what is asked for.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hub_core::snapshot::{File, GIT_MODULES, Mode, Modules, Snapshot, path_of};
use proto_model::limits;

/// Why a tree cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The system says no.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was being read.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is no folder.
    #[error("{}: is no folder; give the folder that the source reads", .0.display())]
    NotAFolder(PathBuf),
    /// There is too much of it.
    #[error("{}: has more than {max} files", .0.display(), max = limits::TREE_PATHS_MAX)]
    TooMany(PathBuf),
}

/// The paths below a folder, without content. A path stands for its id: within one snapshot it
/// is as good.
pub(super) fn paths(root: &Path) -> Result<Snapshot, TreeError> {
    if !root.is_dir() {
        return Err(TreeError::NotAFolder(root.into()));
    }
    let mut snapshot = Snapshot::default();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let failed = |error| TreeError::Io { path: path.clone(), error };
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            // Git's own folder is no content.
            if name == ".git" {
                continue;
            }
            let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
            let (below, is_name) = path_of(&prefix, name.as_encoded_bytes());
            let kind = entry.file_type().map_err(failed)?;
            let mode = if !is_name {
                Mode::Unnamed
            } else if kind.is_symlink() {
                Mode::Symlink
            } else if kind.is_dir() && entry.path().join(".git").exists() {
                Mode::Submodule
            } else if kind.is_dir() {
                folders.push(below);
                continue;
            } else if kind.is_file() {
                Mode::Regular
            } else {
                continue;
            };
            snapshot.files.insert(below.clone(), File { id: below, mode, bytes: None });
            if snapshot.files.len() > limits::TREE_PATHS_MAX {
                return Err(TreeError::TooMany(root.into()));
            }
        }
    }
    if snapshot.files.values().any(|file| file.mode == Mode::Submodule) {
        snapshot.modules = modules(root);
    }
    Ok(snapshot)
}

/// Where the repository that a folder lies in names its submodules. What cannot be read names none.
fn modules(root: &Path) -> Modules {
    let Ok(root) = root.canonicalize() else { return Modules::default() };
    let Some(repository) = root.ancestors().find(|above| above.join(".git").exists()) else {
        return Modules::default();
    };
    let folder = root.strip_prefix(repository).unwrap_or(Path::new("")).to_string_lossy();
    let file = repository.join(GIT_MODULES);
    let is_small = fs::metadata(&file).is_ok_and(|found| found.len() <= limits::FILE_BYTES_MAX as u64);
    let bytes = if is_small { fs::read(&file).unwrap_or_default() } else { Vec::new() };
    Modules::read(&bytes, &folder)
}

/// Reads some files. Those over the limit stay without content, as in the hub.
pub(super) fn read(root: &Path, snapshot: &mut Snapshot, paths: BTreeSet<String>) -> Result<(), TreeError> {
    for path in &paths {
        let Some(file) = snapshot.files.get_mut(path).filter(|file| file.mode.is_file()) else {
            continue;
        };
        let full = root.join(path);
        let failed = |error| TreeError::Io { path: full.clone(), error };
        let length = fs::metadata(&full).map_err(failed)?.len();
        if usize::try_from(length).is_ok_and(|length| length <= limits::FILE_BYTES_MAX) {
            file.bytes = Some(fs::read(&full).map_err(failed)?.into());
        }
    }
    snapshot.asked.extend(paths);
    Ok(())
}
