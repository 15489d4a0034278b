//! Deleting: only what may go, last, in reverse, and awaited.

use std::collections::BTreeSet;

use proto_model::variant::Settings;
use proto_model::{GroupKind, Permit};
use serde_json::json;

use super::fake::{World, config, manifest, permit};
use crate::agent::Event;
use crate::agent::tests::fake::parts;
use crate::port::{Observation, Reason};

fn in_shop() -> Settings {
    Settings { namespace: Some("shop".into()), ..Settings::default() }
}

fn deletes(world: &mut World) -> Vec<String> {
    let mut log = world.log();
    log.retain(|line| line.starts_with("delete"));
    log
}

#[test]
fn what_a_variant_no_longer_names_goes_after_the_rest_is_healthy() {
    let mut world = World::new();
    let job = manifest("batch/v1", "Job", "j");
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    world.assign_with("main/web", in_shop(), &[config("a", "1"), job], permit(1));
    assert!(deletes(&mut world).is_empty(), "the new Job is not Healthy yet");
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    assert_eq!(
        world.log(),
        [
            "get ConfigMap shop/b",
            "send Report main/web Applying Healthy",
            "delete ConfigMap shop/b",
            "get ConfigMap shop/b",
            "store inventory/main/web",
            "send Report main/web Applied Healthy",
        ]
    );
    assert_eq!(world.report("main/web").objects, 2);
    let inventory = String::from_utf8(world.records["inventory/main/web"].clone()).unwrap();
    assert!(!inventory.contains("\"name\":\"b\""));
}

#[test]
fn over_the_permit_nothing_goes() {
    let mut world = World::new();
    let all = [config("a", "1"), config("b", "1"), config("c", "1")];
    world.assign("main/web", in_shop(), &all);
    world.assign_with("main/web", in_shop(), &all[..1], permit(1));
    world.pass(120_000);
    assert!(deletes(&mut world).is_empty());
    assert_eq!(
        world.words("main/web"),
        "Failed Healthy [final: 2 objects would be deleted, and the assignment lets 1 go; \
         nothing was deleted]"
    );
    world.assign_with("main/web", in_shop(), &all[..1], permit(2));
    assert_eq!(deletes(&mut world).len(), 2);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn a_bundle_goes_in_reverse_and_says_so_at_the_end() {
    let mut world = World::new();
    let mut deployment = manifest("apps/v1", "Deployment", "web");
    deployment["spec"] = json!({"replicas": 0});
    let objects = [manifest("v1", "Namespace", "shop2"), config("a", "1"), deployment];
    world.assign("main/web", in_shop(), &objects);
    world.set_status("web", json!({"observedGeneration": 1}));
    world.log();
    let namespace = GroupKind { group: String::new(), kind: "Namespace".into() };
    let permit = Permit { deletions: 3, protected: BTreeSet::from([namespace]), ..Permit::default() };
    world.remove("main/web", permit);
    assert_eq!(
        deletes(&mut world),
        ["delete Deployment.apps shop/web", "delete ConfigMap shop/a", "delete Namespace shop2"]
    );
    let report = world.report("main/web");
    assert_eq!((report.variant, report.objects), (None, 0));
    assert_eq!(world.words("main/web"), "Removing Unknown");
    assert!(!world.records.contains_key("inventory/main/web"));
    assert!(!world.records.keys().any(|key| key.starts_with("bundle/")));
    world.forget("main/web");
    assert_eq!(world.log().last().map(String::as_str), Some("send Ack 3"));
}

#[test]
fn while_a_bundle_goes_its_variant_is_still_named() {
    let mut world = World::new();
    let content = parts(in_shop(), &[config("a", "1")]);
    world.assign("main/web", in_shop(), &[config("a", "1")]);
    world.thing_mut("a").finalizers.push("example.com/hold".into());
    world.remove("main/web", permit(1));
    world.pass(1_000);
    assert_eq!(
        world.words("main/web"),
        "Removing Unknown [ConfigMap shop/a is being deleted and waits for finalizer \
         example.com/hold]"
    );
    assert_eq!(world.report("main/web").variant, Some(content.variant.digest()));
    assert_eq!(deletes(&mut world).len(), 1);
    world.pass(300_000);
    assert!(deletes(&mut world).is_empty(), "asked once");
    world.thing_mut("a").finalizers.clear();
    world.destroy("a");
    assert_eq!(world.report("main/web").variant, None);
}

#[test]
fn a_removal_over_its_permit_deletes_nothing() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    world.log();
    world.remove("main/web", permit(1));
    world.pass(120_000);
    assert!(deletes(&mut world).is_empty());
    assert!(world.words("main/web").starts_with("Failed Unknown [final: 2 objects"));
}

