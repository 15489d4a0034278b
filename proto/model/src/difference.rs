//! How two manifests of one object differ, field by field, for people.

use std::collections::BTreeSet;

use serde_json::Value as Json;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where it stands: keys with a slash before each; entries of lists by `[name]` where all have
    /// one, else by `[0]`.
    pub path: String,
    /// What it was; `None` where it was not there.
    pub before: Option<Json>,
    /// What it is; `None` where it is not there.
    pub after: Option<Json>,
}

/// What stands where a value is secret.
pub const MASK: &str = "***";

/// The fields in which two manifests differ, in the order of the document.
#[must_use]
pub fn fields(before: &Json, after: &Json) -> Vec<Field> {
    let mut out = Vec::new();
    walk("", Some(before), Some(after), &mut out);
    out
}

/// Whether the value of a Secret's field can be told: of the few that are known to hold nothing secret. A misspelled
/// `stringdata` is none, and an annotation may hold a whole manifest, as those of `kubectl apply` do.
#[must_use]
pub fn is_told(path: &str) -> bool {
    let told = ["/metadata/labels", "/metadata/name", "/metadata/namespace", "/type", "/immutable"];
    told.iter().any(|start| path.strip_prefix(start).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Hides what the fields of a Secret hold: that something differs is left, and nothing else.
#[must_use]
pub fn masked(fields: Vec<Field>) -> Vec<Field> {
    let mask = |field: Field| {
        if is_told(&field.path) {
            return field;
        }
        let hide = |value: Option<Json>| value.map(|_| Json::from(MASK));
        Field { path: field.path, before: hide(field.before), after: hide(field.after) }
    };
    fields.into_iter().map(mask).collect()
}

fn walk(path: &str, before: Option<&Json>, after: Option<&Json>, out: &mut Vec<Field>) {
    match (before, after) {
        (before, after) if before == after => {}
        (Some(Json::Object(old)), Some(Json::Object(new))) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                walk(&format!("{path}/{key}"), old.get(key), new.get(key), out);
            }
        }
        (Some(Json::Array(old)), Some(Json::Array(new))) if named(old) && named(new) => {
            let find = |list: &'_ [Json], name: &str| list.iter().find(|one| name_of(one) == Some(name)).cloned();
            let names: Vec<&str> = old.iter().chain(new).filter_map(name_of).collect();
            let mut seen = BTreeSet::new();
            let at = out.len();
            for name in names.into_iter().filter(|name| seen.insert(*name)) {
                walk(&format!("{path}[{name}]"), find(old, name).as_ref(), find(new, name).as_ref(), out);
            }
            if out.len() == at {
                // The same entries in another order.
                out.push(field(path, before, after));
            }
        }
        (Some(Json::Array(old)), Some(Json::Array(new))) if old.len() == new.len() && maps(old) && maps(new) => {
            for (at, (old, new)) in old.iter().zip(new).enumerate() {
                walk(&format!("{path}[{at}]"), Some(old), Some(new), out);
            }
        }
        _ => out.push(field(path, before, after)),
    }
}

fn field(path: &str, before: Option<&Json>, after: Option<&Json>) -> Field {
    Field { path: path.to_owned(), before: before.cloned(), after: after.cloned() }
}

fn name_of(entry: &Json) -> Option<&str> {
    entry.get("name").and_then(Json::as_str)
}

fn named(list: &[Json]) -> bool {
    let names: BTreeSet<&str> = list.iter().filter_map(name_of).collect();
    names.len() == list.len()
}

fn maps(list: &[Json]) -> bool {
    list.iter().all(Json::is_object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(before: &Json, after: &Json) -> Vec<String> {
        fields(before, after).into_iter().map(|field| field.path).collect()
    }

    #[test]
    fn entries_with_names_are_found_by_them() {
        let before = json!({"spec": {"replicas": 1, "containers": [{"name": "a", "image": "x"}, {"name": "b"}]}});
        let after = json!({"spec": {"containers": [{"name": "c"}, {"name": "a", "image": "y"}], "paused": true}});
        assert_eq!(
            paths(&before, &after),
            [
                "/spec/containers[a]/image",
                "/spec/containers[b]",
                "/spec/containers[c]",
                "/spec/paused",
                "/spec/replicas"
            ]
        );
    }

    #[test]
    fn another_order_is_a_difference() {
        let (a, b) = (json!({"name": "a"}), json!({"name": "b"}));
        assert_eq!(paths(&json!({"l": [a, b]}), &json!({"l": [b, a]})), ["/l"]);
        assert_eq!(paths(&json!({"l": [1, 2]}), &json!({"l": [1, 2]})), [] as [&str; 0]);
        assert_eq!(paths(&json!([{"p": 1}]), &json!([{"p": 2}])), ["[0]/p"]);
        assert_eq!(paths(&json!([1]), &json!([1, 2])), [""]);
    }

    #[test]
    fn secrets_say_only_that_they_differ() {
        let before = json!({"data": {"a": "b25l", "b": "eA=="}, "type": "Opaque"});
        let after = json!({"data": {"a": "dHdv"}, "type": "x", "stringdata": {"c": "geheim"}});
        let found = masked(fields(&before, &after));
        let text = format!("{found:?}");
        assert!(!text.contains("dHdv") && !text.contains("b25l") && !text.contains("geheim"), "{text}");
        assert_eq!(found.len(), 4);
        assert!(found.iter().any(|field| field.path == "/type" && field.after == Some("x".into())));
    }
}
