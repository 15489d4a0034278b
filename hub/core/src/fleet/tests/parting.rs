//! Suspensions, and clusters that leave.

use proto_model::suspend::CLUSTER;

use super::*;
use crate::check::Complaint;
use crate::command::{Bits, BundleMoves};

const HOUR: u64 = 3_600_000;

impl Hub {
    fn act(&mut self, deed: Deed) -> Result<String, Refused> {
        let request = format!("request-{}", self.fleet.requests.len());
        let act = Act { request, who: "ada".into(), why: "an audit".into(), deed };
        assert!(self.waiting.operate(act));
        let next = self.waiting.next(&self.fleet, &self.world, &Guard::default(), self.now).unwrap();
        let answers = self.fleet.apply(&next.entry)?;
        self.run();
        match &answers[..] {
            [Answer::Operator { message, .. }] => Ok(message.clone()),
            other => panic!("{other:?}"),
        }
    }

    fn suspend(&mut self, bundle: Option<&str>, span_millis: u64) -> Result<String, Refused> {
        self.act(Deed::Suspend { cluster: "a".into(), bundle: bundle.map(Into::into), span_millis })
    }

    fn resume(&mut self, bundle: Option<&str>) -> Result<String, Refused> {
        self.act(Deed::Resume { cluster: "a".into(), bundle: bundle.map(Into::into) })
    }

    fn leave(&mut self, deletes_objects: bool) -> Result<String, Refused> {
        self.act(Deed::Leave { cluster: "a".into(), deletes_objects })
    }

    fn assigned(&self, bundle: &str) -> Option<Pair> {
        self.fleet.assigned(&self.bundle(bundle), 0)
    }

    /// Git declares the clusters no more.
    fn undeclare(&mut self) {
        self.waiting.push(publish::declare(&self.fleet, "main", &BTreeMap::new()).unwrap());
        self.run();
    }

    fn enrol(&mut self, cluster: &str) {
        self.waiting.push(Command::Token(Token { names: vec!["*".into()], ..token(9) }));
        self.waiting.push(Command::Enrol { cluster: cluster.into(), token: "t".into(), key: Digest([1; 32]) });
        self.run();
    }
}

fn hub() -> (Hub, Pair, Pair) {
    let mut hub = Hub::new(&["a", "b"]);
    hub.enrol("a");
    let (one, two) = (hub.world.variant("ConfigMap", &names(2)), hub.world.variant("Secret", &names(3)));
    hub.publish("c1", &[("web", one), ("db", one)]);
    (hub, one, two)
}

#[test]
fn what_is_suspended_is_not_moved_until_it_ends_by_itself() {
    let (mut hub, _, two) = hub();
    let one = hub.world.variant("ConfigMap", &names(30));
    hub.publish("c1b", &[("web", one), ("db", one)]);
    let said = hub.suspend(Some("main/web"), HOUR).unwrap();
    assert!(said.starts_with("suspended main/web in a until 2023-11-14T23:13:20Z"), "{said}");
    hub.publish("c2", &[("web", two), ("db", two)]);
    assert_eq!(hub.assigned("web"), Some(one));
    assert!(!hub.bundle("web").held.contains_key(&0), "it is no hold of the guard");
    // Of the other cluster, and of the other bundle, the guard decides.
    assert!(hub.bundle("db").held.contains_key(&0));
    hub.approve("web", "r1");
    hub.approve("db", "r2");
    assert_eq!((hub.assigned("web"), hub.assigned("db")), (Some(one), Some(two)));
    // A planner that forgets it is complained of.
    let moves = BundleMoves { bundle: "main/web".into(), clusters: Bits([0].into()), ..BundleMoves::default() };
    let mut lost = check::Losses::new(&hub.fleet, &hub.world);
    let complaints = check::lint(&Guard::default(), &mut lost, &[moves]);
    assert!(complaints.iter().any(|one| matches!(one, Complaint::Suspended { .. })), "{complaints:?}");
    let (now, mono) = (hub.now, 5_000);
    assert_eq!(hub.waiting.mind_clocks(&hub.fleet, now, mono), Some(HOUR));
    assert!(hub.waiting.is_empty());
    // The wall clock is set back, which makes it no longer.
    assert_eq!(hub.waiting.mind_clocks(&hub.fleet, now - HOUR, mono + HOUR - 1), Some(1));
    assert_eq!(hub.waiting.mind_clocks(&hub.fleet, now - HOUR, mono + HOUR), None);
    assert!(!hub.waiting.is_empty());
    hub.run();
    assert!(hub.fleet.suspensions.is_empty());
    assert!(hub.bundle("web").held.contains_key(&0), "the guard has its say again");
    assert!(hub.fleet.audit.iter().any(|line| line.what == "the suspension of main/web in a is over"));
    assert!(hub.waiting.is_empty());
}

