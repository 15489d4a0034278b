//! Server-side apply, and writes of other clients.

use proto_model::{Identity, object};
use serde_json::{Value as Json, json};
use spoke_core::port::{Failure, Kind, Live, Reason};

use crate::fault::Verb;
use crate::fields::{Elem, Fields};
use crate::managed::{Editor, Managers};
use crate::merge::{compare, fields_of, merge, prune};
use crate::resolve::Resolved;
use crate::state::{State, Stored, fail, is_deleting, live, time};

/// Metadata that nobody owns: the server's own, and what names the object.
const UNOWNED: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

impl State {
    /// Server-side apply, with force.
    pub(crate) fn apply(&mut self, manifest: &Json, manager: &str, dry_run: bool, now: u64) -> Result<Live, Failure> {
        let (resolved, identity) = self.target(manifest)?;
        self.hinder(if dry_run { Verb::DryRun } else { Verb::Apply }, &identity)?;
        let wanted = owned_part(&resolved, manifest);
        let set = resolved
            .check_types(manifest)
            .and_then(|()| set_of(&resolved, &wanted))
            .map_err(|why| untyped(manifest, &identity, &why))?;
        let old = self.objects.get(&identity).map(Stored::json);
        preconditions(&resolved, manifest, &identity, old.as_ref())?;
        let mut managers = old.as_ref().map(Managers::read).unwrap_or_default();
        let mut new = match &old {
            None => {
                self.namespace_takes(&resolved, &identity)?;
                wanted
            }
            Some(old) => merged(&resolved, old, &wanted, &managers, manager, &set),
        };
        if let Some(old) = &old {
            let changes = compare(resolved.schema(), &owned_part(&resolved, old), &new);
            managers.take(manager, "Apply", &changes.changed);
            managers.take(manager, "Apply", &changes.removed);
        }
        let api_version = manifest["apiVersion"].as_str().unwrap_or_default();
        managers.set(manager, "Apply", api_version, set, &time(now));
        self.finish(&resolved, &identity, old.as_ref(), &mut new, &managers, now)?;
        let unchanged = old.as_ref() == Some(&new);
        let stored = match (dry_run, unchanged, self.objects.get(&identity)) {
            (false, false, _) => self.put(&resolved, &identity, old.as_ref(), new, now),
            (_, true, Some(stored)) => stored.clone(),
            _ => Stored { body: new.to_string().into_bytes().into(), uid: String::new(), labelled: false, since: now },
        };
        Ok(live(&resolved.kind, &stored, true).with_status(resolved.status))
    }

    /// Makes an object as another client would, with operation Update.
    ///
    /// # Errors
    /// The object is refused, exists, or its kind or namespace is missing.
    pub fn create(&mut self, manifest: &Json, manager: &str, now_millis: u64) -> Result<Live, Failure> {
        let (resolved, identity) = self.target(manifest)?;
        if self.objects.contains_key(&identity) {
            let message = format!("{} {:?} already exists", resolved.named(), identity.name);
            return Err(fail(Reason::Conflict, message));
        }
        self.namespace_takes(&resolved, &identity)?;
        let mut new = owned_part(&resolved, manifest);
        let mut managers = Managers::default();
        let api_version = manifest["apiVersion"].as_str().unwrap_or_default();
        let set = set_of(&resolved, &new).unwrap_or_default();
        managers.set(manager, "Update", api_version, set, &time(now_millis));
        self.finish(&resolved, &identity, None, &mut new, &managers, now_millis)?;
        let stored = self.put(&resolved, &identity, None, new, now_millis);
        Ok(live(&resolved.kind, &stored, true))
    }

    /// Changes an object as another client would: what it changes becomes its own, and is taken
    /// from whoever owned it.
    ///
    /// # Errors
    /// There is no such object, or the change is refused.
    pub fn edit(
        &mut self,
        identity: &Identity,
        manager: &str,
        change: impl FnOnce(&mut Json),
        now_millis: u64,
    ) -> Result<Live, Failure> {
        self.edit_by(Editor { manager, subresource: "" }, identity, change, now_millis)
    }

