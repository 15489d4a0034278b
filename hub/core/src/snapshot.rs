//! The tree of one commit, as a value: paths, object ids, and the files that were asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

/// The tree of one commit below the path of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The full commit id; empty for a working tree.
    pub commit: String,
    /// By path, relative to the source's path, with `/` and without a leading one.
    pub files: BTreeMap<String, File>,
}

/// One entry of the tree that is not itself a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Git's id of the content, hexadecimal: equal ids mean equal content.
    pub id: String,
    /// What kind of entry it is.
    pub mode: Mode,
    /// The content, where it was asked for and is within `limits::FILE_BYTES_MAX`.
    pub bytes: Option<Arc<[u8]>>,
}

/// What an entry of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// A file.
    Regular,
    /// A file that may be run.
    Executable,
    /// A symbolic link; its content is the target.
    Symlink,
    /// A commit of another repository; it has no content here.
    Submodule,
    /// Whatever stands there, its name is no UTF-8 text, too long, or none that a file can have.
    /// It is not read, and its path is only for people.
    Unnamed,
}

impl Mode {
    /// Whether the entry is a file with content of its own.
    #[must_use]
    pub fn is_file(self) -> bool {
        matches!(self, Self::Regular | Self::Executable)
    }
}

impl Snapshot {
    /// The content of a file, where it was asked for.
    #[must_use]
    pub fn read(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.files.get(path)?.bytes.as_ref()
    }
}

/// Whether a path is one in which declarations are written: `drover.yaml` or `*.drover.yaml`.
/// Such a file is never part of a bundle's manifests.
#[must_use]
pub fn is_declaration(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "drover.yaml" || name.ends_with(".drover.yaml")
}