#[test]
fn a_cluster_and_a_bundle_are_suspended_apart() {
    let (mut hub, one, _) = hub();
    let more = hub.world.variant("ConfigMap", &names(4));
    hub.suspend(None, HOUR).unwrap();
    hub.suspend(Some("main/web"), 2 * HOUR).unwrap();
    assert_eq!(hub.fleet.suspension("a", "main/web").map(|(scope, _)| scope), Some("main/web"));
    assert_eq!(hub.fleet.suspension("a", "main/db").map(|(scope, _)| scope), Some(CLUSTER));
    assert_eq!(hub.fleet.suspension("b", "main/web"), None);
    hub.publish("c2", &[("web", more), ("db", more)]);
    let said = hub.resume(None).unwrap();
    assert!(said.starts_with("resumed a; still suspended: main/web in a until"), "{said}");
    assert_eq!((hub.assigned("web"), hub.assigned("db")), (Some(one), Some(more)));
    hub.resume(Some("main/web")).unwrap();
    assert_eq!(hub.assigned("web"), Some(more));
    let refused = hub.resume(Some("main/web")).unwrap_err().to_string();
    assert_eq!(refused, "main/web in a is not suspended at the hub; suspended there is: nothing");
    assert!(hub.suspend(Some("main/none"), HOUR).is_err());
    assert!(hub.suspend(None, 0).is_err());
    assert!(hub.suspend(None, (limits::SUSPENSION_SECS_MAX + 1) * 1_000).is_err());
}

#[test]
fn a_cluster_leaves_without_its_marks_and_is_forgotten_when_its_spoke_holds_nothing() {
    let (mut hub, one, _) = hub();
    let refused = hub.leave(false).unwrap_err().to_string();
    assert!(refused.contains("declared in Git; remove its declaration first"), "{refused}");
    hub.undeclare();
    let generation = hub.generation("a");
    let said = hub.leave(false).unwrap();
    assert!(said.contains("the marks are taken off the objects of its 2 bundles, which stay"), "{said}");
    assert_eq!(hub.generation("a"), generation + 1);
    let orphan = hub.bundle("web").permit(0);
    assert!(orphan.orphan && orphan.deletions == 0 && hub.bundle("web").removing.contains(0));
    assert!(hub.leave(false).unwrap().contains("leaves the fleet since"), "asked again");
    assert!(hub.leave(true).is_err(), "what stays is not deleted");
    // What was made while it was there does not bring it back.
    hub.publish_to("c2", &[("web", one), ("db", one)], &["a", "b"]);
    assert!(hub.assigned("web").is_none() && !hub.bundle("web").goal.contains_key(&0));
    let left = Command::Left { cluster: "a".into() };
    assert!(apply(&mut hub.fleet, left.clone()).is_err(), "it has not let go of anything yet");
    hub.report("a", "web", generation + 1, None);
    hub.report("a", "db", generation + 1, None);
    assert!(hub.fleet.clusters.contains_key("a"), "its spoke has not said that it holds nothing");
    apply(&mut hub.fleet, left.clone()).unwrap();
    assert!(!hub.fleet.clusters.contains_key("a") && hub.fleet.clusters.contains_key("b"));
    assert!(apply(&mut hub.fleet, left).is_err());
}

