//! Hooks of Helm and Argo CD, one table row each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;
use crate::document;

fn mapped(text: &str) -> (Vec<Json>, Vec<String>, Vec<String>) {
    let mut defects = Vec::new();
    let Mapped { placed, notes } = map(document::read("a.yaml", text.as_bytes()).unwrap(), &mut defects);
    let messages = |all: Vec<Defect>| all.into_iter().map(|one| one.message).collect();
    (placed.iter().map(|one| one.node.to_json()).collect(), messages(notes), messages(defects))
}

fn object(kind: &str, annotations: &str) -> String {
    format!("---\napiVersion: batch/v1\nkind: {kind}\nmetadata: {{name: x, annotations: {{{annotations}}}}}\n")
}

fn order_of(annotations: &str) -> Option<String> {
    let (objects, _, defects) = mapped(&object("Job", annotations));
    assert_eq!(defects, [""; 0]);
    Some(objects.first()?["metadata"]["annotations"]["drover.dev/order"].as_str()?.to_owned())
}

#[test]
fn hooks_come_before_and_after() {
    for (annotations, order) in [
        ("helm.sh/hook: pre-install", "-1000000"),
        ("helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-weight: '-5'", "-1000005"),
        ("helm.sh/hook: post-install, helm.sh/hook-weight: '3'", "1000003"),
        ("helm.sh/hook: 'post-upgrade, post-install'", "1000000"),
        ("helm.sh/hook: pre-install, helm.sh/hook-weight: '2000000000'", "-1"),
        ("argocd.argoproj.io/hook: PreSync, argocd.argoproj.io/sync-wave: '2'", "-999998"),
        ("argocd.argoproj.io/hook: Sync, argocd.argoproj.io/sync-wave: '2'", "2"),
        ("argocd.argoproj.io/hook: PostSync, helm.sh/hook: pre-install", "1000000"),
        ("drover.dev/hook: post, drover.dev/order: '7'", "1000007"),
    ] {
        assert_eq!(order_of(annotations).as_deref(), Some(order), "{annotations}");
    }
    assert_eq!(order_of("a: b"), None);
}

#[test]
fn what_has_no_place_is_left_out_and_listed() {
    for (annotations, word) in [
        ("helm.sh/hook: test", "test of the chart"),
        ("helm.sh/hook: test-success", "test of the chart"),
        ("helm.sh/hook: 'pre-delete,post-delete'", "no counterpart"),
        ("helm.sh/hook: pre-rollback", "no counterpart"),
        ("argocd.argoproj.io/hook: Skip", "no counterpart"),
        ("argocd.argoproj.io/hook: SyncFail", "no counterpart"),
    ] {
        let (objects, notes, defects) = mapped(&object("Pod", annotations));
        assert!(objects.is_empty() && defects.is_empty(), "{annotations}");
        assert!(notes.len() == 1 && notes[0].starts_with("Pod x is left out") && notes[0].contains(word), "{notes:?}");
    }
}

/// There is no first install here: what is only for upgrades runs at the first time, too.
#[test]
fn hooks_of_upgrades_alone_are_noted() {
    for (annotations, notes) in [
        ("helm.sh/hook: pre-upgrade", 1),
        ("helm.sh/hook: 'post-upgrade, pre-upgrade'", 1),
        ("helm.sh/hook: 'pre-upgrade, pre-install'", 0),
        ("helm.sh/hook: post-install", 0),
        ("helm.sh/hook: pre-upgrade, argocd.argoproj.io/hook: PreSync", 0),
    ] {
        let (objects, found, defects) = mapped(&object("Job", annotations));
        assert!(objects.len() == 1 && defects.is_empty() && found.len() == notes, "{annotations}: {found:?}");
        assert!(found.iter().all(|one| one.contains("where the bundle is new")), "{found:?}");
    }
}

#[test]
fn hooks_that_nobody_knows_are_defects() {
    for annotations in [
        "helm.sh/hook: pre-instal",
        "argocd.argoproj.io/hook: Before",
        "drover.dev/hook: before",
        "helm.sh/hook: pre-install, helm.sh/hook-weight: soon",
    ] {
        let (objects, _, defects) = mapped(&object("Job", annotations));
        assert!(objects.is_empty() && defects.len() == 1, "{annotations}");
    }
}

