//! Many seeds of trouble; once it stops, the cluster is what was assigned, and nothing else was
//! ever touched.

use std::collections::BTreeSet;

use proto_model::variant::Settings;
use proto_model::{Health, Permit, Sync, limits};
use serde_json::Value as Json;

use super::fake::{World, config, failure, manifest};
use crate::agent::Event;
use crate::port::Reason;

/// A small generator: the same seed gives the same run.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

pub(super) const BUNDLES: [&str; 3] = ["main/one", "main/two", "main/three"];

pub(super) fn content(dice: &mut Dice, bundle: usize) -> Vec<Json> {
    let mut objects = Vec::new();
    for n in 0..6 {
        if dice.roll(2) == 0 {
            objects.push(config(&format!("b{bundle}-{n}"), &dice.roll(3).to_string()));
        }
    }
    if dice.roll(3) == 0 {
        objects.push(manifest("v1", "Namespace", "common"));
    }
    objects
}

pub(super) fn everything() -> Permit {
    let namespace = proto_model::GroupKind::of("v1", "Namespace");
    Permit { deletions: 100, protected: BTreeSet::from([namespace]), ..Permit::default() }
}

pub(super) fn disturb(world: &mut World, dice: &mut Dice) {
    let ours: Vec<String> = world.things.keys().map(|identity| identity.name.clone()).collect();
    let ours: Vec<String> = ours.into_iter().filter(|name| name.starts_with('b')).collect();
    let one = (!ours.is_empty()).then(|| ours[dice.roll(ours.len() as u64) as usize].clone());
    match (dice.roll(9), one) {
        (0, Some(name)) => world.meddle(&name),
        (1, Some(name)) => world.destroy(&name),
        (2, _) => {
            let parts = ["apply", "get", "delete", "discover", "common", "dry-run", "contents of"];
            let reasons = [
                Reason::Server,
                Reason::Conflict,
                Reason::Unreachable,
                Reason::Throttled,
                Reason::Invalid,
                Reason::Webhook,
            ];
            let reason = reasons[dice.roll(reasons.len() as u64) as usize];
            let part = parts[dice.roll(parts.len() as u64) as usize];
            world.failures.insert(part.into(), failure(reason, "trouble"));
        }
        (3, _) => world.failures.clear(),
        (4, _) => world.stores_fail = !world.stores_fail,
        (5, _) => {
            world.restart();
            world.connect();
        }
        (6, _) => {
            world.step(Event::Lease(false));
            world.pass(dice.roll(5_000));
            world.step(Event::Lease(true));
            world.connect();
        }
        (7, _) => {
            world.step(Event::Disconnected);
            world.pass(dice.roll(5_000));
            world.connect();
        }
        _ => world.pass(dice.roll(20_000)),
    }
}

/// The hub's part after trouble: what the spoke did not take is sent once more.
pub(super) fn heal(world: &mut World, wanted: &[Vec<Json>]) {
    world.failures.clear();
    world.stores_fail = false;
    world.step(Event::Disconnected);
    world.pass(limits::RETRY_MILLIS_MAX * 2);
    world.connect();
    let bundles: Vec<(&str, &[Json])> =
        BUNDLES.iter().zip(wanted).map(|(name, objects)| (*name, objects.as_slice())).collect();
    world.resend(&bundles, everything());
    for _ in 0..4 {
        world.pass(limits::CONTEST_MILLIS);
    }
}

fn run(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::new();
    world.is_batched = seed % 2 == 1;
    world.put(config("foreign", "theirs"));
    let mut wanted: Vec<Vec<Json>> = vec![Vec::new(); BUNDLES.len()];
    for _ in 0..40 {
        if dice.roll(3) == 0 {
            let which = dice.roll(BUNDLES.len() as u64) as usize;
            wanted[which] = content(&mut dice, which);
            world.assign_with(BUNDLES[which], Settings::default(), &wanted[which], everything());
        }
        disturb(&mut world, &mut dice);
    }
    heal(&mut world, &wanted);
    let there: BTreeSet<String> = world.things.keys().map(ToString::to_string).collect();
    let mut should: BTreeSet<String> =
        wanted.iter().flatten().map(|one| proto_model::object::identity(one).unwrap().to_string()).collect();
    should.insert("ConfigMap shop/foreign".into());
    assert_eq!(there, should, "seed {seed}");
    for bundle in BUNDLES {
        let report = world.report(bundle);
        let words = (report.sync, report.health, report.drifted);
        assert_eq!(words, (Sync::Applied, Health::Healthy, false), "seed {seed} {bundle}");
    }
    for object in wanted.iter().flatten().filter(|one| one["kind"] == "ConfigMap") {
        let name = object["metadata"]["name"].as_str().unwrap();
        let found = world.thing_mut(name).manifest["data"].clone();
        assert_eq!(found, object["data"], "seed {seed} {name}");
    }
    assert_eq!(world.thing_mut("foreign").manifest["data"]["value"], "theirs");
}

#[test]
fn after_trouble_the_cluster_is_what_was_assigned() {
    for seed in 0..200 {
        run(seed);
    }
}
