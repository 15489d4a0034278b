//! Which files a kustomization reads, worked out before anything runs: the graph of its folders
//! and every file that they name. What is missing, lies elsewhere or would run a program is a
//! defect with its line.

use std::collections::BTreeSet;

use proto_model::limits;
use serde_json::Value as Json;

use super::early::{self, Listed, Need};
use super::input::InputFile;
use super::tree::{Found, Reader, join};
use crate::catalog::Defect;
use crate::snapshot::Snapshot;
use crate::yaml::{self, Data, Node};

/// The names that a kustomization can have.
pub(super) const NAMES: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// What a kustomization is made of.
#[derive(Debug, Default)]
pub(super) struct Closure {
    pub(super) files: Vec<InputFile>,
    /// Variables that its generators need.
    pub(super) needs: BTreeSet<Need>,
    /// Content to read before this can be told whole.
    pub(super) asks: BTreeSet<String>,
    pub(super) defects: Vec<Defect>,
}

/// What the kustomization in a folder reads.
pub(super) fn closure(root: &str, snapshot: &Snapshot, listed: &Listed) -> Closure {
    let reader = Reader::new(snapshot);
    let mut walk = Walk { reader, listed, needs: BTreeSet::new(), done: BTreeSet::new(), way: Vec::new() };
    walk.folder(root, None);
    let Walk { mut reader, needs, .. } = walk;
    let (asks, defects) = (std::mem::take(&mut reader.asks), std::mem::take(&mut reader.defects));
    Closure { files: reader.files(), needs, asks, defects }
}

struct Walk<'a> {
    reader: Reader<'a>,
    listed: &'a Listed,
    needs: BTreeSet<Need>,
    done: BTreeSet<String>,
    way: Vec<String>,
}

/// Where something is named: the kustomization, its folder, the line.
#[derive(Clone, Copy)]
struct Place<'p> {
    file: &'p str,
    folder: &'p str,
    line: u32,
}

/// What an entry may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    File,
    Folder,
    Both,
}

