//! A tiny cluster and a tiny hub that drive one machine, and write down what it does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proto_model::assign::{Assignment, Entry, RULES};
use proto_model::delta::{BodyPart, Delta, ToHub, ToSpoke, VariantPart};
use proto_model::variant::{Settings, Variant};
use proto_model::{Digest, Fence, Identity, Object, Permit, Report, Variables, object};
use serde_json::{Value as Json, json};

use super::cluster::live;
use super::log::say;
use crate::agent::{Agent, Effect, Event, Now};
use crate::ledger;
use crate::port::{Depth, Failure, Kind, Live, Note, Observation, Reason};
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
    /// Kinds that can't be listed.
    pub(super) unlisted: BTreeMap<Kind, Failure>,
    /// The search for marked objects does not come to its end.
    pub(super) is_search_held: bool,
    /// The next write finds that somebody removed the ledger.
    pub(super) is_ledger_gone: bool,
    /// Somebody else writes the ledger.
    pub(super) is_refused: bool,
    /// The ledger is not read until it is done by hand.
    pub(super) is_load_held: bool,
    /// Requests are kept back from here on, in order.
    pub(super) is_held: bool,
    /// Answers and observations that are there together are taken together.
    pub(super) is_batched: bool,
    pub(super) held: VecDeque<Effect>,
    pub(super) wake: Option<u64>,
    pub(super) log: Vec<String>,
    pub(super) said: Vec<ToHub>,
    pub(super) notes: Vec<Note>,
    pub(super) published: Vec<BTreeMap<String, String>>,
    /// How far the clock on the wall was set, in milliseconds.
    pub(super) wall: i64,
    pub(super) entries: BTreeMap<String, Entry>,
    pub(super) fence: Fence,
    pub(super) serial: u64,
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
            unlisted: BTreeMap::new(),
            is_search_held: false,
            is_ledger_gone: false,
            is_refused: false,
            is_load_held: false,
            is_held: false,
            is_batched: false,
            held: VecDeque::new(),
            wake: None,
            log: Vec::new(),
            said: Vec::new(),
            notes: Vec::new(),
            published: Vec::new(),
            wall: 0,
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
        self.hub(ToSpoke::Welcome { session_token: b"token".to_vec(), want_holding: false, want_reports });
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
            let is_seen = |event: &Event| matches!(event, Event::Done { .. } | Event::Observed(_));
            let mut together = vec![event];
            while self.is_batched && is_seen(&together[0]) && events.front().is_some_and(is_seen) {
                together.extend(events.pop_front());
            }
            let now = self.clock();
            for effect in self.agent.steps(together, now) {
                self.note(&effect);
                if self.is_held && matches!(effect, Effect::Execute { .. }) {
                    self.held.push_back(effect);
                } else {
                    events.extend(self.carry_out(effect));
                }
            }
        }
    }

    pub(super) fn clock(&self) -> Now {
        let unix_millis = (1_700_000_000_000 + self.now).saturating_add_signed(self.wall);
        Now { mono_millis: self.now, unix_millis }
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
            let Some(effect) = self.held.front() else {
                return;
            };
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
            let object = problem.object.as_ref().map_or(String::new(), |object| format!("{object} "));
            format!(" [{is_final}{object}{}]", problem.message)
        });
        format!("{} {}{drifted}{problem}", report.sync, report.health)
    }

    /// Assigns a bundle through a whole delta with all its parts.
    pub(super) fn assign(&mut self, bundle: &str, settings: Settings, manifests: &[Json]) {
        self.assign_with(bundle, settings, manifests, permit(0));
    }

    pub(super) fn assign_with(&mut self, bundle: &str, settings: Settings, manifests: &[Json], permit: Permit) {
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

    /// Assigns several bundles in one change from what the ledger holds, whatever was sent before.
    pub(super) fn resend(&mut self, bundles: &[(&str, &[Json])], permit: Permit) {
        let held = match self.records.get(ledger::ROOT_KEY) {
            Some(bytes) => ledger::Ledger::decode(bytes).unwrap().entries,
            None => BTreeMap::new(),
        };
        self.entries = held;
        let contents: Vec<Parts> = bundles.iter().map(|(_, objects)| parts(Settings::default(), objects)).collect();
        let set: Vec<(&str, Entry)> = bundles
            .iter()
            .zip(&contents)
            .map(|((name, _), content)| (*name, run(&content.variant, permit.clone())))
            .collect();
        let delta = self.delta(&set, &[]);
        self.hub(ToSpoke::Delta(delta));
        for content in &contents {
            self.hub(variant_part(&content.variant));
            for body in &content.bodies {
                self.hub(body_part(body));
            }
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
}

pub(super) fn run(variant: &Variant, permit: Permit) -> Entry {
    Entry::Run(Assignment { variant: variant.digest(), variables: Variables::default(), permit, rules: RULES })
}

pub(super) fn variant_part(variant: &Variant) -> ToSpoke {
    ToSpoke::Variant(VariantPart { digest: variant.digest(), base: None, bytes: pack(&variant.encode(), b"").into() })
}

pub(super) fn body_part(body: &Object) -> ToSpoke {
    ToSpoke::Body(BodyPart { digest: body.digest, base: None, bytes: pack(&body.body, b"").into() })
}
