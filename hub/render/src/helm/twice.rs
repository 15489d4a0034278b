//! Two renderings of the same input, and what differs between them. What is made once and never changed may.

use hub_core::catalog::Defect;
use proto_model::Wishes;
use proto_model::object::identity;
use proto_model::wishes::APPLY;
use serde_json::Value as Json;

use crate::document::Placed;

/// The first difference between two renderings.
pub(super) fn difference(one: &[Placed], other: &[Placed]) -> Option<Defect> {
    let pair = one.iter().zip(other).find_map(|(a, b)| {
        let (first, second) = (a.node.to_json(), b.node.to_json());
        if is_made_once(&first, &second) {
            return None;
        }
        Some((a, first_difference(&first, &second)?))
    });
    let (place, message) = match pair {
        Some((a, pointer)) => {
            let object = identity(&a.node.to_json()).map_or_else(|_| a.words(), |identity| identity.to_string());
            (a, format!("{object}: {pointer} differs between two renderings of the same input"))
        }
        None if one.len() != other.len() => {
            let place = one.last().or(other.last())?;
            (place, "the number of objects differs between two renderings of the same input".to_owned())
        }
        None => return None,
    };
    let way_out = format!(
        "randAlphaNum, genCA, now and the like do that; give the value, name a Secret that exists, or annotate the \
         object {APPLY}: createOnly"
    );
    Some(place.defect([], format!("{message}; {way_out}")))
}

/// Whether it is one object that is made once and never changed: what it says later counts for nothing.
fn is_made_once(one: &Json, other: &Json) -> bool {
    let creates = |object| Wishes::read(object).is_ok_and(|wishes| wishes.create_only);
    creates(one) && creates(other) && identity(one).is_ok_and(|id| identity(other).is_ok_and(|same| id == same))
}

/// JSON pointer to the first thing that is not the same.
fn first_difference(one: &Json, other: &Json) -> Option<String> {
    if one == other {
        return None;
    }
    let below = |key: &str, a: &Json, b: &Json| {
        let key = key.replace('~', "~0").replace('/', "~1");
        first_difference(a, b).map(|rest| format!("/{key}{rest}"))
    };
    let inner = match (one, other) {
        (Json::Object(a), Json::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            keys.into_iter()
                .find_map(|key| below(key, a.get(key).unwrap_or(&Json::Null), b.get(key).unwrap_or(&Json::Null)))
        }
        (Json::Array(a), Json::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().find_map(|(at, (a, b))| below(&at.to_string(), a, b))
        }
        _ => None,
    };
    Some(inner.unwrap_or_default())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_made_once_may_differ() {
        let secret = |annotation: &str, name: &str, value: &str| {
            let text = format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, annotations: {{{annotation}}}}}\ndata: {{k: {value}}}\n"
            );
            crate::document::read("a.yaml", text.as_bytes()).unwrap()
        };
        let once = "drover.dev/apply: createOnly";
        assert_eq!(difference(&secret(once, "a", "x"), &secret(once, "a", "y")), None);
        let differs = |one: &[Placed], other: &[Placed]| difference(one, other).unwrap().message;
        assert!(differs(&secret("a: b", "a", "x"), &secret("a: b", "a", "y")).contains("/data/k"));
        assert!(differs(&secret(once, "a", "x"), &secret(once, "b", "x")).contains("/metadata/name"));
        assert!(differs(&secret(once, "a", "x"), &secret("a: b", "a", "x")).contains("/metadata/annotations"));
    }

    #[test]
    fn the_first_difference_has_a_pointer() {
        let pointer = |a: Json, b: Json| first_difference(&a, &b);
        assert_eq!(pointer(json!({"a": [1, {"b/c": 2}]}), json!({"a": [1, {"b/c": 3}]})).as_deref(), Some("/a/1/b~1c"));
        assert_eq!(pointer(json!({"a": 1}), json!({"a": 1, "b": 2})).as_deref(), Some("/b"));
        assert_eq!(pointer(json!({"a": 1}), json!({"a": 1})), None);
    }
}
