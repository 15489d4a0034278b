//! What lies on disk may be damaged: it is refused, or means something, and never ends the process.

use proptest::prelude::*;

use super::*;

/// A hub that has seen a bit of everything, and entries that fit it.
fn hub() -> (Hub, Vec<Entry>) {
    let mut hub = Hub::new(&["a", "b"]);
    let pairs = [3, 1].map(|count| hub.world.variant("ConfigMap", &names(count)));
    hub.publish("c1", &[("web", pairs[0])]);
    hub.report("a", "web", 1, Some(pairs[0]));
    let admits = Token { names: vec!["*".into()], ..token(9) };
    apply(&mut hub.fleet, Command::Token(admits)).unwrap();
    let mut entries = Vec::new();
    let mut fleet = hub.fleet.clone();
    let mut commands = hub.commands("c2", &[("web", pairs[1])], &["a", "b"]);
    commands.push(Command::Enrol { cluster: "c".into(), token: "t".into(), key: Digest([1; 32]) });
    commands.push(Command::Attach { cluster: "c".into(), session: 1, presented: 0, uid: "u".into() });
    commands.push(operator("r", Deed::ReplaceCluster("a".into())));
    let moves = crate::command::BundleMoves {
        bundle: "main/web".into(),
        clusters: crate::command::Bits([0, 1].into()),
        permits: vec![(0, proto_model::Permit { deletions: 2, ..Default::default() }, 2)],
        held: vec![(4, crate::command::Bits([1].into()))],
        stays: crate::command::Bits([1].into()),
        hands: crate::command::Bits([0].into()),
    };
    commands.push(Command::Move(moves));
    for command in commands {
        let entry = Entry { parent: fleet.revision, at_unix_millis: 7, commands: vec![command] };
        fleet.apply(&entry).unwrap();
        entries.push(entry);
    }
    (hub, entries)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_entry_is_refused_or_means_something(
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let (hub, entries) = hub();
        let mut fleet = hub.fleet;
        for entry in entries {
            let mut bytes = entry.encode();
            let place = at.index(bytes.len());
            bytes[place] = byte;
            if let Some(cut) = &cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(read) = Entry::decode(&bytes) {
                prop_assert_eq!(&Entry::decode(&read.encode()).unwrap(), &read);
                let mut damaged = fleet.clone();
                let before = damaged.clone();
                if damaged.apply(&read).is_err() {
                    prop_assert_eq!(&damaged, &before, "refused, and something took effect");
                }
            }
            fleet.apply(&entry).unwrap();
        }
    }

    #[test]
    fn a_damaged_snapshot_is_refused_or_means_something(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (hub, entries) = hub();
        let mut bytes = hub.fleet.encode();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        if let Ok(mut read) = Fleet::decode(&bytes) {
            for entry in entries {
                let _ = read.apply(&entry);
            }
            let clusters: Vec<Cluster> = read.clusters.values().cloned().collect();
            for cluster in clusters {
                let _ = read.entries(&cluster, |_| None);
            }
            let _ = crate::plan::plan(&read, &hub.world, &Guard::default(), read.bundles.keys());
        }
    }
}
