//! The identity of an object: group, kind, namespace and name, after binding; never the version.

use std::fmt;

use serde::{Deserialize, Serialize};

/// API group and kind; the core group is the empty text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupKind {
    /// API group without version; empty for the core group.
    pub group: String,
    /// Kind, as in manifests.
    pub kind: String,
}

impl GroupKind {
    /// From the `apiVersion` and `kind` of a manifest.
    #[must_use]
    pub fn of(api_version: &str, kind: &str) -> Self {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self { group: group.into(), kind: kind.into() }
    }

    /// Whether this is the named kind of the named group.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }

    /// Whether several bundles may claim an object of this kind, and only the last to leave may
    /// delete it: namespaces and CRDs.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is("", "Namespace") || self.is("apiextensions.k8s.io", "CustomResourceDefinition")
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}.{}", self.kind, self.group) }
    }
}

/// Which object: group, kind, namespace (empty for cluster-scoped) and name, after binding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Group and kind.
    #[serde(flatten)]
    pub kind: GroupKind,
    /// Namespace; empty for objects of the cluster's scope.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind, self.name)
        } else {
            write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
        }
    }
}
