//! What goes over from one bundle to another, what stays, and what asks for a word.

use proto_model::Permit;
use proto_model::wishes::Prune;

use super::*;

fn some(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("object-{n}")).collect()
}

fn asking(names: &[(&str, Prune)], orphans: bool) -> Identities {
    let identity =
        |name: &str| Identity { kind: GroupKind::of("v1", "ConfigMap"), namespace: "shop".into(), name: name.into() };
    Identities { objects: names.iter().map(|(name, prune)| (identity(name), *prune)).collect(), orphans }
}

impl Hub {
    /// Entries that a publish brings, with the bundles that each moves.
    fn entries(&mut self, commit: &str, bundles: &[(&str, Pair)]) -> Vec<Vec<String>> {
        let all: Vec<String> = self.fleet.clusters.keys().cloned().collect();
        for command in self.commands(commit, bundles, &all.iter().map(String::as_str).collect::<Vec<_>>()) {
            self.waiting.push(command);
        }
        let mut out = Vec::new();
        while let Some(next) = self.waiting.next(&self.fleet, &self.world, &Guard::default(), self.now) {
            assert_eq!(next.complaints, []);
            let moves = next.entry.commands.iter().filter_map(|command| match command {
                Command::Move(moves) if !moves.clusters.0.is_empty() => Some(moves.bundle.clone()),
                _ => None,
            });
            let moves: Vec<String> = moves.collect();
            if !moves.is_empty() {
                out.push(moves);
            }
            self.fleet.apply(&next.entry).unwrap();
        }
        out
    }
}

#[test]
fn a_renamed_bundle_hands_all_over_in_one_entry() {
    let mut hub = Hub::new(&["a", "b"]);
    let many = hub.world.variant("ConfigMap", &names(30));
    hub.publish("c1", &[("old", many)]);
    assert_eq!(hub.entries("c2", &[("new", many)]), [["main/new", "main/old"]]);
    let old = hub.bundle("old");
    assert!(old.held.is_empty() && old.removing.contains(0) && old.emptied.is_empty(), "{old:?}");
    assert_eq!(old.permit(0), Permit::default(), "nothing is deleted");
    assert_eq!(hub.generation("a"), 2, "the spoke sees both at once");
}

#[test]
fn what_the_successor_does_not_name_counts() {
    let mut hub = Hub::new(&["a"]);
    let all = hub.world.variant("ConfigMap", &some(0..30));
    let most = hub.world.variant("ConfigMap", &some(0..29));
    let few = hub.world.variant("ConfigMap", &some(0..10));
    hub.publish("c1", &[("old", all)]);
    hub.publish("c2", &[("new", most)]);
    assert_eq!(hub.bundle("old").permit(0).deletions, 1, "one goes, the others go over");
    let mut hub = Hub { world: hub.world, ..Hub::new(&["a"]) };
    hub.publish("c1", &[("old", all)]);
    hub.publish("c2", &[("new", few)]);
    let old = hub.bundle("old");
    assert_eq!(old.held.get(&0).map(|hold| hold.objects), Some(20), "too many go");
    assert!(hub.bundle("new").is_at_goal(), "whose place it takes is there");
    hub.approve("old", "r1");
    let old = hub.bundle("old");
    assert!(old.removing.contains(0));
    assert_eq!(old.permit(0).deletions, 20);
}

#[test]
fn two_bundles_swap_objects_in_one_entry() {
    let mut hub = Hub::new(&["a"]);
    let (one, two) = (hub.world.variant("ConfigMap", &some(0..9)), hub.world.variant("ConfigMap", &some(9..18)));
    hub.publish("c1", &[("x", one), ("y", two)]);
    assert_eq!(hub.entries("c2", &[("x", two), ("y", one)]), [["main/x", "main/y"]]);
    assert!(hub.bundle("x").is_at_goal() && hub.bundle("y").is_at_goal());
    assert!(hub.bundle("x").permits.is_empty() && hub.bundle("y").permits.is_empty());
}

#[test]
fn nothing_is_handed_to_a_bundle_that_is_not_there() {
    let mut hub = Hub::new(&["a"]);
    let mine = hub.world.variant("ConfigMap", &some(0..2));
    let less = hub.world.variant("ConfigMap", &some(0..1));
    let theirs = hub.world.variant("ConfigMap", &some(10..40));
    let taken = hub.world.variant("ConfigMap", &some(1..2));
    hub.publish("c1", &[("giver", mine), ("taker", theirs)]);
    // The taker would lose thirty objects, which the guard holds.
    assert_eq!(hub.entries("c2", &[("giver", less), ("taker", taken)]), [[""; 0]; 0]);
    let giver = hub.bundle("giver");
    assert!(!giver.is_at_goal() && giver.held.is_empty(), "it waits, and not for the guard");
    hub.approve("taker", "r1");
    assert!(hub.bundle("taker").is_at_goal() && hub.bundle("giver").is_at_goal());
    assert_eq!(hub.bundle("giver").permit(0), Permit::default());
    assert_eq!(hub.bundle("taker").permit(0).deletions, 30);
}