#[test]
fn what_somebody_takes_away_counts_no_more_against_the_permit() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1"), config("c", "1")]);
    world.assign_with("main/web", in_shop(), &[config("a", "1")], permit(1));
    assert!(world.words("main/web").starts_with("Failed"), "{}", world.words("main/web"));
    world.destroy("b");
    world.pass(60_000);
    assert_eq!(deletes(&mut world), ["delete ConfigMap shop/c"]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn what_somebody_made_anew_is_released() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    let identity = world.find("b");
    let uid = world.things.remove(&identity).expect("b").uid;
    world.put(config("b", "theirs"));
    world.log();
    world.assign_with("main/web", in_shop(), &[config("a", "1")], permit(1));
    world.step(Event::Observed(Observation::Gone { identity: identity.clone(), uid }));
    assert!(deletes(&mut world).is_empty());
    assert!(world.things.contains_key(&identity));
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn a_namespace_stays_for_its_other_claimant_and_its_guests() {
    let mut world = World::new();
    let namespace = manifest("v1", "Namespace", "shop");
    let protected = BTreeSet::from([GroupKind { group: String::new(), kind: "Namespace".into() }]);
    let all = Permit { deletions: 9, protected, ..Permit::default() };
    world.assign("main/one", Settings::default(), std::slice::from_ref(&namespace));
    world.assign("main/two", Settings::default(), &[namespace]);
    world.assign("main/guest", Settings::default(), &[config("a", "1")]);
    world.log();
    world.remove("main/one", all.clone());
    assert!(deletes(&mut world).is_empty());
    assert_eq!(world.report("main/one").variant, None);
    world.remove("main/two", all.clone());
    world.pass(1_000);
    assert!(deletes(&mut world).is_empty());
    assert_eq!(
        world.words("main/two"),
        "Removing Unknown [Namespace shop is still needed by objects of bundle main/guest]"
    );
    world.remove("main/guest", all);
    world.pass(1_000);
    assert_eq!(deletes(&mut world), ["delete ConfigMap shop/a", "delete Namespace shop"]);
    assert_eq!(world.report("main/two").variant, None);
}

/// Lets everything go, of the protected kinds too.
fn everything() -> Permit {
    let kinds = [("v1", "Namespace"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")];
    Permit { deletions: 99, protected: kinds.map(|(api, kind)| GroupKind::of(api, kind)).into(), ..Permit::default() }
}

fn owned_by(mut object: serde_json::Value, uid: &str) -> serde_json::Value {
    object["metadata"]["ownerReferences"] = json!([{"uid": uid}]);
    object
}

#[test]
fn a_namespace_stays_while_it_holds_what_is_nobodys_here() {
    let mut world = World::new();
    let objects = [manifest("v1", "Namespace", "shop"), config("a", "1")];
    world.put(config("kube-root-ca.crt", "theirs"));
    world.put(config("foreign", "theirs"));
    for dropped in [true, false] {
        world.assign("main/web", Settings::default(), &objects);
        let uid = world.thing_mut("a").uid.clone();
        world.put(owned_by(config("owned", "by a"), &uid));
        world.log();
        if dropped {
            world.assign_with("main/web", Settings::default(), &[], everything());
        } else {
            world.remove("main/web", everything());
        }
        world.pass(120_000);
        assert_eq!(deletes(&mut world), ["delete ConfigMap shop/a"]);
        let words = world.words("main/web");
        // What was owned is Kubernetes' to collect, and until then it is there.
        let named = "[Namespace shop holds objects that are not in the inventory: ConfigMap shop/foreign, \
                     ConfigMap shop/owned; delete or move them first]";
        assert!(words.ends_with(named), "{words}");
        world.things.retain(|identity, _| identity.name != "owned");
    }
    world.things.retain(|identity, _| identity.name != "foreign");
    world.pass(120_000);
    assert_eq!(deletes(&mut world), ["delete Namespace shop"]);
    assert_eq!(world.report("main/web").variant, None);
}

#[test]
fn a_definition_stays_while_others_have_objects_of_it() {
    let mut world = World::new();
    let mut definition = manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com");
    definition["spec"] = json!({"group": "example.com", "names": {"kind": "Widget"}, "scope": "Namespaced"});
    world.assign("main/web", in_shop(), &[definition]);
    let mut widget = manifest("example.com/v1", "Widget", "theirs");
    widget["metadata"]["namespace"] = "elsewhere".into();
    world.put(widget);
    world.log();
    world.remove("main/web", everything());
    world.pass(60_000);
    let words = world.words("main/web");
    assert!(words.contains("Widget.example.com elsewhere/theirs"), "{words}");
    let log = world.log();
    assert!(!log.iter().any(|line| line.starts_with("delete")), "{log:?}");
    let asked = log.iter().filter(|line| line.starts_with("contents of")).count();
    assert!((5..=10).contains(&asked), "{asked} looks in a minute");
    world.things.retain(|identity, _| identity.name != "theirs");
    world.pass(120_000);
    assert_eq!(deletes(&mut world).len(), 1);
}

#[test]
fn what_cannot_be_looked_into_is_not_deleted() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[manifest("v1", "Namespace", "shop")]);
    let away = super::fake::failure(Reason::Unreachable, "no answer");
    world.failures.insert("contents of".into(), away);
    world.log();
    world.remove("main/web", everything());
    world.pass(120_000);
    assert!(deletes(&mut world).is_empty());
    assert_eq!(world.words("main/web"), "Removing Unknown [Namespace shop no answer]");
    // What was looked into is not deleted either, once the right to it is gone.
    world.failures.clear();
    world.is_held = true;
    world.pass(120_000);
    world.release_until("contents of");
    world.assign("main/web", Settings::default(), &[manifest("v1", "Namespace", "shop")]);
    world.release();
    assert!(deletes(&mut world).is_empty());
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn a_namespace_stays_for_what_the_bundle_still_wants_in_it() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[manifest("v1", "Namespace", "shop"), config("a", "1")]);
    world.log();
    world.assign_with("main/web", Settings::default(), &[config("a", "1")], everything());
    world.pass(60_000);
    assert!(deletes(&mut world).is_empty());
    assert!(
        world.words("main/web").contains("Namespace shop is still needed by objects of bundle main/web"),
        "{}",
        world.words("main/web")
    );
}

