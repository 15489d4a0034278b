//! Tests of what people see: commits, holds and their words.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proto_model::{GroupKind, Identity, ObjectProblem};

use super::*;
use crate::check::Identities;
use crate::command::{Act, Command, Deed, Entry, Observation, Observations, Pair, Quarantine, Seen};
use crate::publish::{self, Wanted};

#[derive(Default)]
struct Desk {
    fleet: Fleet,
    connections: BTreeMap<String, Connection>,
    reports: BTreeMap<(String, String), Arc<Report>>,
    since: BTreeMap<String, u64>,
    defects: BTreeMap<String, Defect>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self::new("h")
    }
}

impl Facts for Desk {
    fn identities(&self, _: &Pair) -> Option<Arc<Identities>> {
        let identity =
            Identity { kind: GroupKind::of("v1", "ConfigMap"), namespace: "shop".into(), name: "web".into() };
        Some(Arc::new([identity].into_iter().collect()))
    }
}

impl Memory for Desk {
    fn connection(&self, cluster: &str) -> Option<Connection> {
        self.connections.get(cluster).cloned()
    }
    fn report(&self, cluster: &str, bundle: &str) -> Option<Arc<Report>> {
        self.reports.get(&(cluster.to_owned(), bundle.to_owned())).cloned()
    }
    fn source_error(&self, _: &str) -> Option<String> {
        None
    }
    fn fetched_unix_millis(&self, _: &str) -> Option<u64> {
        None
    }
    fn since_unix_millis(&self, _: &str, bundle: &str) -> Option<u64> {
        self.since.get(bundle).copied()
    }
    fn defects(&self, _: &Digest) -> BTreeMap<String, Defect> {
        self.defects.clone()
    }
}

fn pair(name: &str) -> Pair {
    Pair { variant: Digest::of(name.as_bytes()), variables: Digest::default() }
}

impl Desk {
    /// One declared cluster `a`, connected and joined, with bundle `main/web` published.
    fn new() -> Self {
        let mut desk = Self::default();
        desk.apply(Command::Source {
            source: "main".into(),
            url: "/r".into(),
            reference: "main".into(),
            path: String::new(),
            verified: false,
        });
        let declared = BTreeMap::from([("a".to_owned(), BTreeMap::new())]);
        desk.apply(publish::declare(&desk.fleet, "main", &declared).unwrap());
        desk.fleet.clusters.get_mut("a").unwrap().key = Some(Digest::default());
        desk.publish("c1", Some("v1"));
        desk.move_all();
        desk.connect(true);
        desk
    }

    fn apply(&mut self, command: Command) {
        let entry = Entry { parent: self.fleet.revision, at_unix_millis: 5_000, commands: vec![command] };
        self.fleet.apply(&entry).unwrap();
    }

    fn publish(&mut self, commit: &str, variant: Option<&str>) {
        let wanted =
            |variant| Wanted { path: "web".into(), goal: vec![(pair(variant), [0].into())], ..Wanted::default() };
        let head = publish::Head {
            source: "main".into(),
            commit: commit.into(),
            bundles: variant.map(|variant| ("main/web".to_owned(), wanted(variant))).into_iter().collect(),
            ..publish::Head::default()
        };
        for command in publish::publish(&self.fleet, &head) {
            self.apply(command);
        }
    }

    fn move_all(&mut self) {
        let moves = crate::command::BundleMoves {
            bundle: "main/web".into(),
            clusters: crate::command::Bits([0].into()),
            ..crate::command::BundleMoves::default()
        };
        self.apply(Command::Move(moves));
    }

    fn connect(&mut self, connected: bool) {
        let connection = Connection { connected, seen_unix_millis: 7_000, ..Connection::default() };
        self.connections.insert("a".into(), connection);
    }

