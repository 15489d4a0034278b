//! The ledger comes before everything, and never goes back.

use proto_model::delta::ToSpoke;
use proto_model::variant::Settings;
use proto_model::{GroupKind, limits};
use serde_json::json;

use super::fake::{World, config, failure, manifest, parts, permit, run};
use crate::agent::{Event, Outside};
use crate::port::{Kind, Reason};

#[test]
fn nothing_is_applied_or_acknowledged_before_the_ledger_is_durable() {
    let mut world = World::new();
    world.stores_fail = true;
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.pass(5_000);
    let log = world.log();
    assert!(log.len() > 2 && log.iter().all(|line| line == "store bundle/main/web ledger"), "{log:?}");
    world.stores_fail = false;
    world.pass(60_000);
    let log = world.log();
    assert_eq!(log[..2], ["store bundle/main/web ledger", "send Ack 1"]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn nothing_is_applied_before_the_inventory_is_durable() {
    let mut world = World::new();
    let content = parts(Settings::default(), &[config("a", "1")]);
    let delta = world.delta(&[("main/web", run(&content.variant, permit(0)))], &[]);
    world.is_held = true;
    world.send_parts(delta, &content);
    world.stores_fail = true;
    world.release();
    assert!(world.words("main/web").contains("can't be written to the ledger: etcd is away"));
    assert!(!world.log().iter().any(|line| line.starts_with("apply")));
    world.stores_fail = false;
    world.pass(5_000);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn an_older_generation_or_epoch_is_refused() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.assign("main/web", Settings::default(), &[config("a", "2")]);
    world.log();
    let mut old = world.delta(&[], &[]);
    old.fence.generation = 1;
    world.hub(ToSpoke::Delta(old.clone()));
    old.fence.generation = 9;
    old.fence.epoch = 0;
    world.hub(ToSpoke::Delta(old.clone()));
    old.fence.epoch = 1;
    old.fence.hub_id = "another".into();
    world.hub(ToSpoke::Delta(old));
    assert_eq!(
        world.log(),
        [
            "send Nack 1: generation 1 is older than 2, which this cluster holds already",
            "send Nack 9: epoch 0 is older than 1, which this cluster holds already",
            "send Nack 9: hub another is not the hub hub that this cluster belongs to",
        ]
    );
}

#[test]
fn other_content_under_the_same_generation_is_refused_and_the_same_is_acknowledged_again() {
    let mut world = World::new();
    let content = parts(Settings::default(), &[config("a", "1")]);
    let delta = world.delta(&[("main/web", run(&content.variant, permit(0)))], &[]);
    world.send_parts(delta.clone(), &content);
    world.log();
    world.hub(ToSpoke::Delta(delta.clone()));
    assert_eq!(world.log(), ["send Ack 1"]);
    let mut other = delta;
    other.set.insert("main/web".into(), run(&content.variant, permit(5)));
    other.base = other.root;
    other.root = proto_model::Digest::of(b"other");
    world.hub(ToSpoke::Delta(other));
    assert_eq!(world.log(), ["send Nack 1: generation 1 came with other content than this cluster holds under it"]);
}

#[test]
fn packs_of_before_are_deleted_after_the_root() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.log();
    world.assign("main/web", Settings::default(), &[config("a", "2")]);
    assert_eq!(world.log()[0], "store bundle/main/web ledger -bundle/main/web");
    assert_eq!(world.records.keys().filter(|key| key.starts_with("bundle/")).count(), 1);
}

#[test]
fn a_lost_pack_is_sent_again_under_the_same_fence() {
    let mut world = World::new();
    let content = parts(Settings::default(), &[config("a", "1")]);
    let delta = world.delta(&[("main/web", run(&content.variant, permit(0)))], &[]);
    world.send_parts(delta.clone(), &content);
    world.records.retain(|key, _| !key.starts_with("bundle/"));
    world.restart();
    world.connect();
    assert!(world.log().contains(&"send Hello at 0".to_owned()));
    let mut again = delta;
    again.base = crate::ledger::root(&Default::default());
    world.send_parts(again, &content);
    assert!(world.log().contains(&"send Ack 1".to_owned()));
    assert_eq!(world.words("main/web"), "Applied Healthy");
    assert_eq!(world.things.len(), 1);
}

#[test]
fn a_ledger_that_cannot_be_read_stops_everything() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.records.insert("ledger".into(), b"{\"version\":9}".to_vec());
    world.restart();
    world.connect();
    let log = world.log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[1].starts_with("halt: the ledger of this cluster can't be read (format 9)"));
}

