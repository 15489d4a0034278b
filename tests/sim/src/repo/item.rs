//! The objects that bundles are made of.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto_model::Wishes;
use proto_model::wishes::{self, Prune, Replace};
use serde_json::{Value as Json, json};

use crate::bodies::{REVISION, SITE};

/// What is in every Secret, and must never be in a word that Drover says.
pub(crate) const SECRET_MARKER: &str = "S3CRET";
/// What is in every ConfigMap, and must never be in a word that Drover says.
pub(crate) const CONTENT_MARKER: &str = "C0NTENT";

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sort {
    ConfigMap,
    Secret,
    Deployment,
    Job,
    Claim,
    ClusterRole,
    Namespace,
    Definition,
    Widget,
}

impl Sort {
    pub(crate) fn is_shared(self) -> bool {
        matches!(self, Self::Namespace | Self::Definition)
    }

    pub(crate) fn is_cluster_wide(self) -> bool {
        self.is_shared() || self == Self::ClusterRole
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) sort: Sort,
    /// `shop` is the namespace of the bundle's settings, and left out of the manifest.
    pub(crate) namespace: String,
    pub(crate) name: String,
    /// Whether the cluster's shard is part of the name.
    pub(crate) is_sharded: bool,
}

/// What of an object can change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) revision: u64,
    /// Whether a variable is bound in it.
    pub(crate) binds: bool,
    /// The author's stage.
    pub(crate) order: i32,
    /// What its annotations ask for. They stay as they are for as long as it lives.
    pub(crate) wishes: Wishes,
    /// What can't be changed: of a Deployment, a part of its selector.
    pub(crate) form: u64,
}

/// The namespace that asks to be kept, whoever brings it.
pub(crate) const KEPT_NAMESPACE: &str = "team-2";

impl Item {
    pub(crate) fn manifest(&self, key: &Key, is_b: bool) -> Json {
        let suffix = if is_b { "-b" } else { "" };
        // Claimants of a shared object apply the same text.
        let revision = if key.sort.is_shared() { "shared".to_owned() } else { format!("{}{suffix}", self.revision) };
        let name = if key.is_sharded { format!("{}-${{shard}}", key.name) } else { key.name.clone() };
        let mut manifest = body(key.sort, &name, &revision);
        manifest["metadata"] = json!({"name": name, "annotations": {REVISION: revision}});
        if !key.namespace.is_empty() && key.namespace != "shop" {
            manifest["metadata"]["namespace"] = key.namespace.as_str().into();
        }
        if self.binds {
            manifest["metadata"]["annotations"][SITE] = "${site}".into();
        }
        if self.order != 0 {
            manifest["metadata"]["annotations"]["drover.dev/order"] = self.order.to_string().into();
        }
        if key.sort == Sort::Deployment && self.form != 0 {
            for labels in ["/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
                if let Some(labels) = manifest.pointer_mut(labels) {
                    labels["form"] = format!("f{}", self.form).into();
                }
            }
        }
        for (name, value) in self.asked(key) {
            manifest["metadata"]["annotations"][name] = value.into();
        }
        manifest
    }
}

impl Item {
    /// Annotations by which it asks for something.
    fn asked(&self, key: &Key) -> impl Iterator<Item = (&'static str, &'static str)> {
        let prune = match self.wishes.prune {
            _ if key.sort == Sort::Namespace => (key.name == KEPT_NAMESPACE).then_some("keep"),
            Prune::Delete => None,
            Prune::First => Some("first"),
            Prune::Confirm => Some("confirm"),
            Prune::Keep => Some("keep"),
        };
        let replace = self.wishes.replace.map(|replace| match replace {
            Replace::Never => "never",
            Replace::Recreate => "recreate",
            Replace::Orphan => "orphan",
        });
        let apply = self.wishes.create_only.then_some("createOnly");
        let all = [(wishes::PRUNE, prune), (wishes::REPLACE, replace), (wishes::APPLY, apply)];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

fn body(sort: Sort, name: &str, revision: &str) -> Json {
    let pod = json!({"containers": [{"name": "main", "image": format!("registry.example/app:{revision}")}]});
    match sort {
        Sort::ConfigMap => json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "data": {"text": format!("{CONTENT_MARKER}-{revision}")},
        }),
        Sort::Secret => json!({
            "apiVersion": "v1", "kind": "Secret",
            "data": {"password": STANDARD.encode(format!("{SECRET_MARKER}-{revision}"))},
        }),
        Sort::Deployment => json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "spec": {
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": pod},
            },
        }),
        Sort::Job => {
            let mut pod = pod;
            pod["restartPolicy"] = "Never".into();
            json!({"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": pod}}})
        }
        Sort::Claim => json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }),
        Sort::ClusterRole => json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
        }),
        Sort::Namespace => json!({"apiVersion": "v1", "kind": "Namespace"}),
        Sort::Definition => json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "spec": {
                "group": "sim.test", "scope": "Namespaced",
                "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {
                            "type": "object", "properties": {"size": {"type": "string"}},
                        }},
                    }},
                }],
            },
        }),
        Sort::Widget => {
            json!({"apiVersion": "sim.test/v1", "kind": "Widget", "spec": {"size": revision}})
        }
    }
}
