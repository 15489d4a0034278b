//! One document: its header first, so that what is wrong can be named, then its own type.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::{limits, name};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::check::{self, Finding};
use super::spec::{BundleSpec, ClusterSpec, HealthCheckSpec, RolloutPolicySpec, SourceSpec, VariableSetSpec};
use super::{API_VERSION, Declared};
use crate::select::check_label;
use crate::yaml::{Data, Document, Node, from_node, unknown};

/// What kind of thing a document declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Cluster,
    VariableSet,
    Bundle,
    RolloutPolicy,
    HealthCheck,
    Source,
}

const KINDS: [(&str, Kind); 6] = [
    ("Cluster", Kind::Cluster),
    ("VariableSet", Kind::VariableSet),
    ("Bundle", Kind::Bundle),
    ("RolloutPolicy", Kind::RolloutPolicy),
    ("HealthCheck", Kind::HealthCheck),
    ("Source", Kind::Source),
];

/// A document that was read. It knows neither its source nor its file: equal content is read once.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) line: u32,
    /// Kind and name, where they can be told.
    pub(super) kind: Option<Kind>,
    pub(super) name: Option<String>,
    /// `spec.path` of a bundle, where it can be told.
    pub(super) path: Option<String>,
    /// What is wrong or worth knowing.
    pub(super) findings: Vec<Finding>,
    /// What it declares; `None` where something is wrong.
    pub(super) item: Option<Item>,
}

/// What a document declares. Source and file are filled in later.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Cluster(Arc<Declared<ClusterSpec>>),
    VariableSet(Arc<Declared<VariableSetSpec>>),
    Bundle(Arc<Declared<BundleSpec>>),
    RolloutPolicy(Arc<Declared<RolloutPolicySpec>>),
    HealthCheck(Arc<Declared<HealthCheckSpec>>),
    Source(Arc<Declared<SourceSpec>>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    // Read, so that wrong ones are found; nothing is done with them.
    #[serde(default)]
    #[allow(dead_code, reason = "annotations are for people and tools")]
    annotations: BTreeMap<String, String>,
}

/// Reads a document that is not empty.
pub(super) fn read(document: &Document) -> Read {
    let root = &document.root;
    let kind_text = root.get("kind").and_then(Node::text);
    let mut read = Read {
        line: document.line,
        kind: KINDS.iter().find(|(name, _)| Some(*name) == kind_text).map(|(_, kind)| *kind),
        name: root
            .at(["metadata", "name"])
            .and_then(Node::text)
            .filter(|name| name::check_label("declared", name, 63).is_ok())
            .map(str::to_owned),
        path: root.at(["spec", "path"]).and_then(Node::text).map(str::to_owned),
        findings: Vec::new(),
        item: None,
    };
    if let Err(finding) = header(root, kind_text, &mut read) {
        read.findings.push(finding);
    }
    if read.findings.iter().any(|finding| finding.is_defect()) {
        read.item = None;
    }
    read
}

fn header(root: &Node, kind: Option<&str>, read: &mut Read) -> Result<(), Finding> {
    let Data::Map(entries) = &root.data else {
        return Err(Finding::defect(root.line, "is not a declaration: expected a map"));
    };
    let at = |path: &str| root.line_at(path.split('.'));
    match root.get("apiVersion").and_then(Node::text) {
        Some(API_VERSION) => {}
        found => {
            let message = format!(
                "apiVersion is {}, not {API_VERSION}; manifests belong in another file",
                found.unwrap_or("missing")
            );
            return Err(Finding::defect(at("apiVersion"), message));
        }
    }
    let Some(found) = read.kind else {
        let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        return Err(Finding::defect(at("kind"), unknown("kind", kind.unwrap_or_default(), &known)));
    };
    for (key, _) in entries {
        const KNOWN: [&str; 4] = ["apiVersion", "kind", "metadata", "spec"];
        if !KNOWN.contains(&key.text.as_str()) {
            return Err(Finding::defect(key.line, unknown("field", &key.text, &KNOWN)));
        }
    }
    let metadata = metadata(root, found)?;
    let empty = Node { line: root.line, data: Data::Map(Vec::new()) };
    let spec = root.get("spec").unwrap_or(&empty);
    read.item = Some(match found {
        Kind::Cluster => {
            let item = declared::<ClusterSpec>(root, spec, metadata)?;
            check::cluster(&item, &mut read.findings);
            Item::Cluster(item.into())
        }
        Kind::VariableSet => {
            let item = declared::<VariableSetSpec>(root, spec, metadata)?;
            check::variable_set(&item, &mut read.findings);
            Item::VariableSet(item.into())
        }
        Kind::Bundle => {
            let item = declared::<BundleSpec>(root, spec, metadata)?;
            check::bundle(&item, &mut read.findings);
            Item::Bundle(item.into())
        }
        Kind::RolloutPolicy => {
            let item = declared::<RolloutPolicySpec>(root, spec, metadata)?;
            check::policy(&item, &mut read.findings);
            Item::RolloutPolicy(item.into())
        }
        Kind::HealthCheck => {
            let item = declared::<HealthCheckSpec>(root, spec, metadata)?;
            check::health_check(&item, &mut read.findings);
            Item::HealthCheck(item.into())
        }
        Kind::Source => {
            let item = declared::<SourceSpec>(root, spec, metadata)?;
            check::source(&item, &mut read.findings);
            Item::Source(item.into())
        }
    });
    Ok(())
}

