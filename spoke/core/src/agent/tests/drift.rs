//! Drift, restarts and the loss of the hub: what is applied is kept as it is.

use proto_model::limits;
use proto_model::variant::{Drift, Settings};
use serde_json::json;

use super::fake::{World, config, failure, manifest};
use crate::agent::Event;
use crate::port::{Observation, Reason};

fn web() -> World {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    world.log();
    world
}

fn applies(world: &mut World) -> Vec<String> {
    let mut log = world.log();
    log.retain(|line| line.starts_with("apply"));
    log
}

#[test]
fn a_changed_field_is_put_right_and_somebody_elses_is_not_touched() {
    let mut world = web();
    world.touch("a");
    assert_eq!(world.log(), [""; 0]);
    world.meddle("a");
    assert_eq!(
        world.log(),
        ["apply ConfigMap shop/a", "send Report main/web Applied Healthy", "send Report main/web Applied Healthy"]
    );
    assert!(!world.report("main/web").drifted);
}

#[test]
fn a_deleted_object_comes_back_without_the_hub() {
    let mut world = web();
    world.step(Event::Disconnected);
    world.destroy("a");
    assert_eq!(
        world.log(),
        ["get ConfigMap shop/a", "store inventory/main/web", "apply ConfigMap shop/a", "store inventory/main/web"]
    );
}