/// A spoke that was away for both commits never saw that the object had gone over.
#[test]
fn what_is_let_go_again_on_its_way_over_may_be_deleted() {
    let mut hub = Hub::new(&["a"]);
    let (both, one) = (hub.world.variant("ConfigMap", &some(0..2)), hub.world.variant("ConfigMap", &some(0..1)));
    let (theirs, more) = (
        hub.world.variant("ConfigMap", &some(5..6)),
        hub.world.variant("ConfigMap", &["object-1".into(), "object-5".into()]),
    );
    hub.publish("c1", &[("giver", both), ("taker", theirs)]);
    hub.publish("c2", &[("giver", one), ("taker", more)]);
    assert_eq!(hub.bundle("giver").permit(0), Permit::default());
    let mut settled =
        Hub { fleet: hub.fleet.clone(), waiting: Waiting::new(), world: World(hub.world.0.clone()), ..hub };
    hub = Hub {
        waiting: Waiting::new(),
        fleet: settled.fleet.clone(),
        world: World(settled.world.0.clone()),
        now: settled.now,
    };
    hub.publish("c3", &[("giver", one), ("taker", theirs)]);
    assert_eq!((hub.bundle("giver").permit(0).deletions, hub.bundle("taker").permit(0).deletions), (1, 1));
    // One that has seen it has nothing left to delete there.
    let generation = settled.generation("a");
    settled.report("a", "giver", generation, Some(one));
    settled.publish("c3", &[("giver", one), ("taker", theirs)]);
    assert_eq!(settled.bundle("giver").permit(0).deletions, 0);
}

#[test]
fn moves_that_hand_over_too_early_are_complained_of() {
    let mut hub = Hub::new(&["a"]);
    let pair = hub.world.variant("ConfigMap", &names(3));
    hub.publish("c1", &[("old", pair)]);
    for command in hub.commands("c2", &[("new", pair)], &["a"]) {
        let entry = Entry { parent: hub.fleet.revision, at_unix_millis: hub.now, commands: vec![command] };
        hub.fleet.apply(&entry).unwrap();
    }
    let one = |bundle: &str| crate::command::BundleMoves {
        bundle: bundle.into(),
        clusters: crate::command::Bits([0].into()),
        ..Default::default()
    };
    let lint = |moves: &[crate::command::BundleMoves]| {
        check::lint(&Guard::default(), &mut check::Losses::new(&hub.fleet, &hub.world), moves)
    };
    assert_eq!(lint(&[one("main/old"), one("main/new")]), []);
    let early = check::Complaint::Early { bundle: "main/old".into(), cluster: 0, to: "main/new".into() };
    assert_eq!(lint(&[one("main/old")]), [early]);
}

#[test]
fn what_asks_for_a_word_waits_for_it() {
    let mut hub = Hub::new(&["a"]);
    let both = hub.world.of(asking(&[("a", Prune::Confirm), ("b", Prune::Delete)], false));
    let less = hub.world.of(asking(&[("b", Prune::Delete)], false));
    hub.publish("c1", &[("web", both)]);
    hub.publish("c2", &[("web", less)]);
    assert_eq!(hub.bundle("web").held.get(&0).map(|hold| hold.objects), Some(1), "one object, and yet");
    hub.approve("web", "r1");
    let web = hub.bundle("web");
    assert!(web.is_at_goal());
    assert!(web.permit(0).confirmed && web.permit(0).deletions == 1, "{:?}", web.permit(0));
}

#[test]
fn a_bundle_that_orphans_goes_and_leaves_all() {
    let mut hub = Hub::new(&["a"]);
    let many: Vec<String> = names(30);
    let all: Vec<(&str, Prune)> = many.iter().map(|name| (name.as_str(), Prune::Delete)).collect();
    let pair = hub.world.of(asking(&all, true));
    hub.publish("c1", &[("web", pair)]);
    hub.publish("c2", &[]);
    let web = hub.bundle("web");
    assert!(web.held.is_empty() && web.removing.contains(0) && web.emptied.is_empty(), "{web:?}");
    assert_eq!(web.permit(0), Permit { orphan: true, ..Permit::default() });
    // It comes back before the cluster heard of that: what it names no more is left there, as was said.
    let plain = hub.world.variant("ConfigMap", &names(3));
    hub.publish("c3", &[("web", plain)]);
    assert_eq!(hub.bundle("web").permit(0), Permit { orphan: true, ..Permit::default() });
    let generation = hub.generation("a");
    hub.report("a", "web", generation, Some(plain));
    let less = hub.world.variant("ConfigMap", &names(2));
    hub.publish("c4", &[("web", less)]);
    assert_eq!(hub.bundle("web").permit(0), Permit { deletions: 1, ..Permit::default() }, "from then on as ever");
}

#[test]
fn what_asks_to_be_kept_holds_nothing_up() {
    let mut hub = Hub::new(&["a"]);
    let many: Vec<String> = names(30);
    let all: Vec<(&str, Prune)> = many.iter().map(|name| (name.as_str(), Prune::Keep)).collect();
    let pair = hub.world.of(asking(&all, false));
    hub.publish("c1", &[("web", pair)]);
    hub.publish("c2", &[]);
    let web = hub.bundle("web");
    assert!(web.held.is_empty() && web.removing.contains(0) && web.emptied.is_empty(), "{web:?}");
    assert_eq!(web.permit(0), Permit::default());
}