#[test]
fn nothing_goes_while_a_kind_is_not_known_or_a_variant_does_not_bind() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    let missing = super::fake::failure(Reason::NoSuchKind, "no such kind");
    world.failures.insert("Widget".into(), missing);
    let widget = manifest("example.com/v1", "Widget", "w");
    world.assign_with("main/web", in_shop(), &[config("a", "1"), widget], permit(5));
    world.pass(60_000);
    let mut broken = config("a", "1");
    broken["metadata"]["annotations"] = json!({"drover.dev/order": "soon"});
    world.assign_with("main/web", in_shop(), &[broken], permit(5));
    world.pass(60_000);
    assert!(deletes(&mut world).is_empty());
    assert!(world.words("main/web").starts_with("Failed Progressing [final: ConfigMap shop/a"));
}

#[test]
fn a_change_between_question_and_answer_takes_the_right_to_delete() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    world.log();
    world.is_held = true;
    world.assign_with("main/web", in_shop(), &[config("a", "1")], permit(1));
    assert_eq!(world.held.len(), 1, "the look before the deletion");
    // The object is wanted again before the look is answered.
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    world.release();
    assert!(deletes(&mut world).is_empty());
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn no_change_becomes_durable_while_a_deletion_is_under_way() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    world.is_held = true;
    world.assign_with("main/web", in_shop(), &[config("a", "1")], permit(1));
    world.release_until("delete");
    world.log();
    // The ledger must not name what may yet go.
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    assert_eq!(world.log(), Vec::<String>::new());
    world.release();
    let log = world.log();
    assert!(log.iter().any(|line| line == "apply ConfigMap shop/b"), "{log:?}");
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn nothing_goes_while_a_change_waits_to_be_durable() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    world.is_held = true;
    world.assign_with("main/web", in_shop(), &[config("a", "1")], permit(1));
    world.stores_fail = true;
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    world.release();
    assert!(deletes(&mut world).is_empty());
    world.stores_fail = false;
    world.pass(60_000);
    assert!(deletes(&mut world).is_empty());
    assert_eq!(world.words("main/web"), "Applied Healthy");
    // What waited goes once the change is durable, where it still is to go.
    world.is_held = true;
    world.assign_with("main/web", in_shop(), &[config("a", "1")], permit(1));
    world.stores_fail = true;
    world.assign("main/other", in_shop(), &[config("c", "1")]);
    world.release();
    assert!(deletes(&mut world).is_empty());
    world.stores_fail = false;
    world.pass(60_000);
    assert_eq!(deletes(&mut world), ["delete ConfigMap shop/b"]);
}