    pub(crate) fn edit_by(
        &mut self,
        editor: Editor<'_>,
        identity: &Identity,
        change: impl FnOnce(&mut Json),
        now_millis: u64,
    ) -> Result<Live, Failure> {
        let Some(old) = self.objects.get(identity).map(Stored::json) else {
            return Err(fail(Reason::Invalid, format!("there is no {identity}")));
        };
        let resolved = self.resolve(&kind_of(&old))?;
        let mut edited = old.clone();
        change(&mut edited);
        let mut managers = Managers::read(&edited);
        let mut new = owned_part_and_status(&edited);
        let changes = compare(resolved.schema(), &owned_part_and_status(&old), &new);
        let api_version = old["apiVersion"].as_str().unwrap_or_default();
        managers.edited(editor, api_version, &changes, &time(now_millis));
        self.finish(&resolved, identity, Some(&old), &mut new, &managers, now_millis)?;
        if let Some(status) = edited.get("status") {
            new["status"] = status.clone();
        }
        let stored = if new == old {
            self.objects
                .get(identity)
                .cloned()
                .unwrap_or_else(|| self.put(&resolved, identity, Some(&old), new, now_millis))
        } else {
            self.put(&resolved, identity, Some(&old), new, now_millis)
        };
        Ok(live(&resolved.kind, &stored, true))
    }

    /// Deletes an object as another client would; `false` where there is none.
    pub fn remove(&mut self, identity: &Identity, now_millis: u64) -> bool {
        let there = self.objects.contains_key(identity);
        self.mark_deleted(identity, now_millis);
        there
    }

    fn target(&self, manifest: &Json) -> Result<(Resolved, Identity), Failure> {
        let identity =
            object::identity(manifest).map_err(|why| fail(Reason::Invalid, format!("the manifest {why}")))?;
        let resolved = self.resolve(&kind_of(manifest))?;
        let identity = resolved.scoped(&identity)?;
        Ok((resolved, identity))
    }

    /// Completes a new state of an object as the server does, and refuses a bad one.
    fn finish(
        &self,
        resolved: &Resolved,
        identity: &Identity,
        old: Option<&Json>,
        new: &mut Json,
        managers: &Managers,
        now: u64,
    ) -> Result<(), Failure> {
        let metadata = old
            .map(|old| old["metadata"].clone())
            .unwrap_or_else(|| json!({"uid": self.next_uid(), "creationTimestamp": time(now)}));
        for key in UNOWNED {
            if let Some(value) = metadata.get(key) {
                new["metadata"][key] = value.clone();
            }
        }
        new["metadata"]["name"] = identity.name.as_str().into();
        if !identity.namespace.is_empty() {
            new["metadata"]["namespace"] = identity.namespace.as_str().into();
        }
        if resolved.status {
            match old.and_then(|old| old.get("status")) {
                Some(status) => new["status"] = status.clone(),
                None => {
                    new.as_object_mut().map(|map| map.remove("status"));
                }
            }
        }
        resolved.fill(new, self.revision);
        let refuse = |why: String| {
            let kind = &identity.kind;
            fail(Reason::Invalid, format!("{kind} {:?} is invalid: {why}", identity.name))
        };
        resolved.check(old, new).map_err(refuse)?;
        if let Some(old) = old.filter(|old| is_deleting(old)) {
            let finalizers = |object: &Json| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            let before = finalizers(old);
            if finalizers(new).iter().any(|name| !before.contains(name)) {
                return Err(refuse(
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted"
                        .into(),
                ));
            }
        }
        if resolved.generation {
            let before = old.and_then(|old| old["metadata"]["generation"].as_u64()).unwrap_or(0);
            let same = old.is_some_and(|old| desired(old) == desired(new));
            new["metadata"]["generation"] = if same { before } else { before + 1 }.into();
        }
        managers.write(new);
        Ok(())
    }

