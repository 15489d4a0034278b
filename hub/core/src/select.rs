//! Which clusters: Kubernetes label selectors, and an index that answers them with bitmaps.

use std::collections::BTreeMap;

use proto_model::health_check::{LabelRule, LabelTest};
use roaring::RoaringBitmap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A label selector as in Kubernetes: everything in it must hold; an empty one matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Selector {
    /// Labels that must be there with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Conditions that must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expression {
    /// Name of the label.
    pub key: String,
    /// What must hold.
    pub operator: Operator,
    /// Values, for `In` and `NotIn` alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// What must hold of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// It has one of the values.
    In,
    /// It has none of the values, or is not there.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

/// A selector that Kubernetes would refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSelector {
    /// `In` or `NotIn` without values.
    #[error("matchExpressions on {0:?}: In and NotIn need values")]
    NoValues(String),
    /// `Exists` or `DoesNotExist` with values.
    #[error("matchExpressions on {0:?}: Exists and DoesNotExist take no values")]
    Values(String),
    /// A key or value that no label can have.
    #[error("{0}")]
    Label(String),
}

impl Selector {
    /// Checks what the types alone cannot.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(&self) -> Result<(), BadSelector> {
        for (key, value) in &self.match_labels {
            check_label(key, value).map_err(BadSelector::Label)?;
        }
        for Expression { key, operator, values } in &self.match_expressions {
            check_label(key, "").map_err(BadSelector::Label)?;
            match operator {
                Operator::In | Operator::NotIn if values.is_empty() => {
                    return Err(BadSelector::NoValues(key.clone()));
                }
                Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                    return Err(BadSelector::Values(key.clone()));
                }
                _ => {}
            }
            for value in values {
                check_label(key, value).map_err(BadSelector::Label)?;
            }
        }
        Ok(())
    }

    /// The same as rules, one for each label that it names.
    #[must_use]
    pub fn rules(&self) -> Vec<LabelRule> {
        let labels = self.match_labels.iter().map(|(key, value)| (key, LabelTest::In(vec![value.clone()])));
        let others = self.match_expressions.iter().map(|Expression { key, operator, values }| {
            let is = match operator {
                Operator::In => LabelTest::In(values.clone()),
                Operator::NotIn => LabelTest::NotIn(values.clone()),
                Operator::Exists => LabelTest::Exists,
                Operator::DoesNotExist => LabelTest::DoesNotExist,
            };
            (key, is)
        });
        labels.chain(others).map(|(key, is)| LabelRule { key: key.clone(), is }).collect()
    }

    /// Whether some labels match.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|Expression { key, operator, values }| {
                let found = labels.get(key);
                match operator {
                    Operator::In => found.is_some_and(|value| values.contains(value)),
                    Operator::NotIn => !found.is_some_and(|value| values.contains(value)),
                    Operator::Exists => found.is_some(),
                    Operator::DoesNotExist => found.is_none(),
                }
            })
    }
}

/// Checks a label by the rules of Kubernetes.
///
/// # Errors
/// The rule that it breaks, as a sentence.
pub fn check_label(key: &str, value: &str) -> Result<(), String> {
    let word = |text: &str| {
        let bytes = text.as_bytes();
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
    };
    let (prefix, name) = key.split_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    let good_prefix = prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
    });
    if !word(name) || !good_prefix {
        return Err(format!("{key:?} cannot be the name of a label"));
    }
    if !value.is_empty() && !word(value) {
        return Err(format!("{value:?} cannot be the value of label {key}"));
    }
    Ok(())
}

/// Labels of all clusters, by label. Clusters are numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Index {
    all: RoaringBitmap,
    labels: BTreeMap<String, BTreeMap<String, RoaringBitmap>>,
}

impl Index {
    /// Adds a cluster that is not in the index yet.
    pub fn insert(&mut self, cluster: u32, labels: &BTreeMap<String, String>) {
        self.all.insert(cluster);
        for (key, value) in labels {
            let values = self.labels.entry(key.clone()).or_default();
            values.entry(value.clone()).or_default().insert(cluster);
        }
    }

    /// Takes a cluster out; `labels` are those that it was put in with.
    pub fn remove(&mut self, cluster: u32, labels: &BTreeMap<String, String>) {
        self.all.remove(cluster);
        for (key, value) in labels {
            let Some(values) = self.labels.get_mut(key) else {
                continue;
            };
            if let Some(clusters) = values.get_mut(value) {
                clusters.remove(cluster);
                if clusters.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.labels.remove(key);
            }
        }
    }

    /// All clusters.
    #[must_use]
    pub fn all(&self) -> &RoaringBitmap {
        &self.all
    }

    /// The clusters that a selector matches.
    #[must_use]
    pub fn select(&self, selector: &Selector) -> RoaringBitmap {
        let mut found = self.all.clone();
        for (key, value) in &selector.match_labels {
            found &= self.with(key, std::slice::from_ref(value));
        }
        for Expression { key, operator, values } in &selector.match_expressions {
            match operator {
                Operator::In => found &= self.with(key, values),
                Operator::NotIn => found -= self.with(key, values),
                Operator::Exists => found &= self.having(key),
                Operator::DoesNotExist => found -= self.having(key),
            }
        }
        found
    }

    fn with(&self, key: &str, values: &[String]) -> RoaringBitmap {
        let Some(known) = self.labels.get(key) else {
            return RoaringBitmap::new();
        };
        values.iter().filter_map(|value| known.get(value)).fold(RoaringBitmap::new(), |all, some| all | some)
    }

    fn having(&self, key: &str) -> RoaringBitmap {
        self.labels.get(key).into_iter().flat_map(BTreeMap::values).fold(RoaringBitmap::new(), |all, some| all | some)
    }
}

impl<'a> FromIterator<(u32, &'a BTreeMap<String, String>)> for Index {
    fn from_iter<I: IntoIterator<Item = (u32, &'a BTreeMap<String, String>)>>(items: I) -> Self {
        let mut index = Self::default();
        for (cluster, labels) in items {
            index.insert(cluster, labels);
        }
        index
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