    fn see(&mut self, variant: &str, sync: Sync, health: Health, problem: Option<&str>) {
        let generation = self.fleet.clusters["a"].generation;
        // A spoke says both: that it is, and where it was told.
        let suspended = problem.is_some_and(|words| words.starts_with("is suspended"));
        let flags = u8::from(suspended) << 1;
        self.apply(Command::Observe(Observations {
            bundles: vec!["main/web".into()],
            items: vec![Observation { cluster: 0, bundle: 0, generation, seen: Some(Seen(sync, health, flags)) }],
        }));
        let problems = problem.map(|message| ObjectProblem { object: None, is_final: false, message: message.into() });
        let report = Report {
            bundle: "main/web".into(),
            generation,
            variant: Some(pair(variant).variant),
            variables: Digest::default(),
            sync,
            health,
            drifted: false,
            suspended,
            installed: true,
            objects: 1,
            problems: problems.into_iter().collect(),
            problems_more: 0,
            since_unix_millis: 9_000,
        };
        self.reports.insert(("a".into(), "main/web".into()), Arc::new(report));
    }

    fn defect(&mut self, since_unix_millis: Option<u64>) {
        let message = "web/drover.yaml:5: unknown field".into();
        self.defects.insert("main/web".into(), Defect { message, since_unix_millis });
    }

    fn bundle(&self) -> BundleView {
        clusters(&self.fleet, self, &[], &[]).remove(0).bundles.remove(0)
    }

    /// The hold as one line: kind, since, message.
    fn hold(&self) -> String {
        self.bundle().hold.map_or_else(
            || "none".into(),
            |hold| {
                let since = hold.since_unix_millis.map_or("?".into(), |at| at.to_string());
                format!("{} {since} {}", hold.kind.as_str(), hold.message)
            },
        )
    }
}

#[test]
fn a_settled_bundle_has_no_hold() {
    let mut desk = Desk::new();
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    assert!(desk.bundle().is_settled());
    assert_eq!(desk.hold(), "none");
}

#[test]
fn the_commit_follows_the_head_while_the_content_is_the_same() {
    let mut desk = Desk::new();
    assert_eq!(desk.bundle().commit.as_deref(), Some("c1"));
    desk.publish("c2", Some("v1"));
    assert_eq!(desk.bundle().commit.as_deref(), Some("c2"));
    desk.publish("c3", Some("v2"));
    assert_eq!(desk.bundle().commit.as_deref(), Some("c2"), "the last commit with this content");
    desk.move_all();
    assert_eq!(desk.bundle().commit.as_deref(), Some("c3"));
    desk.publish("c4", Some("v2"));
    desk.publish("c5", None);
    assert_eq!(desk.bundle().commit.as_deref(), Some("c4"), "the last commit that declared it");
}

#[test]
fn a_dependency_speaks_for_itself() {
    let mut desk = Desk::new();
    let words = "waits for bundle main/db (healthy)";
    desk.see("v1", Sync::Waiting, Health::Progressing, Some(words));
    assert_eq!(desk.hold(), format!("dependency 9000 {words}"));
}

#[test]
fn a_foreign_object_names_itself() {
    let mut desk = Desk::new();
    for words in ["exists, not ours: ConfigMap shop/web", "belongs to bundle main/db of this cluster"] {
        desk.see("v1", Sync::Failed, Health::Degraded, Some(words));
        assert_eq!(desk.hold(), format!("owner 9000 {words}"));
    }
}

#[test]
fn a_silent_spoke_is_offline_since_it_was_heard() {
    let mut desk = Desk::new();
    desk.connect(false);
    assert_eq!(desk.hold(), "offline 7000 its spoke is not connected");
}

#[test]
fn what_settled_is_of_unknown_health_once_its_spoke_is_silent() {
    let mut desk = Desk::new();
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    assert_eq!((desk.hold().as_str(), desk.bundle().health), ("none", Health::Healthy));
    desk.connect(false);
    assert_eq!(desk.hold(), "offline 7000 its spoke is not connected");
    assert_eq!((desk.bundle().sync, desk.bundle().health), (Sync::Applied, Health::Unknown));
}

#[test]
fn a_defect_holds_what_runs_and_nobody_can_tell_that_it_is_the_head() {
    let mut desk = Desk::new();
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    desk.publish("c2", Some("v1"));
    assert_eq!((desk.hold().as_str(), desk.bundle().commit.as_deref()), ("none", Some("c2")));
    desk.defect(Some(8_000));
    let expected = "defect 8000 web/drover.yaml:5: unknown field (it keeps what it had meanwhile)";
    assert_eq!(desk.hold(), expected);
    assert_eq!(desk.bundle().commit.as_deref(), Some("c1"));
}