fn metadata(root: &Node, kind: Kind) -> Result<Metadata, Finding> {
    let Some(node) = root.get("metadata") else {
        return Err(Finding::defect(root.line, "has no metadata; it needs metadata.name"));
    };
    let metadata: Metadata = from_node(node).map_err(|error| Finding::defect(error.line, error.message))?;
    let at = |path: [&str; 2]| root.line_at(path);
    let checked = match kind {
        Kind::Cluster => name::check_cluster(&metadata.name),
        Kind::Bundle => name::check_bundle(&metadata.name),
        Kind::Source => name::check_source(&metadata.name),
        Kind::VariableSet | Kind::RolloutPolicy | Kind::HealthCheck => {
            name::check_label("declared", &metadata.name, 63)
        }
    };
    checked.map_err(|error| Finding::defect(at(["metadata", "name"]), error.to_string()))?;
    if metadata.labels.len() > limits::CLUSTER_LABELS_MAX {
        let message = format!("{} labels are more than {}", metadata.labels.len(), limits::CLUSTER_LABELS_MAX);
        return Err(Finding::defect(at(["metadata", "labels"]), message));
    }
    for (key, value) in &metadata.labels {
        check_label(key, value)
            .map_err(|message| Finding::defect(root.line_at(["metadata", "labels", key]), message))?;
    }
    Ok(metadata)
}

fn declared<S: DeserializeOwned>(root: &Node, spec: &Node, metadata: Metadata) -> Result<Declared<S>, Finding> {
    // Aliases write little that means much: what a declaration comes to is kept with every head.
    let bytes = spec.length();
    if bytes > limits::DECLARATION_BYTES_MAX {
        let message = format!(
            "comes to {bytes} bytes once its aliases are written out, more than {}; write less",
            limits::DECLARATION_BYTES_MAX
        );
        return Err(Finding::defect(root.line, message));
    }
    let mut lines = BTreeMap::new();
    collect_lines(spec, "spec", 5, &mut lines);
    Ok(Declared {
        source: String::new(),
        name: metadata.name,
        file: String::new(),
        line: root.line,
        labels: metadata.labels,
        lines,
        spec: from_node(spec).map_err(|error| Finding::defect(error.line, error.message))?,
    })
}

/// The lines of fields down to some depth below `spec`: what defects point at.
fn collect_lines(node: &Node, path: &str, depth: usize, lines: &mut BTreeMap<String, u32>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    match &node.data {
        Data::Map(entries) => {
            for (key, value) in entries {
                let path = format!("{path}.{}", key.written);
                lines.insert(path.clone(), key.line);
                // What is free in form is no field of ours.
                let depth = if matches!(&*key.written, "values" | "patches") { depth.min(1) } else { depth };
                collect_lines(value, &path, depth, lines);
            }
        }
        Data::List(items) => {
            for (at, item) in items.iter().enumerate() {
                let path = format!("{path}.{at}");
                lines.insert(path.clone(), item.line);
                collect_lines(item, &path, depth, lines);
            }
        }
        _ => {}
    }
}
