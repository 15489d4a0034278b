//! Helm's and Argo CD's hooks, as stages of a bundle: what comes before everything else, what
//! comes after, and what has no place here.
//!
//! A hook becomes an object with `drover.dev/order`: each stage begins when the one before is
//! Healthy, and a Job is Healthy when it is complete. A Job's pod template also carries a digest
//! over the whole rendering, so that it is another Job, and runs again, for another content.

use hub_core::catalog::Defect;
use hub_core::yaml::{Data, Key, Node};
use proto_model::object::identity;
use proto_model::wishes::HOOK_DELETE;
use proto_model::{Digest, Wishes};
use serde_json::Value as Json;

use crate::document::Placed;

/// Annotation that orders objects inside a bundle.
pub(crate) const ORDER: &str = "drover.dev/order";
/// What Argo CD calls the same.
pub(crate) const SYNC_WAVE: &str = "argocd.argoproj.io/sync-wave";
/// Annotation of what runs once per content, `pre` or `post`.
pub(crate) const HOOK: &str = "drover.dev/hook";
/// On the pod template of a hook's Job: the content that it runs for.
const CONTENT: &str = "drover.dev/content";

const HELM_HOOK: &str = "helm.sh/hook";
const HELM_WEIGHT: &str = "helm.sh/hook-weight";
const HELM_DELETE: &str = "helm.sh/hook-delete-policy";
const ARGO_HOOK: &str = "argocd.argoproj.io/hook";
const ARGO_DELETE: &str = "argocd.argoproj.io/hook-delete-policy";

/// How far hooks lie before and after everything else; weights move them within.
const DISTANCE: i32 = 1_000_000;

/// Digits of a digest in a name that was made up.
const NAME_DIGITS: usize = 8;

/// What is left of a rendering, and what is to be said of the rest.
pub(crate) struct Mapped {
    pub(crate) placed: Vec<Placed>,
    pub(crate) notes: Vec<Defect>,
}

/// When something is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Pre,
    Main,
    Post,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// No hook.
    Plain,
    /// At this stage, and when it goes again: [`HOOK_DELETE`], empty for never.
    Hook(Phase, i32, String),
    /// Not applied; the reason.
    LeftOut(String),
    /// It cannot be understood; the annotation, and what is wrong.
    Wrong(&'static str, String),
}

/// Maps every hook of a rendering.
pub(crate) fn map(placed: Vec<Placed>, defects: &mut Vec<Defect>) -> Mapped {
    let (mut kept, mut notes) = (Vec::new(), Vec::new());
    for one in placed {
        let fate = fate(&one.node);
        match fate {
            Fate::Plain => kept.push((one, None)),
            Fate::Hook(phase, order, goes) => {
                note_upgrade_only(&one, &mut notes);
                kept.push((one, Some((phase, order, goes))));
            }
            Fate::LeftOut(why) => {
                let message = format!("{} is left out: {why}", one.words());
                notes.push(one.defect(["metadata", "annotations"], message).as_note());
            }
            Fate::Wrong(annotation, why) => {
                let message = format!("{}: annotation {annotation} {why}", one.words());
                defects.push(one.defect(["metadata", "annotations", annotation], message));
            }
        }
    }
    let has_hooks = kept.iter().any(|(_, hook)| hook.is_some());
    let content = has_hooks.then(|| {
        let all: Json = kept.iter().map(|(one, _)| counted(one)).collect();
        Digest::of_json(&all).short()
    });
    let placed = kept.into_iter().map(|(mut one, hook)| {
        if let (Some((phase, order, goes)), Some(content)) = (hook, &content) {
            carry_out(&mut one.node, phase, order, content);
            if !goes.is_empty() {
                set(&mut one.node, &["metadata", "annotations"], HOOK_DELETE, &goes);
            }
        }
        one
    });
    Mapped { placed: placed.collect(), notes }
}

/// What of an object counts as content that hooks run for: of one that is made once and never changed, which it is.
fn counted(one: &Placed) -> Json {
    let object = one.node.to_json();
    match identity(&object) {
        Ok(identity) if Wishes::read(&object).is_ok_and(|wishes| wishes.create_only) => identity.to_string().into(),
        _ => object,
    }
}

