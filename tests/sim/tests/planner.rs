//! Planning what is dirty equals planning everything.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use hub_core::catalog::{Amount, Guard, GuardSpec};
use hub_core::check::{Facts, Identities};
use hub_core::command::{Command, Pair};
use hub_core::fleet::Fleet;
use hub_core::lead::Waiting;
use hub_core::{plan, publish};
use proto_model::wishes::Prune;
use proto_model::{Digest, GroupKind, Identity};
use roaring::RoaringBitmap;
use tests_sim::Rng;

const CLUSTERS: u64 = 6;
const BUNDLES: u64 = 5;

/// Objects by variant.
#[derive(Default)]
struct World(BTreeMap<Digest, Arc<Identities>>);

impl Facts for World {
    fn identities(&self, pair: &Pair) -> Option<Arc<Identities>> {
        self.0.get(&pair.variant).cloned()
    }
}

impl World {
    /// A variant of some objects out of a few.
    fn variant(&mut self, rng: &mut Rng) -> Pair {
        let kind = if rng.chance(50) { "PersistentVolumeClaim" } else { "ConfigMap" };
        let first = rng.below(20);
        // Often two bundles name the same: then one hands it over to the other.
        let objects = (first..first + rng.below(24)).map(|n| {
            let kind = GroupKind::of("v1", kind);
            let prunes = [Prune::Delete, Prune::First, Prune::Confirm, Prune::Keep];
            let prune = if rng.chance(30) { rng.pick(&prunes).copied().unwrap_or_default() } else { Prune::Delete };
            (Identity { kind, namespace: "shop".into(), name: format!("object-{n}") }, prune)
        });
        let objects = Identities { objects: objects.collect(), orphans: rng.chance(100) };
        let variant = Digest::of(format!("{objects:?}").as_bytes());
        // Some bodies have not arrived.
        if rng.chance(980) {
            self.0.insert(variant, Arc::new(objects));
        }
        Pair { variant, variables: Digest::default() }
    }
}

fn head(rng: &mut Rng, world: &mut World, fleet: &Fleet, commit: u64) -> publish::Head {
    let mut bundles = BTreeMap::new();
    for n in 0..BUNDLES {
        let name = format!("main/b{n}");
        let known = fleet.bundles.get(&name);
        if rng.chance(150) {
            continue;
        }
        let mut goal: BTreeMap<Pair, RoaringBitmap> = BTreeMap::new();
        for cluster in fleet.clusters.values().map(|cluster| cluster.number) {
            let now = known.and_then(|bundle| fleet.goal(bundle, cluster));
            let pair = match now.filter(|_| rng.chance(700)) {
                Some(pair) => pair,
                None if rng.chance(200) => continue,
                None => world.variant(rng),
            };
            goal.entry(pair).or_default().insert(cluster);
        }
        let objects = rng.chance(200).then(|| Amount::Count(rng.below(8)));
        let spec = GuardSpec { max_deleted_objects: objects, ..GuardSpec::default() };
        let guard = Guard::default().tightened(&spec);
        bundles.insert(name.clone(), publish::Wanted { path: name, guard, goal: goal.into_iter().collect() });
    }
    publish::Head {
        source: "main".into(),
        commit: format!("{commit:040x}"),
        catalog: Digest::of(&commit.to_be_bytes()),
        bundles,
        ..publish::Head::default()
    }
}

fn declared(rng: &mut Rng) -> BTreeMap<String, BTreeMap<String, String>> {
    let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let names = (0..CLUSTERS).filter(|_| rng.chance(900));
    names.map(|n| (format!("c{n}"), labels.clone())).collect()
}

fn drain(waiting: &mut Waiting, fleet: &mut Fleet, world: &World, now: u64, what: &str) {
    let guard = Guard::default();
    while let Some(next) = waiting.next(fleet, world, &guard, now) {
        assert_eq!(next.complaints, [], "{what}");
        fleet.apply(&next.entry).unwrap();
    }
    let everything = plan::plan(fleet, world, &guard, fleet.bundles.keys());
    assert_eq!(everything.groups, [[]; 0], "{what}: nothing is dirty, and yet there is something to do");
}

#[test]
fn what_is_dirty_is_all_there_is_to_plan() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let (mut world, mut fleet, mut waiting) = (World::default(), Fleet::new("h"), Waiting::new());
        let mut now = 1_700_000_000_000;
        waiting.push(Command::Source {
            source: "main".into(),
            url: "/r".into(),
            reference: "main".into(),
            path: String::new(),
            verified: false,
        });
        drain(&mut waiting, &mut fleet, &world, now, "the beginning");
        for step in 0..25 {
            now += rng.below(8 * 3_600_000);
            let what = format!("seed {seed}, step {step}");
            if rng.chance(250) {
                let declare = publish::declare(&fleet, "main", &declared(&mut rng));
                declare.into_iter().for_each(|command| waiting.push(command));
            } else {
                let head = head(&mut rng, &mut world, &fleet, step);
                publish::publish(&fleet, &head).into_iter().for_each(|command| waiting.push(command));
            }
            drain(&mut waiting, &mut fleet, &world, now, &what);
        }
    }
}