#[test]
fn the_guard_names_what_would_go_and_the_command() {
    let mut desk = Desk::new();
    desk.publish("c2", None);
    let moves = crate::command::BundleMoves {
        bundle: "main/web".into(),
        held: vec![(1, crate::command::Bits([0].into()))],
        ..crate::command::BundleMoves::default()
    };
    desk.apply(Command::Move(moves));
    let hold = desk.bundle().hold.unwrap();
    assert_eq!(hold.kind, HoldKind::Guard);
    assert_eq!(hold.objects, ["ConfigMap shop/web"]);
    assert_eq!(
        hold.message,
        "the deletion guard holds it: 1 object would go, all that it has there; look at it, \
         then run `drover rollout approve main/web --deletions`"
    );
}

#[test]
fn a_gone_declaration_a_clone_and_a_revocation_hold_the_cluster() {
    let kind = |desk: &Desk| clusters(&desk.fleet, desk, &[], &[]).remove(0).hold.map(|one| one.kind);
    let mut desk = Desk::new();
    desk.apply(publish::declare(&desk.fleet, "main", &BTreeMap::new()).unwrap());
    assert_eq!(kind(&desk), Some(HoldKind::DeclarationRemoved));
    desk.apply(Command::Quarantine { cluster: "a".into(), reason: Quarantine::DuplicateIdentity });
    assert_eq!(kind(&desk), Some(HoldKind::DuplicateIdentity));
    desk.fleet.clusters.get_mut("a").unwrap().revoked = true;
    assert_eq!(kind(&desk), Some(HoldKind::Revoked));
}

#[test]
fn a_spoke_that_is_too_old_says_so() {
    let mut desk = Desk::new();
    desk.connections.get_mut("a").unwrap().nack = Some("spoke too old: binding 2".into());
    assert!(desk.hold().starts_with("spokeTooOld"));
}

#[test]
fn the_age_is_that_of_what_is_shown() {
    let mut desk = Desk::new();
    desk.since.insert("main/web".into(), 3_000);
    assert_eq!(desk.bundle().since_unix_millis, None, "nothing was said of it yet");
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    assert_eq!(desk.bundle().since_unix_millis, Some(3_000), "not what the last report says");
    desk.connect(false);
    assert_eq!(desk.bundle().since_unix_millis, Some(7_000), "Unknown since it was heard last");
    desk.connect(true);
    assert_eq!(desk.bundle().since_unix_millis, Some(3_000), "back, and as it was");
}

#[test]
fn what_the_spoke_before_said_is_not_shown_of_the_one_that_takes_its_name() {
    let mut desk = Desk::new();
    desk.since.insert("main/web".into(), 3_000);
    desk.see("v1", Sync::Waiting, Health::Progressing, Some("waits for bundle main/db (healthy)"));
    let (request, who, why) = ("r".into(), "w".into(), String::new());
    let act = Act { request, who, why, deed: Deed::ReplaceCluster("a".into()) };
    let commands = vec![Command::Operator(act)];
    desk.fleet.apply(&Entry { parent: desk.fleet.revision, at_unix_millis: 6_000, commands }).unwrap();
    let shown = desk.bundle();
    assert_eq!((shown.sync, shown.since_unix_millis, shown.report), (Sync::Pending, None, None));
    assert!(desk.hold().starts_with("offline 6000 it has not joined yet"), "{}", desk.hold());
}

/// Applied, healthy and held of the only bundle.
fn summary(desk: &Desk) -> (u64, u64, u64) {
    let all = bundles(&desk.fleet, desk);
    (all[0].applied, all[0].healthy, all[0].held)
}

#[test]
fn a_summary_counts_clusters() {
    let mut desk = Desk::new();
    assert_eq!(summary(&desk), (0, 0, 0));
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    let all = bundles(&desk.fleet, &desk);
    assert_eq!((all[0].clusters, all[0].current, all[0].applied, all[0].healthy), (1, 1, 1, 1));
}

#[test]
fn a_summary_counts_no_silent_cluster_as_healthy() {
    let mut desk = Desk::new();
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    desk.connect(false);
    assert_eq!(summary(&desk), (1, 0, 1));
    desk.connections.clear();
    assert_eq!(summary(&desk), (1, 0, 1));
}

