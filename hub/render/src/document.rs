//! Documents of files, each with the place where it stands; `List` kinds flattened.

use hub_core::catalog::Defect;
use hub_core::yaml::{self, Data, Key, Node};
use proto_model::object::identity;

use crate::hooks;

/// One manifest, and where it stands.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The file, relative to the source's path.
    pub file: String,
    /// Line of its first node, from 1.
    pub line: u32,
    /// What it says.
    pub node: Node,
}

impl Placed {
    /// A defect at a path of its fields, or at its beginning.
    #[must_use]
    pub fn defect<'a>(&self, path: impl IntoIterator<Item = &'a str>, message: impl Into<String>) -> Defect {
        Defect {
            file: self.file.clone(),
            line: self.node.line_at(path),
            message: message.into(),
            bundle: None,
            note: false,
        }
    }

    /// What the manifest is, for messages: kind and name.
    #[must_use]
    pub fn words(&self) -> String {
        let text = |path: &[&str]| {
            let text = self.node.at(path.iter().copied()).and_then(Node::text).unwrap_or("?");
            // They go to terminals.
            text.replace(char::is_control, "?")
        };
        format!("{} {}", text(&["kind"]), text(&["metadata", "name"]))
    }
}

/// Reads the manifests of one file; empty documents are passed over.
///
/// # Errors
/// Everything in the file that is no manifest.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Placed>, Vec<Defect>> {
    let defect =
        |line, message: String| vec![Defect { file: file.to_owned(), line, message, bundle: None, note: false }];
    if bytes.starts_with(b"version https://git-lfs.github.com/") {
        return Err(defect(1, "is a pointer of Git LFS, which is not read; exclude it".into()));
    }
    let documents = yaml::read(bytes).map_err(|error| {
        let message = format!("{}; if it is no manifest, {}", error.message, exclude(file));
        defect(error.line, message)
    })?;
    let (mut placed, mut defects) = (Vec::new(), Vec::new());
    for document in documents {
        if !document.root.is_null() {
            let one = Placed { file: file.to_owned(), line: document.line, node: document.root };
            flatten(one, &mut placed, &mut defects);
        }
    }
    if defects.is_empty() { Ok(placed) } else { Err(defects) }
}

fn exclude(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    format!("add \"**/{name}\" to the bundle's exclude")
}

fn flatten(mut one: Placed, placed: &mut Vec<Placed>, defects: &mut Vec<Defect>) {
    let text = |field| one.node.get(field).and_then(Node::text).unwrap_or_default();
    let (kind, version) = (text("kind"), text("apiVersion"));
    // kubectl takes a List that says no more than that.
    let bare = kind == "List" && version.is_empty() && one.node.get("items").is_some();
    if kind.is_empty() || version.is_empty() && !bare {
        let missing = match (version, kind) {
            ("", "") => "apiVersion and kind",
            ("", _) => "apiVersion",
            _ => "kind",
        };
        let message = format!("has no {missing}, so it is no manifest; correct it, or {}", exclude(&one.file));
        defects.push(one.defect([], message));
        return;
    }
    if let Some(message) = other_tools(version, &one.file) {
        defects.push(one.defect(["apiVersion"], message));
        return;
    }
    if let Some(item_kind) = kind.strip_suffix("List")
        && let Some(items) = list_items(&one.node)
    {
        for item in items {
            let mut node = item.clone();
            if !item_kind.is_empty() {
                inherit(&mut node, "kind", item_kind);
                inherit(&mut node, "apiVersion", version);
            }
            flatten(Placed { file: one.file.clone(), line: item.line, node }, placed, defects);
        }
        return;
    }
    hooks::name(&mut one.node);
    if let Some(defect) = unnamed(&one) {
        defects.push(defect);
        return;
    }
    match identity(&one.node.to_json()) {
        Ok(_) => placed.push(one),
        Err(bad) => {
            let message = format!("{} {bad}", one.words());
            defects.push(one.defect(["metadata"], message));
        }
    }
}

/// What keeps a manifest from having a name of its own. Exported objects have both a name and the
/// beginning that it was made from.
fn unnamed(one: &Placed) -> Option<Defect> {
    let field = |name| one.node.at(["metadata", name]).filter(|node| !node.is_null());
    if field("generateName").is_some() && field("name").is_none() {
        let message = "generateName would make another object at each apply; give it a name";
        return Some(one.defect(["metadata", "generateName"], message));
    }
    ["name", "namespace"].into_iter().find(|name| field(name).is_some_and(|node| node.text().is_none())).map(|name| {
        let message = format!("{}: metadata.{name} is no text; quote it", one.words());
        one.defect(["metadata", name], message)
    })
}

/// The entries of a list. Templates leave lists behind that have `items:` and nothing below, which
/// kubectl takes for an empty one.
fn list_items(list: &Node) -> Option<&[Node]> {
    match &list.get("items")?.data {
        Data::List(items) => Some(items),
        Data::Null => Some(&[]),
        _ => None,
    }
}

/// What belongs to a tool rather than to a cluster.
fn other_tools(version: &str, file: &str) -> Option<String> {
    match version.split_once('/').map_or("", |(group, _)| group) {
        "drover.dev" => Some(
            "is a declaration of Drover, which is read from drover.yaml and *.drover.yaml alone; \
             rename the file"
                .into(),
        ),
        "kustomize.config.k8s.io" => Some(format!("belongs to Kustomize; {}", exclude(file))),
        _ => None,
    }
}

/// Entries of a typed list, such as ConfigMapList, may leave out what the list says.
fn inherit(node: &mut Node, field: &str, value: &str) {
    let line = node.line;
    if let Data::Map(entries) = &mut node.data
        && !entries.iter().any(|(key, _)| key.text == field)
    {
        let key = Key { line, text: field.to_owned(), written: field.to_owned() };
        entries.push((key, Node { line, data: Data::Text(value.to_owned()) }));
    }
}
