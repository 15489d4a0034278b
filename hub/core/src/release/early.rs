//! Early binding: variables that a template computes on are bound before any program sees them.
//!
//! That is what Helm's values say and what Kustomize's generators read; everything else binds late,
//! in the cluster. The rules of [`proto_model::bind`] hold here, too: only listed names, and what
//! was bound is not scanned again.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::Variables;
use proto_model::bind::{self, BindError, Form};
use proto_model::variant::Binds;
use serde_json::{Value as Json, json};

/// A variable that a rendering needs, and as what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Need {
    /// The name.
    pub name: String,
    /// The type that it must give.
    pub form: Form,
}

/// Variables that a bundle lists.
pub type Listed = BTreeMap<String, Binds>;

/// Fields of a kustomization that generate objects.
const GENERATORS: [&str; 2] = ["configMapGenerator", "secretGenerator"];

/// What a document of values needs.
///
/// # Errors
/// A typed reference with other text around it.
pub fn needs(values: &Json, listed: &Listed) -> Result<BTreeSet<Need>, String> {
    // Below a key of its own nothing means the name or the kind of an object.
    let wrapped = json!({"values": values});
    let uses = bind::uses(&wrapped, listed).map_err(|error| words(&error))?;
    Ok(uses.into_iter().map(|one| Need { name: one.name, form: one.form }).collect())
}

/// Binds a document of values.
///
/// # Errors
/// A value is missing or gives another type than is asked for.
pub fn bind(values: &Json, variables: &Variables, listed: &Listed) -> Result<Json, String> {
    let wrapped = json!({"values": values});
    let mut bound = bind::bind(&wrapped, variables, listed).map_err(|error| words(&error))?;
    Ok(bound.get_mut("values").map(Json::take).unwrap_or_default())
}

/// What a text needs, for example a file that a generator reads.
///
/// # Errors
/// A typed reference with other text around it.
pub fn text_needs(text: &str, listed: &Listed) -> Result<BTreeSet<Need>, String> {
    needs(&Json::from(text), listed)
}

/// Binds a text.
///
/// # Errors
/// As [`bind`].
pub fn bind_text(text: &str, variables: &Variables, listed: &Listed) -> Result<String, String> {
    match bind(&Json::from(text), variables, listed)? {
        Json::String(bound) => Ok(bound),
        // A typed reference that is the whole text.
        other => Ok(other.to_string()),
    }
}

/// What the generators of a kustomization need themselves, without the files that they read.
///
/// # Errors
/// A typed reference with other text around it.
pub fn generator_needs(kustomization: &Json, listed: &Listed) -> Result<BTreeSet<Need>, String> {
    let mut found = BTreeSet::new();
    for literals in generators(kustomization).filter_map(|one| one.get("literals")) {
        found.extend(needs(literals, listed)?);
    }
    Ok(found)
}

/// A kustomization of which the generators' literals are bound, and nothing else.
///
/// # Errors
/// As [`bind`].
pub fn bind_generators(kustomization: &Json, variables: &Variables, listed: &Listed) -> Result<Json, String> {
    let mut bound = kustomization.clone();
    for field in GENERATORS {
        let all = bound.get_mut(field).and_then(Json::as_array_mut).into_iter().flatten();
        for literals in all.filter_map(|one| one.get_mut("literals")) {
            *literals = bind(literals, variables, listed)?;
        }
    }
    Ok(bound)
}

/// The generators of a kustomization.
pub(super) fn generators(kustomization: &Json) -> impl Iterator<Item = &Json> {
    GENERATORS.iter().filter_map(|field| kustomization.get(field)?.as_array()).flatten()
}

fn words(error: &BindError) -> String {
    let pointer = error.pointer.strip_prefix("/values").unwrap_or(&error.pointer);
    if pointer.is_empty() { error.problem.to_string() } else { format!("{pointer}: {}", error.problem) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proto_model::Value;

    use super::*;

    fn listed() -> Listed {
        ["size", "name"].map(|name| (name.to_owned(), Binds::default())).into()
    }

    fn variables() -> Variables {
        let text = |text: &str| Value::Text(text.into());
        [("size".to_owned(), text("3")), ("name".to_owned(), text("${size}"))].into_iter().collect()
    }

    #[test]
    fn values_take_their_types_and_nothing_is_scanned_twice() {
        let values = json!({"kind": "${name}", "n": "${size|int}", "other": "${unlisted}", "list": ["a-${size}"]});
        let needs = needs(&values, &listed()).unwrap();
        assert_eq!(needs.iter().map(|need| &*need.name).collect::<Vec<_>>(), ["name", "size", "size"]);
        let bound = bind(&values, &variables(), &listed()).unwrap();
        assert_eq!(bound, json!({"kind": "${size}", "n": 3, "other": "${unlisted}", "list": ["a-3"]}));
    }

    #[test]
    fn only_literals_of_generators_are_bound() {
        let kustomization = json!({
            "namePrefix": "${name}-",
            "configMapGenerator": [{"name": "${name}", "literals": ["size=${size}"]}],
        });
        assert_eq!(generator_needs(&kustomization, &listed()).unwrap().len(), 1);
        let bound = bind_generators(&kustomization, &variables(), &listed()).unwrap();
        assert_eq!(bound["configMapGenerator"], json!([{"name": "${name}", "literals": ["size=3"]}]));
        assert_eq!(bound["namePrefix"], "${name}-");
    }

    #[test]
    fn what_is_missing_is_named_with_its_place() {
        let error = bind(&json!({"a": {"b": "${size}"}}), &Variables::default(), &listed()).unwrap_err();
        assert!(error.starts_with("/a/b: variable size has no value"), "{error}");
        assert_eq!(bind_text("x=${size}", &variables(), &listed()).unwrap(), "x=3");
    }
}