#[test]
fn an_object_that_only_lost_its_label_is_looked_at_first() {
    let mut world = web();
    let identity = world.find("a");
    let uid = world.thing_mut("a").uid.clone();
    world.thing_mut("a").managed.clear();
    world.step(Event::Observed(Observation::Gone { identity, uid }));
    let log = world.log();
    assert_eq!(log[..2], ["get ConfigMap shop/a", "apply ConfigMap shop/a"]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn drift_is_only_said_where_the_bundle_asks_for_that() {
    let mut world = World::new();
    let settings = Settings { drift: Drift::Report, ..Settings::default() };
    world.assign("main/web", settings, &[config("a", "1")]);
    world.log();
    world.meddle("a");
    world.pass(60_000);
    assert!(applies(&mut world).is_empty());
    assert_eq!(world.words("main/web"), "Applied Healthy drifted");
}

#[test]
fn a_fight_is_slowed_down_and_then_contested() {
    let mut world = web();
    for _ in 0..20 {
        world.meddle("a");
        world.pass(10_000);
    }
    assert_eq!(applies(&mut world).len() as u32, limits::CORRECTIONS_MAX);
    let words = world.words("main/web");
    assert_eq!(
        words,
        "Applied Healthy drifted [ConfigMap shop/a is contested: another field manager keeps taking back what \
         drover/main/web sets; correction pauses for 10 min]"
    );
    world.pass(limits::CONTEST_MILLIS);
    assert_eq!(applies(&mut world).len(), 1);
}

#[test]
fn who_wins_the_fight_is_looked_up_once_and_named() {
    let mut world = web();
    let fields = json!([{"manager": "rival", "operation": "Update", "time": "1",
        "fieldsV1": {"f:data": {"f:value": {}}}}]);
    for _ in 0..20 {
        world.thing_mut("a").manifest["metadata"]["managedFields"] = fields.clone();
        world.meddle("a");
        world.pass(10_000);
    }
    let words = world.words("main/web");
    assert!(words.contains("field manager rival keeps taking back what drover/main/web sets"), "{words}");
    let mut log = world.log();
    log.retain(|line| line.starts_with("get"));
    assert_eq!(log, ["get ConfigMap shop/a"]);
}

#[test]
fn a_restart_applies_nothing_again_and_finds_what_happened_meanwhile() {
    let mut world = web();
    world.restart();
    assert_eq!(world.log(), ["load", "watch ConfigMap"]);
    world.connect();
    world.pass(60_000);
    let log = world.log();
    assert_eq!(log[0], "send Hello at 1");
    assert!(!log.iter().any(|line| line.starts_with("apply") || line.starts_with("get")), "{log:?}");

    let gone = world.find("a");
    world.things.remove(&gone);
    world.thing_mut("b").managed.clear();
    world.restart();
    assert_eq!(applies(&mut world), ["apply ConfigMap shop/b", "apply ConfigMap shop/a"]);
    assert!(world.log().is_empty());
}

#[test]
fn a_restart_between_inventory_and_apply_resolves_by_the_owner_mark() {
    let mut world = World::new();
    world.is_held = true;
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.release_until("apply");
    let applied = world.held.pop_front().expect("an apply");
    // The apply reaches the cluster, and its answer reaches nobody.
    world.lose(applied);
    world.is_held = false;
    world.restart();
    assert!(world.log().contains(&"get ConfigMap shop/a".to_owned()));
    let uid = world.thing_mut("a").uid.clone();
    let inventory = String::from_utf8(world.records["inventory/main/web"].clone()).unwrap();
    assert!(inventory.contains(&format!("\"uid\":\"{uid}\"")), "{inventory}");
}

#[test]
fn a_finished_job_that_was_cleaned_away_stays_away() {
    let mut world = World::new();
    let settings = Settings { namespace: Some("shop".into()), ..Settings::default() };
    world.assign("main/web", settings, &[manifest("batch/v1", "Job", "j")]);
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.log();
    world.destroy("j");
    world.pass(60_000);
    assert!(applies(&mut world).is_empty());
    assert_eq!(world.words("main/web"), "Applied Healthy");
    world.restart();
    world.pass(60_000);
    assert!(applies(&mut world).is_empty());
}

#[test]
fn what_another_bundle_made_in_place_of_a_vanished_job_is_not_taken() {
    let mut world = World::new();
    let settings = Settings { namespace: Some("shop".into()), ..Settings::default() };
    let job = || manifest("batch/v1", "Job", "j");
    world.assign("main/web", settings.clone(), &[job()]);
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.destroy("j");
    world.assign("main/api", settings, &[job()]);
    world.pass(60_000);
    let owners = &world.look_at("j").owners;
    assert_eq!(owners.len(), 1);
    let (owner, other) = (owners[0].bundle.clone(), ["main/web", "main/api"]);
    let loser = other.iter().find(|name| **name != owner).unwrap();
    assert_eq!(owner, "main/api");
    assert!(world.words(loser).contains("belongs to bundle main/api"), "{}", world.words(loser));
}

#[test]
fn a_failed_job_that_somebody_deletes_is_run_again() {
    let mut world = World::new();
    let settings = Settings { namespace: Some("shop".into()), ..Settings::default() };
    let status = || json!({"conditions": [{"type": "Failed", "status": "True"}]});
    let mut cleaned = manifest("batch/v1", "Job", "j");
    cleaned["spec"] = json!({"ttlSecondsAfterFinished": 60});
    for (job, runs) in [(manifest("batch/v1", "Job", "j"), 1), (cleaned, 0)] {
        world.assign("main/web", settings.clone(), &[job]);
        world.set_status("j", status());
        world.log();
        world.destroy("j");
        world.pass(60_000);
        assert_eq!(applies(&mut world).len(), runs);
    }
    assert!(world.words("main/web").contains("change it in Git to run it again"), "{}", world.words("main/web"));
}

#[test]
fn a_late_sight_of_the_past_is_no_drift() {
    let mut world = web();
    let identity = world.find("a");
    let old = world.look_at("a");
    world.assign("main/web", Settings::default(), &[config("a", "2"), config("b", "1")]);
    world.log();
    assert_eq!(old.identity, identity);
    world.step(Event::Observed(Observation::Seen(old)));
    assert!(applies(&mut world).is_empty());
}

#[test]
fn what_cannot_be_watched_is_unknown() {
    let mut world = web();
    let kind = world.watched.keys().next().unwrap().clone();
    let failure = failure(Reason::Server, "cannot watch configmaps");
    world.step(Event::Observed(Observation::Lost { kind: kind.clone(), failure }));
    assert_eq!(world.words("main/web"), "Applied Unknown [ConfigMap shop/a cannot watch configmaps]");
    for event in world.list(vec![kind]) {
        world.step(event);
    }
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn what_may_not_be_watched_is_looked_at() {
    let mut world = web();
    let kind = world.watched.keys().next().unwrap().clone();
    let failure = failure(Reason::Forbidden, "may not watch configmaps");
    world.log();
    world.step(Event::Observed(Observation::Lost { kind, failure }));
    assert_eq!(world.words("main/web"), "Applied Healthy");
    let looks = |world: &mut World| world.log().iter().filter(|line| line.starts_with("get")).count();
    assert_eq!(looks(&mut world), 2, "each once, at once");
    world.watched.clear();
    world.thing_mut("a").manifest["data"]["value"] = "theirs".into();
    world.thing_mut("a").managed.clear();
    world.pass(limits::UNWATCHED_MILLIS + 1_000);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1", "put right");
}

#[test]
fn what_a_watch_lost_without_a_word_is_found_when_it_begins_anew() {
    let mut world = web();
    let kind = world.watched.keys().next().unwrap().clone();
    world.thing_mut("a").manifest["data"]["value"] = "theirs".into();
    world.thing_mut("a").managed.clear();
    world.log();
    world.pass(24 * 3_600_000);
    assert_eq!(world.log(), [""; 0], "nothing was told, and nothing is asked for");
    let told = world.list(vec![kind]);
    for event in told {
        world.step(event);
    }
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1", "put right");
    let log = world.log();
    assert!(!log.iter().any(|line| ["get", "dry-run", "list"].iter().any(|what| line.starts_with(what))), "{log:?}");
}
