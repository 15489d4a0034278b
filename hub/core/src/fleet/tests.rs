//! Tests of Fleet: what an entry does, and what it refuses.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::{Digest, GroupKind, Health, Identity, Report, Sync, limits};

use super::*;
use crate::catalog::Guard;
use crate::check;
use crate::check::{Facts, Identities};
use crate::command::{Act, Command, Deed, Entry, Pair, Token};
use crate::lead::Waiting;
use crate::publish::{self, Wanted};

mod garbled;
mod handover;
mod parting;
mod queue;
mod whole;

/// Facts of a world in which a variant's digest names its objects.
#[derive(Default)]
struct World(BTreeMap<Digest, Identities>);

impl Facts for World {
    fn identities(&self, pair: &Pair) -> Option<Arc<Identities>> {
        self.0.get(&pair.variant).cloned().map(Arc::new)
    }
}

impl World {
    fn variant(&mut self, kind: &str, names: &[String]) -> Pair {
        let objects: Identities = names
            .iter()
            .map(|name| Identity { kind: GroupKind::of("v1", kind), namespace: "shop".into(), name: name.clone() })
            .collect();
        self.of(objects)
    }

    fn of(&mut self, objects: Identities) -> Pair {
        let variant = Digest::of(format!("{objects:?}").as_bytes());
        self.0.insert(variant, objects);
        Pair { variant, variables: Digest::default() }
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("object-{n}")).collect()
}

struct Hub {
    fleet: Fleet,
    waiting: Waiting,
    world: World,
    now: u64,
}

impl Hub {
    fn new(clusters: &[&str]) -> Self {
        let fleet = Fleet::new("h");
        let waiting = Waiting::new();
        let mut hub = Self { fleet, waiting, world: World::default(), now: 1_700_000_000_000 };
        hub.waiting.push(Command::Source {
            source: "main".into(),
            url: "/r".into(),
            reference: "main".into(),
            path: String::new(),
            verified: false,
        });
        let labels = |_: &&str| BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let declared = clusters.iter().map(|name| ((*name).to_owned(), labels(name))).collect();
        if let Some(declare) = publish::declare(&hub.fleet, "main", &declared) {
            hub.waiting.push(declare);
        }
        hub.run();
        hub
    }

    fn run(&mut self) {
        while let Some(next) = self.waiting.next(&self.fleet, &self.world, &Guard::default(), self.now) {
            assert_eq!(next.complaints, []);
            let bytes = next.entry.encode();
            let entry = Entry::decode(&bytes).unwrap();
            assert_eq!(entry, next.entry);
            self.fleet.apply(&entry).unwrap();
            let snapshot = Fleet::decode(&self.fleet.encode()).unwrap();
            assert_eq!(snapshot, self.fleet);
        }
    }