#[test]
fn a_summary_counts_a_cluster_as_held_where_it_has_a_hold() {
    let mut desk = Desk::new();
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    assert_eq!(summary(&desk).2, 0);
    desk.defect(None);
    assert_eq!(summary(&desk).2, 1, "a defect");
    desk.see("v1", Sync::Applied, Health::Degraded, None);
    assert_eq!(summary(&desk).2, 1, "a defect, and not healthy");
    desk.defects.clear();
    assert_eq!(summary(&desk).2, 0);
    desk.see("v1", Sync::Waiting, Health::Progressing, Some("waits for bundle main/db (healthy)"));
    assert_eq!(summary(&desk).2, 1, "a dependency");
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    desk.publish("c2", None);
    assert_eq!(summary(&desk).2, 0, "on its way out");
    let held = vec![(1, crate::command::Bits([0].into()))];
    let moves = crate::command::BundleMoves { bundle: "main/web".into(), held, ..Default::default() };
    desk.apply(Command::Move(moves));
    assert_eq!(summary(&desk).2, 1, "the guard");
}

impl Desk {
    fn act(&mut self, deed: Deed) {
        let request = format!("r{}", self.fleet.requests.len());
        self.apply(Command::Operator(Act { request, who: "ada".into(), why: "an audit".into(), deed }));
    }

    fn suspensions(&self) -> Vec<String> {
        self.bundle().suspensions.into_iter().map(|one| one.message).collect()
    }
}

#[test]
fn a_suspension_says_until_when_by_whom_where_and_how_it_ends() {
    let mut desk = Desk::new();
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    desk.act(Deed::Suspend { cluster: "a".into(), bundle: Some("main/web".into()), span_millis: 3_600_000 });
    let words = "suspended until 1970-01-01T01:00:05Z by ada: an audit; `drover resume a main/web` ends it";
    let unheard = format!("{words} (its spoke has not said yet that it has heard of it; until then it corrects drift)");
    assert_eq!((desk.hold(), desk.suspensions()), ("none".into(), vec![unheard.clone()]));
    assert!(desk.bundle().suspended);
    desk.publish("c2", Some("v2"));
    assert_eq!(desk.hold(), format!("suspended 5000 {unheard}"));
    // Made at the cluster as well, in the spoke's own words.
    desk.see("v1", Sync::Applied, Health::Healthy, Some("is suspended until 1970-01-01T02:00:00Z by root: night"));
    let here =
        "suspended at the cluster until 1970-01-01T02:00:00Z by root: night; `drover-spoke resume` there ends it";
    assert_eq!(desk.suspensions(), [words, here]);
    desk.act(Deed::Resume { cluster: "a".into(), bundle: Some("main/web".into()) });
    assert_eq!(desk.hold(), format!("suspended ? {here}"));
}

#[test]
fn a_spoke_that_is_too_old_to_heed_a_suspension_is_told_of() {
    let mut desk = Desk::new();
    desk.see("v1", Sync::Applied, Health::Healthy, None);
    desk.act(Deed::Suspend { cluster: "a".into(), bundle: None, span_millis: 3_600_000 });
    desk.connections.get_mut("a").unwrap().ignores_suspensions = true;
    assert!(!desk.bundle().suspended);
    assert!(desk.suspensions()[0].contains("by ada, with the whole cluster: an audit; `drover resume a` ends it (its"));
    let cluster = clusters(&desk.fleet, &desk, &[], &[]).remove(0);
    assert_eq!(cluster.hold.map(|hold| hold.kind), Some(HoldKind::Suspended));
}

#[test]
fn a_cluster_that_leaves_says_so_and_what_it_waits_for() {
    let mut desk = Desk::new();
    desk.apply(publish::declare(&desk.fleet, "main", &BTreeMap::new()).unwrap());
    desk.act(Deed::Leave { cluster: "a".into(), deletes_objects: false });
    assert!(desk.hold().starts_with("leaving 5000 it leaves the fleet: our marks are taken off"), "{}", desk.hold());
    assert_eq!(desk.bundle().sync, Sync::Removing);
    desk.connect(false);
    assert!(desk.hold().contains("its spoke is not connected: it leaves once that is back"), "{}", desk.hold());
}
