//! Autoscalers: what they scale is theirs to count.

use proto_model::{GroupKind, Identity};
use serde_json::Value as Json;

use crate::port::Kind;

/// The kinds that scale others, at the versions at which they are looked up.
pub(crate) fn kinds() -> [Kind; 2] {
    let kind = |api: &str, kind: &str, version: &str| Kind { kind: GroupKind::of(api, kind), version: version.into() };
    [kind("autoscaling/v2", "HorizontalPodAutoscaler", "v2"), kind("keda.sh/v1alpha1", "ScaledObject", "v1alpha1")]
}

/// What an autoscaler scales; `None` for every other object.
pub(crate) fn target(identity: &Identity, manifest: &Json) -> Option<Identity> {
    if !kinds().iter().any(|kind| kind.kind == identity.kind) {
        return None;
    }
    let target = manifest.pointer("/spec/scaleTargetRef")?;
    let text = |key: &str| target.get(key).and_then(Json::as_str);
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    // KEDA's defaults.
    let kind = GroupKind::of(api_version.unwrap_or("apps/v1"), kind.unwrap_or("Deployment"));
    Some(Identity { kind, namespace: identity.namespace.clone(), name: text("name")?.to_owned() })
}

/// Whether a live object's replicas were set by something that scales, and by no person.
pub(crate) fn has_set(metadata: &Json) -> bool {
    let entries = metadata.get("managedFields").and_then(Json::as_array).into_iter().flatten();
    entries.into_iter().any(|entry| {
        let text = |key: &str| entry.get(key).and_then(Json::as_str).unwrap_or_default();
        text("subresource") == "scale"
            && !text("manager").starts_with("kubectl")
            && entry.pointer("/fieldsV1/f:spec/f:replicas").is_some()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalers_name_what_they_scale() {
        let one = |api: &str, kind: &str, name: &str| Identity {
            kind: GroupKind::of(api, kind),
            namespace: "shop".into(),
            name: name.into(),
        };
        let hpa = one("autoscaling/v1", "HorizontalPodAutoscaler", "h");
        let manifest =
            json!({"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db"}}});
        assert_eq!(target(&hpa, &manifest), Some(one("apps/v1", "StatefulSet", "db")));
        let keda = one("keda.sh/v1alpha1", "ScaledObject", "k");
        assert_eq!(
            target(&keda, &json!({"spec": {"scaleTargetRef": {"name": "web"}}})),
            Some(one("apps/v1", "Deployment", "web"))
        );
        assert_eq!(target(&one("apps/v1", "Deployment", "web"), &manifest), None);
    }

    #[test]
    fn who_scales_by_hand_is_no_scaler() {
        let metadata = |manager: &str, subresource: &str| {
            json!({"managedFields": [{"manager": manager, "subresource": subresource, "operation": "Update",
                "fieldsV1": {"f:spec": {"f:replicas": {}}}}]})
        };
        assert!(has_set(&metadata("kube-controller-manager", "scale")));
        assert!(!has_set(&metadata("kubectl", "scale")));
        assert!(!has_set(&metadata("kube-controller-manager", "")));
        assert!(!has_set(&json!({})));
    }
}
