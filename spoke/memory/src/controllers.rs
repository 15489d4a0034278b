//! What controllers do as time passes.

use proto_model::Identity;
use serde_json::{Value as Json, json};

use crate::state::{Script, State, Stored, is_deleting};
use crate::status::{self, Stage};

/// The finalizer that keeps a definition until its objects are gone.
pub(crate) const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

impl State {
    /// Lets the controllers do all that is due.
    pub fn advance(&mut self, now_millis: u64) {
        while let Some((due, _)) = self.timers.first()
            && *due <= now_millis
            && let Some((_, identity)) = self.timers.pop_first()
        {
            self.control(&identity, now_millis);
        }
    }

    /// When the controllers have something to do next, in milliseconds since 1970.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.timers.first().map(|(due, _)| *due)
    }

    fn control(&mut self, identity: &Identity, now: u64) {
        let Some(stored) = self.objects.get(identity) else {
            return;
        };
        let (object, since) = (stored.json(), stored.since);
        if identity.kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            self.control_definition(identity, object, since, now);
        } else if is_deleting(&object) {
            if identity.kind.is("", "Namespace") {
                let inside = |other: &Identity| other.namespace == identity.name;
                self.empty_out(identity, since, now, &inside);
            }
        } else {
            self.control_workload(identity, object, since, now);
        }
    }

    fn control_definition(&mut self, identity: &Identity, mut object: Json, since: u64, now: u64) {
        if is_deleting(&object) {
            let text = |pointer: &str| object.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
            let (group, kind) = (text("/spec/group").to_owned(), text("/spec/names/kind").to_owned());
            let of_it = |other: &Identity| other.kind.is(&group, &kind);
            self.empty_out(identity, since, now, &of_it);
        } else if !status::condition(&object, "Established") {
            let due = since + self.settings.establish_millis;
            if now < due {
                self.timers.insert((due, identity.clone()));
                return;
            }
            object["status"] = status::established(&object, due);
            self.commit(identity, object, false, now);
            self.learn(identity);
        }
    }

    /// Deletes what a namespace or definition that is going away holds, then itself.
    fn empty_out(&mut self, identity: &Identity, since: u64, now: u64, inside: &dyn Fn(&Identity) -> bool) {
        let due = since + self.settings.terminate_millis;
        if now < due {
            self.timers.insert((due, identity.clone()));
            return;
        }
        let held: Vec<Identity> = self.objects.keys().filter(|other| inside(other)).cloned().collect();
        for other in &held {
            self.mark_deleted(other, now);
        }
        if !self.objects.keys().any(inside) {
            self.erase(identity);
        }
    }

    fn control_workload(&mut self, identity: &Identity, mut object: Json, since: u64, now: u64) {
        let ready_at = since + self.settings.progress_millis;
        let stage = match self.scripts.get(identity) {
            _ if now < ready_at => Stage::Begun,
            None => Stage::Ready,
            Some(Script::Stall) => Stage::Begun,
            Some(Script::Fail) => Stage::Failed,
        };
        let Some(status) = status::of(&identity.kind, &object, stage, since, ready_at) else {
            return;
        };
        if now < ready_at {
            self.timers.insert((ready_at, identity.clone()));
        }
        if identity.kind.is("", "PersistentVolumeClaim") && stage == Stage::Ready {
            let volume = format!("pvc-{}", object["metadata"]["uid"].as_str().unwrap_or_default());
            object["spec"]["volumeName"] = volume.into();
        }
        let ttl = object["spec"]["ttlSecondsAfterFinished"].as_u64();
        let before = object.get("status").cloned().unwrap_or_else(|| json!({}));
        if before != status {
            object["status"] = status;
            self.commit(identity, object, false, now);
        }
        if let (Some(ttl), Stage::Ready | Stage::Failed) = (ttl, stage) {
            self.expire(identity, ready_at + ttl * 1000, now);
        }
    }

    /// Removes a finished Job whose time is over.
    fn expire(&mut self, identity: &Identity, due: u64, now: u64) {
        let finished = self
            .objects
            .get(identity)
            .map(Stored::json)
            .is_some_and(|object| status::condition(&object, "Complete") || status::condition(&object, "Failed"));
        if !finished {
            return;
        }
        if now < due {
            self.timers.insert((due, identity.clone()));
        } else {
            self.mark_deleted(identity, now);
        }
    }
}
