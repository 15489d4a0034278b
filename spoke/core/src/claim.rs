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
        // Helm keeps a release in Secrets.
        let labels = [("owner", "helm"), ("name", release)];
        add(format!("Helm release {of}/{release}"), kind("v1", "Secret"), of, "", &labels);
    }
    if let Some(id) = annotation("argocd.argoproj.io/tracking-id") {
        let app = id.split(':').next().unwrap_or(id);
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
        // What runs Fleet in a cluster that it deploys to.
        let deployment = kind("apps/v1", "Deployment");
        add(format!("Rancher Fleet bundle {id}"), deployment, "cattle-fleet-system", "fleet-agent", &[]);
    }
    found
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
                "Argo CD application teams/shop",
                "Flux Kustomization flux-system/apps",
                "Rancher Fleet bundle default-shop"
            ]
        );
        assert_eq!((all[0].namespace.as_str(), all[0].labels.len()), ("prod", 2));
        assert_eq!((all[1].namespace.as_str(), all[1].name.as_str()), ("teams", "shop"));
        assert_eq!(all[2].kind.kind.to_string(), "Kustomization.kustomize.toolkit.fluxcd.io");
        assert!(claims(&json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "Helm"}}})).is_empty());
    }
}
