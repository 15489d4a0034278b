//! Who keeps taking fields from us, read from `metadata.managedFields`.

use serde_json::Value as Json;

use crate::managed::value_at;

// Longest name of a field manager that is shown, in characters; the API server's own limit.
const NAME_CHARS_MAX: usize = proto_model::limits::FIELD_MANAGER_BYTES_MAX;

/// The field manager that owns a field which `wanted` sets and `manager` does not own any more; where
/// nobody does (a field was removed), the one that wrote last. The newest wins. `object` is the whole
/// live object.
pub(crate) fn rival(object: &Json, manager: &str, wanted: &Json) -> Option<String> {
    let entries = || object.pointer("/metadata/managedFields").and_then(Json::as_array).into_iter().flatten();
    let text = |entry: &'_ Json, key: &str| entry.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let is_ours = |entry: &Json| text(entry, "manager") == manager && text(entry, "operation") == "Apply";
    let none = Json::Null;
    let fields = |entry: &'_ Json| entry.get("fieldsV1").cloned().unwrap_or_default();
    let ours = entries().find(|entry| is_ours(entry)).map_or(none, fields);
    let others = || entries().filter(|entry| !is_ours(entry) && text(entry, "subresource").is_empty());
    let takers = others().filter(|entry| takes(&fields(entry), &ours, wanted));
    let newest = takers.max_by_key(|entry| text(entry, "time"));
    let newest = newest.or_else(|| others().max_by_key(|entry| text(entry, "time")))?;
    Some(shown(&text(newest, "manager")))
}

/// The field manager, other than a bundle's, that wrote to an object last. `metadata` is the object's.
pub(crate) fn last_writer(metadata: &Json) -> Option<String> {
    let entries = metadata.get("managedFields").and_then(Json::as_array).into_iter().flatten();
    let text = |entry: &'_ Json, key: &str| entry.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
    let others = entries.filter(|entry| {
        let manager = text(entry, "manager");
        !manager.is_empty() && !manager.starts_with("drover/") && text(entry, "subresource").is_empty()
    });
    others.max_by_key(|entry| text(entry, "time")).map(|entry| shown(&text(entry, "manager")))
}

/// A manager's name for people.
fn shown(name: &str) -> String {
    let plain = |letter: char| if letter.is_control() { '?' } else { letter };
    name.chars().map(plain).take(NAME_CHARS_MAX).collect()
}

/// Whether a field of `theirs` is set by `wanted` and missing in `ours`.
fn takes(theirs: &Json, ours: &Json, wanted: &Json) -> bool {
    let below = theirs.as_object().into_iter().flatten().filter(|(key, _)| *key != ".");
    below.into_iter().any(|(key, field)| {
        let Some(value) = value_at(wanted, key) else {
            return false;
        };
        let is_leaf = field.as_object().is_none_or(|map| map.keys().all(|key| key == "."));
        match ours.get(key) {
            None if is_leaf => true,
            mine => takes(field, mine.unwrap_or(&Json::Null), value),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "drover/main/web";

    fn entry(manager: &str, operation: &str, time: &str, fields: Json) -> Json {
        json!({"manager": manager, "operation": operation, "time": time, "fieldsV1": fields})
    }

    fn found(entries: &[Json], wanted: &Json) -> Option<String> {
        rival(&json!({"metadata": {"managedFields": entries}}), OURS, wanted)
    }

    #[test]
    fn who_owns_a_field_that_we_lost_is_named() {
        let wanted = json!({"data": {"a": "1", "b": "1"}});
        let ours = entry(OURS, "Apply", "3", json!({"f:data": {"f:b": {}}}));
        let taker = entry("kubectl-patch", "Update", "2", json!({"f:data": {".": {}, "f:a": {}}}));
        let bystander = entry("labeller", "Update", "9", json!({"f:metadata": {"f:labels": {"f:x": {}}}}));
        let of_theirs = entry("adder", "Update", "9", json!({"f:data": {"f:c": {}}}));
        let shared = entry("sharer", "Update", "9", json!({"f:data": {"f:b": {}}}));
        let all = [ours.clone(), bystander.clone(), taker, of_theirs, shared];
        assert_eq!(found(&all, &wanted).as_deref(), Some("kubectl-patch"));
        // Where the field is gone, nobody owns it.
        assert_eq!(found(&[ours.clone(), bystander], &wanted).as_deref(), Some("labeller"));
        assert_eq!(found(&[ours], &wanted), None);
        assert_eq!(found(&[], &wanted), None);
    }

    #[test]
    fn who_wrote_last_is_named() {
        let ours = entry(OURS, "Apply", "9", json!({"f:data": {}}));
        let (early, late) = (entry("a", "Update", "1", json!({})), entry("b\n", "Apply", "2", json!({})));
        let mut status = entry("kubelet", "Update", "8", json!({}));
        status["subresource"] = "status".into();
        let of = |entries: &[Json]| last_writer(&json!({"managedFields": entries}));
        assert_eq!(of(&[ours.clone(), late, early, status.clone()]).as_deref(), Some("b?"));
        assert_eq!(of(&[ours, status]), None);
        assert_eq!(last_writer(&json!({})), None);
    }

    #[test]
    fn items_of_lists_are_told_apart() {
        let wanted = json!({"spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}],
            "ports": [{"port": 80}], "names": ["p", "q"]}});
        let key = |fields: Json| json!({"f:spec": fields});
        let ours = entry(OURS, "Apply", "1", key(json!({"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}})));
        for (theirs, takes) in [
            (json!({"f:containers": {"k:{\"name\":\"b\"}": {"f:image": {}}}}), true),
            (json!({"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}}), false),
            (json!({"f:containers": {"k:{\"name\":\"c\"}": {"f:image": {}}}}), false),
            (json!({"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {"f:port": {}}}}), true),
            (json!({"f:names": {"v:\"p\"": {}}}), true),
            (json!({"f:names": {"v:\"z\"": {}}}), false),
            (json!({"f:names": {"i:1": {}}}), true),
            (json!({"f:names": {"?": {}, "x:1": {}, "k:no": {}, "i:z": {}}}), false),
        ] {
            let status = json!({"manager": "late", "operation": "Update", "time": "9", "fieldsV1": {}});
            let all = [ours.clone(), entry("taker", "Update", "2", key(theirs.clone())), status];
            let wanted_name = if takes { "taker" } else { "late" };
            assert_eq!(found(&all, &wanted).as_deref(), Some(wanted_name), "{theirs}");
        }
    }
}
