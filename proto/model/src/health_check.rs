//! Checks of health that people write: which objects they are about, and two CEL expressions over
//! `object`.
//!
//! The hub compiles the same text with the same code before it sends it, so that a wrong expression
//! is a defect with file and line.

mod expression;
mod value;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use expression::{BadExpression, EvaluationError, Expression};

use crate::GroupKind;

/// How the health of some objects is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// What it is called in reasons: `HealthCheck main/databases`, `health check 1`.
    pub title: String,
    /// API version of the objects, as their manifests write it.
    pub api_version: String,
    /// Kind of the objects.
    pub kind: String,
    /// Names of the objects, with `*` and `?`; none means all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// What must hold of the objects' labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelRule>,
    /// True when the object is Healthy.
    pub healthy: String,
    /// True when the object is Degraded; asked first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<String>,
}

/// One rule about one label, as in Kubernetes' label selectors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabelRule {
    /// Key of the label.
    pub key: String,
    /// What is asked of it.
    pub is: LabelTest,
}

/// What is asked of a label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LabelTest {
    /// It is there, with one of these values.
    In(Vec<String>),
    /// It is not there, or has none of these values.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl LabelRule {
    /// Whether it holds of a label's value; `None`: there is no such label.
    #[must_use]
    pub fn holds(&self, label: Option<&str>) -> bool {
        let is_among = |values: &[String]| label.is_some_and(|label| values.iter().any(|value| value == label));
        match &self.is {
            LabelTest::In(values) => is_among(values),
            LabelTest::NotIn(values) => !is_among(values),
            LabelTest::Exists => label.is_some(),
            LabelTest::DoesNotExist => label.is_none(),
        }
    }
}

impl HealthCheck {
    /// Whether it is about objects of this kind, at whatever version: the hub has looked at the versions of
    /// manifests, and clusters show objects at any.
    #[must_use]
    pub fn concerns(&self, kind: &GroupKind) -> bool {
        GroupKind::of(&self.api_version, &self.kind) == *kind
    }

    /// Whether it is about this object of a kind, as it is bound or live.
    #[must_use]
    pub fn selects(&self, kind: &GroupKind, object: &Json) -> bool {
        self.concerns(kind) && self.is_about(object, |_| false)
    }

    /// Whether it may be about what a manifest becomes once variables are bound.
    #[must_use]
    pub fn may_select(&self, unbound: &Json) -> bool {
        let is = |field, text: &str| unbound.get(field).and_then(Json::as_str) == Some(text);
        is("apiVersion", &self.api_version)
            && is("kind", &self.kind)
            && self.is_about(unbound, |text| text.contains("${"))
    }

    /// `is_open` tells texts that may be any other one day.
    fn is_about(&self, object: &Json, is_open: impl Fn(&str) -> bool) -> bool {
        let name = object.pointer("/metadata/name").and_then(Json::as_str).unwrap_or_default();
        let is_named = self.names.is_empty() || is_open(name) || self.names.iter().any(|glob| glob_matches(glob, name));
        is_named
            && self.labels.iter().all(|rule| {
                let label = crate::object::label(object, &rule.key);
                rule.holds(label) || label.is_some_and(&is_open)
            })
    }
}

/// Whether a name is as a pattern with `*` (any text) and `?` (any one character) says.
#[must_use]
pub fn glob_matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut at, mut seen) = (0, 0);
    // Where the last `*` stands, and how much of the name it has taken.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(one) if *one == '?' || Some(one) == name.get(seen) => {
                at += 1;
                seen += 1;
            }
            _ => {
                let Some((back, taken)) = star else { return false };
                star = Some((back, taken + 1));
                at = back + 1;
                seen = taken + 1;
            }
        }
    }
    glob.iter().skip(at).all(|one| *one == '*')
}

#[cfg(test)]
#[path = "health_check/tests.rs"]
mod tests;
