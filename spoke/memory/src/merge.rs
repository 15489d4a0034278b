//! What server-side apply does to values: which fields a value has, merging, comparing, pruning.

use std::collections::BTreeMap;

use proto_model::digest::canonical;
use serde_json::{Map, Value as Json};

use crate::fields::{Elem, Fields};
use crate::schema::{List, Schema};

/// What changed between two values.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Fields that were added or have another value.
    pub(crate) changed: Fields,
    /// Fields that are gone.
    pub(crate) removed: Fields,
}

/// The fields that a value sets.
///
/// # Errors
/// Where, and why, an item of a keyed list can't be told from the others.
pub(crate) fn fields_of(schema: Schema<'_>, value: &Json, at: &str) -> Result<Fields, String> {
    match value {
        Json::Object(map) if !map.is_empty() && !schema.is_atomic_map() => {
            let mut out = Fields::default();
            for (name, below) in map {
                let fields = fields_of(schema.field(name), below, &format!("{at}.{name}"))?;
                out.put(Elem::Field(name.clone()), fields);
            }
            Ok(out)
        }
        Json::Array(items) if schema.list() != List::Atomic => {
            let mut out = Fields::default();
            for (elem, item) in keyed(schema, items, at)? {
                let mut fields = match elem {
                    Elem::Value(_) => Fields::leaf(),
                    _ => fields_of(schema.item(), item, &format!("{at}[]"))?,
                };
                fields.member = true;
                out.put(elem, fields);
            }
            Ok(out)
        }
        _ => Ok(Fields::leaf()),
    }
}

/// The fields of a value that a server once took; a list whose items can't be told apart counts
/// as one value.
pub(crate) fn fields_of_live(schema: Schema<'_>, value: &Json) -> Fields {
    fields_of(schema, value, "").unwrap_or_else(|_| Fields::leaf())
}

/// The items of a keyed list with the elements that name them, in their order.
fn keyed<'v>(schema: Schema<'_>, items: &'v [Json], at: &str) -> Result<Vec<(Elem, &'v Json)>, String> {
    let mut out: Vec<(Elem, &Json)> = Vec::with_capacity(items.len());
    for (n, item) in items.iter().enumerate() {
        let elem = elem_of(schema, item).map_err(|key| {
            format!("{at}: element {n}: associative list with keys has an element that omits key field {key:?}")
        })?;
        if out.iter().any(|(seen, _)| *seen == elem) {
            return Err(format!("{at}: duplicate entries for key {}", shown(&elem)));
        }
        out.push((elem, item));
    }
    Ok(out)
}

fn shown(elem: &Elem) -> &str {
    match elem {
        Elem::Field(text) | Elem::Key(text) | Elem::Value(text) => text,
    }
}

/// What names an item of a list at this place; the missing key otherwise.
fn elem_of(schema: Schema<'_>, item: &Json) -> Result<Elem, String> {
    let List::Map(keys) = schema.list() else {
        return Ok(Elem::Value(String::from_utf8_lossy(&canonical(item)).into_owned()));
    };
    let mut map = Map::new();
    for key in keys {
        let value = item.get(&key).filter(|v| !v.is_null()).cloned();
        let value = value.or_else(|| schema.key_default(&key)).ok_or_else(|| key.clone())?;
        map.insert(key, value);
    }
    Ok(Elem::Key(String::from_utf8_lossy(&canonical(&Json::Object(map))).into_owned()))
}

/// `live` with everything that `config` sets.
pub(crate) fn merge(schema: Schema<'_>, live: &Json, config: &Json) -> Json {
    match (live, config) {
        (Json::Object(old), Json::Object(new)) if !schema.is_atomic_map() => {
            let mut out = old.clone();
            for (name, value) in new {
                let merged = match old.get(name) {
                    Some(before) => merge(schema.field(name), before, value),
                    None => value.clone(),
                };
                out.insert(name.clone(), merged);
            }
            Json::Object(out)
        }
        (Json::Array(old), Json::Array(new)) if schema.list() != List::Atomic => {
            merge_lists(schema, old, new).unwrap_or_else(|_| config.clone())
        }
        _ => config.clone(),
    }
}

/// Items keep the order of `new`; what only `old` has stays before the item that it stood before.
fn merge_lists(schema: Schema<'_>, old: &[Json], new: &[Json]) -> Result<Json, String> {
    let old = keyed(schema, old, "")?;
    let new = keyed(schema, new, "")?;
    let position: BTreeMap<&Elem, usize> = old.iter().enumerate().map(|(n, (e, _))| (e, n)).collect();
    let ours: BTreeMap<&Elem, &Json> = new.iter().map(|(e, v)| (e, *v)).collect();
    let mut out = Vec::with_capacity(old.len() + new.len());
    let mut next = 0;
    for (elem, value) in &new {
        let Some(&at) = position.get(elem) else {
            out.push((*value).clone());
            continue;
        };
        while next < at {
            if !ours.contains_key(&old[next].0) {
                out.push(old[next].1.clone());
            }
            next += 1;
        }
        next = next.max(at + 1);
        out.push(merge(schema.item(), old[at].1, value));
    }
    out.extend(old[next..].iter().filter(|(e, _)| !ours.contains_key(e)).map(|(_, v)| (*v).clone()));
    Ok(Json::Array(out))
}

