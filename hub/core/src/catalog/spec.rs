//! The kinds that people write, field for field. Their JSON Schemas are made from these types.

use std::collections::BTreeMap;

use proto_model::variant::{Drift, Until};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use super::policy_spec::*;
use super::scalar::Scalar;
pub use super::source_spec::*;
use crate::select::Selector;

/// A cluster of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterSpec {
    /// Values of variables in this cluster. They win over all others.
    #[serde(default)]
    pub variables: BTreeMap<String, Scalar>,
    /// Times in which waves with `windows: cluster` may start a move here.
    #[serde(default)]
    pub maintenance: Vec<Window>,
}

/// The same variables for many clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VariableSetSpec {
    /// Which clusters; `{}` means all.
    #[serde(default)]
    pub selector: Selector,
    /// The values.
    #[serde(default)]
    pub variables: BTreeMap<String, Scalar>,
}

/// A unit of deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleSpec {
    /// The directory, relative to this file. It ends where another bundle's path begins.
    #[serde(default = "here")]
    pub path: String,
    /// Which files below `path` are manifests.
    #[serde(default = "manifests")]
    pub include: Vec<String>,
    /// Which of them are not.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How to render. Left out: kustomization.yaml means Kustomize, Chart.yaml means Helm, else
    /// manifests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render: Option<RenderSpec>,
    /// For namespaced objects that have none; created if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The names that this bundle binds, and no others.
    #[serde(default)]
    pub variables: BTreeMap<String, VariableSpec>,
    /// Whether a cluster gets the bundle: the first match decides, no match means no.
    #[serde(default)]
    pub targets: Vec<Target>,
    /// How a cluster gets it: every match applies, in order.
    #[serde(default)]
    pub overrides: Vec<Override>,
    /// Kustomize patches, run after rendering.
    #[serde(default)]
    pub patches: Vec<Json>,
    /// Bundles that come first in each cluster.
    #[serde(default)]
    pub depends_on: Vec<DependsOn>,
    /// Name of the rollout policy. Left out: the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
    /// What to do when somebody changes an object by hand.
    #[serde(default)]
    #[schemars(with = "DriftWords")]
    pub drift: Drift,
    /// Fields that Drover leaves alone once the object is there.
    #[serde(default)]
    pub ignore: Vec<Ignore>,
    /// Whether an object that someone else made may be taken over.
    #[serde(default)]
    pub adopt: Adopt,
    /// What happens to the objects when the bundle, or the cluster's match, goes away.
    #[serde(default)]
    pub on_removal: OnRemoval,
    /// Health beyond what Drover knows of built-in kinds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// Impersonated by the spoke: `name`, in the bundle's namespace, or `namespace/name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// Former names of this bundle, of the same source: their objects are handed over rather than deleted.
    #[serde(default)]
    pub replaces: Vec<String>,
    /// Whether pods restart when a ConfigMap or Secret of the bundle that they use is bound to
    /// other values.
    #[serde(default = "yes")]
    pub restart_on_change: bool,
}

/// How to render a bundle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RenderSpec {
    /// Plain manifests, whatever else lies in the directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifests: Option<Nothing>,
    /// With Helm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub helm: Option<HelmSpec>,
    /// With Kustomize.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<KustomizeSpec>,
    /// The Kubernetes version that charts are rendered for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_version: Option<String>,
    /// API versions that charts may find.
    #[serde(default)]
    pub api_versions: Vec<String>,
}

/// `{}`: nothing to set yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// How to render with Helm.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HelmSpec {
    /// The chart's directory, relative to the bundle's path; with `repo` or `oci`, its name there.
    #[serde(default = "here")]
    pub chart: String,
    /// A chart repository, `https://…`, to take the chart from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// A folder of an OCI registry, `oci://…`, to take the chart from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<String>,
    /// The chart's exact version, with `repo` or `oci`. `drover lock` pins its digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Name of a folder of credentials, with `repo` or `oci`. A further source may use those that
    /// `may.credentials` of its Source lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// Name of the release. Left out: the bundle's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_name: Option<String>,
    /// Files with values, later ones win.
    #[serde(default)]
    pub values_files: Vec<String>,
    /// Values that win over those of the files.
    #[serde(default)]
    pub values: serde_json::Map<String, Json>,
    /// What `lookup` in a template does.
    #[serde(default)]
    pub lookup: Lookup,
}

