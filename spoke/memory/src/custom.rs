//! Custom kinds: what a CustomResourceDefinition declares, and how its schema is enforced.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::GroupKind;
use serde_json::{Map, Value as Json};

/// A custom kind, as its definition declares it.
#[derive(Clone, Debug)]
pub(crate) struct Custom {
    /// Group and kind.
    pub(crate) kind: GroupKind,
    /// Plural, as in messages and paths.
    pub(crate) plural: String,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// Served versions.
    pub(crate) versions: BTreeMap<String, Version>,
}

/// One served version of a custom kind.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// Its `openAPIV3Schema`.
    pub(crate) schema: Arc<Json>,
    /// Whether it has a status subresource.
    pub(crate) status: bool,
}

impl Custom {
    /// Reads a definition; `None` where it declares nothing usable.
    pub(crate) fn read(definition: &Json) -> Option<Self> {
        let spec = definition.get("spec")?;
        let text = |pointer: &str| spec.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
        let versions = spec
            .get("versions")?
            .as_array()?
            .iter()
            .filter(|v| v.get("served") == Some(&Json::Bool(true)))
            .filter_map(|v| {
                let schema = v.pointer("/schema/openAPIV3Schema")?.clone();
                let status = v.pointer("/subresources/status").is_some();
                Some((v.get("name")?.as_str()?.to_owned(), Version { schema: Arc::new(schema), status }))
            })
            .collect();
        Some(Self {
            kind: GroupKind { group: text("/group")?, kind: text("/names/kind")? },
            plural: text("/names/plural")?,
            namespaced: text("/scope")? == "Namespaced",
            versions,
        })
    }
}

/// Drops what the schema does not declare and fills in its defaults.
pub(crate) fn shape(schema: &Json, object: &mut Json) {
    if let Some(map) = object.as_object_mut() {
        let kept: Vec<(String, Json)> =
            ["apiVersion", "kind", "metadata"].iter().filter_map(|key| map.remove_entry(*key)).collect();
        shape_value(schema, object);
        if let Some(map) = object.as_object_mut() {
            map.extend(kept);
        }
    }
}

fn flag(schema: &Json, key: &str) -> bool {
    schema.get(key) == Some(&Json::Bool(true))
}

fn shape_value(schema: &Json, value: &mut Json) {
    match value {
        Json::Object(map) => {
            let none = Map::new();
            let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
            let extra = schema.get("additionalProperties");
            let open = flag(schema, "x-kubernetes-preserve-unknown-fields") || extra.is_some();
            map.retain(|name, _| open || properties.contains_key(name));
            for (name, below) in properties {
                if let Some(default) = below.get("default") {
                    map.entry(name.clone()).or_insert_with(|| default.clone());
                }
            }
            for (name, value) in map.iter_mut() {
                if let Some(below) = properties.get(name).or_else(|| extra.filter(|e| e.is_object())) {
                    shape_value(below, value);
                }
            }
        }
        Json::Array(items) => {
            if let Some(below) = schema.get("items") {
                items.iter_mut().for_each(|item| shape_value(below, item));
            }
        }
        _ => {}
    }
}

/// Refuses what an apply may not say: fields that the schema does not declare, and values of
/// another type.
pub(crate) fn undeclared(schema: &Json, value: &Json, at: &str) -> Result<(), String> {
    let wanted = schema.get("type").and_then(Json::as_str).unwrap_or_default();
    let fits = flag(schema, "x-kubernetes-int-or-string")
        || value.is_null()
        || at.is_empty()
        || is_type(wanted, value)
        || wanted == "integer" && value.is_number();
    if !fits {
        return Err(format!("{at}: expected {wanted}"));
    }
    match value {
        Json::Object(map) => {
            let extra = schema.get("additionalProperties");
            let open = flag(schema, "x-kubernetes-preserve-unknown-fields")
                || extra.is_some()
                || schema.get("properties").is_none() && schema.get("type") != Some(&"object".into());
            for (name, value) in map {
                if at.is_empty() && matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                let below = schema.get("properties").and_then(|p| p.get(name));
                match below.or_else(|| extra.filter(|e| e.is_object())) {
                    Some(below) => undeclared(below, value, &format!("{at}.{name}"))?,
                    None if open => {}
                    None => return Err(format!("{at}.{name}: field not declared in schema")),
                }
            }
            Ok(())
        }
        Json::Array(items) => {
            let Some(below) = schema.get("items") else {
                return Ok(());
            };
            items.iter().try_for_each(|item| undeclared(below, item, &format!("{at}[]")))
        }
        _ => Ok(()),
    }
}

/// Refuses a value that its schema does not allow; the field and why.
pub(crate) fn check(schema: &Json, value: &Json, at: &str) -> Result<(), String> {
    let shown = if at.is_empty() { "<root>" } else { at };
    if value.is_null() && flag(schema, "nullable") {
        return Ok(());
    }
    if let Some(wanted) = schema.get("type").and_then(Json::as_str)
        && !is_type(wanted, value)
        && !flag(schema, "x-kubernetes-int-or-string")
    {
        return Err(format!("{shown}: Invalid value: {shown} in body must be of type {wanted}"));
    }
    if let Some(allowed) = schema.get("enum").and_then(Json::as_array)
        && !allowed.contains(value)
    {
        return Err(format!("{shown}: Unsupported value"));
    }
    bounds(schema, value, shown)?;
    let join = |name: &str| {
        if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
    };
    match value {
        Json::Object(map) => {
            let required = schema.get("required").and_then(Json::as_array);
            for name in required.into_iter().flatten().filter_map(Json::as_str) {
                if !map.contains_key(name) {
                    return Err(format!("{}: Required value", join(name)));
                }
            }
            for (name, value) in map {
                let below = schema.get("properties").and_then(|p| p.get(name));
                let below = below.or_else(|| schema.get("additionalProperties").filter(|a| a.is_object()));
                if let Some(below) = below {
                    check(below, value, &join(name))?;
                }
            }
            Ok(())
        }
        Json::Array(items) => {
            let Some(below) = schema.get("items") else {
                return Ok(());
            };
            items.iter().enumerate().try_for_each(|(n, item)| check(below, item, &format!("{at}[{n}]")))
        }
        _ => Ok(()),
    }
}

fn bounds(schema: &Json, value: &Json, at: &str) -> Result<(), String> {
    let limit = |key: &str| schema.get(key).and_then(Json::as_f64);
    let size = match value {
        Json::Number(number) => number.as_f64().map(|n| (n, "minimum", "maximum")),
        Json::String(text) => Some((text.chars().count() as f64, "minLength", "maxLength")),
        Json::Array(items) => Some((items.len() as f64, "minItems", "maxItems")),
        _ => None,
    };
    if let Some((size, low, high)) = size {
        if limit(low).is_some_and(|min| size < min) {
            return Err(format!("{at}: Invalid value: {at} in body is below its {low}"));
        }
        if limit(high).is_some_and(|max| size > max) {
            return Err(format!("{at}: Invalid value: {at} in body is above its {high}"));
        }
    }
    Ok(())
}

fn is_type(wanted: &str, value: &Json) -> bool {
    match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}
