//! Fields that a bundle leaves alone once its object is there.
//!
//! On an update such a field is left out where another manager owns it, and sent with its live value where nobody else
//! does: left out, it would be removed.

use std::collections::BTreeSet;

use proto_model::Identity;
use proto_model::variant::Ignore;
use serde_json::Value as Json;

use crate::managed::{Entry, entries, place_at};

/// The pointer of what scalers set.
pub(crate) const REPLICAS: &str = "/spec/replicas";

/// One field of a manifest: keys of maps and places in lists.
type Path = Vec<Segment>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Key(String),
    Place(usize),
}

/// The fields of a manifest to leave alone, as pointers with `*`.
pub(crate) fn pointers<'a>(rules: &'a [Ignore], identity: &Identity, manifest: &Json) -> BTreeSet<&'a str> {
    let about = rules.iter().filter(|rule| rule.selects(identity, manifest));
    about.flat_map(|rule| rule.fields.iter().map(String::as_str)).collect()
}

/// The manifest as it is sent to change a live object. Where a live value goes along, so does the resourceVersion at
/// which it was read: should it change meanwhile, the change is refused and made anew.
pub(crate) fn for_update(manifest: &Json, live: &Json, ours: &str, pointers: &BTreeSet<&str>) -> Json {
    let paths: BTreeSet<Path> = pointers.iter().flat_map(|pointer| paths(manifest, pointer)).collect();
    let mut sent = manifest.clone();
    let mut is_read = false;
    // From the last place of a list to the first, so that places stay what they are.
    for path in paths.iter().rev() {
        let is_others = entries(live).filter(|entry| !entry.is_of(ours)).any(|entry| owns(entry, manifest, path));
        match live_value(manifest, live, path).filter(|_| !is_others) {
            Some(value) => {
                is_read = true;
                set(&mut sent, path, value.clone());
            }
            None => remove(&mut sent, path),
        }
    }
    if is_read && let Some(version) = live.pointer("/metadata/resourceVersion") {
        sent["metadata"]["resourceVersion"] = version.clone();
    }
    sent
}

/// The fields of a manifest that a pointer names.
fn paths(manifest: &Json, pointer: &str) -> Vec<Path> {
    let mut found = vec![(Path::new(), manifest)];
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        let mut next = Vec::new();
        for (path, value) in found {
            let with = |segment| path.iter().cloned().chain([segment]).collect::<Path>();
            match value {
                Json::Object(map) => {
                    let keys = map.iter().filter(|(key, _)| name == "*" || **key == name);
                    next.extend(keys.map(|(key, value)| (with(Segment::Key(key.clone())), value)));
                }
                Json::Array(items) => {
                    let is_it = |at: &usize| name == "*" || name.parse() == Ok(*at);
                    let places = items.iter().enumerate().filter(|(at, _)| is_it(at));
                    next.extend(places.map(|(at, value)| (with(Segment::Place(at)), value)));
                }
                _ => {}
            }
        }
        found = next;
    }
    found.into_iter().map(|(path, _)| path).filter(|path| !path.is_empty()).collect()
}

/// Whether a manager owns a field of a manifest, or something in it.
fn owns(entry: Entry<'_>, manifest: &Json, path: &Path) -> bool {
    let (Some(mut fields), mut value) = (entry.fields(), manifest) else { return false };
    for segment in path {
        let next = match segment {
            Segment::Key(key) => fields.get(format!("f:{key}")).zip(value.get(key)),
            Segment::Place(at) => step_of(fields, value, *at).and_then(|step| fields.get(step)).zip(value.get(at)),
        };
        match next {
            Some((below, inner)) => (fields, value) = (below, inner),
            None => return false,
        }
    }
    true
}

/// The step with which a set of fields names an item of a list.
fn step_of<'a>(fields: &'a Json, list: &Json, at: usize) -> Option<&'a str> {
    let steps = fields.as_object()?.keys();
    steps.map(String::as_str).find(|step| place_at(list, step) == Some(at))
}

/// What a live object has where a manifest has a field. Items of lists are found as any manager names them, else by
/// their place.
fn live_value<'a>(manifest: &Json, live: &'a Json, path: &Path) -> Option<&'a Json> {
    let (mut here, mut there) = (manifest, live);
    let mut sets: Vec<&Json> = entries(live).filter_map(Entry::fields).collect();
    for segment in path {
        match segment {
            Segment::Key(key) => {
                (here, there) = (here.get(key)?, there.get(key)?);
                let step = format!("f:{key}");
                sets = sets.into_iter().filter_map(|fields| fields.get(&step)).collect();
            }
            Segment::Place(at) => {
                let step = sets.iter().find_map(|fields| step_of(fields, here, *at)).map(str::to_owned);
                let place = step.as_deref().map_or(Some(*at), |step| place_at(there, step))?;
                (here, there) = (here.get(at)?, there.get(place)?);
                sets = sets.into_iter().filter_map(|fields| fields.get(step.as_deref()?)).collect();
            }
        }
    }
    Some(there)
}