#[test]
fn a_cluster_whose_objects_are_deleted_passes_the_guard() {
    let (mut hub, one, _) = hub();
    hub.undeclare();
    let said = hub.leave(true).unwrap();
    assert!(said.contains("`drover rollout approve BUNDLE --deletions` lets it go"), "{said}");
    assert_eq!(hub.assigned("web"), Some(one), "the guard holds it");
    assert_eq!(hub.bundle("web").held[&0].objects, 2);
    hub.approve("web", "r1");
    assert_eq!(hub.assigned("web"), None);
    let permit = hub.bundle("web").permit(0);
    assert_eq!((permit.deletions, permit.orphan), (2, false));
    assert_eq!(hub.assigned("db"), Some(one));
    // The rest may stay after all.
    hub.leave(false).unwrap();
    assert!(hub.bundle("db").permit(0).orphan && hub.bundle("db").held.is_empty());
}

#[test]
fn a_declaration_that_comes_back_keeps_the_cluster() {
    let (mut hub, one, _) = hub();
    hub.undeclare();
    hub.leave(false).unwrap();
    let all = ["a", "b"].map(|name| (name.to_owned(), BTreeMap::from([("a".to_owned(), "b".to_owned())])));
    hub.waiting.push(publish::declare(&hub.fleet, "main", &all.into()).unwrap());
    hub.run();
    assert_eq!(hub.fleet.clusters["a"].leaving, None);
    hub.publish("c2", &[("web", one), ("db", one)]);
    assert_eq!(hub.assigned("web"), Some(one));
    assert!(hub.bundle("web").permit(0).orphan, "what it names no more stays there, as was said before");
    let generation = hub.generation("a");
    hub.report("a", "web", generation, Some(one));
    let two = hub.world.variant("ConfigMap", &names(3));
    hub.publish("c3", &[("web", two), ("db", one)]);
    assert!(!hub.bundle("web").permit(0).orphan, "it is back for good");
}

#[test]
fn who_can_t_be_told_is_not_waited_for() {
    let (mut hub, ..) = hub();
    hub.undeclare();
    hub.suspend(Some("main/web"), HOUR).unwrap();
    let refused = hub.leave(false).unwrap_err().to_string();
    assert!(refused.contains("run `drover resume a main/web` first"), "{refused}");
    hub.resume(Some("main/web")).unwrap();
    hub.act(Deed::RevokeCluster("a".into())).unwrap();
    let refused = hub.leave(false).unwrap_err().to_string();
    assert!(refused.contains("`drover cluster remove a --now`"), "{refused}");
    hub.act(Deed::RemoveCluster("a".into())).unwrap();
    // One that never joined has nothing to let go of.
    hub.act(Deed::Leave { cluster: "b".into(), deletes_objects: false }).unwrap();
    assert!(hub.fleet.clusters.is_empty());
}

#[test]
fn a_snapshot_from_before_opens() {
    let (hub, ..) = hub();
    let bytes = hub.fleet.encode();
    let text = String::from_utf8_lossy(&bytes);
    assert!(!text.contains("suspensions") && !text.contains("leaving"), "an older version reads it, too");
    assert_eq!(Fleet::decode(&bytes).unwrap(), hub.fleet);
}

#[test]
fn what_was_told_to_let_go_before_is_not_asked_to_say_so_again() {
    let (hub, ..) = hub();
    let mut web = (*hub.bundle("web")).clone();
    web.release(0, 5);
    assert_eq!(web.unseen.get(&0), Some(&5));
    web.release(0, 7);
    assert_eq!(web.unseen.get(&0), Some(&5), "its entry is the same, so its spoke hears of nothing new");
}
