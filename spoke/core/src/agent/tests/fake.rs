//! A tiny cluster and a tiny hub that drive one machine, and write down what it does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proto_model::assign::{Assignment, Entry, RULES};
use proto_model::delta::{BodyPart, Delta, ToHub, ToSpoke, VariantPart};
use proto_model::variant::{Settings, Variant};
use proto_model::{Digest, Fence, Identity, Object, Permit, Report, Variables, object};
use serde_json::{Value as Json, json};

use crate::agent::{Agent, Effect, Event, Now};
use crate::ledger;
use crate::port::{
    Depth, Failure, Kind, Live, OWNER_ANNOTATION, Observation, Op, Outcome, OwnerMark, Reason,
    Write,
};
use crate::unpack::tests::pack;

#[derive(Clone, Debug)]
pub(super) struct Thing {
    pub(super) uid: String,
    pub(super) resource_version: u64,
    pub(super) manifest: Json,
    pub(super) managed: BTreeMap<String, Digest>,
    pub(super) deleting: bool,
    pub(super) finalizers: Vec<String>,
}

/// Everything around one machine.
pub(super) struct World {
    pub(super) agent: Agent,
    pub(super) now: u64,
    pub(super) things: BTreeMap<Identity, Thing>,
    pub(super) records: BTreeMap<String, Vec<u8>>,
    pub(super) watched: BTreeMap<Kind, Depth>,
    pub(super) namespaces: BTreeSet<String>,
    /// What requests about an object are answered with, instead of being carried out.
    pub(super) failures: BTreeMap<String, Failure>,
    /// Kinds of which nothing can be changed.
    pub(super) immutable: BTreeSet<String>,
    pub(super) stores_fail: bool,
    /// Requests are kept back from here on, in order.
    pub(super) is_held: bool,
    pub(super) held: VecDeque<Effect>,
    pub(super) wake: Option<u64>,
    pub(super) log: Vec<String>,
    pub(super) said: Vec<ToHub>,
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) fence: Fence,
    serial: u64,
}

pub(super) fn manifest(api_version: &str, kind: &str, name: &str) -> Json {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})
}

pub(super) fn config(name: &str, value: &str) -> Json {
    let mut object = manifest("v1", "ConfigMap", name);
    object["metadata"]["namespace"] = "shop".into();
    object["data"] = json!({"value": value});
    object
}

pub(super) fn permit(deletions: u64) -> Permit {
    Permit { deletions, ..Permit::default() }
}

pub(super) fn failure(reason: Reason, message: &str) -> Failure {
    Failure { reason, message: message.into(), retry_after_millis: None }
}

/// A bundle's content as the hub has it.
pub(super) struct Parts {
    pub(super) variant: Variant,
    pub(super) bodies: Vec<Object>,
}

pub(super) fn parts(settings: Settings, manifests: &[Json]) -> Parts {
    let bodies: Vec<Object> = manifests.iter().map(|one| Object::new(one).unwrap()).collect();
    let objects = bodies.iter().map(|body| body.digest).collect();
    Parts { variant: Variant { settings, objects }, bodies }
}

impl World {
    /// A spoke with an empty ledger, connected and welcome.
    pub(super) fn new() -> Self {
        let mut world = Self {
            agent: Agent::new("test"),
            now: 1_000,
            things: BTreeMap::new(),
            records: BTreeMap::new(),
            watched: BTreeMap::new(),
            namespaces: ["default", "shop"].map(str::to_owned).into(),
            failures: BTreeMap::new(),
            immutable: BTreeSet::new(),
            stores_fail: false,
            is_held: false,
            held: VecDeque::new(),
            wake: None,
            log: Vec::new(),
            said: Vec::new(),
            entries: BTreeMap::new(),
            fence: Fence { hub_id: "hub".into(), epoch: 1, incarnation: 1, generation: 0 },
            serial: 0,
        };
        world.step(Event::Lease(true));
        world.connect();
        world.log.clear();
        world
    }

    pub(super) fn connect(&mut self) {
        self.step(Event::Connected);
        self.welcome(false);
    }

    pub(super) fn welcome(&mut self, want_reports: bool) {
        self.hub(ToSpoke::Welcome {
            session_token: b"token".to_vec(),
            want_holding: false,
            want_reports,
        });
    }

