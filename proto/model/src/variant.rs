//! Variants: what a cluster runs of a bundle, before its own variables are bound.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::health_check::{LabelRule, glob_matches};
use crate::{Digest, HealthCheck, Identity};

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
    /// Fields that are left alone once the object is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<Ignore>,
    /// Whether an object that someone else made may be taken over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub adopt: Adopt,
    /// What happens to the objects when the bundle goes away.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_removal: OnRemoval,
    /// Who applies, reads and deletes; left out: the spoke itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<ServiceAccount>,
    /// Bundles whose objects this one takes over, by full name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaces: Vec<String>,
    /// Whether pods stay when a ConfigMap or Secret that they use is bound to other values.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keeps_pods: bool,
    /// The rules of applying that the objects need, [`APPLY_RULES`] at most; 0 where the first will do. A spoke that
    /// knows fewer refuses the variant, lest it deletes what asks to be kept.
    #[serde(default, skip_serializing_if = "is_default")]
    pub apply_rules: u32,
}

/// The rules of applying of this build. 1: the wishes of objects ([`crate::Wishes`]) are carried out.
pub const APPLY_RULES: u32 = 1;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Fields of some objects that are left alone once the object is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ignore {
    /// API group of the objects; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Kind of the objects; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Namespace of the objects, with `*` and `?`; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of the objects, with `*` and `?`; `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What must hold of the objects' labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelRule>,
    /// JSON pointers (RFC 6901); the segment `*` stands for every item of a list and every key of a map.
    pub fields: Vec<String>,
}

impl Ignore {
    /// Whether it may be about an object, whatever its labels.
    #[must_use]
    pub fn may_select(&self, identity: &Identity) -> bool {
        let is = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        let fits = |glob: &Option<String>, text: &str| glob.as_deref().is_none_or(|glob| glob_matches(glob, text));
        is(&self.group, &identity.kind.group)
            && is(&self.kind, &identity.kind.kind)
            && fits(&self.namespace, &identity.namespace)
            && fits(&self.name, &identity.name)
    }

    /// Whether it is about this object, as it is bound or live.
    #[must_use]
    pub fn selects(&self, identity: &Identity, object: &Json) -> bool {
        self.may_select(identity) && self.labels.iter().all(|rule| rule.holds(crate::object::label(object, &rule.key)))
    }
}

/// Whether an object that someone else made may be taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Adopt {
    /// Whatever it looks like.
    Always,
    /// Where it already is as the bundle wants it, metadata aside.
    #[default]
    IfNoDiff,
    /// Not at all.
    Never,
}

/// What happens to the objects of a bundle that goes away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OnRemoval {
    /// They go.
    #[default]
    Delete,
    /// They stay, owned by nobody.
    Orphan,
}

/// A service account of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceAccount {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
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
