//! What takes effect whole or not at all, whatever its size, and what is never taken back.

use super::*;

/// All entries that wait, one by one.
fn entries(hub: &mut Hub) -> Vec<Entry> {
    let mut out = Vec::new();
    while let Some(next) = hub.waiting.next(&hub.fleet, &hub.world, &Guard::default(), hub.now) {
        assert_eq!(next.complaints, []);
        hub.fleet.apply(&next.entry).unwrap();
        out.push(next.entry);
    }
    out
}

fn labels(name: &str) -> BTreeMap<String, String> {
    (0..8).map(|n| (format!("label-{n}.example.com/of-some-length"), format!("{name}-{n}"))).collect()
}

#[test]
fn a_large_fleet_fits_its_entries() {
    let mut hub = Hub::new(&[]);
    let declared: BTreeMap<_, _> =
        (0..1_000).map(|n| format!("cluster-{n}")).map(|name| (name.clone(), labels(&name))).collect();
    while let Some(command) = publish::declare(&hub.fleet, "main", &declared) {
        hub.waiting.push(command);
        assert!(entries(&mut hub).iter().all(|entry| entry.encode().len() <= limits::ENTRY_BYTES_MAX));
    }
    assert_eq!(hub.fleet.clusters.len(), 1_000);
    let pair = hub.world.variant("ConfigMap", &names(6));
    let long = "b".repeat(50);
    let bundles: Vec<String> = (0..150).map(|n| format!("{long}-{n}")).collect();
    let wanted: Vec<(&str, Pair)> = bundles.iter().map(|name| (&**name, pair)).collect();
    let names: Vec<&str> = declared.keys().map(String::as_str).collect();
    for command in hub.commands("c1", &wanted, &names) {
        hub.waiting.push(command);
    }
    assert!(entries(&mut hub).iter().all(|entry| entry.encode().len() <= limits::ENTRY_BYTES_MAX));
    assert!(hub.fleet.bundles.values().all(|bundle| bundle.is_at_goal() && bundle.assigned.len() == 1_000));
    // A report of every bundle in a few clusters, then nothing is left in Git.
    let report = hub.a_report(&pair);
    for bundle in &bundles {
        for cluster in 0..5 {
            let report = Report { bundle: format!("main/{bundle}"), ..report.clone() };
            hub.waiting.report(format!("cluster-{cluster}"), report);
        }
    }
    for command in hub.commands("c2", &[], &[]) {
        hub.waiting.push(command);
    }
    for entry in entries(&mut hub) {
        assert!(entry.encode().len() <= limits::ENTRY_BYTES_MAX, "{}", entry.encode().len());
        let moves = entry.commands.iter().map(|command| match command {
            Command::Move(moves) => moves.clusters.0.len(),
            _ => 0,
        });
        assert!(moves.sum::<u64>() <= limits::MOVES_PER_ENTRY_MAX as u64);
    }
    assert!(hub.fleet.bundles.values().all(|bundle| bundle.held.len() == 1_000));
    assert_eq!(Fleet::decode(&hub.fleet.encode()).unwrap(), hub.fleet);
}

#[test]
fn sets_of_clusters_of_any_size_are_read_back() {
    // Spread out, so that they are stored one by one.
    let clusters = crate::command::Bits((0..60_000).filter(|number| number % 2 == 0).collect());
    let moves = crate::command::BundleMoves { bundle: "main/web".into(), clusters, ..Default::default() };
    let entry = Entry { parent: 0, at_unix_millis: 0, commands: vec![Command::Move(moves)] };
    assert_eq!(Entry::decode(&entry.encode()).unwrap(), entry);
}