#[test]
fn without_the_lease_nothing_happens_and_afterwards_the_ledger_is_read_anew() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.log();
    world.step(Event::Lease(false));
    world.destroy("a");
    world.pass(60_000);
    let log = world.log();
    // The hub shows it as not connected: nobody looks after what it reported.
    assert_eq!(log, ["end session: this spoke does not hold the Lease of its cluster now"]);
    world.step(Event::Lease(true));
    assert_eq!(world.log()[..3], ["watch ", "load", "watch ConfigMap"]);
    assert_eq!(world.things.len(), 1);
}

#[test]
fn a_reading_that_a_newer_one_replaced_is_neither_taken_nor_waited_for() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.is_load_held = true;
    // 1 was read at the beginning; 2 is under way when the Lease runs out and comes back.
    for held in [false, true, false, true] {
        world.step(Event::Lease(held));
    }
    world.log();
    let late = world.loaded(2);
    world.step(late);
    assert!(world.log().is_empty(), "it may be from before another spoke wrote");
    // The shell gave 2 up: in its place nothing comes.
    let read = world.loaded(3);
    world.step(read.clone());
    world.connect();
    assert!(world.log().contains(&"send Hello at 1".to_owned()));
    world.step(read);
    assert!(world.log().is_empty(), "it is taken once");
}

#[test]
fn a_ledger_that_another_spoke_wrote_is_read_anew() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    let (held, entries) = (world.records.clone(), world.entries.clone());
    // Another spoke had the Lease and took generation 2; this one does not know.
    world.assign("main/web", Settings::default(), &[config("a", "2")]);
    let newer = std::mem::replace(&mut world.records, held);
    world.restart();
    world.connect();
    world.records = newer;
    world.is_refused = true;
    world.log();
    world.entries = entries;
    world.assign("main/other", Settings::default(), &[config("b", "1")]);
    let log = world.log();
    assert!(log.contains(&"load".to_owned()), "{log:?}");
    assert!(!log.contains(&"apply ConfigMap shop/b".to_owned()), "{log:?}");
    assert_eq!(log.iter().filter(|line| line.starts_with("store")).count(), 1, "not again at once: {log:?}");
    world.is_refused = false;
    world.connect();
    assert!(world.log().contains(&"send Hello at 2".to_owned()));
    world.pass(5_000);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
}

#[test]
fn a_search_that_could_not_list_a_kind_is_not_over() {
    let mut world = World::new();
    world.assign_with("main/web", Settings::default(), &[config("a", "1"), config("b", "1")], permit(5));
    world.pass(5_000);
    // The ledger is lost, and Git drops b while it can't be told what there is.
    world.records.clear();
    world.entries.clear();
    let maps = Kind { kind: GroupKind::of("v1", "ConfigMap"), version: "v1".into() };
    world.unlisted.insert(maps, failure(Reason::Forbidden, "may not list configmaps"));
    world.restart();
    world.connect();
    world.assign_with("main/web", Settings::default(), &[config("a", "1")], permit(5));
    world.pass(5_000);
    assert!(world.log().contains(&"recover".to_owned()));
    let told = world.agent.status(&Outside::default(), world.clock()).search_trouble;
    assert!(told.contains("ConfigMap can't be listed (may not list configmaps)"), "{told}");
    assert!(world.published.last().unwrap()["cluster"].contains("may not list configmaps"));
    assert_eq!(world.things.len(), 2);
    // Neither is it over for the next process.
    world.restart();
    world.connect();
    assert!(world.log().contains(&"recover".to_owned()));
    world.pass(limits::SEARCH_AGAIN_MILLIS_MIN);
    assert!(!world.log().contains(&"recover".to_owned()), "rights are seldom granted");
    world.unlisted.clear();
    world.pass(limits::SEARCH_AGAIN_MILLIS);
    assert!(world.log().contains(&"delete ConfigMap shop/b".to_owned()));
    assert!(world.agent.status(&Outside::default(), world.clock()).search_trouble.is_empty());
    world.pass(limits::SEARCH_AGAIN_MILLIS);
    assert!(!world.log().contains(&"recover".to_owned()), "it is over");
}