/// Gives a hook with `generateName`, which is how Argo CD makes each run another one, a name of its
/// own: what makes it run again here is the content that its Job carries.
pub(crate) fn name(node: &mut Node) {
    let is_hook = [HOOK, ARGO_HOOK, HELM_HOOK].iter().any(|annotation| text(node, annotation).is_some());
    let named = |field: &str| node.at(["metadata", field]).and_then(Node::text);
    let Some(beginning) = named("generateName").filter(|_| is_hook && named("name").is_none()) else { return };
    let name = format!("{beginning}{}", &Digest::of_json(&node.to_json()).to_string()[..NAME_DIGITS]);
    set(node, &["metadata"], "name", &name);
    if let Some(metadata) = map_at(node, &["metadata"]) {
        metadata.retain(|(key, _)| key.text != "generateName");
    }
}

/// There is no release whose first install could be told from an upgrade.
fn note_upgrade_only(one: &Placed, notes: &mut Vec<Defect>) {
    let has_other = [HOOK, ARGO_HOOK].iter().any(|annotation| text(&one.node, annotation).is_some());
    let Some(hook) = text(&one.node, HELM_HOOK).filter(|_| !has_other) else { return };
    let installs = ["pre-install", "post-install", "crd-install"];
    if !hook.split(',').any(|word| installs.contains(&word.trim())) {
        let message = format!(
            "{}: {HELM_HOOK}: {hook} runs where the bundle is new in a cluster, too, where Helm would not run it; see \
             that it does no harm there",
            one.words()
        );
        notes.push(one.defect(["metadata", "annotations", HELM_HOOK], message).as_note());
    }
}

fn fate(node: &Node) -> Fate {
    // As in Argo CD, its own hooks win over Helm's.
    let fate = if let Some(hook) = text(node, HOOK) {
        own(node, hook)
    } else if let Some(hook) = text(node, ARGO_HOOK) {
        argo(node, hook)
    } else {
        text(node, HELM_HOOK).map_or(Fate::Plain, |hook| helm(node, hook))
    };
    match fate {
        Fate::Hook(phase, number, _) => goes(node).map_or_else(|wrong| wrong, |goes| Fate::Hook(phase, number, goes)),
        Fate::Plain if text(node, HOOK_DELETE).is_some() => {
            Fate::Wrong(HOOK_DELETE, format!("is for hooks, and this is none; give it {HOOK}, or leave it out"))
        }
        other => other,
    }
}

/// When a hook goes again once it has run, in Drover's words. As in Argo CD, Helm's policy counts for its hooks, too;
/// one that goes before the next is made is nothing to say: that is how it is here.
fn goes(node: &Node) -> Result<String, Fate> {
    if let Some(own) = text(node, HOOK_DELETE) {
        return Ok(own.to_owned());
    }
    let words = [
        (HELM_DELETE, ["before-hook-creation", "hook-succeeded", "hook-failed"]),
        (ARGO_DELETE, ["BeforeHookCreation", "HookSucceeded", "HookFailed"]),
    ];
    let mut goes = [false; 3];
    for (annotation, known) in words {
        let value = text(node, annotation).unwrap_or_default();
        for word in value.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let Some(at) = known.iter().position(|one| *one == word) else {
                return Err(Fate::Wrong(annotation, format!("has {word:?}, which is none of {}", known.join(", "))));
            };
            goes[at] = true;
        }
    }
    let [_, succeeded, failed] = goes;
    let words = [(succeeded, "succeeded"), (failed, "failed")].into_iter().filter(|(goes, _)| *goes);
    Ok(words.map(|(_, word)| word).collect::<Vec<_>>().join(","))
}

fn own(node: &Node, hook: &str) -> Fate {
    let phase = match hook {
        "pre" => Phase::Pre,
        "post" => Phase::Post,
        _ => return Fate::Wrong(HOOK, "must be pre or post".into()),
    };
    staged(phase, number(node, ORDER))
}

fn argo(node: &Node, hook: &str) -> Fate {
    let words: Vec<&str> = hook.split(',').map(str::trim).collect();
    let known = ["PreSync", "Sync", "PostSync", "Skip", "SyncFail", "PreDelete", "PostDelete"];
    if let Some(word) = words.iter().find(|word| !known.contains(word)) {
        return Fate::Wrong(ARGO_HOOK, format!("has {word:?}, which is none of {}", known.join(", ")));
    }
    let has = |word| words.contains(&word);
    let phase = if has("PreSync") {
        Phase::Pre
    } else if has("Sync") {
        Phase::Main
    } else if has("PostSync") {
        Phase::Post
    } else {
        return Fate::LeftOut(format!("{ARGO_HOOK}: {hook} has no counterpart here"));
    };
    staged(phase, number(node, SYNC_WAVE))
}

