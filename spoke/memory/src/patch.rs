//! Merge patches and lists of whole objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::{Identity, limits, object};
use serde_json::{Map, Value as Json};
use spoke_core::port::{Failure, Kind, Outcome, Reason};

use crate::fault::Verb;
use crate::managed::Editor;
use crate::state::{State, fail};

/// What a patch is about, and what must hold before it is done.
pub(crate) struct Patched<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) version: &'a str,
    pub(crate) uid: &'a str,
    pub(crate) resource_version: &'a str,
}

impl State {
    /// A JSON merge patch under preconditions.
    pub(crate) fn patch(&mut self, what: &Patched<'_>, patch: &Json, now: u64) -> Result<Outcome, Failure> {
        self.hinder(Verb::Patch, what.identity)?;
        let kind = Kind { kind: what.identity.kind.clone(), version: what.version.into() };
        let resolved = self.resolve(&kind)?;
        let identity = resolved.scoped(what.identity)?;
        let Some(old) = self.object(&identity) else {
            return Err(fail(Reason::Conflict, format!("{} {:?} is gone", resolved.named(), identity.name)));
        };
        let is = |field: &str, wanted: &str| old["metadata"][field].as_str() == Some(wanted);
        if !is("uid", what.uid) || !is("resourceVersion", what.resource_version) {
            let message = format!(
                "Operation cannot be fulfilled on {} {:?}: the object has been modified",
                resolved.named(),
                identity.name
            );
            return Err(fail(Reason::Conflict, message));
        }
        let live = self.edit(&identity, "drover-spoke", |object| merge_patch(object, patch), now)?;
        Ok(Outcome::Patched(live.with_status(resolved.status)))
    }

    /// Scales an object as an autoscaler does: by its subresource.
    ///
    /// # Errors
    /// There is no such object, or it can't be scaled.
    pub fn scale(&mut self, identity: &Identity, manager: &str, replicas: u32, now: u64) -> Result<(), Failure> {
        let change = |object: &mut Json| object["spec"]["replicas"] = replicas.into();
        self.edit_by(Editor { manager, subresource: "scale" }, identity, change, now).map(drop)
    }

    /// Whole objects of a kind.
    pub(crate) fn list(
        &mut self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Outcome, Failure> {
        let of_all = Identity { kind: kind.kind.clone(), namespace: namespace.into(), name: name.into() };
        self.hinder(Verb::List, &of_all)?;
        self.resolve(kind)?;
        let fits = |identity: &Identity| {
            identity.kind == kind.kind
                && (namespace.is_empty() || identity.namespace == namespace)
                && (name.is_empty() || identity.name == name)
        };
        let has_labels =
            |object: &Json| labels.iter().all(|(key, value)| object::label(object, key) == Some(value.as_str()));
        let identities = self.identities().filter(|identity| fits(identity));
        let objects = identities.filter_map(|identity| self.object(identity)).filter(has_labels);
        Ok(Outcome::Listed(objects.take(limits::LIST_OBJECTS_MAX).map(Arc::new).collect()))
    }
}

/// RFC 7386.
fn merge_patch(target: &mut Json, patch: &Json) {
    let Json::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Json::Object(Map::new());
    }
    let Some(map) = target.as_object_mut() else { return };
    for (key, value) in fields {
        if value.is_null() {
            map.remove(key);
        } else {
            merge_patch(map.entry(key.clone()).or_insert(Json::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_merge_patch_sets_removes_and_replaces_lists() {
        let mut object = json!({"a": {"b": 1, "c": [1, 2]}, "d": "x"});
        merge_patch(&mut object, &json!({"a": {"b": null, "c": [3], "e": {"f": null}}, "d": {"g": true}}));
        assert_eq!(object, json!({"a": {"c": [3], "e": {}}, "d": {"g": true}}));
    }
}
