//! The kustomizations of an input: what they name, and where each name stands.

use hub_core::yaml::{self, Data, Node};

use crate::content::Files;

/// The names under which Kustomize looks for a kustomization.
const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// One kustomization.
pub(super) struct Kustomization {
    /// Its file, relative to the source's path.
    pub(super) path: String,
    /// Its folder, empty for the root.
    pub(super) folder: String,
    /// What it says.
    pub(super) root: Node,
}

/// All kustomizations among the files that can be read, that of `root` first.
pub(super) fn kustomizations(files: &Files, root: &str) -> Vec<Kustomization> {
    let one = |(path, bytes): (&String, &std::sync::Arc<[u8]>)| {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if !NAMES.contains(&name) {
            return None;
        }
        let root = yaml::read(bytes).ok()?.into_iter().next()?.root;
        Some(Kustomization { path: path.clone(), folder: folder.to_owned(), root })
    };
    let mut all: Vec<Kustomization> = files.iter().filter_map(one).collect();
    all.sort_by_key(|one| one.folder != root);
    all
}

/// The file of the kustomization that is built.
pub(super) fn file_of(files: &Files, root: &str) -> Option<String> {
    NAMES.iter().map(|name| crate::content::join(root, name)).find(|path| files.contains_key(path))
}

/// Where a text stands, as a value or a key: the first place among the kustomizations, else among
/// the other files.
pub(super) fn find(all: &[Kustomization], files: &Files, wanted: &str) -> Option<(String, u32)> {
    let own = all.iter().find_map(|one| line_of(&one.root, wanted).map(|line| (one.path.clone(), line)));
    own.or_else(|| {
        let yaml = files.iter().filter(|(path, _)| path.ends_with(".yaml") || path.ends_with(".yml"));
        yaml.filter(|(path, _)| all.iter().all(|one| one.path != **path)).find_map(|(path, bytes)| {
            let documents = yaml::read(bytes).ok()?;
            let line = documents.iter().find_map(|one| line_of(&one.root, wanted))?;
            Some((path.clone(), line))
        })
    })
}

fn line_of(node: &Node, wanted: &str) -> Option<u32> {
    match &node.data {
        Data::Text(text) => (text == wanted).then_some(node.line),
        Data::List(items) => items.iter().find_map(|item| line_of(item, wanted)),
        Data::Map(entries) => entries
            .iter()
            .find_map(|(key, value)| if key.text == wanted { Some(key.line) } else { line_of(value, wanted) }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect()
    }

    #[test]
    fn names_are_found_where_they_stand() {
        let files = files(&[
            ("b/kustomization.yaml", "resources: [x.yaml]\n"),
            ("o/kustomization.yaml", "resources:\n- x.yaml\nresourcess: []\n"),
            ("o/p.yaml", "kind: Foo\n"),
        ]);
        let all = kustomizations(&files, "o");
        let at = |path: &str, line| Some((path.to_owned(), line));
        assert_eq!(find(&all, &files, "x.yaml"), at("o/kustomization.yaml", 2));
        assert_eq!(find(&all, &files, "resourcess"), at("o/kustomization.yaml", 3));
        assert_eq!(find(&all, &files, "Foo"), at("o/p.yaml", 1));
        assert_eq!(find(&all, &files, "y"), None);
    }
}
