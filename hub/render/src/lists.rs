//! Lists of built-in kinds of which the API server takes each key once: server-side apply refuses
//! a second entry with the same key, so it is found before anything is sent.
//!
//! The tables come from the OpenAPI document of Kubernetes 1.36 (`x-kubernetes-list-map-keys`).

use std::collections::BTreeMap;

use hub_core::yaml::{Data, Node};
use proto_model::GroupKind;

/// Where a pod spec lies in the kinds that have one.
const POD_SPECS: &[(&str, &str, &str)] = &[
    ("", "Pod", "spec"),
    ("", "PodTemplate", "template.spec"),
    ("", "ReplicationController", "spec.template.spec"),
    ("apps", "DaemonSet", "spec.template.spec"),
    ("apps", "Deployment", "spec.template.spec"),
    ("apps", "ReplicaSet", "spec.template.spec"),
    ("apps", "StatefulSet", "spec.template.spec"),
    ("batch", "CronJob", "spec.jobTemplate.spec.template.spec"),
    ("batch", "Job", "spec.template.spec"),
];

/// Lists of a pod spec and their keys. `*` is any entry of a list.
const POD_LISTS: &[(&str, &[&str])] = &[
    ("containers", &["name"]),
    ("containers.*.env", &["name"]),
    ("containers.*.ports", &["containerPort", "protocol"]),
    ("containers.*.resources.claims", &["name"]),
    ("containers.*.volumeDevices", &["devicePath"]),
    ("containers.*.volumeMounts", &["mountPath"]),
    ("ephemeralContainers", &["name"]),
    ("ephemeralContainers.*.env", &["name"]),
    ("ephemeralContainers.*.ports", &["containerPort", "protocol"]),
    ("ephemeralContainers.*.resources.claims", &["name"]),
    ("ephemeralContainers.*.volumeDevices", &["devicePath"]),
    ("ephemeralContainers.*.volumeMounts", &["mountPath"]),
    ("hostAliases", &["ip"]),
    ("imagePullSecrets", &["name"]),
    ("initContainers", &["name"]),
    ("initContainers.*.env", &["name"]),
    ("initContainers.*.ports", &["containerPort", "protocol"]),
    ("initContainers.*.resources.claims", &["name"]),
    ("initContainers.*.volumeDevices", &["devicePath"]),
    ("initContainers.*.volumeMounts", &["mountPath"]),
    ("resourceClaims", &["name"]),
    ("resources.claims", &["name"]),
    ("schedulingGates", &["name"]),
    ("topologySpreadConstraints", &["topologyKey", "whenUnsatisfiable"]),
    ("volumes", &["name"]),
];

/// The other lists, by group, kind and path.
const LISTS: &[(&str, &str, &str, &[&str])] = &[
    ("", "Service", "spec.ports", &["port", "protocol"]),
    ("", "ServiceAccount", "secrets", &["name"]),
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy", "spec.matchConditions", &["name"]),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "webhooks", &["name"]),
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration", "webhooks.*.matchConditions", &["name"]),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "spec.matchConditions", &["name"]),
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy", "spec.variables", &["name"]),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "webhooks", &["name"]),
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "webhooks.*.matchConditions", &["name"]),
    (
        "apiextensions.k8s.io",
        "CustomResourceDefinition",
        "spec.versions.*.schema.openAPIV3Schema.x-kubernetes-validations",
        &["rule"],
    ),
    ("scheduling.k8s.io", "PodGroup", "spec.resourceClaims", &["name"]),
    ("scheduling.k8s.io", "Workload", "spec.podGroupTemplates", &["name"]),
    ("scheduling.k8s.io", "Workload", "spec.podGroupTemplates.*.resourceClaims", &["name"]),
    ("storage.k8s.io", "CSINode", "spec.drivers", &["name"]),
];

/// One entry of a list that has a key of another one.
pub(crate) struct Twice {
    /// Path of the list, for people.
    pub(crate) list: String,
    /// The key, for people.
    pub(crate) key: String,
    /// Line of the entry.
    pub(crate) line: u32,
    /// Line of the first entry with that key.
    pub(crate) first: u32,
}

/// Entries of a manifest's lists with a key that was there before.
pub(crate) fn duplicates(kind: &GroupKind, manifest: &Node) -> Vec<Twice> {
    let mut found = Vec::new();
    for (group, name, prefix) in POD_SPECS {
        if kind.is(group, name) {
            for (path, keys) in POD_LISTS {
                visit(manifest, &format!("{prefix}.{path}"), keys, &mut found);
            }
        }
    }
    for (group, name, path, keys) in LISTS {
        if kind.is(group, name) {
            visit(manifest, path, keys, &mut found);
        }
    }
    found
}

fn visit(manifest: &Node, path: &str, keys: &[&str], found: &mut Vec<Twice>) {
    let mut nodes = vec![manifest];
    for step in path.split('.') {
        nodes = match step {
            "*" => nodes.into_iter().flat_map(items).collect(),
            field => nodes.into_iter().filter_map(|node| node.get(field)).collect(),
        };
    }
    for list in nodes {
        let mut seen = BTreeMap::new();
        for item in items(list) {
            let Some(key) = key_of(item, keys) else {
                continue;
            };
            if let Some(first) = seen.get(&key) {
                let list = path.replace(".*", "");
                found.push(Twice { list, key, line: item.line, first: *first });
            } else {
                seen.insert(key, item.line);
            }
        }
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.data {
        Data::List(items) => items,
        _ => &[],
    }
}

/// The key of a list's entry in words; a protocol that is left out is TCP. An entry without its
/// key is for the API server to refuse.
fn key_of(item: &Node, keys: &[&str]) -> Option<String> {
    let words = keys.iter().map(|key| {
        let value = match item.get(key).map(|node| &node.data) {
            Some(Data::Text(text)) => text.clone(),
            Some(Data::Number(number, _)) => number.to_string(),
            None if *key == "protocol" => "TCP".to_owned(),
            _ => return None,
        };
        Some(format!("{key} {value}"))
    });
    Some(words.collect::<Option<Vec<_>>>()?.join(", "))
}
