//! What a manifest must not say: list entries with one key twice, labels that are no text, and
//! annotations that ask for what nobody knows, or for what has no meaning in Git.

use hub_core::catalog::Defect;
use hub_core::yaml::{Data, Node};
use proto_model::assign::is_protected;
use proto_model::bind::{BIND_ANNOTATION, STAMP_ANNOTATION};
use proto_model::wishes::{self, RECONCILE, REPLACE};
use proto_model::{GroupKind, Wishes};

use crate::document::Placed;
use crate::hooks::{HOOK, ORDER, SYNC_WAVE};
use crate::lists;

/// Flux' annotations that keep hands off an object.
const FLUX_RECONCILE: &str = "kustomize.toolkit.fluxcd.io/reconcile";
const FLUX_APPLY: &str = "kustomize.toolkit.fluxcd.io/ssa";

/// Adds what is wrong with one manifest.
pub(crate) fn look(one: &Placed, kind: &GroupKind, defects: &mut Vec<Defect>) {
    for field in ["labels", "annotations"] {
        texts(one, field, defects);
    }
    if let Some(Node { data: Data::Map(entries), .. }) = one.node.at(["metadata", "annotations"]) {
        for (key, value) in entries {
            if let Some(message) = annotation(one, &key.text, value.text().unwrap_or_default()) {
                defects.push(one.defect(["metadata", "annotations", &key.text], message));
            }
        }
    }
    wishes(one, kind, defects);
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
        RECONCILE => Some(hands_off(&words, name)),
        FLUX_RECONCILE if value.eq_ignore_ascii_case("disabled") => Some(hands_off(&words, name)),
        FLUX_APPLY if value.eq_ignore_ascii_case("ignore") => Some(hands_off(&words, name)),
        _ if wishes::READ.contains(&name) => value.contains("${").then(|| {
            format!("{words}: annotation {name} is read before variables are bound, and {value:?} says nothing then")
        }),
        _ if name.starts_with("drover.dev/") => {
            let own = wishes::READ.into_iter().filter(|known| known.starts_with("drover.dev/"));
            let known: Vec<&str> = own.chain([ORDER, HOOK, BIND_ANNOTATION]).collect();
            Some(format!("{words}: {}", hub_core::yaml::unknown("annotation", name, &known)))
        }
        _ => None,
    }
}

/// In Git it would be applied to every cluster, and nobody could change the object any more: whoever wants that leaves
/// the object out.
fn hands_off(words: &str, name: &str) -> String {
    format!(
        "{words}: annotation {name} keeps hands off one object in one cluster, so it belongs on the live object; to \
         have the object nowhere, leave it out of the bundle"
    )
}

/// What the object asks of whoever applies it: known words, and nothing that its kind can't be given.
fn wishes(one: &Placed, kind: &GroupKind, defects: &mut Vec<Defect>) {
    let mut defect = |annotation, message: String| {
        defects.push(one.defect(["metadata", "annotations", annotation], format!("{}: {message}", one.words())));
    };
    match Wishes::read(&one.node.to_json()) {
        // Told already.
        Err(bad) if bad.value.contains("${") => {}
        Err(bad) => defect(bad.annotation, bad.to_string()),
        Ok(_) => {
            let own = one.node.at(["metadata", "annotations", REPLACE]).and_then(Node::text);
            if is_protected(kind) && own.is_some_and(|value| value != "never") {
                let message = format!(
                    "annotation {REPLACE}: a {} is never deleted to be made anew, since what it holds would go along; \
                     leave it out",
                    kind.kind
                );
                defect(REPLACE, message);
            }
        }
    }
}
