//! What waits for the leader gets its turn.

use super::*;

fn enrol(cluster: &str) -> Command {
    Command::Enrol { cluster: cluster.into(), token: "t".into(), key: Digest::of(cluster.as_bytes()) }
}

fn attach(cluster: &str, session: u64) -> Command {
    Command::Attach { cluster: cluster.into(), session, presented: 0, uid: "u".into() }
}

#[test]
fn many_attach_in_one_entry_and_who_is_refused_harms_nobody() {
    let mut hub = Hub::new(&[]);
    let admits = Token { names: vec!["*".into()], ..token(100) };
    hub.waiting.push(Command::Token(admits));
    for cluster in ["a", "b"] {
        hub.waiting.push(enrol(cluster));
        hub.waiting.push(attach(cluster, 1));
    }
    hub.waiting.push(attach("nobody", 1));
    hub.waiting.push(attach("a", 1));
    hub.waiting.push(attach("b", 2));
    let mut sizes = Vec::new();
    while let Some(next) = hub.waiting.next(&hub.fleet, &hub.world, &Guard::default(), hub.now) {
        sizes.push((next.entry.commands.len(), hub.fleet.apply(&next.entry).is_ok()));
    }
    assert_eq!(sizes, [(5, true), (1, false), (1, false), (1, true)]);
    assert_eq!((hub.fleet.clusters["a"].session, hub.fleet.clusters["b"].session), (1, 2));
}

#[test]
fn moves_take_turns_with_what_never_pauses() {
    let mut hub = Hub::new(&["a"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    for command in hub.commands("c1", &[("web", pair)], &["a"]) {
        hub.waiting.push(command);
    }
    for turn in 0..3 {
        // Somebody always has something to say.
        hub.waiting.push(Command::Token(Token { id: format!("t{turn}"), ..token(1) }));
        let next = hub.waiting.next(&hub.fleet, &hub.world, &Guard::default(), hub.now).unwrap();
        hub.fleet.apply(&next.entry).unwrap();
    }
    assert!(hub.bundle("web").is_at_goal());
    assert!(!hub.waiting.is_empty());
}

#[test]
fn moves_that_wait_for_room_are_looked_at_again_where_their_bundle_changed() {
    let mut hub = Hub::new(&[]);
    let all: Vec<String> = (0..3_000).map(|n| format!("c{n}")).collect();
    let declared = all.iter().map(|name| (name.clone(), BTreeMap::from([("a".into(), "b".into())]))).collect();
    while let Some(command) = publish::declare(&hub.fleet, "main", &declared) {
        hub.waiting.push(command);
        hub.run();
    }
    let (all, pair) = (all.iter().map(String::as_str).collect::<Vec<_>>(), hub.world.variant("ConfigMap", &names(2)));
    for command in hub.commands("c1", &[("x", pair), ("y", pair)], &all) {
        hub.waiting.push(command);
    }
    while hub.fleet.bundles.get("main/x").is_none_or(|bundle| bundle.assigned.is_empty()) {
        let next = hub.waiting.next(&hub.fleet, &hub.world, &Guard::default(), hub.now).unwrap();
        hub.fleet.apply(&next.entry).unwrap();
    }
    assert!(hub.bundle("y").assigned.is_empty(), "no room for both in one entry");
    let other = hub.world.variant("ConfigMap", &names(3));
    for command in hub.commands("c2", &[("x", pair), ("y", other)], &all) {
        hub.waiting.push(command);
    }
    hub.run();
    assert_eq!(hub.fleet.assigned(&hub.bundle("y"), 0), Some(other));
    assert_eq!(hub.generation("c0"), 2, "once for each bundle");
}

#[test]
fn tokens_that_ran_out_make_room() {
    let mut fleet = Fleet::new("h");
    for n in 0..limits::JOIN_TOKENS_MAX {
        let admits = Token { id: format!("t{n}"), names: vec!["*".into()], expires_unix_millis: 10, ..token(1) };
        apply(&mut fleet, Command::Token(admits)).unwrap();
        let cluster = format!("c{n}");
        let enrol = Command::Enrol { cluster, token: format!("t{n}"), key: Digest([1; 32]) };
        apply(&mut fleet, enrol).unwrap();
    }
    let more = Token { id: "more".into(), ..token(1) };
    assert!(apply(&mut fleet, Command::Token(more.clone())).is_err(), "none has run out yet");
    let entry = Entry { parent: fleet.revision, at_unix_millis: 20, commands: vec![Command::Token(more)] };
    fleet.apply(&entry).unwrap();
    assert_eq!(fleet.tokens.len(), 1);
}
