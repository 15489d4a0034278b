//! In which order the objects of a bundle are applied; deletion goes backwards.
//!
//! Namespaces, then CRDs, then everything else by its `drover.dev/order` and, within one number,
//! by kind as Helm and kubectl order them, then webhook configurations.

use std::collections::BTreeSet;

use proto_model::{GroupKind, Identity, object};
use serde_json::Value as Json;

/// Annotation with a stage inside the bundle: a whole number, 0 where there is none.
pub const ORDER_ANNOTATION: &str = "drover.dev/order";
/// Argo CD's annotation, read as the same.
pub const SYNC_WAVE_ANNOTATION: &str = "argocd.argoproj.io/sync-wave";

const NAMESPACES: u8 = 0;
const DEFINITIONS: u8 = 1;
const EVERYTHING_ELSE: u8 = 2;
const WEBHOOKS: u8 = 3;

/// One step of applying a bundle. Objects of one stage are applied side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stage {
    /// Namespaces, definitions, everything else, webhooks.
    class: u8,
    /// The number that the author gave.
    order: i32,
    /// Place of the kind in the usual order.
    rank: u8,
}

impl Stage {
    /// The stage of an object of this kind with this number.
    #[must_use]
    pub fn of(kind: &GroupKind, order: i32) -> Self {
        let class = class(kind);
        // The author's number moves things only among the things that have no fixed place.
        let order = if class == EVERYTHING_ELSE { order } else { 0 };
        Self { class, order, rank: rank(kind) }
    }

    /// Whether what comes before must also be Healthy before `self` begins: the author has put a
    /// border between them.
    #[must_use]
    pub fn is_after_border(&self, before: &Self) -> bool {
        self.class == EVERYTHING_ELSE && before.class == EVERYTHING_ELSE && self.order > before.order
    }
}

/// The number that an object's author gave, 0 where there is none.
///
/// # Errors
/// The annotation is no whole number.
pub fn number(manifest: &Json) -> Result<i32, String> {
    for name in [ORDER_ANNOTATION, SYNC_WAVE_ANNOTATION] {
        if let Some(text) = object::annotation(manifest, name) {
            return text
                .trim()
                .parse()
                .map_err(|_| format!("annotation {name} is no whole number; write one, as \"2\""));
        }
    }
    Ok(0)
}