fn parent<'a>(value: &'a mut Json, path: &Path) -> Option<&'a mut Json> {
    let (_, above) = path.split_last()?;
    above.iter().try_fold(value, |value, segment| match segment {
        Segment::Key(key) => value.get_mut(key),
        Segment::Place(at) => value.get_mut(at),
    })
}

fn set(manifest: &mut Json, path: &Path, value: Json) {
    let last = path.last().cloned();
    let place = parent(manifest, path).zip(last).and_then(|(above, last)| match last {
        Segment::Key(key) => above.get_mut(&key),
        Segment::Place(at) => above.get_mut(at),
    });
    if let Some(place) = place {
        *place = value;
    }
}

fn remove(manifest: &mut Json, path: &Path) {
    let last = path.last().cloned();
    match (parent(manifest, path), last) {
        (Some(Json::Object(map)), Some(Segment::Key(key))) => drop(map.remove(&key)),
        (Some(Json::Array(items)), Some(Segment::Place(at))) if at < items.len() => drop(items.remove(at)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "drover/main/web";

    fn live(others: Json, spec: Json) -> Json {
        json!({"metadata": {"resourceVersion": "7", "managedFields": [
            {"manager": OURS, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}},
            {"manager": "other", "operation": "Update", "fieldsV1": {"f:spec": others}},
        ]}, "spec": spec})
    }

    fn sent(manifest: &Json, live: &Json, pointer: &str) -> Json {
        for_update(manifest, live, OURS, &BTreeSet::from([pointer]))
    }

    #[test]
    fn what_another_owns_is_left_out_and_what_nobody_does_keeps_its_live_value() {
        let manifest = json!({"metadata": {"name": "n"}, "spec": {"replicas": 1, "paused": true}});
        let taken = sent(&manifest, &live(json!({"f:replicas": {}}), json!({"replicas": 5})), REPLICAS);
        assert_eq!(taken, json!({"metadata": {"name": "n"}, "spec": {"paused": true}}));
        let free = sent(&manifest, &live(json!({"f:other": {}}), json!({"replicas": 5})), REPLICAS);
        assert_eq!(
            free,
            json!({"metadata": {"name": "n", "resourceVersion": "7"}, "spec": {"replicas": 5, "paused": true}})
        );
        let gone = sent(&manifest, &live(json!({}), json!({})), REPLICAS);
        assert_eq!(gone, json!({"metadata": {"name": "n"}, "spec": {"paused": true}}));
        let absent = sent(&manifest, &live(json!({}), json!({})), "/spec/never/there");
        assert_eq!(absent, manifest);
    }

    #[test]
    fn items_of_lists_are_found_by_their_keys() {
        let manifest =
            json!({"metadata": {}, "spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}});
        let items = json!({"f:containers": {"k:{\"name\":\"b\"}": {".": {}, "f:image": {}}, "k:{\"name\":\"a\"}": {}}});
        // Somebody put one before them.
        let object = live(
            items,
            json!({"containers": [{"name": "x"}, {"name": "b", "image": "2"}, {"name": "a", "image": "3"}]}),
        );
        let all = sent(&manifest, &object, "/spec/containers/*/image");
        assert_eq!(all["spec"]["containers"], json!([{"name": "a", "image": "3"}, {"name": "b"}]));
        let second = sent(&manifest, &object, "/spec/containers/1/image");
        assert_eq!(second["spec"]["containers"], json!([{"name": "a", "image": "1"}, {"name": "b"}]));
        let whole = sent(&manifest, &object, "/spec/containers/1");
        assert_eq!(whole["spec"]["containers"], json!([{"name": "a", "image": "1"}]));
    }

    #[test]
    fn keys_with_slashes_are_written_as_in_rfc_6901() {
        let manifest = json!({"metadata": {"annotations": {"a/b": "1", "c": "1"}}});
        let object = json!({"metadata": {"managedFields": [
            {"manager": "o", "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {"f:a/b": {}}}}}]}});
        let left = sent(&manifest, &object, "/metadata/annotations/a~1b");
        assert_eq!(left, json!({"metadata": {"annotations": {"c": "1"}}}));
    }
}