    pub(super) fn hub(&mut self, message: ToSpoke) {
        self.step(Event::Hub(message));
    }

    /// A new process on the same cluster and ledger.
    pub(super) fn restart(&mut self) {
        self.agent = Agent::new("test");
        self.watched.clear();
        self.held.clear();
        self.wake = None;
        self.said.clear();
        self.log.clear();
        self.step(Event::Lease(true));
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Now { mono_millis: self.now, unix_millis: 1_700_000_000_000 + self.now };
            for effect in self.agent.step(event, now) {
                self.note(&effect);
                if self.is_held && matches!(effect, Effect::Execute { .. }) {
                    self.held.push_back(effect);
                } else {
                    events.extend(self.carry_out(effect));
                }
            }
        }
    }

    /// Carries out what was held back.
    pub(super) fn release(&mut self) {
        self.is_held = false;
        while let Some(effect) = self.held.pop_front() {
            for event in self.carry_out(effect) {
                self.step(event);
            }
        }
    }

    /// Carries out what was held back, up to a request whose text begins so.
    pub(super) fn release_until(&mut self, prefix: &str) {
        loop {
            let Some(effect) = self.held.front() else { return };
            if matches!(effect, Effect::Execute { op, .. } if say(op).starts_with(prefix)) {
                return;
            }
            let effect = self.held.pop_front().expect("the front");
            for event in self.carry_out(effect) {
                self.step(event);
            }
        }
    }

    /// Carries out a request whose answer gets lost.
    pub(super) fn lose(&mut self, effect: Effect) {
        drop(self.carry_out(effect));
    }

    /// Lets time pass, ticking when asked to.
    pub(super) fn pass(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(at) = self.wake.filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.wake = None;
            self.step(Event::Tick);
        }
        self.now = end;
    }

    /// What was written down since the last time.
    pub(super) fn log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    pub(super) fn report(&self, bundle: &str) -> Report {
        let reports = self.said.iter().rev().filter_map(|message| match message {
            ToHub::Report(report) if report.bundle == bundle => Some(report.clone()),
            _ => None,
        });
        reports.into_iter().next().expect("a report")
    }

    pub(super) fn words(&self, bundle: &str) -> String {
        let report = self.report(bundle);
        let drifted = if report.drifted { " drifted" } else { "" };
        let problem = report.problems.first().map_or(String::new(), |problem| {
            let is_final = if problem.is_final { "final: " } else { "" };
            let object =
                problem.object.as_ref().map_or(String::new(), |object| format!("{object} "));
            format!(" [{is_final}{object}{}]", problem.message)
        });
        format!("{} {}{drifted}{problem}", report.sync, report.health)
    }

    /// Assigns a bundle through a whole delta with all its parts.
    pub(super) fn assign(&mut self, bundle: &str, settings: Settings, manifests: &[Json]) {
        self.assign_with(bundle, settings, manifests, permit(0));
    }

    pub(super) fn assign_with(
        &mut self,
        bundle: &str,
        settings: Settings,
        manifests: &[Json],
        permit: Permit,
    ) {
        let parts = parts(settings, manifests);
        let entry = run(&parts.variant, permit);
        let delta = self.delta(&[(bundle, entry)], &[]);
        self.send_parts(delta, &parts);
    }

    pub(super) fn send_parts(&mut self, delta: Delta, parts: &Parts) {
        self.hub(ToSpoke::Delta(delta));
        self.hub(variant_part(&parts.variant));
        for body in &parts.bodies {
            self.hub(body_part(body));
        }
    }

    pub(super) fn remove(&mut self, bundle: &str, permit: Permit) {
        let delta = self.delta(&[(bundle, Entry::Remove(permit))], &[]);
        self.hub(ToSpoke::Delta(delta));
    }

    pub(super) fn forget(&mut self, bundle: &str) {
        let delta = self.delta(&[], &[bundle]);
        self.hub(ToSpoke::Delta(delta));
    }

    /// The head of the next change.
    pub(super) fn delta(&mut self, set: &[(&str, Entry)], forget: &[&str]) -> Delta {
        let base = ledger::root(&self.entries);
        self.fence.generation += 1;
        for (name, entry) in set {
            self.entries.insert((*name).to_owned(), entry.clone());
        }
        for name in forget {
            self.entries.remove(*name);
        }
        Delta {
            fence: self.fence.clone(),
            fence_mac: vec![7],
            base,
            root: ledger::root(&self.entries),
            set: set.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect(),
            forget: forget.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// Somebody else changes an object: our manager loses a field.
    pub(super) fn meddle(&mut self, name: &str) {
        let thing = self.thing_mut(name);
        for digest in thing.managed.values_mut() {
            *digest = Digest::of(b"less");
        }
        self.touch(name);
    }

    /// Something of an object changed without our manager losing a field.
    pub(super) fn touch(&mut self, name: &str) {
        self.serial += 1;
        let serial = self.serial;
        let thing = self.thing_mut(name);
        thing.resource_version = serial;
        let seen = self.look_at(name);
        self.step(Event::Observed(Observation::Seen(seen)));
    }

    pub(super) fn set_status(&mut self, name: &str, status: Json) {
        self.thing_mut(name).manifest["status"] = status;
        self.touch(name);
    }

    /// Somebody deletes an object by hand.
    pub(super) fn destroy(&mut self, name: &str) {
        let identity = self.find(name);
        let thing = self.things.remove(&identity).expect("a thing");
        self.step(Event::Observed(Observation::Gone { identity, uid: thing.uid }));
    }

    pub(super) fn find(&self, name: &str) -> Identity {
        let found = self.things.keys().find(|identity| identity.name == name);
        found.cloned().unwrap_or_else(|| panic!("no {name}"))
    }

    pub(super) fn thing_mut(&mut self, name: &str) -> &mut Thing {
        let identity = self.find(name);
        self.things.get_mut(&identity).expect("a thing")
    }

    /// Puts an object into the cluster that somebody else made.
    pub(super) fn put(&mut self, manifest: Json) {
        let identity = object::identity(&manifest).unwrap();
        self.serial += 1;
        let thing = Thing {
            uid: format!("u{}", self.serial),
            resource_version: self.serial,
            manifest,
            managed: BTreeMap::new(),
            deleting: false,
            finalizers: Vec::new(),
        };
        self.things.insert(identity, thing);
    }

    /// Tells the watch of each kind everything, as after its start.
    pub(super) fn list(&mut self, kinds: Vec<Kind>) -> Vec<Event> {
        let mut events = Vec::new();
        for kind in kinds {
            events.push(Observation::Restarted(kind.clone()));
            let of_kind = self.things.iter().filter(|(identity, _)| identity.kind == kind.kind);
            events.extend(of_kind.map(|(identity, one)| Observation::Seen(live(identity, one))));
            events.push(Observation::Listed(kind));
        }
        events.into_iter().map(Event::Observed).collect()
    }

    /// An object as its watch would show it now.
    pub(super) fn look_at(&self, name: &str) -> Live {
        let identity = self.find(name);
        live(&identity, &self.things[&identity])
    }

    fn carry_out(&mut self, effect: Effect) -> Vec<Event> {
        match effect {
            Effect::Load => vec![Event::Started {
                records: self.records.clone(),
                cluster_uid: "cluster".into(),
            }],
            Effect::Send(message) => {
                self.said.push(message);
                Vec::new()
            }
            Effect::Store { token, write } => vec![Event::Stored { token, result: self.store(write) }],
            Effect::Execute { id, op } => self.execute(id, op),
            Effect::Watch(kinds) => {
                let new = kinds.keys().filter(|kind| !self.watched.contains_key(*kind));
                let new: Vec<Kind> = new.cloned().collect();
                self.watched = kinds;
                self.list(new)
            }
            Effect::EndSession { .. } => vec![Event::Disconnected],
            Effect::Halt { .. } => Vec::new(),
            Effect::Wake { at_mono_millis } => {
                self.wake = at_mono_millis;
                Vec::new()
            }
        }
    }

    fn store(&mut self, write: Write) -> Result<(), Failure> {
        if self.stores_fail {
            return Err(failure(Reason::Server, "etcd is away"));
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
            Op::Apply { manifest, manager, .. } => {
                let identity = object::identity(&manifest).unwrap();
                if self.immutable.contains(&identity.kind.kind)
                    && self.things.contains_key(&identity)
                {
                    let refused = failure(Reason::Invalid, "field is immutable");
                    return vec![done(Outcome::Failed(refused))];
                }
                let live = self.apply(manifest, manager);
                let mut events = vec![done(Outcome::Applied(live.clone()))];
                if self.watched.keys().any(|kind| kind.kind == live.identity.kind) {
                    events.push(Event::Observed(Observation::Seen(live)));
                }
                events
            }
            Op::Delete { identity, uid, .. } => self.delete(id, identity, uid),
        }
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

    fn delete(&mut self, id: u64, identity: Identity, uid: String) -> Vec<Event> {
        let done = |outcome| Event::Done { id, outcome };
        match self.things.get_mut(&identity) {
            Some(thing) if thing.uid != uid => {
                vec![done(Outcome::Failed(failure(Reason::Conflict, "uid differs")))]
            }
            Some(thing) if !thing.finalizers.is_empty() => {
                thing.deleting = true;
                let seen = live(&identity, thing);
                vec![done(Outcome::Deleted), Event::Observed(Observation::Seen(seen))]
            }
            Some(_) => {
                self.things.remove(&identity);
                vec![
                    done(Outcome::Deleted),
                    Event::Observed(Observation::Gone { identity, uid }),
                ]
            }
            None => vec![done(Outcome::Deleted)],
        }
    }

    fn note(&mut self, effect: &Effect) {
        let text = match effect {
            Effect::Load => "load".into(),
            Effect::Send(message) => self.say_message(message),
            Effect::Store { write, .. } => {
                let key = |key: &str| match key.split('/').collect::<Vec<_>>()[..] {
                    ["bundle", source, bundle, _] => format!("bundle/{source}/{bundle}"),
                    _ => key.to_owned(),
                };
                let puts = write.puts.iter().map(|(name, _)| key(name));
                let deletes = write.deletes.iter().map(|name| format!("-{}", key(name)));
                format!("store {}", puts.chain(deletes).collect::<Vec<_>>().join(" "))
            }
            Effect::Execute { op, .. } => say(op),
            Effect::Watch(kinds) => {
                let kinds: Vec<String> = kinds.keys().map(|kind| kind.kind.to_string()).collect();
                format!("watch {}", kinds.join(" "))
            }
            Effect::EndSession { why } => format!("end session: {why}"),
            Effect::Halt { why } => format!("halt: {why}"),
            // Timers are looked at where they matter.
            Effect::Wake { .. } => return,
        };
        self.log.push(text);
    }

    fn say_message(&self, message: &ToHub) -> String {
        match message {
            ToHub::Hello(hello) => {
                format!("send Hello at {}", hello.fence.generation)
            }
            ToHub::Holding(entries) => {
                format!("send Holding {}", entries.keys().cloned().collect::<Vec<_>>().join(" "))
            }
            ToHub::Need { variants, bodies } => {
                format!("send Need {} variants, {} bodies", variants.len(), bodies.len())
            }
            ToHub::Ack { generation, .. } => format!("send Ack {generation}"),
            ToHub::Nack { generation, message } => format!("send Nack {generation}: {message}"),
            ToHub::Report(report) => {
                format!("send Report {} {} {}", report.bundle, report.sync, report.health)
            }
            ToHub::Renew(_) => "send Renew".into(),
        }
    }
}

pub(super) fn run(variant: &Variant, permit: Permit) -> Entry {
    Entry::Run(Assignment {
        variant: variant.digest(),
        variables: Variables::default(),
        permit,
        rules: RULES,
    })
}

pub(super) fn variant_part(variant: &Variant) -> ToSpoke {
    ToSpoke::Variant(VariantPart {
        digest: variant.digest(),
        base: None,
        bytes: pack(&variant.encode(), b"").into(),
    })
}

pub(super) fn body_part(body: &Object) -> ToSpoke {
    ToSpoke::Body(BodyPart {
        digest: body.digest,
        base: None,
        bytes: pack(&body.body, b"").into(),
    })
}

fn say(op: &Op) -> String {
    match op {
        Op::Discover(kind) => format!("discover {}", kind.kind),
        Op::Get { identity, .. } => format!("get {identity}"),
        Op::Apply { manifest, .. } => format!("apply {}", object::identity(manifest).unwrap()),
        Op::Delete { identity, .. } => format!("delete {identity}"),
        Op::EnsureNamespace(name) => format!("ensure namespace {name}"),
    }
}

fn live(identity: &Identity, thing: &Thing) -> Live {
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
        object: Some(Arc::new(thing.manifest.clone())),
    }
}
