//! HealthCheck documents as they stand in Git, read without a hub.

use std::collections::BTreeMap;

use proto_model::HealthCheck;
use proto_model::health_check::{BadExpression, Expression, LabelRule, LabelTest};
use serde::Deserialize;
use spoke_core::health::Checks;

/// Why a text holds no checks.
#[derive(Debug, thiserror::Error)]
pub enum BadCheck {
    /// Not YAML.
    #[error("is not YAML: {0}")]
    NotYaml(String),
    /// One of the documents is no HealthCheck.
    #[error("document {number} is no HealthCheck: {error}")]
    NotACheck {
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        error: String,
    },
    /// An expression does not compile.
    #[error("{title}: {field} {error}")]
    Expression {
        /// The check.
        title: String,
        /// `healthy` or `degraded`.
        field: &'static str,
        /// What is wrong.
        error: BadExpression,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    #[serde(rename = "apiVersion")]
    _api_version: ApiVersion,
    #[serde(rename = "kind")]
    _kind: Kind,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
enum ApiVersion {
    #[serde(rename = "drover.dev/v1alpha1")]
    V1Alpha1,
}

#[derive(Deserialize)]
enum Kind {
    HealthCheck,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    api_version: String,
    kind: String,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    selector: Selector,
    healthy: String,
    degraded: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    key: String,
    operator: Operator,
    #[serde(default)]
    values: Vec<String>,
}

#[derive(Deserialize)]
enum Operator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Reads HealthCheck documents, of which, as in a fleet, the last that selects an object decides.
///
/// # Errors
/// The text is no YAML, holds something else, or an expression does not compile.
pub fn checks(text: &str) -> Result<Checks, BadCheck> {
    let documents = super::documents(text).map_err(BadCheck::NotYaml)?;
    let mut written = Vec::new();
    for (number, document) in (1..).zip(documents).filter(|(_, document)| !document.is_null()) {
        let document: Document = serde_json::from_value(document)
            .map_err(|error| BadCheck::NotACheck { number, error: error.to_string() })?;
        let check = check(document);
        for (field, text) in [("healthy", Some(&check.healthy)), ("degraded", check.degraded.as_ref())] {
            if let Some(Err(error)) = text.map(|text| Expression::compile(text)) {
                return Err(BadCheck::Expression { title: check.title, field, error });
            }
        }
        written.insert(0, check);
    }
    Ok(Checks::of(&written))
}

fn check(document: Document) -> HealthCheck {
    let Selector { match_labels, match_expressions } = document.spec.selector;
    let labels = match_labels.into_iter().map(|(key, value)| LabelRule { key, is: LabelTest::In(vec![value]) });
    let rules = match_expressions.into_iter().map(|Rule { key, operator, values }| {
        let is = match operator {
            Operator::In => LabelTest::In(values),
            Operator::NotIn => LabelTest::NotIn(values),
            Operator::Exists => LabelTest::Exists,
            Operator::DoesNotExist => LabelTest::DoesNotExist,
        };
        LabelRule { key, is }
    });
    HealthCheck {
        title: format!("HealthCheck {}", document.metadata.name),
        api_version: document.spec.api_version,
        kind: document.spec.kind,
        names: document.spec.names,
        labels: labels.chain(rules).collect(),
        healthy: document.spec.healthy,
        degraded: document.spec.degraded,
    }
}