/// Services that a webhook configuration calls, as namespace and name: until they answer it would refuse what it is
/// asked about. One that may be ignored, or is asked about nothing, refuses nothing.
#[must_use]
pub fn called_services(kind: &GroupKind, manifest: &Json) -> Vec<(String, String)> {
    if kind.group != "admissionregistration.k8s.io" {
        return Vec::new();
    }
    let webhooks = manifest.get("webhooks").and_then(Json::as_array).into_iter().flatten();
    let text = |service: &Json, key: &str| service.get(key).and_then(Json::as_str).map(str::to_owned);
    let refuses = |webhook: &&Json| {
        let is_asked = webhook.get("rules").and_then(Json::as_array).is_some_and(|rules| !rules.is_empty());
        is_asked && webhook.get("failurePolicy").and_then(Json::as_str) != Some("Ignore")
    };
    let called = webhooks.filter(refuses).filter_map(|webhook| {
        let service = webhook.pointer("/clientConfig/service")?;
        Some((text(service, "namespace")?, text(service, "name")?))
    });
    called.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether an EndpointSlice has an endpoint that is ready.
#[must_use]
pub fn is_answered(slice: &Json) -> bool {
    let endpoints = slice.get("endpoints").and_then(Json::as_array).into_iter().flatten();
    // What says nothing is ready, as Kubernetes has it.
    endpoints.into_iter().any(|one| one.pointer("/conditions/ready").and_then(Json::as_bool).unwrap_or(true))
}

/// Whether objects of this kind define other kinds.
#[must_use]
pub fn is_definition(kind: &GroupKind) -> bool {
    kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
}

/// Whether objects of this kind bring other kinds by a server of their own.
#[must_use]
pub fn is_api_service(kind: &GroupKind) -> bool {
    kind.is("apiregistration.k8s.io", "APIService")
}

/// Whether an object may be refused for no other reason than that a change of `other`, which is
/// applied before it, is not there yet.
#[must_use]
pub fn leans_on(object: &Identity, other: &Identity) -> bool {
    if is_definition(&other.kind) {
        let group = other.name.split_once('.').map_or("", |(_, group)| group);
        return object.kind.group == group;
    }
    if other.kind.is("", "Namespace") {
        return object.namespace == other.name;
    }
    let of = |kind: &GroupKind, all: &[(&str, &str)]| all.iter().any(|(group, name)| kind.is(group, name));
    match (object.kind.group.as_str(), object.kind.kind.as_str()) {
        ("rbac.authorization.k8s.io", _) => {
            of(&other.kind, &[("rbac.authorization.k8s.io", "Role"), ("rbac.authorization.k8s.io", "ClusterRole")])
        }
        ("", "Pod") => of(
            &other.kind,
            &[
                ("", "ServiceAccount"),
                ("", "LimitRange"),
                ("scheduling.k8s.io", "PriorityClass"),
                ("node.k8s.io", "RuntimeClass"),
            ],
        ),
        ("", "PersistentVolumeClaim") => of(&other.kind, &[("", "LimitRange"), ("storage.k8s.io", "StorageClass")]),
        _ => false,
    }
}

fn class(kind: &GroupKind) -> u8 {
    if kind.is("", "Namespace") {
        NAMESPACES
    } else if is_definition(kind) {
        DEFINITIONS
    } else if kind.group == "admissionregistration.k8s.io" {
        WEBHOOKS
    } else {
        EVERYTHING_ELSE
    }
}

/// Kinds side by side where nothing among them needs another to exist first.
fn rank(kind: &GroupKind) -> u8 {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("scheduling.k8s.io" | "storage.k8s.io" | "node.k8s.io" | "policy", _)
        | ("networking.k8s.io", "NetworkPolicy" | "IngressClass")
        | (
            "",
            "ResourceQuota"
            | "LimitRange"
            | "ServiceAccount"
            | "Secret"
            | "ConfigMap"
            | "PersistentVolume"
            | "PersistentVolumeClaim",
        )
        | ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => 0,
        ("rbac.authorization.k8s.io", _) | ("", "Service") => 1,
        ("", "Pod" | "ReplicationController") | ("apps" | "autoscaling", _) => 2,
        ("batch", _) => 3,
        ("networking.k8s.io", _) | ("apiregistration.k8s.io", _) => 4,
        _ => 5,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use serde_json::json;

    fn stage(api_version: &str, kind: &str, order: i32) -> Stage {
        Stage::of(&GroupKind::of(api_version, kind), order)
    }

    #[test]
    fn built_in_order() {
        let stages = [
            stage("v1", "Namespace", 0),
            stage("apiextensions.k8s.io/v1", "CustomResourceDefinition", 0),
            stage("v1", "ConfigMap", 0),
            stage("v1", "Service", 0),
            stage("apps/v1", "Deployment", 0),
            stage("batch/v1", "Job", 0),
            stage("networking.k8s.io/v1", "Ingress", 0),
            stage("example.com/v1", "Widget", 0),
            stage("v1", "ConfigMap", 1),
            stage("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", 0),
        ];
        assert!(stages.is_sorted_by(|a, b| a < b), "{stages:?}");
        assert!(stage("batch/v1", "Job", -1) < stage("v1", "ConfigMap", 0));
    }

    #[test]
    fn the_author_does_not_move_what_has_a_fixed_place() {
        assert_eq!(stage("v1", "Namespace", 7), stage("v1", "Namespace", 0));
    }

    #[test]
    fn only_the_authors_numbers_make_borders() {
        let (config, deployment) = (stage("v1", "ConfigMap", 0), stage("apps/v1", "Deployment", 0));
        assert!(!deployment.is_after_border(&config));
        assert!(stage("v1", "ConfigMap", 1).is_after_border(&deployment));
        assert!(!config.is_after_border(&stage("v1", "Namespace", 0)));
    }

    #[test]
    fn what_comes_first_may_explain_a_refusal() {
        let one = |api: &str, kind: &str, namespace: &str, name: &str| Identity {
            kind: GroupKind::of(api, kind),
            namespace: namespace.into(),
            name: name.into(),
        };
        let widget = one("example.com/v1", "Widget", "shop", "w");
        let binding = one("rbac.authorization.k8s.io/v1", "RoleBinding", "shop", "b");
        let pod = one("v1", "Pod", "shop", "p");
        let definition = |name| one("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", name);
        assert!(leans_on(&widget, &definition("widgets.example.com")));
        assert!(!leans_on(&widget, &definition("widgets.example.org")));
        assert!(leans_on(&widget, &one("v1", "Namespace", "", "shop")));
        assert!(!leans_on(&widget, &one("v1", "Namespace", "", "other")));
        assert!(leans_on(&binding, &one("rbac.authorization.k8s.io/v1", "Role", "shop", "r")));
        assert!(leans_on(&pod, &one("v1", "ServiceAccount", "shop", "a")));
        assert!(!leans_on(&pod, &one("v1", "ConfigMap", "shop", "c")));
        assert!(!leans_on(&one("apps/v1", "Deployment", "shop", "d"), &one("v1", "ServiceAccount", "shop", "a")));
    }

    #[test]
    fn webhooks_name_the_services_that_they_call() {
        let kind = GroupKind::of("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration");
        let service = |name: &str, policy: &str, rules: Json| json!({"clientConfig": {"service": {"namespace": "n", "name": name}}, "failurePolicy": policy, "rules": rules});
        let url = json!({"clientConfig": {"url": "https://example.com"}, "rules": [{}]});
        let one = |name: &str| service(name, "Fail", json!([{}]));
        let harmless = [service("c", "Ignore", json!([{}])), service("d", "Fail", json!([]))];
        let manifest = json!({"webhooks": [one("b"), url, one("a"), one("b"), harmless[0], harmless[1]]});
        let all = called_services(&kind, &manifest);
        assert_eq!(all, [("n".to_owned(), "a".to_owned()), ("n".to_owned(), "b".to_owned())]);
        assert!(called_services(&GroupKind::of("v1", "ConfigMap"), &manifest).is_empty());
        assert!(is_answered(&json!({"endpoints": [{"conditions": {"ready": false}}, {"conditions": {}}]})));
        assert!(!is_answered(&json!({"endpoints": [{"conditions": {"ready": false}}]})));
        assert!(!is_answered(&json!({"endpoints": null})));
    }

    #[test]
    fn numbers_are_read_from_either_annotation() {
        let with = |name: &str, text: &str| json!({"metadata": {"annotations": {name: text}}});
        assert_eq!(number(&with(ORDER_ANNOTATION, "-3")), Ok(-3));
        assert_eq!(number(&with(SYNC_WAVE_ANNOTATION, "5")), Ok(5));
        assert_eq!(number(&json!({})), Ok(0));
        assert!(number(&with(ORDER_ANNOTATION, "soon")).unwrap_err().contains("drover.dev/order"));
    }
}