#[test]
fn a_bundle_unknown_to_the_hub_is_kept() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1")]);
    let forget = world.delta(&[], &["main/web"]);
    world.log();
    world.hub(proto_model::delta::ToSpoke::Delta(forget));
    assert_eq!(world.log(), ["store ledger -bundle/main/web", "send Ack 2"]);
    world.pass(60_000);
    assert!(deletes(&mut world).is_empty());
    // The root record was lost, the inventory was not.
    world.records.remove("ledger");
    world.restart();
    world.pass(60_000);
    assert!(deletes(&mut world).is_empty());
}

#[test]
fn what_was_to_be_left_and_came_back_leaves_what_it_names_no_more() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    // It was taken away with all its objects left, and brought back without one of them; this spoke heard of neither.
    let orphan = Permit { orphan: true, ..permit(0) };
    world.assign_with("main/web", Settings::default(), &[config("a", "2")], orphan);
    world.pass(60_000);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    assert_eq!(world.report("main/web").objects, 1);
    assert!(world.thing_mut("b").manifest["metadata"]["labels"].as_object().unwrap().is_empty(), "without our marks");
}

#[test]
fn of_two_heirs_the_first_takes_it() {
    let mut world = World::new();
    world.assign_with("main/old", Settings::default(), &[config("a", "1")], permit(0));
    world.resend(&[("main/old", &[]), ("main/one", &[config("a", "2")]), ("main/two", &[config("a", "3")])], permit(0));
    world.pass(600_000);
    let value = world.thing_mut("a").manifest["data"]["value"].clone();
    let managers: Vec<&String> = world.thing_mut("a").managed.keys().collect();
    assert!(managers.len() == 2 && managers.iter().any(|name| *name == "drover/main/old"), "{managers:?}");
    let (winner, loser) = if value == "2" { ("main/one", "main/two") } else { ("main/two", "main/one") };
    assert_eq!(world.words(winner), "Applied Healthy");
    assert!(world.words(loser).contains(&format!("belongs to bundle {winner}")), "{}", world.words(loser));
}

#[test]
fn what_is_gone_and_was_to_go_holds_up_nobody_who_wants_it() {
    let mut world = World::new();
    world.assign("main/one", Settings::default(), &[config("a", "1")]);
    // It would let go of its object once what it wants instead is healthy, which never comes.
    let mut job = manifest("batch/v1", "Job", "j");
    job["metadata"]["namespace"] = "shop".into();
    world.assign_with("main/one", Settings::default(), &[job], permit(1));
    world.destroy("a");
    world.assign("main/two", Settings::default(), &[config("a", "2")]);
    world.pass(600_000);
    assert_eq!(world.words("main/two"), "Applied Healthy");
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
}