#[test]
fn another_cluster_waits_for_the_hubs_word() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    let root = String::from_utf8(world.records["ledger"].clone()).unwrap();
    let elsewhere = root.replace("\"cluster_uid\":\"cluster\"", "\"cluster_uid\":\"other\"");
    assert_ne!(root, elsewhere);
    world.records.insert("ledger".into(), elsewhere.into_bytes());
    world.things.clear();
    world.restart();
    world.pass(60_000);
    assert!(world.things.is_empty());
    world.connect();
    assert_eq!(world.things.len(), 1);
}

/// Each of these writes is one that the objects wait for.
#[test]
fn what_an_update_replaces_is_written_down_at_once() {
    let mut world = World::new();
    let all = |value: &str| (0..50).map(|n| config(&format!("c{n}"), value)).collect::<Vec<_>>();
    world.assign("main/web", Settings::default(), &all("1"));
    world.log();
    world.assign("main/web", Settings::default(), &all("2"));
    let log = world.log();
    let first_apply = log.iter().position(|line| line.starts_with("apply")).unwrap();
    let stores = |lines: &[String]| lines.iter().filter(|line| *line == "store inventory/main/web").count();
    assert_eq!(log.iter().filter(|line| line.starts_with("apply")).count(), 50, "{log:?}");
    assert_eq!(stores(&log[..first_apply]), 1, "{log:?}");
    assert!(stores(&log[first_apply..]) <= 2, "{log:?}");
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

/// Where its turn did not come before what it ran is wanted again, it does not run again.
#[test]
fn a_job_that_came_to_its_end_is_vouched_for_until_its_turn() {
    let mut world = World::new();
    let in_shop = Settings { namespace: Some("shop".into()), ..Settings::default() };
    let jobs = |value: &str| {
        let job = |n| {
            let mut job = manifest("batch/v1", "Job", &format!("j{n:02}"));
            job["metadata"]["annotations"] = json!({"value": value});
            job
        };
        (0..=2 * limits::API_REQUESTS_MAX).map(job).collect::<Vec<_>>()
    };
    let last = format!("j{:02}", 2 * limits::API_REQUESTS_MAX);
    world.assign("main/web", in_shop.clone(), &jobs("1"));
    world.set_status(&last, json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.destroy(&last);
    world.is_held = true;
    world.assign("main/web", in_shop.clone(), &jobs("2"));
    world.release_until("apply");
    world.log();
    world.assign("main/web", in_shop, &jobs("1"));
    world.release();
    world.pass(60_000);
    assert!(world.words("main/web").starts_with("Applied"), "{}", world.words("main/web"));
    let log = world.log();
    let applied = |name: &str| log.contains(&format!("apply Job.batch shop/{name}"));
    assert!(applied("j00") && !applied(&last), "{log:?}");
}

#[test]
fn a_ledger_that_somebody_removed_is_written_again_whole() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.assign("main/db", Settings::default(), &[config("b", "1")]);
    let held: Vec<String> = world.records.keys().cloned().collect();
    world.step(Event::Disconnected);
    world.records.clear();
    world.is_ledger_gone = true;
    // The next write finds it.
    world.destroy("a");
    world.pass(60_000);
    assert_eq!(world.records.keys().cloned().collect::<Vec<_>>(), held);
    // It goes on as if nothing had been, also after a restart without the hub.
    world.restart();
    world.destroy("b");
    world.pass(60_000);
    assert_eq!(world.thing_mut("b").manifest["data"]["value"], "1");
}

#[test]
fn a_removal_is_not_over_before_a_lost_inventory_was_searched_for() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    world.remove("main/web", permit(0));
    assert!(world.report("main/web").variant.is_some(), "the permit lets nothing go");
    world.records.remove("inventory/main/web");
    world.is_search_held = true;
    world.restart();
    world.connect();
    world.welcome(true);
    world.pass(60_000);
    let words = world.words("main/web");
    assert!(words.contains("searched for by its marks first"), "{words}");
    assert!(world.report("main/web").variant.is_some());
    world.is_search_held = false;
    world.restart();
    world.connect();
    world.welcome(true);
    assert_eq!(world.report("main/web").objects, 2);
    world.remove("main/web", permit(5));
    world.pass(60_000);
    assert_eq!(world.report("main/web").variant, None);
    assert!(world.things.is_empty());
}
