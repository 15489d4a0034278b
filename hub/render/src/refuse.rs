//! What a manifest must not say: list entries with one key twice, labels that are no text, and
//! annotations that are not carried out yet and would change what Drover does.

use hub_core::catalog::Defect;
use hub_core::yaml::{Data, Node};
use proto_model::GroupKind;
use proto_model::bind::{BIND_ANNOTATION, STAMP_ANNOTATION};

use crate::document::Placed;
use crate::hooks::{HOOK, ORDER, SYNC_WAVE};
use crate::lists;

/// A chart's wish that something outlives its release. Definitions are protected anyway, so it is
/// granted on them; hooks.rs says so.
const RESOURCE_POLICY: &str = "helm.sh/resource-policy";

/// Annotations that restrict or shape what happens to an object, none of them carried out yet, and
/// the values of them that ask for nothing.
const NOT_YET: [(&str, &[&str]); 9] = [
    ("drover.dev/prune", &[]),
    ("drover.dev/apply", &[]),
    ("drover.dev/replace", &[]),
    ("drover.dev/reconcile", &[]),
    ("helm.sh/resource-policy", &[]),
    ("kustomize.toolkit.fluxcd.io/prune", &["enabled", "Enabled"]),
    ("kustomize.toolkit.fluxcd.io/reconcile", &["enabled", "Enabled"]),
    ("kustomize.toolkit.fluxcd.io/ssa", &["override", "Override"]),
    ("kustomize.toolkit.fluxcd.io/force", &["disabled", "Disabled"]),
];

const SYNC_OPTIONS: &str = "argocd.argoproj.io/sync-options";
/// Options of Argo CD that restrict or shape what happens to an object.
const SYNC_OPTIONS_NOT_YET: [&str; 6] =
    ["Prune=false", "Prune=confirm", "Delete=false", "Delete=confirm", "Replace=true", "Force=true"];

/// Adds what is wrong with one manifest.
pub(crate) fn look(one: &Placed, kind: &GroupKind, defects: &mut Vec<Defect>) {
    for field in ["labels", "annotations"] {
        texts(one, field, defects);
    }
    if let Some(Node { data: Data::Map(entries), .. }) = one.node.at(["metadata", "annotations"]) {
        for (key, value) in entries {
            if key.text == RESOURCE_POLICY && kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
                continue;
            }
            if let Some(message) = annotation(one, &key.text, value.text().unwrap_or_default()) {
                defects.push(one.defect(["metadata", "annotations", &key.text], message));
            }
        }
    }
    if let Some(sops) = one.node.get("sops")
        && sops.get("mac").is_some()
    {
        let message = format!("{} is encrypted with SOPS, which is not carried out yet", one.words());
        defects.push(one.defect(["sops"], message));
    }
    for twice in lists::duplicates(kind, &one.node) {
        let lists::Twice { list, key, line, first } = twice;
        let words = one.words();
        // What a program rendered has no lines.
        let place = if first == 0 { String::new() } else { format!(", first in line {first}") };
        let message = format!("{words}: {list} has {key} twice{place}");
        defects.push(Defect { line, ..one.defect([], message) });
    }
}

/// Kubernetes takes only text here; nothing stands for the empty one.
fn texts(one: &Placed, field: &str, defects: &mut Vec<Defect>) {
    let words = one.words();
    match one.node.at(["metadata", field]).map(|node| &node.data) {
        None | Some(Data::Null) => {}
        Some(Data::Map(entries)) => {
            for (key, value) in entries.iter().filter(|(_, value)| value.text().is_none() && !value.is_null()) {
                let message = format!("{words}: metadata.{field}.{} is no text; quote it", key.text);
                defects.push(Defect { line: value.line, ..one.defect([], message) });
            }
        }
        Some(_) => {
            defects.push(one.defect(["metadata", field], format!("{words}: metadata.{field} is no map")));
        }
    }
}

fn annotation(one: &Placed, name: &str, value: &str) -> Option<String> {
    let words = one.words();
    if let Some((_, harmless)) = NOT_YET.iter().find(|(known, _)| *known == name) {
        return (!harmless.contains(&value)).then(|| not_yet(&format!("annotation {name}"), &words));
    }
    match name {
        ORDER | SYNC_WAVE => value
            .parse::<i32>()
            .is_err()
            .then(|| format!("{words}: annotation {name} must be a whole number in quotes")),
        BIND_ANNOTATION => {
            (value != "disabled").then(|| format!("{words}: annotation {name} knows only the value `disabled`"))
        }
        // Looked at when hooks were mapped.
        HOOK => None,
        STAMP_ANNOTATION => Some(format!("{words}: annotation {name} is Drover's own; leave it out")),
        SYNC_OPTIONS => value
            .split(',')
            .map(str::trim)
            .find(|option| SYNC_OPTIONS_NOT_YET.contains(option))
            .map(|option| not_yet(&format!("annotation {name} with {option}"), &words)),
        _ if name.starts_with("drover.dev/") => {
            let own = NOT_YET.iter().map(|(known, _)| *known);
            let mut known: Vec<&str> = own.filter(|known| known.starts_with("drover.dev/")).collect();
            known.extend([ORDER, HOOK, BIND_ANNOTATION]);
            Some(format!("{words}: {}", hub_core::yaml::unknown("annotation", name, &known)))
        }
        _ => None,
    }
}

fn not_yet(what: &str, words: &str) -> String {
    format!("{what} of {words} is not carried out yet, so the bundle is held; leave it out")
}
