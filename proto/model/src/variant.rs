//! Variants: what a cluster runs of a bundle, before its own variables are bound.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, HealthCheck};

/// An ordered list of object digests with the render and apply settings that shape them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// The settings.
    pub settings: Settings,
    /// The objects, in the order in which the rendering gave them.
    pub objects: Vec<Digest>,
}

impl Variant {
    /// The bytes that are stored, sent and digested: JSON with fields in the order of the type.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing plain maps to memory has no way to fail; an empty result would not decode.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Variant::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no variant, or have a field that this version does not know: a setting that
    /// is not understood must never be left out in silence.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The variant's address.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

/// The settings of a bundle that shape what a spoke does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// For namespaced objects that have none; created if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The variables that the bundle binds, and whether each may shape names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub binds: BTreeMap<String, Binds>,
    /// Bundles of the same cluster that come first, by full name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<Dependency>,
    /// What to do when somebody changes an object by hand.
    #[serde(default)]
    pub drift: Drift,
    /// How the health of some objects is told; of those that select an object the first counts.
    /// Left out where there are none, so that a spoke that knows of none goes on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<HealthCheck>,
}

/// How a bundle binds one variable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binds {
    /// Whether the variable may be part of a name or namespace; its change is then a removal.
    #[serde(default)]
    pub identity: bool,
}

/// A bundle that must be there first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// Full name of the bundle, `source/bundle`.
    pub bundle: String,
    /// What it must have reached in the same cluster.
    pub until: Until,
}

/// What a dependency must have reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Until {
    /// Healthy in this cluster once.
    #[default]
    Installed,
    /// Healthy now.
    Healthy,
    /// Healthy now, on what is assigned now.
    Current,
}

/// What to do about drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Drift {
    /// Put it right.
    #[default]
    Correct,
    /// Say so, and leave it.
    Report,
}
