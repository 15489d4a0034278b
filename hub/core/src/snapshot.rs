//! The tree of one commit, as a value: paths, object ids, and the files that were asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::limits;

/// The tree of one commit below the path of its source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The full commit id; empty for a working tree.
    pub commit: String,
    /// By path, relative to the source's path, with `/` and without a leading one.
    pub files: BTreeMap<String, File>,
    /// Paths of which the content was asked for: one that is here and has none is too large, or
    /// no file.
    pub asked: BTreeSet<String>,
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
    /// Whatever stands there, its name is no UTF-8 text, has control characters, is too long, or
    /// none that a file can have. It is not read, and its path is only for people.
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

/// The path of an entry of a folder, which is empty or ends with `/`, and whether it can be one;
/// where not, it is only for people. Paths go to terminals and logs, so control characters have no
/// place in them.
#[must_use]
pub fn path_of(folder: &str, name: &[u8]) -> (String, bool) {
    let is_long = folder.len() + name.len() > limits::TREE_PATH_BYTES_MAX;
    match std::str::from_utf8(name) {
        Ok(text) if !is_long && is_name(text) => (format!("{folder}{text}"), true),
        _ => {
            let shown: String = String::from_utf8_lossy(name).escape_default().take(80).collect();
            (format!("{folder}{shown}"), false)
        }
    }
}

fn is_name(text: &str) -> bool {
    !matches!(text, "" | "." | "..")
        && !text.contains('/')
        && !text.contains(char::is_control)
        && !text.eq_ignore_ascii_case(".git")
}

/// Whether a path is one in which declarations are written: `drover.yaml` or `*.drover.yaml`.
/// Such a file is never part of a bundle's manifests.
#[must_use]
pub fn is_declaration(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name == "drover.yaml" || name.ends_with(".drover.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_a_path_is_shown_without_harm() {
        assert_eq!(path_of("a/", "ü b.yaml".as_bytes()), ("a/ü b.yaml".to_owned(), true));
        for (name, shown) in [
            (&b"x\xff"[..], "a/x\\u{fffd}"),
            (b"two\nlines", "a/two\\nlines"),
            (b"\x1b[31mred", "a/\\u{1b}[31mred"),
            (b"..", "a/.."),
            (b".GIT", "a/.GIT"),
        ] {
            assert_eq!(path_of("a/", name), (shown.to_owned(), false));
        }
        assert!(!path_of(&format!("{}/", "d".repeat(limits::TREE_PATH_BYTES_MAX)), b"x").1);
    }
}
