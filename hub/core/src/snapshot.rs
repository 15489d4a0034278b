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
    /// What the repository says of its submodules; read where there are any.
    pub modules: Modules,
}

/// Where `.gitmodules` names submodules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    /// Path of that file, seen from the source's path: `../.gitmodules` for a source in a folder.
    pub file: String,
    /// Lines, from 1, by the path of the submodule, relative to the source's path.
    pub lines: BTreeMap<String, u32>,
}

impl Modules {
    /// From the content of `.gitmodules`, for a source that lies in `folder` of its repository; empty
    /// for its root.
    #[must_use]
    pub fn read(bytes: &[u8], folder: &str) -> Self {
        let folder: Vec<&str> = folder.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let prefix: String = folder.iter().map(|part| format!("{part}/")).collect();
        let mut modules = Self { file: "../".repeat(folder.len()) + GIT_MODULES, lines: BTreeMap::new() };
        for (number, line) in (1..).zip(String::from_utf8_lossy(bytes).lines()) {
            let value = line.split_once('=').filter(|(key, _)| key.trim() == "path").map(|(_, value)| value.trim());
            let Some(path) = value.map(|value| value.trim_matches('"')) else { continue };
            if let Some(path) = path.strip_prefix(&prefix) {
                modules.lines.insert(path.trim_end_matches('/').to_owned(), number);
            }
        }
        modules
    }

    /// File and line to show for a submodule, and what is wrong: there where it is named, else at its
    /// own path, with a word on that.
    pub(crate) fn place(&self, path: &str, message: &str) -> (String, u32, String) {
        match self.lines.get(path) {
            Some(line) => (self.file.clone(), *line, format!("{path} {message}")),
            None => (path.to_owned(), 0, format!("{message} ({GIT_MODULES} does not name it)")),
        }
    }
}

/// The file in which a repository names its submodules.
pub const GIT_MODULES: &str = ".gitmodules";

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
    fn submodules_are_named_by_their_paths() {
        let text =
            b"[submodule \"a\"]\n\tpath = fleet/vendor/a\n\turl = https://h/a\n[submodule \"b\"]\n  path=\"other/b\"\n";
        let root = Modules::read(text, "");
        assert_eq!(root.file, ".gitmodules");
        assert_eq!(root.lines, [("fleet/vendor/a".to_owned(), 2), ("other/b".to_owned(), 5)].into());
        let below = Modules::read(text, "/fleet/");
        assert_eq!(below.lines, [("vendor/a".to_owned(), 2)].into());
        assert_eq!(below.place("vendor/a", "is one"), ("../.gitmodules".into(), 2, "vendor/a is one".into()));
        let unnamed = ("x".into(), 0, "is one (.gitmodules does not name it)".into());
        assert_eq!(below.place("x", "is one"), unnamed);
    }

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