    fn publish(&mut self, commit: &str, bundles: &[(&str, Pair)]) {
        let all: Vec<String> = self.fleet.clusters.keys().cloned().collect();
        self.publish_to(commit, bundles, &all.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn publish_to(&mut self, commit: &str, bundles: &[(&str, Pair)], to: &[&str]) {
        for command in self.commands(commit, bundles, to) {
            self.waiting.push(command);
        }
        self.run();
    }

    fn commands(&self, commit: &str, bundles: &[(&str, Pair)], to: &[&str]) -> Vec<Command> {
        let clusters: roaring::RoaringBitmap = to.iter().map(|name| self.fleet.clusters[*name].number).collect();
        let head = publish::Head {
            source: "main".into(),
            commit: commit.into(),
            catalog: Digest::of(commit.as_bytes()),
            bundles: bundles
                .iter()
                .map(|(name, pair)| {
                    let wanted =
                        Wanted { path: (*name).into(), guard: Guard::default(), goal: vec![(*pair, clusters.clone())] };
                    (format!("main/{name}"), wanted)
                })
                .collect(),
            ..publish::Head::default()
        };
        publish::publish(&self.fleet, &head)
    }

    fn bundle(&self, name: &str) -> Arc<Bundle> {
        self.fleet.bundles[&format!("main/{name}")].clone()
    }

    fn generation(&self, cluster: &str) -> u64 {
        self.fleet.clusters[cluster].generation
    }

    /// Applied and Healthy at the first generation.
    fn a_report(&self, pair: &Pair) -> Report {
        Report {
            bundle: String::new(),
            generation: 1,
            variant: Some(pair.variant),
            variables: pair.variables,
            sync: Sync::Applied,
            health: Health::Healthy,
            drifted: false,
            suspended: false,
            installed: true,
            objects: 1,
            problems: Vec::new(),
            problems_more: 0,
            since_unix_millis: 0,
        }
    }

    fn report(&mut self, cluster: &str, bundle: &str, generation: u64, pair: Option<Pair>) {
        let about = self.a_report(&pair.unwrap_or(Pair { variant: Digest::default(), variables: Digest::default() }));
        let about = Report { bundle: format!("main/{bundle}"), generation, ..about };
        let report = match pair {
            Some(_) => about,
            None => Report { variant: None, sync: Sync::Removing, objects: 0, ..about },
        };
        self.waiting.report(cluster.into(), report);
        self.run();
    }

    fn approve(&mut self, bundle: &str, request: &str) -> Vec<Answer> {
        let full = format!("main/{bundle}");
        let known = self.bundle(bundle);
        let shown = check::held_digest(&check::held(&self.fleet, &known));
        let act = Act {
            request: request.into(),
            who: "ann".into(),
            why: "meant".into(),
            deed: Deed::ApproveDeletions { bundle: full, shown },
        };
        assert!(self.waiting.operate(act));
        let next = self.waiting.next(&self.fleet, &self.world, &Guard::default(), self.now).unwrap();
        let answers = self.fleet.apply(&next.entry).unwrap();
        self.run();
        answers
    }
}

#[test]
fn a_publish_moves_every_cluster_once() {
    let mut hub = Hub::new(&["a", "b"]);
    let pair = hub.world.variant("ConfigMap", &names(3));
    hub.publish("c1", &[("web", pair)]);
    assert!(hub.bundle("web").is_at_goal());
    assert_eq!((hub.generation("a"), hub.generation("b")), (1, 1));
    let revision = hub.fleet.revision;
    hub.publish("c1", &[("web", pair)]);
    assert_eq!(hub.fleet.revision, revision, "the same head changes nothing");
    hub.publish("c2", &[("web", pair)]);
    assert_eq!(hub.generation("a"), 1, "the same content under another commit moves nothing");
}

#[test]
fn a_few_objects_go_and_many_are_held() {
    let mut hub = Hub::new(&["a"]);
    let thirty = hub.world.variant("ConfigMap", &names(30));
    let nine_and_twenty = hub.world.variant("ConfigMap", &names(29));
    let ten = hub.world.variant("ConfigMap", &names(10));
    hub.publish("c1", &[("web", thirty)]);
    hub.publish("c2", &[("web", nine_and_twenty)]);
    let bundle = hub.bundle("web");
    assert!(bundle.is_at_goal());
    assert_eq!(bundle.permit(0).deletions, 1);
    hub.publish("c3", &[("web", ten)]);
    let bundle = hub.bundle("web");
    assert_eq!(hub.fleet.assigned(&bundle, 0), Some(nine_and_twenty));
    assert_eq!(bundle.held[&0].objects, 19);
}

#[test]
fn an_emptied_repository_is_held_until_approved() {
    let mut hub = Hub::new(&["a", "b"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish("c1", &[("web", pair)]);
    hub.publish("c2", &[]);
    assert_eq!(hub.bundle("web").held.len(), 2, "an emptied cluster counts whatever the floor");
    assert_eq!(hub.bundle("web").assigned.len(), 2);
    let first = hub.approve("web", "r1");
    assert!(matches!(&first[..], [Answer::Operator { .. }]));
    assert_eq!(hub.bundle("web").removing.0.len(), 2);
    assert_eq!(hub.bundle("web").permit(0).deletions, 2);
    let generation = hub.generation("a");
    hub.report("a", "web", generation, None);
    assert_eq!(hub.bundle("web").removing.0.len(), 1);
    assert_eq!(hub.generation("a"), generation + 1, "what a cluster holds changed");
    hub.report("b", "web", generation, None);
    assert!(!hub.fleet.bundles.contains_key("main/web"), "forgotten once it is gone everywhere");
}

#[test]
fn protected_kinds_are_held_one_by_one() {
    let mut hub = Hub::new(&["a"]);
    let two = hub.world.variant("PersistentVolumeClaim", &names(2));
    let one = hub.world.variant("PersistentVolumeClaim", &names(1));
    hub.publish("c1", &[("db", two)]);
    hub.publish("c2", &[("db", one)]);
    assert_eq!(hub.bundle("db").held[&0].objects, 1);
    hub.approve("db", "r1");
    let permit = hub.bundle("db").permit(0);
    assert!(permit.protected.contains(&GroupKind::of("v1", "PersistentVolumeClaim")));
}

#[test]
fn a_label_change_meets_the_guard_as_a_commit_does() {
    let mut hub = Hub::new(&["a", "b"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish("c1", &[("web", pair)]);
    let head = publish::Head {
        source: "main".into(),
        commit: "c1".into(),
        catalog: Digest::of(b"c1"),
        bundles: BTreeMap::from([(
            "main/web".to_owned(),
            Wanted { path: "web".into(), goal: vec![(pair, [0].into())], ..Wanted::default() },
        )]),
        ..publish::Head::default()
    };
    for command in publish::publish(&hub.fleet, &head) {
        hub.waiting.push(command);
    }
    hub.run();
    assert!(hub.bundle("web").held.contains_key(&1));
    assert!(hub.bundle("web").assigned.contains_key(&1));
}

#[test]
fn older_health_does_not_count() {
    let mut hub = Hub::new(&["a"]);
    let (first, second) = (hub.world.variant("ConfigMap", &names(1)), hub.world.variant("ConfigMap", &names(2)));
    hub.publish("c1", &[("web", first)]);
    hub.report("a", "web", 1, Some(first));
    assert!(hub.bundle("web").is_settled(0));
    hub.publish("c2", &[("web", second)]);
    hub.publish("c3", &[("web", first)]);
    assert_eq!(hub.generation("a"), 3);
    hub.report("a", "web", 1, Some(first));
    assert!(!hub.bundle("web").is_settled(0), "a report of generation 1 says nothing about 3");
    hub.report("a", "web", 3, Some(first));
    assert!(hub.bundle("web").is_settled(0));
}

#[test]
fn permits_add_up_until_a_cluster_has_arrived() {
    let mut hub = Hub::new(&["a"]);
    let pairs: Vec<Pair> = [4, 3, 2].map(|count| hub.world.variant("ConfigMap", &names(count))).into();
    hub.publish("c1", &[("web", pairs[0])]);
    hub.report("a", "web", 1, Some(pairs[0]));
    hub.publish("c2", &[("web", pairs[1])]);
    hub.publish("c3", &[("web", pairs[2])]);
    assert_eq!(hub.bundle("web").permit(0).deletions, 2, "the spoke may have missed c2");
    hub.report("a", "web", 3, Some(pairs[2]));
    hub.publish("c4", &[("web", pairs[0])]);
    assert_eq!(hub.bundle("web").permit(0).deletions, 0);
}

#[test]
fn what_a_removal_may_take_is_still_to_do_when_the_bundle_comes_back() {
    let mut hub = Hub::new(&["a"]);
    let (four, one) = (hub.world.variant("ConfigMap", &names(4)), hub.world.variant("Secret", &names(1)));
    hub.publish("c1", &[("web", four)]);
    hub.report("a", "web", 1, Some(four));
    hub.publish("c2", &[]);
    hub.approve("web", "r1");
    assert_eq!(hub.bundle("web").permit(0).deletions, 4);
    hub.publish("c3", &[("web", one)]);
    assert_eq!(hub.fleet.assigned(&hub.bundle("web"), 0), Some(one));
    assert_eq!(hub.bundle("web").permit(0).deletions, 4, "nobody said that the four are gone");
}

#[test]
fn an_undeclared_cluster_keeps_what_it_has() {
    let mut hub = Hub::new(&["a", "b"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish("c1", &[("web", pair)]);
    let only_a = BTreeMap::from([("a".to_owned(), BTreeMap::from([("a".into(), "b".into())]))]);
    hub.waiting.push(publish::declare(&hub.fleet, "main", &only_a).unwrap());
    hub.run();
    assert!(hub.fleet.clusters["b"].declaration_removed);
    let old = hub.world.variant("ConfigMap", &names(3));
    hub.publish_to("c2", &[("web", old)], &["a"]);
    assert_eq!(hub.fleet.assigned(&hub.bundle("web"), 1), Some(pair), "neither an update nor a removal");
    assert!(hub.bundle("web").held.is_empty());
    // What left Git altogether goes when an operator has seen it, here as everywhere.
    hub.publish("c3", &[]);
    assert!(hub.bundle("web").held.contains_key(&1));
    assert!(hub.bundle("web").assigned.contains_key(&1));
    hub.approve("web", "r1");
    assert!(hub.bundle("web").removing.contains(1));
}

fn token(uses: u32) -> Token {
    Token {
        id: "t".into(),
        secret: Digest::default(),
        names: vec!["edge-*".into()],
        labels: BTreeMap::new(),
        uses,
        expires_unix_millis: u64::MAX,
    }
}

fn operator(request: &str, deed: Deed) -> Command {
    Command::Operator(Act { request: request.into(), who: "ann".into(), why: String::new(), deed })
}

fn apply(fleet: &mut Fleet, command: Command) -> Result<Vec<Answer>, Refused> {
    let entry = Entry { parent: fleet.revision, at_unix_millis: 1, commands: vec![command] };
    fleet.apply(&entry)
}

#[test]
fn tokens_admit_names_keys_and_uses() {
    let mut fleet = Fleet::new("h");
    apply(&mut fleet, Command::Token(token(1))).unwrap();
    let enrol =
        |cluster: &str, key: u8| Command::Enrol { cluster: cluster.into(), token: "t".into(), key: Digest([key; 32]) };
    assert!(apply(&mut fleet, enrol("store-1", 1)).is_err(), "another name");
    apply(&mut fleet, enrol("edge-1", 1)).unwrap();
    apply(&mut fleet, enrol("edge-1", 1)).unwrap();
    assert!(apply(&mut fleet, enrol("edge-2", 2)).is_err(), "used up");
    assert!(apply(&mut fleet, enrol("edge-1", 3)).is_err(), "another key holds the name");
    let replace =
        Act { request: "r".into(), who: "ann".into(), why: String::new(), deed: Deed::ReplaceCluster("edge-1".into()) };
    apply(&mut fleet, Command::Operator(replace)).unwrap();
    assert_eq!(fleet.clusters["edge-1"].incarnation, 2);
    apply(&mut fleet, enrol("edge-1", 3)).unwrap();
}

#[test]
fn a_token_for_a_name_that_no_cluster_can_have_is_refused() {
    let mut fleet = Fleet::new("h");
    let of = |name: &str| Command::Token(Token { names: vec![name.into()], ..token(1) });
    for wrong in ["Bad_Name", "a b", "["] {
        assert!(apply(&mut fleet, of(wrong)).is_err(), "{wrong}");
    }
    apply(&mut fleet, of("edge-{1,2}*")).unwrap();
}

#[test]
fn a_revoked_cluster_comes_back_with_a_token_made_afterwards_only() {
    let mut fleet = Fleet::new("h");
    let token = |id: &str| Command::Token(Token { id: id.into(), ..token(9) });
    let enrol = |token: &str, key| {
        let (cluster, key) = ("edge-1".into(), Digest([key; 32]));
        Command::Enrol { cluster, token: token.into(), key }
    };
    apply(&mut fleet, token("joined")).unwrap();
    apply(&mut fleet, token("in-a-drawer")).unwrap();
    apply(&mut fleet, enrol("joined", 1)).unwrap();
    apply(&mut fleet, operator("r1", Deed::RevokeCluster("edge-1".into()))).unwrap();
    for old in ["joined", "in-a-drawer"] {
        let error = apply(&mut fleet, enrol(old, 1)).unwrap_err().to_string();
        assert!(error.contains("revoked") && error.contains("drover cluster join-token"), "{error}");
    }
    apply(&mut fleet, token("fresh")).unwrap();
    apply(&mut fleet, enrol("fresh", 1)).unwrap();
    assert!(!fleet.clusters["edge-1"].revoked);
    // A replacement opens the name to another key, not to the tokens from before.
    apply(&mut fleet, operator("r2", Deed::ReplaceCluster("edge-1".into()))).unwrap();
    assert!(apply(&mut fleet, enrol("in-a-drawer", 2)).is_err());
    apply(&mut fleet, enrol("fresh", 2)).unwrap();
}

#[test]
fn a_cluster_that_comes_back_never_means_an_old_fence() {
    let mut fleet = Fleet::new("h");
    apply(&mut fleet, Command::Token(token(9))).unwrap();
    let enrol = Command::Enrol { cluster: "edge-1".into(), token: "t".into(), key: Digest([1; 32]) };
    apply(&mut fleet, enrol.clone()).unwrap();
    apply(&mut fleet, operator("r1", Deed::ReplaceCluster("edge-1".into()))).unwrap();
    assert_eq!(fleet.clusters["edge-1"].incarnation, 2);
    apply(&mut fleet, operator("r2", Deed::RemoveCluster("edge-1".into()))).unwrap();
    apply(&mut fleet, enrol).unwrap();
    assert_eq!(fleet.clusters["edge-1"].incarnation, 3);
}

#[test]
fn an_entry_made_from_another_state_changes_nothing() {
    let mut fleet = Fleet::new("h");
    let entry = Entry { parent: 7, at_unix_millis: 1, commands: vec![Command::Token(token(1))] };
    let before = fleet.clone();
    assert_eq!(fleet.apply(&entry), Err(Refused::Parent { made_from: 7, now: 0 }));
    assert_eq!(fleet, before);
}

#[test]
fn a_refused_command_takes_its_whole_entry_along() {
    let mut fleet = Fleet::new("h");
    let commands = vec![
        Command::Token(token(1)),
        Command::Attach { cluster: "none".into(), session: 1, presented: 0, uid: String::new() },
    ];
    let before = fleet.clone();
    assert!(fleet.apply(&Entry { parent: 0, at_unix_millis: 1, commands }).is_err());
    assert_eq!(fleet, before);
}

#[test]
fn a_repeated_request_gives_the_first_answer() {
    let mut hub = Hub::new(&["a"]);
    let pair = hub.world.variant("ConfigMap", &names(2));
    hub.publish("c1", &[("web", pair)]);
    hub.publish("c2", &[]);
    let first = hub.approve("web", "r1");
    let audit = hub.fleet.audit.len();
    assert_eq!(hub.approve("web", "r1"), first);
    assert_eq!(hub.fleet.audit.len(), audit);
}

#[test]
fn an_entry_of_a_later_version_is_not_read() {
    assert!(Entry::decode(&[9, 1, 2]).is_err());
    assert!(Fleet::decode(&[9]).is_err());
    assert!(Entry::decode(&[]).is_err());
}
