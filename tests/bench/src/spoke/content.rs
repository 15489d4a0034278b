//! What the cluster is to hold: objects of ten kinds, in a few bundles, as a repository and as a bare program has them.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use proto_model::object;
use serde_json::{Value as Json, json};
use spoke_core::owner::{self, Owner};

/// The one namespace of all objects.
pub(super) const NAMESPACE: &str = "shop";
/// The cluster's name.
pub(super) const CLUSTER: &str = "one";
/// Bundles that share the objects evenly.
pub(super) const BUNDLES: usize = 5;
/// A label that somebody else changes, and its value in the repository.
pub(super) const LABEL: (&str, &str) = ("bench.example.com/edit", "none");

/// The custom kind among them; nobody gives its objects a status.
pub(super) const DEFINITION: &str = r#"{
  "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
  "metadata": {"name": "widgets.bench.example.com"},
  "spec": {
    "group": "bench.example.com", "scope": "Namespaced",
    "names": {"kind": "Widget", "plural": "widgets", "singular": "widget"},
    "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
      "type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}}}]
  }
}"#;

/// A kind, how its API is reached, and what its objects have beside metadata.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'static str,
    pub(super) plural: &'static str,
    rest: fn(usize) -> Json,
}

impl Kind {
    /// Group and version in one, as manifests write them.
    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Path of one object.
    pub(super) fn path(&self, name: &str) -> String {
        let root = if self.group.is_empty() { "api" } else { "apis" };
        format!("/{root}/{}/namespaces/{NAMESPACE}/{}/{name}", self.api_version(), self.plural)
    }
}

/// Kinds that need no controller to be well, so that nothing else has the processors; whole objects are watched of
/// Service, Deployment and Widget, and metadata of the others.
pub(super) const KINDS: [Kind; 10] = [
    kind("", "v1", "ConfigMap", "configmaps", |number| {
        let line = |line: usize| (format!("setting-{line}"), json!(format!("what object {number} has to say of it")));
        json!({"data": (0..8).map(line).collect::<serde_json::Map<_, _>>()})
    }),
    kind("", "v1", "Service", "services", |number| {
        let ports = json!([{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}]);
        // Without an address: a range has fewer than these are.
        json!({"spec": {"clusterIP": "None", "selector": {"app": format!("app-{number}")}, "ports": ports}})
    }),
    kind("apps", "v1", "Deployment", "deployments", |number| {
        let labels = json!({"app": format!("app-{number}")});
        let container = json!({"name": "app", "image": "registry.example.com/app:1.2.3", "env": [{"name": "A", "value": "b"}],
            "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}, "ports": [{"containerPort": 8080, "protocol": "TCP"}]});
        json!({"spec": {"replicas": 0, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}}}})
    }),
    kind(
        "bench.example.com",
        "v1",
        "Widget",
        "widgets",
        |number| json!({"spec": {"size": number, "colour": "green", "parts": ["handle", "lid", "base"]}}),
    ),
    kind("", "v1", "Secret", "secrets", |_| json!({"type": "Opaque", "data": {"password": "bm90IGEgc2VjcmV0"}})),
    kind("", "v1", "ServiceAccount", "serviceaccounts", |_| json!({"automountServiceAccountToken": false})),
    kind(
        "rbac.authorization.k8s.io",
        "v1",
        "Role",
        "roles",
        |_| json!({"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]}),
    ),
    kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", |_| {
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
            "subjects": [{"kind": "ServiceAccount", "name": "app", "namespace": NAMESPACE}]})
    }),
    kind(
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
        |number| json!({"spec": {"podSelector": {"matchLabels": {"app": format!("app-{number}")}}, "policyTypes": ["Ingress"]}}),
    ),
    kind("batch", "v1", "CronJob", "cronjobs", |_| {
        let container = json!({"name": "job", "image": "registry.example.com/job:1.2.3"});
        let pod = json!({"restartPolicy": "Never", "containers": [container]});
        json!({"spec": {"schedule": "0 3 * * *", "suspend": true, "jobTemplate": {"spec": {"template": {"spec": pod}}}}})
    }),
];

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
    rest: fn(usize) -> Json,
) -> Kind {
    Kind { group, version, kind, plural, rest }
}

/// How much of it a run has.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    /// In all.
    pub(crate) objects: usize,
    /// The first so many of [`KINDS`].
    pub(crate) kinds: usize,
}

impl Size {
    /// The numbers of all objects of a bundle.
    fn of_bundle(self, bundle: usize) -> impl Iterator<Item = usize> {
        (bundle..self.objects).step_by(BUNDLES)
    }

    /// The kind of an object. Each bundle has some of each kind.
    pub(super) fn kind(self, number: usize) -> Kind {
        KINDS[(number / BUNDLES) % self.kinds]
    }
}

/// What the names of all objects begin with, and no others.
pub(super) const PREFIX: &str = "object-";

/// An object's name.
pub(super) fn name(number: usize) -> String {
    format!("{PREFIX}{number}")
}

/// An object as it stands in the repository; the round is what a commit changes.
fn manifest(size: Size, number: usize, round: usize) -> Json {
    let kind = size.kind(number);
    let mut object = (kind.rest)(number);
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.into();
    object["metadata"] = json!({
        "name": name(number), "namespace": NAMESPACE, "labels": {(LABEL.0): LABEL.1},
        "annotations": {"bench.example.com/round": round.to_string()},
    });
    object
}

/// The files of the repository at a round.
pub(super) fn files(size: Size, round: usize) -> Vec<(String, String)> {
    let mut files = vec![(
        "drover.yaml".to_owned(),
        format!("apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: {CLUSTER}}}\n"),
    )];
    for bundle in 0..BUNDLES {
        let declaration = format!(
            "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: bundle-{bundle}}}\n\
             spec: {{namespace: {NAMESPACE}, targets: [{{name: all, selector: {{}}}}]}}\n"
        );
        files.push((format!("bundle-{bundle}/drover.yaml"), declaration));
        for (part, numbers) in size.of_bundle(bundle).collect::<Vec<_>>().chunks(100).enumerate() {
            let text = numbers.iter().map(|number| format!("---\n{}\n", manifest(size, *number, round))).collect();
            files.push((format!("bundle-{bundle}/objects-{part}.yaml"), text));
        }
    }
    files
}

/// What is sent to apply each object at a round, by its path: the manifest with marks as long as those of a spoke.
///
/// # Errors
/// A manifest is none.
pub(super) fn bodies(size: Size, round: usize) -> Result<BTreeMap<String, Bytes>> {
    const HUB: &str = "0123456789abcdef0123456789abcdef";
    let mut bodies = BTreeMap::new();
    for bundle in 0..BUNDLES {
        let full = format!("main/bundle-{bundle}");
        for number in size.of_bundle(bundle) {
            let mut manifest = manifest(size, number, round);
            let identity = object::identity(&manifest).map_err(|why| anyhow!("the manifest {why}"))?;
            let label = owner::label(Owner { hub_id: HUB, bundle: &full }, &identity);
            owner::mark(&mut manifest, &label, &owner::annotation(HUB, 1, [full.as_str()]));
            bodies.insert(size.kind(number).path(&name(number)), Bytes::from(manifest.to_string()));
        }
    }
    Ok(bodies)
}
