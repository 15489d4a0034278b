//! The files of one rendering, read, and paths among them.

use std::collections::BTreeMap;
use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::release::RenderInput;
use proto_model::limits;

use crate::manifests::{at_file, too_large, too_many_bytes};

/// Contents by path.
pub(crate) type Files = BTreeMap<String, Arc<[u8]>>;

/// What is wrong with a file that is no more than a name of its content.
pub(crate) const POINTER: &str = "is a pointer of Git LFS, which is not read; commit the file itself";

/// Whether a file is a pointer of Git LFS.
pub(crate) fn is_pointer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"version https://git-lfs.github.com/")
}

/// The content of an input's files in their order, as far as the limits let it be read.
pub(crate) fn within_limits<'a>(
    input: &'a RenderInput,
    read: impl Fn(&str) -> Option<Arc<[u8]>>,
    defects: &mut Vec<Defect>,
) -> Vec<(&'a str, Arc<[u8]>)> {
    let (mut contents, mut total) = (Vec::with_capacity(input.files.len()), 0usize);
    for file in &input.files {
        let Some(bytes) = read(&file.path) else {
            defects.push(at_file(&file.path, too_large()));
            continue;
        };
        total = total.saturating_add(bytes.len());
        if total > limits::BUNDLE_BYTES_MAX {
            defects.push(at_file(&file.path, too_many_bytes()));
            break;
        }
        contents.push((&*file.path, bytes));
    }
    contents
}

/// Reads every file of an input, within the limits.
///
/// # Errors
/// Files that are too large, or not there.
pub(crate) fn collect(
    input: &RenderInput,
    read: impl Fn(&str) -> Option<Arc<[u8]>>,
    is_needed: impl Fn(&str) -> bool,
) -> Result<Files, Vec<Defect>> {
    let (mut files, mut defects) = (Files::new(), Vec::new());
    for (path, bytes) in within_limits(input, read, &mut defects) {
        if is_pointer(&bytes) && is_needed(path) {
            defects.push(Defect { line: 1, ..at_file(path, POINTER) });
            continue;
        }
        files.insert(path.to_owned(), bytes);
    }
    if defects.is_empty() { Ok(files) } else { Err(defects) }
}

/// A path below a folder; an empty folder is the root.
pub(crate) fn join(folder: &str, path: &str) -> String {
    match (folder, path) {
        ("", path) => path.to_owned(),
        (folder, "") => folder.to_owned(),
        (folder, path) => format!("{folder}/{path}"),
    }
}

/// A path as it is written in a file of `folder`, without its dots; `None` where it leaves the
/// source.
pub(crate) fn resolve(folder: &str, written: &str) -> Option<String> {
    if written.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in written.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

/// What lies below a folder, by its path in there.
pub(crate) fn below<'a>(files: &'a Files, folder: &str) -> impl Iterator<Item = (&'a str, &'a Arc<[u8]>)> {
    let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    // All that begins alike stands together.
    files.range(prefix.clone()..).map_while(move |(path, bytes)| Some((path.strip_prefix(&*prefix)?, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_source_lead_nowhere() {
        assert_eq!(resolve("a/b", "../c/./d").as_deref(), Some("a/c/d"));
        assert_eq!(resolve("", "x/").as_deref(), Some("x"));
        assert_eq!(resolve("a", "..").as_deref(), Some(""));
        assert_eq!(resolve("a", "../../x"), None);
        assert_eq!(resolve("a", "/etc/passwd"), None);
    }
}
