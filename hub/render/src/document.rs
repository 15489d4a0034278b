//! Documents of files, each with the place where it stands; `List` kinds flattened.

use hub_core::catalog::Defect;
use hub_core::yaml::{self, Data, Node};
use proto_model::object::{BadObject, identity};

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
    pub fn defect<'a>(
        &self,
        path: impl IntoIterator<Item = &'a str>,
        message: impl Into<String>,
    ) -> Defect {
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
            self.node.at(path.iter().copied()).and_then(Node::text).unwrap_or("?").to_owned()
        };
        format!("{} {}", text(&["kind"]), text(&["metadata", "name"]))
    }
}

/// Reads the manifests of one file; empty documents are passed over.
///
/// # Errors
/// Everything in the file that is no manifest.
pub fn read(file: &str, bytes: &[u8]) -> Result<Vec<Placed>, Vec<Defect>> {
    let documents = yaml::read(bytes).map_err(|error| {
        vec![Defect {
            file: file.to_owned(),
            line: error.line,
            message: error.message,
            bundle: None,
            note: false,
        }]
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

fn flatten(one: Placed, placed: &mut Vec<Placed>, defects: &mut Vec<Defect>) {
    let kind = one.node.get("kind").and_then(Node::text).unwrap_or_default();
    let version = one.node.get("apiVersion").and_then(Node::text).unwrap_or_default();
    if kind.is_empty() || version.is_empty() {
        let missing = if version.is_empty() { "apiVersion" } else { "kind" };
        defects.push(one.defect(
            [],
            format!(
                "this document has no {missing}, so it is no manifest; if it is meant to lie here, \
                 add {:?} to the bundle's exclude",
                one.file
            ),
        ));
        return;
    }
    if kind.ends_with("List")
        && let Some(Node { data: Data::List(items), .. }) = one.node.get("items")
    {
        for item in items {
            let item = Placed { file: one.file.clone(), line: item.line, node: item.clone() };
            flatten(item, placed, defects);
        }
        return;
    }
    match identity(&one.node.to_json()) {
        Ok(_) => placed.push(one),
        Err(BadObject::Missing("metadata.name"))
            if one.node.at(["metadata", "generateName"]).is_some() =>
        {
            defects.push(one.defect(
                ["metadata", "generateName"],
                "generateName gives another object at each apply; give it a name",
            ));
        }
        Err(bad) => defects.push(one.defect([], format!("this manifest {bad}"))),
    }
}
