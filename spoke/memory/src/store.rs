//! How objects are kept, and all that follows from one being written or going.

use std::sync::Arc;

use proto_model::{Digest, GroupKind, Identity};
use serde_json::{Value as Json, json};

use crate::custom::Custom;
use crate::resolve::namespace_identity;
use crate::state::{State, Stored, is_deleting, stored, time};

impl State {
    /// A uid for the next object that is made; the same until something changes.
    pub(crate) fn next_uid(&self) -> String {
        let digest = Digest::of_parts([self.name.as_bytes(), &self.revision.to_be_bytes()]);
        let text = digest.to_string();
        format!("{}-{}-4{}-8{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..32])
    }

    /// Stores an object and tells all who care; an object whose last finalizer went is erased.
    pub(crate) fn commit(&mut self, identity: &Identity, mut object: Json, spec_changed: bool, now: u64) -> Stored {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        let since = match self.objects.get(identity) {
            Some(before) if !spec_changed => before.since,
            _ => now,
        };
        let body: Arc<[u8]> = object.to_string().into_bytes().into();
        let after = stored(&object, body, since);
        if is_deleting(&object) && !holds_on(&object) {
            self.erase(identity);
            return after;
        }
        let before = self.objects.insert(identity.clone(), after.clone());
        self.changed(identity);
        self.notify(identity, before.as_ref(), Some(&after));
        if spec_changed || is_deleting(&object) {
            self.timers.insert((now, identity.clone()));
        }
        after
    }

    /// Takes an object away, whatever its finalizers.
    pub(crate) fn erase(&mut self, identity: &Identity) {
        let Some(before) = self.objects.remove(identity) else {
            return;
        };
        self.revision += 1;
        self.changed(identity);
        self.notify(identity, Some(&before), None);
        if identity.kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
            && let Some(custom) = Custom::read(&before.json())
        {
            self.customs.remove(&custom.kind);
            self.kinds_changed();
        }
        // What holds a namespace or a definition back may have been this object.
        let definitions = GroupKind { group: "apiextensions.k8s.io".into(), kind: "CustomResourceDefinition".into() };
        let mut waiting: Vec<Identity> = self.of_kind(&definitions).map(|(definition, _)| definition.clone()).collect();
        waiting.push(namespace_identity(&identity.namespace));
        self.timers.extend(waiting.into_iter().map(|i| (0, i)));
    }

    /// Deletes an object as the API does: at once, or when its finalizers are gone.
    pub(crate) fn mark_deleted(&mut self, identity: &Identity, now: u64) {
        let Some(stored) = self.objects.get(identity) else {
            return;
        };
        let mut object = stored.json();
        if is_deleting(&object) {
            return;
        }
        if identity.kind.is("", "Namespace") {
            object["status"]["phase"] = "Terminating".into();
        }
        if identity.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            object["metadata"]["finalizers"] = json!([crate::controllers::CLEANUP]);
        }
        object["metadata"]["deletionTimestamp"] = time(now).into();
        object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        self.commit(identity, object, true, now);
    }

    fn changed(&mut self, identity: &Identity) {
        if let Some(changes) = &mut self.changes {
            changes.insert(identity.clone());
        }
    }

    /// Makes a definition that is established known as a kind.
    pub(crate) fn learn(&mut self, identity: &Identity) {
        if !identity.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            return;
        }
        let Some(object) = self.objects.get(identity).map(Stored::json) else {
            return;
        };
        if crate::status::condition(&object, "Established")
            && let Some(custom) = Custom::read(&object)
        {
            self.customs.insert(custom.kind.clone(), custom);
            self.kinds_changed();
        }
    }

    /// The objects of a kind.
    pub(crate) fn of_kind<'a>(&'a self, kind: &'a GroupKind) -> impl Iterator<Item = (&'a Identity, &'a Stored)> {
        let first = Identity { kind: kind.clone(), namespace: String::new(), name: String::new() };
        self.objects.range(first..).take_while(move |(identity, _)| identity.kind == *kind)
    }
}

/// Whether finalizers keep an object that is being deleted.
fn holds_on(object: &Json) -> bool {
    let some = |list: &Json| list.as_array().is_some_and(|items| !items.is_empty());
    some(&object["metadata"]["finalizers"]) || object["kind"] == "Namespace" && some(&object["spec"]["finalizers"])
}
