//! In which order the objects of a bundle are applied; deletion goes backwards.
//!
//! Namespaces, then CRDs, then everything else by its `drover.dev/order` and, within one number,
//! by kind as Helm and kubectl order them, then webhook configurations.

use proto_model::{GroupKind, object};
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
        self.class == EVERYTHING_ELSE
            && before.class == EVERYTHING_ELSE
            && self.order > before.order
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

/// Whether an object of this kind may be deleted and made anew where a field can't be changed.
#[must_use]
pub fn is_recreated(kind: &GroupKind) -> bool {
    kind.is("batch", "Job")
        || kind.is("rbac.authorization.k8s.io", "RoleBinding")
        || kind.is("rbac.authorization.k8s.io", "ClusterRoleBinding")
}

/// Whether objects of this kind define other kinds.
#[must_use]
pub fn is_definition(kind: &GroupKind) -> bool {
    kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
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
    fn numbers_are_read_from_either_annotation() {
        let with = |name: &str, text: &str| json!({"metadata": {"annotations": {name: text}}});
        assert_eq!(number(&with(ORDER_ANNOTATION, "-3")), Ok(-3));
        assert_eq!(number(&with(SYNC_WAVE_ANNOTATION, "5")), Ok(5));
        assert_eq!(number(&json!({})), Ok(0));
        assert!(number(&with(ORDER_ANNOTATION, "soon")).unwrap_err().contains("drover.dev/order"));
    }
}