    fn put(&mut self, resolved: &Resolved, identity: &Identity, old: Option<&Json>, new: Json, now: u64) -> Stored {
        let respecified = old.is_none_or(|old| desired(old) != desired(&new));
        let definition = resolved.kind.kind.is("apiextensions.k8s.io", "CustomResourceDefinition");
        let stored = self.commit(identity, new, respecified, now);
        if definition && old.is_some() {
            self.learn(identity);
        }
        stored
    }
}

/// The object after an apply: merged, and without what this manager alone owned and now drops.
fn merged(resolved: &Resolved, old: &Json, wanted: &Json, managers: &Managers, manager: &str, set: &Fields) -> Json {
    let schema = resolved.schema();
    let mut new = merge(schema, &owned_part(resolved, old), wanted);
    if let Some(last) = managers.fields(manager, "Apply") {
        let mut kept = managers.of_others(manager, "Apply");
        kept.extend(set);
        prune(schema, &mut new, last, &kept);
    }
    for key in ["apiVersion", "kind"] {
        new[key] = wanted[key].clone();
    }
    if new.get("metadata").is_none() {
        new["metadata"] = json!({});
    }
    new
}

fn preconditions(resolved: &Resolved, manifest: &Json, identity: &Identity, old: Option<&Json>) -> Result<(), Failure> {
    for key in ["uid", "resourceVersion"] {
        let Some(wanted) = manifest["metadata"].get(key).filter(|v| !v.is_null()) else {
            continue;
        };
        if old.is_none_or(|old| old["metadata"][key] != *wanted) {
            let message = format!(
                "Operation cannot be fulfilled on {} {:?}: the object has been modified ({key} differs); read it again",
                resolved.named(),
                identity.name
            );
            return Err(fail(Reason::Conflict, message));
        }
    }
    Ok(())
}

/// The fields that a manifest sets, but for those that say what it is of.
fn set_of(resolved: &Resolved, part: &Json) -> Result<Fields, String> {
    let mut set = fields_of(resolved.schema(), part, "")?;
    for key in ["apiVersion", "kind"] {
        set.children.remove(&Elem::Field(key.into()));
    }
    Ok(set)
}

/// What managers may own of an object: all but the server's metadata, and but status where that
/// has a door of its own.
fn owned_part(resolved: &Resolved, object: &Json) -> Json {
    let mut part = owned_part_and_status(object);
    if resolved.status
        && let Some(map) = part.as_object_mut()
    {
        map.remove("status");
    }
    part
}

fn owned_part_and_status(object: &Json) -> Json {
    let mut part = object.clone();
    drop_nulls(&mut part);
    if let Some(metadata) = part.get_mut("metadata").and_then(Json::as_object_mut) {
        metadata.retain(|key, _| !UNOWNED.contains(&key.as_str()));
    }
    part
}

fn drop_nulls(value: &mut Json) {
    match value {
        Json::Object(map) => {
            map.retain(|_, below| !below.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Json::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// What counts for `metadata.generation`: all but metadata and status.
fn desired(object: &Json) -> Json {
    let mut part = object.clone();
    if let Some(map) = part.as_object_mut() {
        map.remove("metadata");
        map.remove("status");
    }
    part
}

fn untyped(manifest: &Json, identity: &Identity, why: &str) -> Failure {
    let message = format!(
        "failed to create typed patch object ({}/{}; {}, Kind={}): {why}",
        identity.namespace,
        identity.name,
        manifest["apiVersion"].as_str().unwrap_or_default(),
        identity.kind.kind
    );
    fail(Reason::Invalid, message)
}

/// Kind and version of a manifest.
pub(crate) fn kind_of(manifest: &Json) -> Kind {
    let api_version = manifest["apiVersion"].as_str().unwrap_or_default();
    let kind = manifest["kind"].as_str().unwrap_or_default();
    let version = api_version.rsplit_once('/').map_or(api_version, |(_, version)| version);
    Kind { kind: proto_model::GroupKind::of(api_version, kind), version: version.into() }
}