impl Walk<'_> {
    fn folder(&mut self, folder: &str, from: Option<Place<'_>>) {
        if let Some(place) = from.filter(|_| self.way.iter().any(|one| one == folder)) {
            let circle = self.way.iter().map(|one| shown(one)).collect::<Vec<_>>().join(" → ");
            let message = format!("kustomizations go in a circle: {circle} → {}", shown(folder));
            return self.reader.defect(place.file, place.line, &message);
        }
        // Each level is one of our own stack, and of Kustomize's.
        if self.way.len() >= limits::KUSTOMIZATION_DEPTH_MAX {
            let max = limits::KUSTOMIZATION_DEPTH_MAX;
            let message = format!("{} is a base of bases, more than {max} deep; flatten them", shown(folder));
            let (file, line) = from.map_or((folder, 0), |place| (place.file, place.line));
            return self.reader.defect(file, line, &message);
        }
        if !self.done.insert(folder.to_owned()) {
            return;
        }
        if self.done.len() > limits::KUSTOMIZATION_FOLDERS_MAX {
            let max = limits::KUSTOMIZATION_FOLDERS_MAX;
            let message = format!("is made of more than {max} folders; split the bundle");
            return self.reader.defect(folder, 0, &message);
        }
        let at = |name: &&str| join(folder, name).filter(|path| self.reader.found(path) == Found::File);
        let files: Vec<String> = NAMES.iter().filter_map(at).collect();
        let file = match files.as_slice() {
            [file] => file.clone(),
            [] => {
                let message = format!("folder {} has no kustomization.yaml", shown(folder));
                let (file, line) = from.map_or((folder, 0), |place| (place.file, place.line));
                return self.reader.defect(file, line, &message);
            }
            [first, second, ..] => {
                let message = format!("{first} stands beside it: kustomize takes only one; remove one of them");
                return self.reader.defect(second, 0, &message);
            }
        };
        self.reader.take(&file);
        let Some(bytes) = self.reader.content(&file) else { return };
        match yaml::read(&bytes) {
            Err(error) => self.reader.defect(&file, error.line, &error.message),
            Ok(documents) => {
                let mut roots = documents.into_iter().filter(|one| !one.root.is_null());
                let Some(first) = roots.next() else {
                    return self.reader.defect(&file, 0, "is empty; write at least `resources: []`");
                };
                self.way.push(folder.to_owned());
                self.kustomization(&file, folder, &first.root);
                self.way.pop();
            }
        }
    }

    fn kustomization(&mut self, file: &str, folder: &str, root: &Node) {
        self.refused(file, root);
        let at = |line| Place { file, folder, line };
        for (field, may) in [
            ("resources", May::Both),
            ("bases", May::Folder),
            ("components", May::Folder),
            ("crds", May::File),
            ("configurations", May::File),
        ] {
            for entry in list(root, field) {
                if let Some(path) = entry.text() {
                    self.entry(at(entry.line), path, may);
                }
            }
        }
        for field in ["patchesStrategicMerge", "generators", "transformers", "validators"] {
            for entry in list(root, field) {
                if let Some(text) = entry.text() {
                    self.file_or_inline(at(entry.line), text, field);
                }
            }
        }
        for field in ["patches", "patchesJson6902", "replacements"] {
            for path in list(root, field).iter().filter_map(|entry| entry.get("path")) {
                if let Some(text) = path.text() {
                    self.entry(at(path.line), text, May::File);
                }
            }
        }
        if let Some(path) = root.at(["openapi", "path"])
            && let Some(text) = path.text()
        {
            self.entry(at(path.line), text, May::File);
        }
        self.generators(at(0), root);
    }

    /// What would need the network, or run a program.
    fn refused(&mut self, file: &str, root: &Node) {
        for field in ["helmCharts", "helmChartInflationGenerator", "helmGlobals"] {
            if root.get(field).is_some() {
                let line = root.line_at([field]);
                let message = format!(
                    "{field} would fetch and run Helm inside Kustomize, which is not carried out; make it a \
                     bundle of its own with `render: {{helm: …}}`"
                );
                self.reader.defect(file, line, &message);
            }
        }
    }

    /// A path in a list of a kustomization.
    fn entry(&mut self, place: Place<'_>, path: &str, may: May) {
        let target = join(place.folder, path);
        let found = target.as_deref().map_or(Found::Nothing, |target| self.reader.found(target));
        let refuse = |walk: &mut Self, message: &str| walk.reader.defect(place.file, place.line, message);
        match (target, found) {
            (Some(target), Found::File) if may != May::Folder => self.reader.take(&target),
            (Some(target), Found::Folder) if may != May::File => self.folder(&target, Some(place)),
            (_, Found::File) => refuse(self, &format!("{path} is a file, and a folder is asked for here")),
            (_, Found::Folder) => refuse(self, &format!("{path} is a folder, and a file is asked for here")),
            (_, Found::Link) => {
                refuse(self, &format!("{path} is or lies below a symbolic link, which is not followed"));
            }
            (_, Found::Submodule) => {
                refuse(self, &format!("{path} lies in a submodule, which is not read: copy what it holds"));
            }
            (_, Found::Nothing) if is_remote(path) => {
                let message =
                    format!("{path} is remote: nothing is fetched while rendering; copy it into the repository");
                refuse(self, &message);
            }
            (None, Found::Nothing) => refuse(self, &format!("{path} leads out of the source")),
            (Some(_), Found::Nothing) => refuse(self, &format!("{path} does not exist")),
        }
    }

    /// Kustomize takes a path or the document itself here.
    fn file_or_inline(&mut self, place: Place<'_>, text: &str, field: &str) {
        let is_plugin = field != "patchesStrategicMerge";
        if text.contains('\n') || text.contains(": ") || text.trim_start().starts_with('{') {
            if is_plugin {
                self.plugin(place, text.as_bytes());
            }
            return;
        }
        self.entry(place, text, if is_plugin { May::Both } else { May::File });
        let Some(target) = join(place.folder, text).filter(|_| is_plugin) else { return };
        if self.reader.found(&target) == Found::File
            && let Some(bytes) = self.reader.content(&target)
        {
            let folder = place.folder;
            self.plugin(Place { file: &target, folder, line: 0 }, &bytes);
        }
    }

    /// The configuration of a generator or transformer: it may read files, and it must not run
    /// programs.
    fn plugin(&mut self, place: Place<'_>, bytes: &[u8]) {
        // Kustomize says what is wrong with a document that cannot be read.
        for document in yaml::read(bytes).unwrap_or_default() {
            let annotations = document.root.at(["metadata", "annotations"]);
            for name in ["config.kubernetes.io/function", "config.k8s.io/function"] {
                if annotations.is_some_and(|all| all.get(name).is_some()) {
                    let line = place.line.max(document.line);
                    self.reader.defect(
                        place.file,
                        line,
                        "would run a program or a container, which is not carried out",
                    );
                }
            }
            for field in ["path", "paths", "files", "envs", "env"] {
                let Some(node) = document.root.get(field) else { continue };
                let items = std::slice::from_ref(node);
                let items = if let Data::List(items) = &node.data { items.as_slice() } else { items };
                for text in items.iter().filter_map(Node::text) {
                    let path = text.split_once('=').map_or(text, |(_, path)| path);
                    if let Some(target) = join(place.folder, path) {
                        self.reader.take(&target);
                    }
                }
            }
        }
    }

    fn generators(&mut self, place: Place<'_>, root: &Node) {
        let json: Json = root.to_json();
        match early::generator_needs(&json, self.listed) {
            Ok(needs) => self.needs.extend(needs),
            Err(message) => self.reader.defect(place.file, 0, &message),
        }
        for field in ["configMapGenerator", "secretGenerator"] {
            for one in list(root, field) {
                let files = list(one, "files").iter().map(|entry| (entry, true));
                let envs = list(one, "envs").iter().chain(one.get("env")).map(|entry| (entry, false));
                for (entry, is_named) in files.chain(envs) {
                    let Some(text) = entry.text() else { continue };
                    let path = if is_named { text.split_once('=').map_or(text, |(_, path)| path) } else { text };
                    self.generated(Place { line: entry.line, ..place }, path);
                }
            }
        }
    }

    /// A file that a generator reads.
    fn generated(&mut self, place: Place<'_>, path: &str) {
        self.entry(place, path, May::File);
        let Some(target) = join(place.folder, path) else { return };
        if self.listed.is_empty() || self.reader.found(&target) != Found::File {
            return;
        }
        // What is no text has no variables.
        if let Some(bytes) = self.reader.content(&target)
            && let Ok(text) = std::str::from_utf8(&bytes)
        {
            match early::text_needs(text, self.listed) {
                Ok(needs) => self.needs.extend(needs),
                Err(message) => self.reader.defect(&target, 0, &message),
            }
        }
    }
}

fn list<'n>(node: &'n Node, field: &str) -> &'n [Node] {
    match node.get(field).map(|node| &node.data) {
        Some(Data::List(items)) => items,
        _ => &[],
    }
}

fn shown(folder: &str) -> &str {
    if folder.is_empty() { "." } else { folder }
}

/// What Kustomize would fetch: URLs and the short forms of Git hosts.
fn is_remote(path: &str) -> bool {
    path.contains("://")
        || path.contains("?ref=")
        || path.contains("?version=")
        || path.starts_with("git@")
        || path.starts_with("git::")
        || ["github.com/", "gitlab.com/", "bitbucket.org/"].iter().any(|host| path.starts_with(host))
}

#[cfg(test)]
#[path = "kustomization_tests.rs"]
mod tests;
