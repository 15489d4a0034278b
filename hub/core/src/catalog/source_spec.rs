//! Further sources, as people write them, and what each of them may do.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Span;
use crate::select::Selector;

/// A Git repository that is read beside the root source. It is declared in the root source alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceSpec {
    /// Where it is read from, without user and password. Another one is another history: its head
    /// is accepted anew.
    pub url: String,
    /// The branch, tag or commit to follow.
    #[serde(default = "main", rename = "ref")]
    pub reference: String,
    /// The folder within the repository. Left out: its root.
    #[serde(default)]
    pub path: String,
    /// Name of a folder of the hub's credentials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<String>,
    /// How often to ask for news. Left out: every minute, give or take. A webhook does not wait for
    /// it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Span>,
    /// What happens when the ref goes to a commit that does not descend from the one before.
    #[serde(default)]
    pub on_rewind: OnRewind,
    /// Whether commits must be signed.
    #[serde(default)]
    pub verify: Verify,
    /// Public keys that may sign: SSH keys as one line each, OpenPGP keys armored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// What it may declare, and where its bundles may go.
    #[serde(default)]
    pub may: May,
}

/// What happens when the ref goes to a commit that does not descend from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnRewind {
    /// It waits until an operator approves it.
    #[default]
    Hold,
    /// It is followed.
    Follow,
}

/// Whether commits must be signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verify {
    /// Signatures are not looked at.
    #[default]
    Off,
    /// A head without a good signature by one of the keys is not read.
    Required,
}

/// What a source may declare, and where its bundles may go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct May {
    /// Kinds that it may declare.
    #[serde(default = "declare")]
    pub declare: BTreeSet<Declarable>,
    /// The clusters that its bundles see; others do not exist for them. Left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<ClusterLimit>,
    /// Globs of the namespaces that its objects may lie in. Left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Whether its objects may lie in no namespace: namespaces themselves, CRDs, cluster roles,
    /// and custom kinds of which the hub cannot tell.
    #[serde(default)]
    pub cluster_scoped: bool,
    /// Custom kinds that lie in namespaces, as `Kind.group`: the hub knows this of built-in kinds
    /// alone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub namespaced_kinds: BTreeSet<String>,
    /// Names of credentials that its bundles may fetch charts with. Whoever writes the source can
    /// send them to any server, so they should be the source's own.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub credentials: BTreeSet<String>,
}

/// Kinds that a source may be allowed to declare. Clusters and sources stand in the root source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Declarable {
    /// Bundles.
    Bundle,
    /// Rollout policies, for its own bundles.
    RolloutPolicy,
    /// Variables of clusters, which count for the bundles of all sources.
    VariableSet,
    /// Health checks, which count for the bundles of all sources.
    HealthCheck,
}

/// Clusters, by their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterLimit {
    /// Which clusters; `{}` means all.
    pub selector: Selector,
}

impl Default for May {
    fn default() -> Self {
        Self {
            declare: declare(),
            clusters: None,
            namespaces: None,
            cluster_scoped: false,
            namespaced_kinds: BTreeSet::new(),
            credentials: BTreeSet::new(),
        }
    }
}

impl May {
    /// Whether a cluster with these labels exists for its bundles.
    #[must_use]
    pub fn sees(&self, labels: &BTreeMap<String, String>) -> bool {
        self.clusters.as_ref().is_none_or(|limit| limit.selector.matches(labels))
    }
}

fn main() -> String {
    "main".into()
}

fn declare() -> BTreeSet<Declarable> {
    [Declarable::Bundle, Declarable::RolloutPolicy].into()
}
