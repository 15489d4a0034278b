//! Who owns which field: `metadata.managedFields`, read and rewritten.
//!
//! An API server lets a client rewrite the list. So fields of a former manager can become ours, and a later apply that
//! no longer has them removes them; and what we leave to others is owned by nobody.

use serde_json::{Map, Value as Json};

/// One manager's entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry<'a>(&'a Json);

impl<'a> Entry<'a> {
    pub(crate) fn manager(self) -> &'a str {
        self.text("manager")
    }

    pub(crate) fn subresource(self) -> &'a str {
        self.text("subresource")
    }

    pub(crate) fn fields(self) -> Option<&'a Json> {
        self.0.get("fieldsV1")
    }

    pub(crate) fn is_of(self, manager: &str) -> bool {
        self.manager() == manager && self.text("operation") == "Apply" && self.subresource().is_empty()
    }

    fn text(self, key: &str) -> &'a str {
        self.0.get(key).and_then(Json::as_str).unwrap_or_default()
    }
}

/// All entries of a live object.
pub(crate) fn entries(object: &Json) -> impl Iterator<Item = Entry<'_>> {
    object.pointer("/metadata/managedFields").and_then(Json::as_array).into_iter().flatten().map(Entry)
}

/// The list with the fields of former managers moved to `ours`; `None` where there are none to move. `api_version` is
/// that of our next apply, which removes those of them that it does not set. Of a `manifest`, only the metadata and what
/// it sets are moved: whatever else they set stays theirs, and stays.
pub(crate) fn taken_over(
    object: &Json,
    ours: &str,
    api_version: &str,
    manifest: Option<&Json>,
    is_former: impl Fn(Entry<'_>) -> bool,
) -> Option<Json> {
    let is_moved = |entry: &Entry<'_>| !entry.is_of(ours) && entry.subresource().is_empty() && is_former(*entry);
    let mut fields = Json::Object(Map::new());
    let (mut list, mut is_changed) = (Vec::new(), false);
    for entry in entries(object) {
        let own = entry.fields().unwrap_or(&Json::Null);
        if entry.is_of(ours) {
            unite(&mut fields, own);
        } else if is_moved(&entry) {
            let (taken, left) = match manifest {
                Some(manifest) => split(own, manifest),
                None => (own.clone(), Json::Null),
            };
            is_changed |= taken.as_object().is_none_or(|taken| !taken.is_empty());
            unite(&mut fields, &taken);
            if left.as_object().is_some_and(|left| !left.is_empty()) {
                let mut rest = entry.0.clone();
                rest["fieldsV1"] = left;
                list.push(rest);
            }
        } else {
            list.push(entry.0.clone());
        }
    }
    if !is_changed {
        return None;
    }
    list.push(serde_json::json!({
        "manager": ours, "operation": "Apply", "apiVersion": api_version,
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    }));
    Some(list.into())
}

/// The list without `ours`.
pub(crate) fn released(object: &Json, ours: &str) -> Json {
    entries(object).filter(|entry| entry.manager() != ours).map(|entry| entry.0.clone()).collect()
}

fn unite(all: &mut Json, more: &Json) {
    let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) else { return };
    for (step, below) in more {
        unite(all.entry(step.clone()).or_insert_with(|| Json::Object(Map::new())), below);
    }
}

/// A manager's fields: those of metadata and those that a manifest sets, and the others. Of an item of a list that the
/// manifest has, plain fields go along: nearly all are defaults, which count as set by whoever made the object, and an
/// item of which somebody else has a field is not removed with the rest of it.
fn split(fields: &Json, manifest: &Json) -> (Json, Json) {
    let mut rest = fields.clone();
    let metadata = rest.as_object_mut().and_then(|rest| rest.remove("f:metadata"));
    let (mut taken, left) = split_below(&rest, manifest, false);
    if let Some((taken, metadata)) = taken.as_object_mut().zip(metadata) {
        taken.insert("f:metadata".into(), metadata);
    }
    (taken, left)
}

