//! JSON Schemas of all kinds, made from the types that read them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Value as Json, json};

use super::API_VERSION;
use super::spec::{BundleSpec, ClusterSpec, HealthCheckSpec, RolloutPolicySpec, SourceSpec, VariableSetSpec};

/// The schema of each kind, by kind.
#[must_use]
pub fn schemas() -> BTreeMap<&'static str, Json> {
    [
        ("Bundle", schema::<BundleSpec>("Bundle")),
        ("Cluster", schema::<ClusterSpec>("Cluster")),
        ("HealthCheck", schema::<HealthCheckSpec>("HealthCheck")),
        ("RolloutPolicy", schema::<RolloutPolicySpec>("RolloutPolicy")),
        ("Source", schema::<SourceSpec>("Source")),
        ("VariableSet", schema::<VariableSetSpec>("VariableSet")),
    ]
    .into()
}

fn schema<S: JsonSchema>(kind: &str) -> Json {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let mut spec = generator.into_root_schema_for::<S>().to_value();
    let (mut dialect, mut definitions) = (Json::Null, Json::Null);
    if let Some(fields) = spec.as_object_mut() {
        dialect = fields.remove("$schema").unwrap_or_default();
        definitions = fields.remove("$defs").unwrap_or_else(|| json!({}));
    }
    let description = spec.get("description").cloned().unwrap_or_default();
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "$schema": dialect,
        "title": kind,
        "description": description,
        "type": "object",
        "additionalProperties": false,
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": {"const": API_VERSION},
            "kind": {"const": kind},
            "metadata": {
                "type": "object",
                "additionalProperties": false,
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"},
                    "labels": texts,
                    "annotations": texts,
                },
            },
            "spec": spec,
        },
        "$defs": definitions,
    })
}
