//! What stands at a path of a snapshot, and asking for content.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::limits;

use super::input::InputFile;
use crate::catalog::Defect;
use crate::snapshot::{File, Mode, Snapshot};

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    File,
    Folder,
    /// A link, or something below one.
    Link,
    /// A submodule, or something below one.
    Submodule,
    Nothing,
}

/// The files that one rendering reads, and what is wrong with them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    snapshot: &'a Snapshot,
    /// Files, by path, with their ids.
    files: BTreeMap<String, String>,
    /// Content that is needed and was not read yet.
    pub(super) asks: BTreeSet<String>,
    pub(super) defects: Vec<Defect>,
    /// Paths that were looked at to take whole folders.
    pub(super) looked: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self { snapshot, files: BTreeMap::new(), asks: BTreeSet::new(), defects: Vec::new(), looked: 0 }
    }

    /// What stands at a path; the empty one is the root.
    pub(super) fn found(&self, path: &str) -> Found {
        if path.is_empty() {
            return Found::Folder;
        }
        if let Some(file) = self.snapshot.files.get(path) {
            return of(file);
        }
        if below(self.snapshot, path).next().is_some() {
            return Found::Folder;
        }
        let mut above = path;
        while let Some((parent, _)) = above.rsplit_once('/') {
            if let Some(file) = self.snapshot.files.get(parent) {
                return match of(file) {
                    Found::File => Found::Nothing,
                    other => other,
                };
            }
            above = parent;
        }
        Found::Nothing
    }

    /// Takes a file into the rendering.
    pub(super) fn take(&mut self, path: &str) {
        if let Some(file) = self.snapshot.files.get(path) {
            self.files.insert(path.to_owned(), file.id.clone());
        }
    }

    /// Takes everything below a folder; links, submodules and odd names are defects. `false` where
    /// that is more than a chart may be made of: then it is not gone through to its end.
    pub(super) fn take_folder(&mut self, folder: &str) -> bool {
        for (path, file) in below(self.snapshot, folder) {
            if self.files.len() >= limits::CHART_FILES_MAX || self.looked >= limits::CHART_LOOKED_PATHS_MAX {
                return false;
            }
            self.looked += 1;
            match file.mode {
                Mode::Regular | Mode::Executable => {
                    self.files.insert(path.clone(), file.id.clone());
                }
                Mode::Symlink => self.defect(path, 0, "is a symbolic link, which is not followed: put the file here"),
                Mode::Submodule => {
                    let message = "is a submodule, which is not read: copy what it holds";
                    let (file, line, message) = self.snapshot.modules.place(path, message);
                    self.defect(&file, line, &message);
                }
                Mode::Unnamed => self.defect(path, 0, "its name is no name for a file: rename it"),
            }
        }
        true
    }

    /// The content of a file; where it was not read yet, it is asked for, and `None` comes back.
    pub(super) fn content(&mut self, path: &str) -> Option<Arc<[u8]>> {
        if let Some(bytes) = self.snapshot.read(path) {
            return Some(Arc::clone(bytes));
        }
        if self.snapshot.asked.contains(path) {
            let (max, all) = (limits::FILE_BYTES_MAX, limits::FOLLOWED_BYTES_MAX);
            let message = format!(
                "is larger than {max} bytes, or one too many of the files of this source that say how bundles are \
                 made, which may be {all} bytes together; split it"
            );
            self.defect(path, 0, &message);
        } else {
            self.asks.insert(path.to_owned());
        }
        None
    }

    /// Says what is wrong; beyond as many defects as are shown of a bundle there is nothing to say.
    pub(super) fn defect(&mut self, file: &str, line: u32, message: &str) {
        if self.defects.len() < limits::DEFECTS_MAX {
            let message = message.to_owned();
            self.defects.push(Defect { file: file.to_owned(), line, message, bundle: None, note: false }.shown());
        }
    }

    /// The files that were taken.
    pub(super) fn files(self) -> Vec<InputFile> {
        self.files.into_iter().map(|(path, id)| InputFile { path, id }).collect()
    }
}

fn of(file: &File) -> Found {
    match file.mode {
        Mode::Regular | Mode::Executable => Found::File,
        Mode::Symlink => Found::Link,
        Mode::Submodule => Found::Submodule,
        Mode::Unnamed => Found::Nothing,
    }
}

/// Everything below a folder; the empty one is the root.
pub(super) fn below<'a>(snapshot: &'a Snapshot, folder: &str) -> impl Iterator<Item = (&'a String, &'a File)> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    let end = prefix.clone();
    snapshot.files.range(prefix..).take_while(move |(file, _)| file.starts_with(&end))
}

/// A path seen from a folder, without `.` and `..`; `None` where it leads out of the source.
pub(super) fn join(folder: &str, path: &str) -> Option<String> {
    // The directory of a file in that folder is the folder.
    crate::catalog::directory(&format!("{folder}/x"), path)
}