fn split_below(fields: &Json, manifest: &Json, is_item: bool) -> (Json, Json) {
    let (mut taken, mut left) = (Map::new(), Map::new());
    for (step, below) in fields.as_object().into_iter().flatten() {
        let is_leaf = below.as_object().is_none_or(Map::is_empty);
        let is_field = step.starts_with("f:");
        match value_at(manifest, step) {
            _ if step == "." => drop(taken.insert(step.clone(), below.clone())),
            None if is_item && is_leaf && is_field => drop(taken.insert(step.clone(), below.clone())),
            None => drop(left.insert(step.clone(), below.clone())),
            Some(_) if is_leaf => drop(taken.insert(step.clone(), below.clone())),
            Some(value) => {
                let parts = split_below(below, value, !is_field);
                for (all, part) in [(&mut taken, parts.0), (&mut left, parts.1)] {
                    if part.as_object().is_some_and(|part| !part.is_empty()) {
                        all.insert(step.clone(), part);
                    }
                }
            }
        }
    }
    (taken.into(), left.into())
}

/// Whether a manager is a tool with which people write manifests, rather than a controller that writes what it finds
/// out. Their entries are those of a former owner.
pub(crate) fn is_of_people(manager: &str) -> bool {
    // What went before managed fields were kept has this name.
    const NAMES: [&str; 8] = [
        "before-first-apply",
        "helm",
        "kustomize-controller",
        "helm-controller",
        "argocd-controller",
        "argocd-application-controller",
        "fleetagent",
        "terraform",
    ];
    // `kubectl` with what it was called for, as `kubectl-client-side-apply`; programs of Helm's library by their own name.
    NAMES.contains(&manager)
        || manager == "kubectl"
        || manager.starts_with("kubectl-")
        || manager.starts_with("Terraform")
        || manager.starts_with("HashiCorp")
        || manager.starts_with("pulumi-")
}

/// Whether all fields that a manifest sets are in a manager's set.
pub(crate) fn covers(fields: &Json, manifest: &Json) -> bool {
    let Some(map) = manifest.as_object() else { return false };
    map.iter().all(|(key, value)| match key.as_str() {
        "apiVersion" | "kind" => true,
        "metadata" => {
            let below = fields.get("f:metadata");
            value.as_object().into_iter().flatten().all(|(key, value)| {
                let is_of_server = ["name", "namespace", "uid", "resourceVersion"].contains(&key.as_str());
                is_of_server || covers_at(below, key, value)
            })
        }
        _ => covers_at(Some(fields), key, value),
    })
}

fn covers_at(fields: Option<&Json>, key: &str, value: &Json) -> bool {
    if value.is_null() {
        return true;
    }
    let Some(below) = fields.and_then(|fields| fields.get(format!("f:{key}"))) else {
        // A map with nothing in it is owned by nobody.
        return value.as_object().is_some_and(Map::is_empty);
    };
    covers_below(below, value)
}

fn covers_below(fields: &Json, value: &Json) -> bool {
    let Some(steps) = fields.as_object() else { return true };
    let is_whole = steps.keys().all(|step| step == ".");
    match value {
        _ if is_whole => true,
        Json::Object(map) => map.iter().all(|(key, value)| covers_at(Some(fields), key, value)),
        Json::Array(items) => items.iter().all(|item| {
            let is_it = |step: &&String| value_at(value, step).is_some_and(|found| found == item);
            let step = steps.keys().find(is_it);
            step.and_then(|step| steps.get(step)).is_some_and(|below| covers_below(below, item))
        }),
        _ => true,
    }
}

/// What a manifest has at one step of a path of FieldsV1: `f:` a field, `k:` an item by its keys,
/// `v:` an item by its value, `i:` by its place.
pub(crate) fn value_at<'a>(value: &'a Json, step: &str) -> Option<&'a Json> {
    let (how, which) = step.split_once(':')?;
    match how {
        "f" => value.get(which),
        _ => value.as_array()?.get(place_at(value, step)?),
    }
}

