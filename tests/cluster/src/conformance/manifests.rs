//! Manifests that cases start from, all in our ownership.

use proto_model::{GroupKind, Identity};
use serde_json::{Value as Json, json};
use spoke_core::port::{OWNER_ANNOTATION, OWNER_LABEL};

use super::World;

/// The value of our label.
pub const OWNER: &str = "0123456789abcdef";

impl World {
    /// The identity of an object in the case's namespace.
    pub fn identity(&self, group: &str, kind: &str, name: &str) -> Identity {
        Identity {
            kind: GroupKind { group: group.into(), kind: kind.into() },
            namespace: self.namespace.clone(),
            name: name.into(),
        }
    }

    fn metadata(&self, name: &str) -> Json {
        let marks = json!([{"hub": "h", "bundle": "main/x", "incarnation": 1}]).to_string();
        json!({
            "name": name, "namespace": self.namespace,
            "labels": {OWNER_LABEL: OWNER}, "annotations": {OWNER_ANNOTATION: marks},
        })
    }

    /// A ConfigMap with this data.
    pub fn config_map(&self, name: &str, data: Json) -> Json {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": self.metadata(name), "data": data})
    }

    /// The identity of a ConfigMap.
    pub fn config_map_id(&self, name: &str) -> Identity {
        self.identity("", "ConfigMap", name)
    }

    /// Any object in the case's namespace; `fields` are merged into its top.
    pub fn manifest(&self, api_version: &str, kind: &str, name: &str, fields: Json) -> Json {
        let mut out = json!({"apiVersion": api_version, "kind": kind, "metadata": self.metadata(name)});
        for (key, value) in fields.as_object().unwrap() {
            out[key] = value.clone();
        }
        out
    }

    /// A Deployment of one container `main`, with what is given beside its name and image.
    pub fn deployment(&self, name: &str, container: Json) -> Json {
        self.manifest("apps/v1", "Deployment", name, json!({"spec": workload(name, container)}))
    }

    /// A Service with these ports.
    pub fn service(&self, name: &str, ports: Json) -> Json {
        self.manifest("v1", "Service", name, json!({"spec": {"selector": {"app": name}, "ports": ports}}))
    }

    /// A Job of one container.
    pub fn job(&self, name: &str, image: &str) -> Json {
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "main", "image": image}]});
        self.manifest("batch/v1", "Job", name, json!({"spec": {"template": {"spec": pod}}}))
    }

    /// A definition of the kind `Widget` in a group of the case's own, and its group.
    pub fn definition(&self) -> (Json, String) {
        let group = format!("{}.example.com", self.namespace);
        let schema = json!({
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object", "required": ["size"],
                    "properties": {
                        "size": {"type": "integer", "minimum": 1},
                        "colour": {"type": "string", "default": "red", "enum": ["red", "blue"]},
                        "parts": {
                            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id"],
                            "items": {
                                "type": "object", "required": ["id"],
                                "properties": {"id": {"type": "string"}, "count": {"type": "integer"}},
                            },
                        },
                    },
                },
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        });
        let mut definition = self.manifest(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            &format!("widgets.{group}"),
            json!({"spec": {
                "group": group, "scope": "Namespaced",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
                }],
            }}),
        );
        definition["metadata"].as_object_mut().unwrap().remove("namespace");
        (definition, group)
    }

    /// An object of the kind that [`World::definition`] makes.
    pub fn widget(&self, group: &str, name: &str, spec: Json) -> Json {
        self.manifest(&format!("{group}/v1"), "Widget", name, json!({"spec": spec}))
    }
}

/// The spec of a workload of one container.
pub fn workload(name: &str, container: Json) -> Json {
    let mut main = json!({"name": "main", "image": "registry.example/app:1"});
    for (key, value) in container.as_object().unwrap() {
        main[key] = value.clone();
    }
    json!({
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [main]}},
    })
}