/// What `lookup` in a template does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Lookup {
    /// It is a defect.
    #[default]
    Refuse,
    /// It finds nothing.
    Empty,
}

/// How to render with Kustomize.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KustomizeSpec {
    /// The directory of the kustomization, relative to the bundle's path.
    #[serde(default = "here")]
    pub path: String,
}

/// A name that a bundle binds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VariableSpec {
    /// The value where nothing else gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Scalar>,
    /// Whether it may be part of a name or namespace. Its change is then a removal.
    #[serde(default)]
    pub identity: bool,
}

/// Clusters that get the bundle.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which clusters; `{}` means all.
    pub selector: Selector,
    /// Another kustomization for these clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kustomize: Option<KustomizeSpec>,
}

/// What differs in some clusters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Override {
    /// Which clusters; `{}` means all.
    pub selector: Selector,
    /// Values for Helm.
    #[serde(default)]
    pub values: serde_json::Map<String, Json>,
    /// Values of variables.
    #[serde(default)]
    pub variables: BTreeMap<String, Scalar>,
    /// Kustomize patches, run after rendering.
    #[serde(default)]
    pub patches: Vec<Json>,
}

/// A bundle that comes first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DependsOn {
    /// Its name; `source/bundle` for one of another source.
    pub bundle: String,
    /// What it must have reached in the same cluster.
    #[serde(default)]
    #[schemars(with = "UntilWords")]
    pub until: Until,
}

/// Fields that Drover leaves alone once the object is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ignore {
    /// Which objects.
    pub target: IgnoreTarget,
    /// JSON pointers (RFC 6901): `/spec/replicas`. The step `*` stands for every item of a list and every key of a map.
    pub fields: Vec<String>,
}

/// Objects of a bundle, by all of these that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IgnoreTarget {
    /// API group; empty for that of ConfigMaps and Pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Namespace, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name, with `*` and `?`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<Selector>,
}

/// Whether an object that someone else made may be taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Adopt {
    /// Whatever it looks like.
    Always,
    /// Where it already is as the bundle wants it, labels and annotations aside.
    #[default]
    IfNoDiff,
    /// Not at all.
    Never,
}

/// What happens to the objects of a bundle that goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnRemoval {
    /// They go.
    #[default]
    Delete,
    /// They stay, owned by nobody.
    Orphan,
}

/// Health beyond what Drover knows of built-in kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthSpec {
    /// Checks by kind.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// How the health of some objects of a bundle is told, in CEL over `object`. It comes before the
/// fleet's.
pub type Check = HealthCheckSpec;

/// How the health of some objects is told, in CEL over `object`, in place of what Drover knows of
/// their kind. Of those that select an object the last in the order of files counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HealthCheckSpec {
    /// API version of the objects, as their manifests write it.
    pub api_version: String,
    /// Kind of the objects.
    pub kind: String,
    /// Names of the objects, with `*` and `?`; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Labels of the objects; `{}` means all.
    #[serde(default)]
    pub selector: Selector,
    /// True when the object is Healthy; until then it is Progressing.
    pub healthy: String,
    /// True when the object is Degraded; asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
}

// `proto/model` knows nothing of schemas: its words, for them alone.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
enum DriftWords {
    /// Put it right.
    #[default]
    Correct,
    /// Say so, and leave it.
    Report,
}

#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
#[allow(dead_code, reason = "only its schema is used")]
enum UntilWords {
    /// Healthy in this cluster once.
    #[default]
    Installed,
    /// Healthy now.
    Healthy,
    /// Healthy now, on what is assigned now.
    Current,
}

fn here() -> String {
    ".".into()
}

fn manifests() -> Vec<String> {
    ["**/*.yaml", "**/*.yml", "**/*.json"].map(str::to_owned).into()
}

fn yes() -> bool {
    true
}
