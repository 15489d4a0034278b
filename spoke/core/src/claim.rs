//! Marks of other deployers on an object, and how it is told whether they still live.
//!
//! An object whose owner lives would be fought over: it is not taken over, and the owner is named.

use std::collections::BTreeMap;

use proto_model::{GroupKind, object};
use serde_json::Value as Json;

use crate::port::Kind;

/// A mark of another deployer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Who, for messages.
    pub(crate) owner: String,
    /// What is there for as long as it lives.
    pub(crate) kind: Kind,
    /// In this namespace; empty: in any.
    pub(crate) namespace: String,
    /// Of this name; empty: any.
    pub(crate) name: String,
    /// With these labels.
    pub(crate) labels: BTreeMap<String, String>,
}

/// The marks on a live object.
pub(crate) fn claims(live: &Json) -> Vec<Claim> {
    let annotation = |name: &str| object::annotation(live, name).filter(|value| !value.is_empty());
    let label = |name: &str| object::label(live, name).filter(|value| !value.is_empty());
    let namespace = live.pointer("/metadata/namespace").and_then(Json::as_str).unwrap_or_default();
    let kind = |api: &str, kind: &str| {
        let version = api.rsplit('/').next().unwrap_or(api).to_owned();
        Kind { kind: GroupKind::of(api, kind), version }
    };
    let mut found = Vec::new();
    let mut add = |owner: String, kind: Kind, namespace: &str, name: &str, labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        found.push(Claim { owner, kind, namespace: namespace.into(), name: name.into(), labels });
    };
    if let Some(release) = annotation("meta.helm.sh/release-name") {
        let of = annotation("meta.helm.sh/release-namespace").unwrap_or(namespace);
        // Helm keeps a release in Secrets, or in ConfigMaps where it is told to.
        let labels = [("owner", "helm"), ("name", release)];
        for store in ["Secret", "ConfigMap"] {
            add(format!("Helm release {of}/{release}"), kind("v1", store), of, "", &labels);
        }
    }
    // Before 3.0 Argo CD tracks by a label, unless it is told otherwise. Others set that label too.
    let tracked = annotation("argocd.argoproj.io/tracking-id").map(|id| id.split(':').next().unwrap_or(id));
    let labelled = label("app.kubernetes.io/instance").filter(|_| is_managed_by_argo(live));
    if let Some(app) = tracked.or(labelled) {
        // Of an application outside of Argo CD's own namespace: namespace_name.
        let (of, app) = app.split_once('_').unwrap_or(("", app));
        let shown = if of.is_empty() { app.to_owned() } else { format!("{of}/{app}") };
        add(format!("Argo CD application {shown}"), kind("argoproj.io/v1alpha1", "Application"), of, app, &[]);
    }
    for (group, flux, version) in [("kustomize", "Kustomization", "v1"), ("helm", "HelmRelease", "v2")] {
        let group = format!("{group}.toolkit.fluxcd.io");
        let (name_key, namespace_key) = (format!("{group}/name"), format!("{group}/namespace"));
        if let Some(name) = label(&name_key) {
            let of = label(&namespace_key).unwrap_or_default();
            add(format!("Flux {flux} {of}/{name}"), kind(&format!("{group}/{version}"), flux), of, name, &[]);
        }
    }
    if let Some(id) = annotation("objectset.rio.cattle.io/id") {
        // What runs Fleet in a cluster that it deploys to: as this or that by its version, and in a namespace of
        // its own where that is the cluster of Rancher itself.
        for agent in ["Deployment", "StatefulSet"] {
            add(format!("Rancher Fleet bundle {id}"), kind("apps/v1", agent), "", "fleet-agent", &[]);
        }
    }
    found
}

/// Whether a part of Argo CD wrote fields of an object.
fn is_managed_by_argo(live: &Json) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(Json::as_array);
    let mut managers = entries.into_iter().flatten().filter_map(|entry| entry.get("manager").and_then(Json::as_str));
    managers.any(|manager| manager.starts_with("argocd-"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn marks_name_who_would_fight_for_the_object() {
        let live = json!({"metadata": {"namespace": "shop",
            "labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"},
            "annotations": {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "prod",
                "argocd.argoproj.io/tracking-id": "teams_shop:apps/Deployment:shop/web",
                "objectset.rio.cattle.io/id": "default-shop"}}});
        let all = claims(&live);
        let owners: Vec<&str> = all.iter().map(|claim| claim.owner.as_str()).collect();
        assert_eq!(
            owners,
            [
                "Helm release prod/web",
                "Helm release prod/web",
                "Argo CD application teams/shop",
                "Flux Kustomization flux-system/apps",
                "Rancher Fleet bundle default-shop",
                "Rancher Fleet bundle default-shop"
            ]
        );
        assert_eq!((all[0].namespace.as_str(), all[0].labels.len()), ("prod", 2));
        let stores: Vec<String> = all[..2].iter().map(|claim| claim.kind.kind.to_string()).collect();
        assert_eq!(stores, ["Secret", "ConfigMap"]);
        assert_eq!((all[2].namespace.as_str(), all[2].name.as_str()), ("teams", "shop"));
        assert_eq!(all[3].kind.kind.to_string(), "Kustomization.kustomize.toolkit.fluxcd.io");
        // In the cluster of Rancher itself its agent is elsewhere.
        assert_eq!((all[5].namespace.as_str(), all[5].name.as_str()), ("", "fleet-agent"));
        assert!(claims(&json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}})).is_empty());
    }

    #[test]
    fn a_label_that_many_set_is_argo_s_where_argo_wrote() {
        let by = |manager: &str| {
            json!({"metadata": {"labels": {"app.kubernetes.io/instance": "shop"},
            "managedFields": [{"manager": "kubectl"}, {"manager": manager}]}})
        };
        let all = claims(&by("argocd-application-controller"));
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].owner.as_str(), all[0].name.as_str()), ("Argo CD application shop", "shop"));
        assert_eq!(claims(&by("argocd-controller")).len(), 1);
        assert!(claims(&by("helm")).is_empty());
    }
}