/// Removes from `value` what `last` has and `kept` has not: fields that their only owner no
/// longer applies go, with all that servers filled in below them.
pub(crate) fn prune(schema: Schema<'_>, value: &mut Json, last: &Fields, kept: &Fields) {
    match value {
        Json::Object(map) if !schema.is_atomic_map() => {
            for (elem, below) in &last.children {
                let Elem::Field(name) = elem else { continue };
                match kept.children.get(elem) {
                    None => {
                        map.remove(name);
                    }
                    Some(kept) => {
                        if let Some(value) = map.get_mut(name) {
                            prune(schema.field(name), value, below, kept);
                        }
                    }
                }
            }
        }
        Json::Array(items) if schema.list() != List::Atomic => {
            items.retain_mut(|item| {
                let Ok(elem) = elem_of(schema, item) else {
                    return true;
                };
                let Some(below) = last.children.get(&elem) else {
                    return true;
                };
                let Some(kept) = kept.children.get(&elem) else {
                    return false;
                };
                prune(schema.item(), item, below, kept);
                true
            });
        }
        _ => {}
    }
}

/// What changed from `old` to `new`.
pub(crate) fn compare(schema: Schema<'_>, old: &Json, new: &Json) -> Changes {
    let mut out = Changes::default();
    if old == new {
        return out;
    }
    match (old, new) {
        (Json::Object(before), Json::Object(after)) if !schema.is_atomic_map() => {
            for (name, value) in after {
                let elem = Elem::Field(name.clone());
                one(&mut out, elem, schema.field(name), before.get(name), Some(value));
            }
            for (name, value) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
                let elem = Elem::Field(name.clone());
                one(&mut out, elem, schema.field(name), Some(value), None);
            }
        }
        (Json::Array(before), Json::Array(after)) if schema.list() != List::Atomic => {
            match (keyed(schema, before, ""), keyed(schema, after, "")) {
                (Ok(before), Ok(after)) => compare_lists(&mut out, schema, &before, &after),
                _ => out.changed.member = true,
            }
        }
        _ => out.changed.member = true,
    }
    out
}

fn compare_lists(out: &mut Changes, schema: Schema<'_>, before: &[(Elem, &Json)], after: &[(Elem, &Json)]) {
    let find = |items: &[(Elem, &Json)], elem: &Elem| items.iter().position(|(e, _)| e == elem);
    for (elem, value) in after {
        let old = find(before, elem).map(|n| before[n].1);
        one(out, elem.clone(), schema.item(), old, Some(value));
    }
    for (elem, value) in before.iter().filter(|(elem, _)| find(after, elem).is_none()) {
        one(out, elem.clone(), schema.item(), Some(value), None);
    }
}

fn one(out: &mut Changes, elem: Elem, schema: Schema<'_>, old: Option<&Json>, new: Option<&Json>) {
    let whole = |value: &Json| {
        let mut fields = match elem {
            Elem::Value(_) => Fields::leaf(),
            _ => fields_of_live(schema, value),
        };
        fields.member |= matches!(elem, Elem::Key(_));
        fields
    };
    match (old, new) {
        (Some(old), Some(new)) => {
            let below = compare(schema, old, new);
            out.changed.put(elem.clone(), below.changed);
            out.removed.put(elem, below.removed);
        }
        (None, Some(new)) => out.changed.put(elem.clone(), whole(new)),
        (Some(old), None) => out.removed.put(elem.clone(), whole(old)),
        (None, None) => {}
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proto_model::GroupKind;
    use serde_json::json;

    use super::*;

    fn deployment() -> GroupKind {
        GroupKind { group: "apps".into(), kind: "Deployment".into() }
    }

    #[test]
    fn lists_with_keys_merge_by_them_and_keep_their_order() {
        let kind = deployment();
        let live = json!({"spec": {"containers": [
            {"name": "a", "image": "1", "x": 1}, {"name": "foreign"}, {"name": "b"}]}});
        let config = json!({"spec": {"containers": [{"name": "b"}, {"name": "a", "image": "2"}]}});
        let merged = merge(Schema::builtin(&kind), &live, &config);
        assert_eq!(
            merged,
            json!({"spec": {"containers": [
                {"name": "foreign"}, {"name": "b"}, {"name": "a", "image": "2", "x": 1}]}})
        );
    }

    #[test]
    fn what_its_only_owner_drops_goes_with_what_servers_filled_in() {
        let kind = deployment();
        let schema = Schema::builtin(&kind);
        let mut value = json!({"spec": {"probe": {"path": "/", "filled": 1}, "other": 1, "mine": 2}});
        let last = fields_of_live(schema, &json!({"spec": {"probe": {"path": "/"}, "mine": 2, "other": 1}}));
        let kept = fields_of_live(schema, &json!({"spec": {"other": 1}}));
        prune(schema, &mut value, &last, &kept);
        assert_eq!(value, json!({"spec": {"other": 1}}));
    }

    #[test]
    fn an_item_without_its_key_is_refused_and_named() {
        let kind = deployment();
        let config = json!({"spec": {"containers": [{"image": "1"}]}});
        let why = fields_of(Schema::builtin(&kind), &config, "").unwrap_err();
        assert!(why.contains(".spec.containers") && why.contains("name"), "{why}");
    }

    #[test]
    fn a_changed_item_is_named_by_its_key() {
        let kind = deployment();
        let old = json!({"spec": {"containers": [{"name": "a", "image": "1"}]}});
        let new = json!({"spec": {"containers": [{"name": "a", "image": "2"}]}});
        let changes = compare(Schema::builtin(&kind), &old, &new);
        assert_eq!(
            changes.changed.to_json(),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}}})
        );
        assert!(changes.removed.is_empty());
    }
}
