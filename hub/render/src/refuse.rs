//! What a manifest must not say: list entries with one key twice, and annotations that are not
//! carried out yet and would change what Drover does.

use std::collections::BTreeMap;

use hub_core::catalog::Defect;
use hub_core::yaml::{Data, Node};

use crate::document::Placed;

/// Adds what is wrong with one manifest.
pub(crate) fn look(one: &Placed, defects: &mut Vec<Defect>) {
    annotations(one, defects);
    for (path, keys) in lists_of(&one.node) {
        duplicates(one, &path, keys, defects);
    }
}

/// Annotations that restrict or shape what happens to an object, and the values of them that are
/// no restriction.
const NOT_YET: [(&str, &[&str]); 12] = [
    ("drover.dev/hook", &[]),
    ("drover.dev/prune", &[]),
    ("drover.dev/apply", &[]),
    ("drover.dev/replace", &[]),
    ("helm.sh/hook", &[]),
    ("helm.sh/resource-policy", &[]),
    ("argocd.argoproj.io/hook", &[]),
    ("argocd.argoproj.io/sync-options", &[]),
    ("argocd.argoproj.io/compare-options", &[]),
    ("kustomize.toolkit.fluxcd.io/prune", &["enabled"]),
    ("kustomize.toolkit.fluxcd.io/reconcile", &["enabled"]),
    ("kustomize.toolkit.fluxcd.io/ssa", &["Override", "override"]),
];

fn annotations(one: &Placed, defects: &mut Vec<Defect>) {
    for (name, harmless) in NOT_YET {
        let path = ["metadata", "annotations", name];
        let Some(value) = one.node.at(path) else { continue };
        if value.text().is_some_and(|text| harmless.contains(&text)) {
            continue;
        }
        defects.push(one.defect(
            path,
            format!(
                "annotation {name} of {} is not carried out yet, so the bundle is held; leave it \
                 out, or exclude the file",
                one.words()
            ),
        ));
    }
    if let Some(order) = one.node.at(["metadata", "annotations", "drover.dev/order"]) {
        let number = order.text().and_then(|text| text.parse::<i32>().ok());
        if number.is_none() {
            defects.push(one.defect(
                ["metadata", "annotations", "drover.dev/order"],
                "drover.dev/order must be a whole number in quotes",
            ));
        }
    }
}

type Path = Vec<String>;

/// The lists of built-in kinds whose entries the API server tells apart by keys, and those keys.
fn lists_of(node: &Node) -> Vec<(Path, &'static [&'static str])> {
    let kind = node.get("kind").and_then(Node::text).unwrap_or_default();
    let pod: &[&str] = match kind {
        "Pod" => &["spec"],
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job"
        | "ReplicationController" => &["spec", "template", "spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        "Service" => return vec![(path(&["spec", "ports"], &[]), &["port", "protocol"])],
        "ServiceAccount" => return vec![(path(&["secrets"], &[]), &["name"])],
        _ => return Vec::new(),
    };
    let mut out: Vec<(Path, &'static [&'static str])> = vec![
        (path(pod, &["volumes"]), &["name"]),
        (path(pod, &["imagePullSecrets"]), &["name"]),
    ];
    for containers in ["containers", "initContainers"] {
        let list = path(pod, &[containers]);
        let count = match node.at(list.iter().map(String::as_str)).map(|node| &node.data) {
            Some(Data::List(items)) => items.len(),
            _ => 0,
        };
        out.push((list, &["name"]));
        for at in 0..count {
            let at = at.to_string();
            let within = |field| path(pod, &[containers, &at, field]);
            out.push((within("env"), &["name"]));
            out.push((within("ports"), &["containerPort", "protocol"]));
            out.push((within("volumeMounts"), &["mountPath"]));
        }
    }
    out
}

fn path(first: &[&str], rest: &[&str]) -> Path {
    first.iter().chain(rest).map(|step| (*step).to_owned()).collect()
}

fn duplicates(one: &Placed, path: &Path, keys: &[&str], defects: &mut Vec<Defect>) {
    let Some(Node { data: Data::List(items), .. }) = one.node.at(path.iter().map(String::as_str))
    else {
        return;
    };
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for item in items {
        let Some(key) = key_of(item, keys) else { continue };
        if let Some(first) = seen.insert(key.clone(), item.line) {
            defects.push(Defect {
                file: one.file.clone(),
                line: item.line,
                message: format!(
                    "{} of {} has {key} at line {first} already; the API server refuses two",
                    path.join("."),
                    one.words()
                ),
                bundle: None,
                note: false,
            });
        }
    }
}

/// The key of a list's entry in words; a protocol that is left out is TCP.
fn key_of(item: &Node, keys: &[&str]) -> Option<String> {
    let mut words = Vec::new();
    for key in keys {
        let value = match item.get(key).map(|node| &node.data) {
            Some(Data::Text(text)) => text.clone(),
            Some(Data::Number(number, _)) => number.to_string(),
            None if *key == "protocol" => "TCP".to_owned(),
            _ => return None,
        };
        words.push(format!("{key} {value}"));
    }
    Some(words.join(", "))
}