fn helm(node: &Node, hook: &str) -> Fate {
    let words: Vec<&str> = hook.split(',').map(str::trim).collect();
    let known = [
        "pre-install",
        "post-install",
        "pre-upgrade",
        "post-upgrade",
        "pre-delete",
        "post-delete",
        "pre-rollback",
        "post-rollback",
        "test",
        "test-success",
        "test-failure",
        "crd-install",
    ];
    if let Some(word) = words.iter().find(|word| !known.contains(word)) {
        return Fate::Wrong(HELM_HOOK, format!("has {word:?}, which is none of {}", known.join(", ")));
    }
    let has = |word| words.contains(&word);
    // What runs at an install comes first: that is what a rendering is.
    let phase = if has("pre-install") || has("crd-install") {
        Phase::Pre
    } else if has("post-install") {
        Phase::Post
    } else if has("pre-upgrade") {
        Phase::Pre
    } else if has("post-upgrade") {
        Phase::Post
    } else if words.iter().any(|word| word.starts_with("test")) {
        return Fate::LeftOut(format!("it is a test of the chart ({HELM_HOOK}: {hook})"));
    } else {
        return Fate::LeftOut(format!("{HELM_HOOK}: {hook} has no counterpart here"));
    };
    staged(phase, number(node, HELM_WEIGHT))
}

fn staged(phase: Phase, number: Result<i32, Fate>) -> Fate {
    match number {
        Ok(number) => Fate::Hook(phase, number, String::new()),
        Err(wrong) => wrong,
    }
}

fn number(node: &Node, annotation: &'static str) -> Result<i32, Fate> {
    let Some(text) = text(node, annotation) else { return Ok(0) };
    text.trim().parse().map_err(|_| Fate::Wrong(annotation, "must be a whole number in quotes".into()))
}

/// The order of a hook: far before or after everything else, and never among it.
fn order(phase: Phase, number: i32) -> i32 {
    match phase {
        Phase::Pre => number.clamp(1 - DISTANCE, DISTANCE - 1) - DISTANCE,
        Phase::Main => number,
        Phase::Post => number.clamp(1 - DISTANCE, DISTANCE - 1) + DISTANCE,
    }
}

fn carry_out(node: &mut Node, phase: Phase, number: i32, content: &str) {
    let is_job = node.get("kind").and_then(Node::text) == Some("Job");
    set(node, &["metadata", "annotations"], ORDER, &order(phase, number).to_string());
    match phase {
        Phase::Pre => set(node, &["metadata", "annotations"], HOOK, "pre"),
        Phase::Post => set(node, &["metadata", "annotations"], HOOK, "post"),
        Phase::Main => {}
    }
    if is_job {
        set(node, &["spec", "template", "metadata", "annotations"], CONTENT, content);
    }
}

fn text<'a>(node: &'a Node, annotation: &str) -> Option<&'a str> {
    node.at(["metadata", "annotations", annotation]).and_then(Node::text)
}

/// Sets a text below a path of maps, which are made where they are missing.
fn set(node: &mut Node, path: &[&str], name: &str, value: &str) {
    let line = node.line;
    if let Some(entries) = map_at(node, path) {
        entries.retain(|(key, _)| key.text != name);
        entries.push((key(name, line), Node { line, data: Data::Text(value.to_owned()) }));
    }
}

/// The map at a path; `None` where something else stands in its way.
fn map_at<'a>(mut node: &'a mut Node, path: &[&str]) -> Option<&'a mut Vec<(Key, Node)>> {
    for step in path {
        let line = node.line;
        let entries = entries(node)?;
        if !entries.iter().any(|(key, _)| key.text == *step) {
            entries.push((key(step, line), Node { line, data: Data::Map(Vec::new()) }));
        }
        node = entries.iter_mut().find(|(key, _)| key.text == *step).map(|(_, node)| node)?;
    }
    entries(node)
}

fn entries(node: &mut Node) -> Option<&mut Vec<(Key, Node)>> {
    if node.is_null() {
        node.data = Data::Map(Vec::new());
    }
    match &mut node.data {
        Data::Map(entries) => Some(entries),
        _ => None,
    }
}

fn key(name: &str, line: u32) -> Key {
    Key { line, text: name.to_owned(), written: name.to_owned() }
}

#[cfg(test)]
#[path = "hooks/tests.rs"]
mod tests;
