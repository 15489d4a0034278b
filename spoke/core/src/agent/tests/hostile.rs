//! Records of the ledger that were cut, garbled or swapped: never a panic, and never a deletion.

use proptest::prelude::*;
use proto_model::variant::Settings;
use serde_json::json;

use super::fake::{World, config, manifest};
use crate::agent::Event;

/// What happens to the bytes of a record.
#[derive(Clone, Debug)]
enum Harm {
    Cut(usize),
    Flip(usize, u8),
    Insert(usize, Vec<u8>),
    Repeat,
    Replace(Vec<u8>),
    Lose,
}

fn harm() -> impl Strategy<Value = Harm> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        any::<usize>().prop_map(Harm::Cut),
        (any::<usize>(), 1..=u8::MAX).prop_map(|(at, by)| Harm::Flip(at, by)),
        (any::<usize>(), bytes()).prop_map(|(at, what)| Harm::Insert(at, what)),
        Just(Harm::Repeat),
        bytes().prop_map(Harm::Replace),
        Just(Harm::Lose),
    ]
}

fn harmed(mut bytes: Vec<u8>, harm: &Harm) -> Option<Vec<u8>> {
    let at = |place: usize, bytes: &[u8]| place.checked_rem(bytes.len()).unwrap_or(0);
    match harm {
        Harm::Cut(place) => bytes.truncate(at(*place, &bytes)),
        Harm::Flip(place, by) => {
            let place = at(*place, &bytes);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= by;
            }
        }
        Harm::Insert(place, what) => {
            let place = at(*place, &bytes);
            bytes.splice(place..place, what.iter().copied());
        }
        Harm::Repeat => bytes.extend(bytes.clone()),
        Harm::Replace(what) => bytes.clone_from(what),
        Harm::Lose => return None,
    }
    Some(bytes)
}

/// A spoke that has worked: two bundles, several kinds, one on its way out.
fn worked() -> World {
    let mut world = World::new();
    let settings = Settings { namespace: Some("shop".into()), ..Settings::default() };
    let mut job = manifest("batch/v1", "Job", "j");
    job["spec"] = json!({"text": "ü\n\u{1}"});
    world.assign("main/web", settings, &[config("a", "1"), job, manifest("v1", "Namespace", "shop")]);
    world.assign("main/db", Settings::default(), &[config("b", "1")]);
    world.remove("main/db", super::fake::permit(0));
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn garbled_records_never_bring_it_down(
        harms in proptest::collection::vec((any::<usize>(), harm()), 1..4),
        swap in any::<bool>(),
    ) {
        let mut world = worked();
        let keys: Vec<String> = world.records.keys().cloned().collect();
        for (place, harm) in &harms {
            let key = &keys[place % keys.len()];
            let Some(bytes) = world.records.remove(key) else { continue };
            if let Some(bytes) = harmed(bytes, harm) {
                world.records.insert(key.clone(), bytes);
            }
        }
        if swap && world.records.len() > 1 {
            let some: Vec<String> = world.records.keys().take(2).cloned().collect();
            let (one, two) = (world.records[&some[0]].clone(), world.records[&some[1]].clone());
            world.records.insert(some[0].clone(), two);
            world.records.insert(some[1].clone(), one);
        }
        let before: Vec<_> = world.things.keys().cloned().collect();
        world.restart();
        world.connect();
        world.pass(120_000);
        world.step(Event::Lease(false));
        world.step(Event::Lease(true));
        world.pass(60_000);
        let halts = world.log().into_iter().filter(|line| line.starts_with("halt: "));
        for line in halts {
            prop_assert!(line.contains("can't be read") && line.contains("drover-system"), "{line}");
        }
        // Damage alone gives no right to delete: nothing was assigned that lets anything go.
        let after: Vec<_> = world.things.keys().cloned().collect();
        prop_assert!(before.iter().all(|one| after.contains(one)), "{before:?} -> {after:?}");
    }

    #[test]
    fn a_root_that_was_cut_stops_everything(place in any::<usize>()) {
        let mut world = worked();
        let root = world.records["ledger"].clone();
        world.records.insert("ledger".into(), root[..place % root.len()].to_vec());
        world.restart();
        world.connect();
        world.pass(60_000);
        let log = world.log();
        prop_assert_eq!(log.len(), 2, "{:?}", log);
        prop_assert!(log[1].starts_with("halt: the ledger of this cluster can't be read"), "{}", log[1]);
        prop_assert!(log[1].contains("restore the records in namespace drover-system"), "{}", log[1]);
    }
}