/// The place of the item of a list that a step of FieldsV1 names.
pub(crate) fn place_at(list: &Json, step: &str) -> Option<usize> {
    let (how, which) = step.split_once(':')?;
    let items = list.as_array()?;
    match how {
        "i" => which.parse().ok(),
        "v" => {
            let wanted: Json = serde_json::from_str(which).ok()?;
            items.iter().position(|item| *item == wanted)
        }
        "k" => {
            let keys: Json = serde_json::from_str(which).ok()?;
            let keys = keys.as_object()?;
            // A key that the manifest leaves out has its default.
            let is_it = |item: &Json| keys.iter().all(|(key, value)| item.get(key).is_none_or(|own| own == value));
            items.iter().position(is_it)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "drover/main/web";

    fn entry(manager: &str, operation: &str, fields: Json) -> Json {
        json!({"manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields})
    }

    fn object(entries: &[Json]) -> Json {
        json!({"metadata": {"managedFields": entries}})
    }

    #[test]
    fn fields_of_former_managers_become_ours() {
        let scaler = json!({"manager": "kubectl", "operation": "Update", "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}}});
        let live = object(&[
            entry("kubectl-client-side-apply", "Update", json!({"f:data": {".": {}, "f:a": {}}})),
            entry("helm", "Apply", json!({"f:data": {"f:b": {}}})),
            entry("controller", "Update", json!({"f:data": {"f:c": {}}})),
            entry(OURS, "Apply", json!({"f:data": {"f:d": {}}})),
            scaler.clone(),
        ]);
        let list = taken_over(&live, OURS, "v1", None, |entry| is_of_people(entry.manager()));
        let all = json!({"f:data": {".": {}, "f:a": {}, "f:b": {}, "f:d": {}}});
        let expected =
            json!([entry("controller", "Update", json!({"f:data": {"f:c": {}}})), scaler, entry(OURS, "Apply", all)]);
        assert_eq!(list, Some(expected));
        let alone = object(&[entry(OURS, "Apply", json!({})), entry("controller", "Update", json!({}))]);
        assert_eq!(taken_over(&alone, OURS, "v1", None, |entry| is_of_people(entry.manager())), None);
    }

    #[test]
    fn what_is_released_is_nobody_s() {
        let live = object(&[entry(OURS, "Apply", json!({})), entry("other", "Apply", json!({}))]);
        assert_eq!(released(&live, OURS), json!([entry("other", "Apply", json!({}))]));
    }

    #[test]
    fn of_a_former_manager_what_the_manifest_sets_is_moved_and_the_rest_stays() {
        let port = r#"k:{"port":80,"protocol":"TCP"}"#;
        let other = r#"k:{"port":81,"protocol":"TCP"}"#;
        let fields = json!({
            "f:metadata": {"f:labels": {"f:theirs": {}}},
            "f:spec": {
                "f:type": {}, "f:sessionAffinity": {},
                "f:ports": {".": {}, port: {".": {}, "f:port": {}, "f:protocol": {}}, other: {".": {}, "f:port": {}}},
                "f:template": {"f:metadata": {"f:annotations": {"f:restartedAt": {}}}},
            },
        });
        let manifest =
            json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}], "template": {"metadata": {"labels": {}}}}});
        let live = object(&[entry("kubectl-client-side-apply", "Update", fields)]);
        let list =
            taken_over(&live, OURS, "v1", Some(&manifest), |entry| is_of_people(entry.manager())).unwrap_or_default();
        let left = json!({"f:spec": {
            "f:sessionAffinity": {},
            "f:ports": {other: {".": {}, "f:port": {}}},
            "f:template": {"f:metadata": {"f:annotations": {"f:restartedAt": {}}}},
        }});
        assert_eq!(list[0]["fieldsV1"], left);
        let taken = json!({
            "f:metadata": {"f:labels": {"f:theirs": {}}},
            "f:spec": {"f:type": {}, "f:ports": {".": {}, port: {".": {}, "f:port": {}, "f:protocol": {}}}},
        });
        assert_eq!((&list[1]["manager"], &list[1]["fieldsV1"]), (&json!(OURS), &taken));
    }

    #[test]
    fn a_set_covers_a_manifest_or_lacks_a_field() {
        let fields = json!({
            "f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {"f:replicas": {}, "f:selector": {}, "f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:image": {}}}},
        });
        let manifest = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "n", "labels": {"a": "1"}, "annotations": {}},
            "spec": {"replicas": 1, "selector": {"x": {"y": 1}}, "paused": null, "containers": [{"name": "a", "image": "i"}]}});
        assert!(covers(&fields, &manifest));
        for (pointer, value) in [
            ("/metadata/labels", json!({"a": "1", "b": "2"})),
            ("/spec/replicas2", json!(1)),
            ("/spec/containers", json!([{"name": "a", "image": "i", "tty": true}])),
            ("/spec/containers", json!([{"name": "b", "image": "i"}])),
        ] {
            let mut more = manifest.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap_or_default();
            if let Some(map) = more.pointer_mut(parent) {
                map[key] = value.clone();
            }
            assert!(!covers(&fields, &more), "{pointer} {value}");
        }
    }
}