#[test]
fn a_publish_that_lost_a_part_changes_nothing() {
    let mut hub = Hub::new(&["a", "b"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish("c1", &[("web", pair)]);
    let other = hub.world.variant("ConfigMap", &names(3));
    let mut commands = hub.commands("c2", &[("web", other)], &["a", "b"]);
    assert!(matches!(commands.remove(0), Command::Goal(_)));
    let before = hub.fleet.clone();
    let entry = Entry { parent: before.revision, at_unix_millis: 0, commands };
    assert!(hub.fleet.apply(&entry).is_err(), "a goal that is not whole would read as a removal");
    assert_eq!(hub.fleet, before);
}

#[test]
fn a_bundle_that_is_wanted_again_outlives_the_word_that_it_is_gone() {
    let mut hub = Hub::new(&["a"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish("c1", &[("web", pair)]);
    hub.publish("c2", &[]);
    hub.approve("web", "r1");
    assert!(hub.bundle("web").removing.contains(0));
    // The report and the publish are folded into one entry.
    let gone = Report { variant: None, objects: 0, generation: hub.generation("a"), ..hub.a_report(&pair) };
    for command in hub.commands("c3", &[("web", pair)], &["a"]) {
        hub.waiting.push(command);
    }
    hub.waiting.report("a".into(), Report { bundle: "main/web".into(), ..gone });
    hub.run();
    assert_eq!(hub.fleet.assigned(&hub.bundle("web"), 0), Some(pair));
}

#[test]
fn an_approval_ends_with_what_was_shown() {
    let mut hub = Hub::new(&["a", "b"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish("c1", &[("web", pair)]);
    hub.publish("c2", &[]);
    let known = hub.bundle("web");
    let shown = check::held_digest(&check::held(&hub.fleet, &known));
    // What is held changes before the word is given.
    hub.publish_to("c3", &[("web", pair)], &["a"]);
    let deed = Deed::ApproveDeletions { bundle: "main/web".into(), shown };
    assert!(apply(&mut hub.fleet, operator("r1", deed)).is_err());
    // And after it, before the move is made.
    let known = hub.bundle("web");
    let shown = check::held_digest(&check::held(&hub.fleet, &known));
    apply(&mut hub.fleet, operator("r2", Deed::ApproveDeletions { bundle: "main/web".into(), shown })).unwrap();
    assert_eq!(hub.bundle("web").approved.len(), 1);
    for command in hub.commands("c4", &[("web", pair)], &["a", "b"]) {
        apply(&mut hub.fleet, command).unwrap();
    }
    assert!(hub.bundle("web").approved.is_empty());
    hub.publish_to("c5", &[("web", pair)], &["a"]);
    assert!(hub.bundle("web").held.contains_key(&1), "held anew, and shown anew");
}

#[test]
fn a_rewind_that_was_approved_is_followed_once() {
    let mut hub = Hub::new(&["a"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish_to("c2", &[("web", pair)], &["a"]);
    let rewind = |commit: &str| Command::Rewind { source: "main".into(), commit: commit.into() };
    let approve = Deed::ApproveRewind { source: "main".into(), commit: "c1".into() };
    apply(&mut hub.fleet, rewind("c1")).unwrap();
    apply(&mut hub.fleet, operator("r1", approve)).unwrap();
    // The accepted head once more, for a cluster that left: the word stands.
    hub.publish_to("c2", &[("web", pair)], &[]);
    assert!(hub.fleet.sources["main"].rewind.as_ref().unwrap().approved);
    // The source came back to the accepted head by itself: the next rewind is another one.
    apply(&mut hub.fleet, rewind("c2")).unwrap();
    assert_eq!(hub.fleet.sources["main"].rewind, None);
    apply(&mut hub.fleet, rewind("c1")).unwrap();
    assert!(!hub.fleet.sources["main"].rewind.as_ref().unwrap().approved);
}

#[test]
fn a_source_is_forgotten_once_nothing_of_it_is_left() {
    let mut hub = Hub::new(&["a"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish_to("c1", &[("web", pair)], &["a"]);
    let forget = |source: &str| Command::Forget { source: source.into() };
    assert!(apply(&mut hub.fleet, forget("main")).is_err(), "its bundle is still there");
    assert!(apply(&mut hub.fleet, forget("other")).is_err());
    let url = |url: &str| {
        let (source, url) = ("mainly".into(), url.into());
        Command::Source { source, url, reference: "main".into(), path: String::new(), verified: false }
    };
    apply(&mut hub.fleet, url("/one")).unwrap();
    apply(&mut hub.fleet, forget("mainly")).unwrap();
    assert_eq!(hub.fleet.sources.keys().collect::<Vec<_>>(), ["main"]);
}

#[test]
fn a_source_that_is_read_from_another_place_forgets_its_head_and_says_so() {
    let mut hub = Hub::new(&["a"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish_to("c1", &[("web", pair)], &["a"]);
    let from = |url: &str| {
        let (source, url) = ("main".into(), url.into());
        Command::Source { source, url, reference: "main".into(), path: String::new(), verified: false }
    };
    let before = hub.fleet.sources["main"].url.clone();
    apply(&mut hub.fleet, from(&before)).unwrap();
    assert!(hub.fleet.sources["main"].head.is_some() && hub.fleet.audit.is_empty());
    apply(&mut hub.fleet, from("/elsewhere")).unwrap();
    assert_eq!(hub.fleet.sources["main"].head, None);
    assert!(hub.fleet.audit.back().unwrap().what.contains("c1"), "{:?}", hub.fleet.audit);
    assert_eq!(hub.bundle("web").goal.len(), 1, "what clusters should run stays until the new head says otherwise");
}