#[test]
fn a_job_is_another_one_for_another_content() {
    let with = |value: &str| {
        let job = object("Job", "helm.sh/hook: pre-install, helm.sh/hook-delete-policy: hook-succeeded")
            + "spec: {ttlSecondsAfterFinished: 5, template: {metadata: {labels: {a: b}}}}\n";
        let config = format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata: {{k: {value:?}}}\n");
        let (objects, _, defects) = mapped(&(job + &config));
        assert_eq!(defects, [""; 0]);
        objects
    };
    let content = |objects: &[Json]| objects[0]["spec"]["template"]["metadata"]["annotations"].clone();
    let (one, same, other) = (with("1"), with("1"), with("2"));
    assert_eq!(one, same);
    assert_ne!(content(&one), content(&other));
    assert_eq!(one[0]["spec"]["template"]["metadata"]["labels"]["a"], "b");
    // A Job that has come to its end may vanish.
    assert_eq!(one[0]["spec"]["ttlSecondsAfterFinished"], 5);
    assert_eq!(one[0]["metadata"]["annotations"]["helm.sh/hook-delete-policy"], "hook-succeeded");
}

#[test]
fn hooks_go_again_as_their_policies_say() {
    let goes = |annotations: &str| {
        let (objects, _, defects) = mapped(&object("Job", annotations));
        assert_eq!(defects, [""; 0], "{annotations}");
        objects[0]["metadata"]["annotations"]["drover.dev/hook-delete"].as_str().map(str::to_owned)
    };
    let helm = "helm.sh/hook: pre-install, helm.sh/hook-delete-policy: ";
    let argo = "argocd.argoproj.io/hook: PostSync, argocd.argoproj.io/hook-delete-policy: ";
    for (annotations, word) in [
        (format!("{helm}hook-succeeded"), Some("succeeded")),
        (format!("{helm}hook-failed"), Some("failed")),
        (format!("{helm}before-hook-creation"), None),
        (format!("{helm}''"), None),
        (format!("{helm}'before-hook-creation, hook-failed,hook-succeeded'"), Some("succeeded,failed")),
        (format!("{argo}HookSucceeded"), Some("succeeded")),
        (format!("{argo}'BeforeHookCreation,HookFailed'"), Some("failed")),
        (format!("{argo}HookFailed, helm.sh/hook-delete-policy: hook-succeeded"), Some("succeeded,failed")),
        (format!("{helm}hook-succeeded, drover.dev/hook-delete: failed"), Some("failed")),
        ("drover.dev/hook: post, drover.dev/hook-delete: succeeded".into(), Some("succeeded")),
        ("argocd.argoproj.io/hook: Sync, argocd.argoproj.io/hook-delete-policy: HookFailed".into(), Some("failed")),
        // Neither Helm nor Argo CD looks at them where there is no hook.
        ("helm.sh/hook-delete-policy: hook-succeeded".into(), None),
    ] {
        assert_eq!(goes(&annotations).as_deref(), word, "{annotations}");
    }
    for annotations in
        [format!("{helm}hook-succeded"), format!("{argo}hook-succeeded"), "drover.dev/hook-delete: succeeded".into()]
    {
        let (_, _, defects) = mapped(&object("Job", &annotations));
        assert!(defects.len() == 1 && defects[0].contains("hook-delete"), "{annotations}: {defects:?}");
    }
}

#[test]
fn what_is_made_once_makes_no_other_content() {
    let with = |annotation: &str, value: &str| {
        let job = object("Job", "helm.sh/hook: pre-install");
        let secret = format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s, annotations: {{{annotation}}}}}\ndata: {{k: {value}}}\n"
        );
        mapped(&(job + &secret)).0[0]["spec"]["template"]["metadata"]["annotations"].clone()
    };
    let once = "drover.dev/apply: createOnly";
    assert_eq!(with(once, "x"), with(once, "y"));
    assert_ne!(with("a: b", "x"), with("a: b", "y"));
}

#[test]
fn hooks_without_a_name_get_one() {
    let hook = "apiVersion: batch/v1\nkind: Job\nmetadata: {generateName: migrate-, annotations: \
                {argocd.argoproj.io/hook: PreSync}}\n";
    let (objects, _, defects) = mapped(hook);
    assert_eq!(defects, [""; 0]);
    let name = objects[0]["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("migrate-") && name.len() == "migrate-".len() + NAME_DIGITS, "{name}");
    assert_eq!(mapped(hook).0, objects);
    // Anything else would be another object at each apply.
    let plain = hook.replace("argocd.argoproj.io/hook", "other");
    assert!(document::read("a.yaml", plain.as_bytes()).is_err());
}
