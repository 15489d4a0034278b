//! How the tiny cluster answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::{Digest, Identity, object};
use serde_json::Value as Json;

use super::fake::{Thing, World, failure};
use super::log::say;
use crate::agent::{Effect, Event};
use crate::contents::{Contents, Member, Survey};
use crate::port::{Failure, Kind, Live, Marked, OWNER_ANNOTATION, Observation, Op, Outcome, OwnerMark, Reason, Write};

impl World {
    pub(super) fn carry_out(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Load { .. } if self.is_load_held => Vec::new(),
            Effect::Load { id } => vec![self.loaded(id)],
            Effect::Send(message) => {
                self.said.push(message);
                Vec::new()
            }
            Effect::Store { token, write } => {
                vec![Event::Stored { token, result: self.store(write) }]
            }
            Effect::Execute { id, op } => self.execute(id, op),
            Effect::Recover { .. } if self.is_search_held => Vec::new(),
            Effect::Recover { only } => {
                let all = self.things.iter().map(|(identity, thing)| live(identity, thing));
                let is_listed = |live: &Live| !self.unlisted.keys().any(|kind| kind.kind == live.identity.kind);
                let is_asked = |live: &Live| only.is_empty() || only.iter().any(|one| one.kind == live.identity.kind);
                let marked = all.filter(|live| !live.owners.is_empty() && is_listed(live) && is_asked(live));
                let found = marked.map(|live| Live { object: None, ..live }).collect();
                vec![Event::Recovered(Ok(Marked { found, unlisted: self.unlisted.clone() }))]
            }
            Effect::Watch(kinds) => {
                let new = kinds.keys().filter(|kind| !self.watched.contains_key(*kind));
                let new: Vec<Kind> = new.cloned().collect();
                self.watched = kinds;
                self.list(new)
            }
            Effect::EndSession { .. } => vec![Event::Disconnected],
            Effect::Halt { .. } | Effect::Obeyed { .. } => Vec::new(),
            Effect::Tell(note) => {
                self.notes.push(note);
                Vec::new()
            }
            Effect::Publish { data } => {
                self.published.push(data);
                vec![Event::Published(if self.stores_fail { Err(failure(Reason::Server, "away")) } else { Ok(()) })]
            }
            Effect::Wake { at_mono_millis } => {
                self.wake = at_mono_millis;
                Vec::new()
            }
        }
    }

    /// What the reading of the ledger comes to now.
    pub(super) fn loaded(&self, id: u64) -> Event {
        Event::Started { id, records: self.records.clone(), cluster_uid: "cluster".into() }
    }

    fn store(&mut self, write: Write) -> Result<(), Failure> {
        if self.stores_fail {
            return Err(failure(Reason::Server, "etcd is away"));
        }
        if self.is_refused {
            return Err(failure(Reason::Conflict, "written by another spoke"));
        }
        if std::mem::take(&mut self.is_ledger_gone) {
            return Err(failure(Reason::Gone, "the Secret was removed"));
        }
        self.records.extend(write.puts);
        for key in write.deletes {
            self.records.remove(&key);
        }
        Ok(())
    }

    fn execute(&mut self, id: u64, op: Op) -> Vec<Event> {
        let done = |outcome| Event::Done { id, outcome };
        let text = say(&op);
        let failed = self.failures.iter().find(|(part, _)| text.contains(*part));
        if let Some((_, failure)) = failed {
            return vec![done(Outcome::Failed(failure.clone()))];
        }
        match op {
            Op::Discover(kind) => {
                let namespaced = !kind.kind.kind.starts_with("Cluster");
                vec![done(Outcome::Discovered { namespaced })]
            }
            Op::EnsureNamespace(name) => {
                self.namespaces.insert(name);
                vec![done(Outcome::NamespaceReady)]
            }
            Op::Get { identity, .. } => {
                let found = self.things.get(&identity).map(|thing| live(&identity, thing));
                vec![done(Outcome::Got(found))]
            }
            Op::Contents { of, inventoried } => {
                vec![done(Outcome::Contents(self.contents(&of, inventoried)))]
            }
            Op::Apply { manifest, manager, dry_run } => {
                let identity = object::identity(&manifest).unwrap();
                if self.immutable.contains(&identity.kind.kind) && self.things.contains_key(&identity) {
                    let refused = failure(Reason::Invalid, "field is immutable");
                    return vec![done(Outcome::Failed(refused))];
                }
                if dry_run {
                    return vec![done(Outcome::Applied(self.would_be(manifest)))];
                }
                let live = self.apply(manifest, manager);
                let mut events = vec![done(Outcome::Applied(live.clone()))];
                if self.watched.keys().any(|kind| kind.kind == live.identity.kind) {
                    events.push(Event::Observed(Observation::Seen(live)));
                }
                events
            }
            Op::Delete { identity, uid, resource_version, .. } => self.delete(id, identity, uid, &resource_version),
            Op::Patch { identity, uid, resource_version, patch, .. } => {
                vec![done(self.patch(&identity, &uid, &resource_version, &patch))]
            }
            Op::List { .. } => vec![done(Outcome::Listed(Vec::new()))],
            Op::As(_, op) => self.execute(id, *op),
        }
    }

    /// What is in a namespace, or of the group of a definition.
    fn contents(&self, of: &Identity, inventoried: Arc<BTreeSet<String>>) -> Contents {
        let group = of.name.split_once('.').map_or("", |(_, group)| group);
        let is_in_it = |one: &Identity| match of.kind.kind.as_str() {
            "Namespace" => one.namespace == of.name,
            _ => one.kind.group == group,
        };
        let mut survey = Survey::new(inventoried);
        for (identity, thing) in self.things.iter().filter(|(identity, _)| is_in_it(identity)) {
            let mut member = Member::read(&identity.kind, &thing.manifest["metadata"]);
            member.uid.clone_from(&thing.uid);
            survey.see(member);
        }
        survey.finish()
    }

    fn would_be(&self, manifest: Json) -> Live {
        let identity = object::identity(&manifest).unwrap();
        let thing = Thing {
            uid: String::new(),
            resource_version: 0,
            manifest,
            managed: BTreeMap::new(),
            deleting: false,
            finalizers: Vec::new(),
        };
        live(&identity, &thing)
    }

    fn apply(&mut self, manifest: Json, manager: String) -> Live {
        let identity = object::identity(&manifest).unwrap();
        self.serial += 1;
        let serial = self.serial;
        let managed = Digest::of_json(&manifest);
        let thing = self.things.entry(identity.clone()).or_insert_with(|| Thing {
            uid: format!("u{serial}"),
            resource_version: serial,
            manifest: Json::Null,
            managed: BTreeMap::new(),
            deleting: false,
            finalizers: Vec::new(),
        });
        let status = thing.manifest.get("status").cloned();
        thing.manifest = manifest;
        if let Some(status) = status {
            thing.manifest["status"] = status;
        }
        if thing.managed.insert(manager, managed) != Some(managed) {
            thing.resource_version = serial;
        }
        live(&identity, thing)
    }

    /// Labels and annotations that are set and taken away; managed fields are not kept whole here.
    fn patch(&mut self, identity: &Identity, uid: &str, resource_version: &str, patch: &Json) -> Outcome {
        let Some(thing) = self.things.get_mut(identity) else {
            return Outcome::Failed(failure(Reason::Conflict, "is gone"));
        };
        if thing.uid != uid || thing.resource_version.to_string() != resource_version {
            return Outcome::Failed(failure(Reason::Conflict, "it was modified"));
        }
        self.serial += 1;
        thing.resource_version = self.serial;
        for map in ["labels", "annotations"] {
            for (name, value) in patch["metadata"][map].as_object().into_iter().flatten() {
                if let Some(all) = thing.manifest["metadata"][map].as_object_mut() {
                    all.remove(name);
                    all.extend((!value.is_null()).then(|| (name.clone(), value.clone())));
                }
            }
        }
        Outcome::Patched(live(identity, thing))
    }

    fn delete(&mut self, id: u64, identity: Identity, uid: String, resource_version: &str) -> Vec<Event> {
        let done = |outcome| Event::Done { id, outcome };
        match self.things.get_mut(&identity) {
            Some(thing) if thing.uid != uid => {
                vec![done(Outcome::Failed(failure(Reason::Conflict, "uid differs")))]
            }
            Some(thing) if thing.resource_version.to_string() != resource_version => {
                vec![done(Outcome::Failed(failure(Reason::Conflict, "resourceVersion differs")))]
            }
            Some(thing) if !thing.finalizers.is_empty() => {
                thing.deleting = true;
                let seen = live(&identity, thing);
                vec![done(Outcome::Deleted), Event::Observed(Observation::Seen(seen))]
            }
            Some(_) => {
                self.things.remove(&identity);
                vec![done(Outcome::Deleted), Event::Observed(Observation::Gone { identity, uid })]
            }
            None => vec![done(Outcome::Deleted)],
        }
    }
}

pub(super) fn live(identity: &Identity, thing: &Thing) -> Live {
    let owners: Vec<OwnerMark> = object::annotation(&thing.manifest, OWNER_ANNOTATION)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    Live {
        identity: identity.clone(),
        version: "v1".into(),
        uid: thing.uid.clone(),
        resource_version: thing.resource_version.to_string(),
        deleting: thing.deleting,
        finalizers: thing.finalizers.clone(),
        owners,
        managed: thing.managed.clone(),
        hands_off: proto_model::wishes::is_hands_off(&thing.manifest["metadata"]),
        scaled: false,
        changed_by: crate::rival::last_writer(&thing.manifest["metadata"]),
        has_status: identity.kind.kind == "Gadget",
        object: Some(Arc::new(thing.manifest.clone())),
    }
}
