//! What is said in the cluster: on changes, once, and not too much.

use proto_model::limits;
use proto_model::variant::Settings;
use serde_json::json;

use super::fake::{World, config, failure, manifest, permit};
use crate::agent::Event;
use crate::port::{About, Reason};
use crate::suspend::Order;

fn web() -> World {
    let mut world = World::new();
    world.agent.introduce("edge-1");
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    world
}

fn told(world: &mut World) -> Vec<String> {
    let say = |note: crate::port::Note| {
        let about = match &note.about {
            About::Object { identity, uid, .. } => format!("{identity} {}", if uid.is_empty() { "?" } else { "uid" }),
            About::Status => "status".to_owned(),
        };
        let warning = if note.is_warning { "!" } else { "" };
        let times = if note.count == 1 { String::new() } else { format!(" x{}", note.count) };
        format!("{warning}{} on {about}{times}: {}", note.reason, note.message)
    };
    world.notes.drain(..).map(say).collect()
}

#[test]
fn what_changes_is_told_once() {
    let mut world = web();
    assert_eq!(told(&mut world), ["Applied on status: main/web: all 2 objects are as assigned"]);
    world.pass(3_600_000);
    assert!(told(&mut world).is_empty());
    world.restart();
    world.connect();
    world.pass(3_600_000);
    assert!(told(&mut world).is_empty(), "a restart is no news");
    world.assign_with("main/web", Settings::default(), &[config("a", "2")], permit(5));
    world.pass(limits::NOTE_GATHER_MILLIS);
    assert_eq!(
        told(&mut world),
        ["Applied on status: main/web: all 1 objects are as assigned", "Deleted on status: main/web: deleted 1 object"]
    );
}

#[test]
fn a_correction_is_told_on_the_object_with_who_made_it_needed() {
    let mut world = web();
    told(&mut world);
    world.thing_mut("a").manifest["metadata"]["managedFields"] =
        json!([{"manager": "kubectl-edit", "operation": "Update", "time": "1"}]);
    world.meddle("a");
    world.destroy("b");
    assert_eq!(
        told(&mut world),
        [
            "DriftCorrected on ConfigMap shop/a uid: was changed (field manager kubectl-edit wrote last), and was put \
             back as assigned (bundle main/web)",
            "DriftCorrected on ConfigMap shop/b uid: was missing, and was made again as assigned (bundle main/web)",
        ]
    );
}

#[test]
fn a_fight_is_counted_and_named() {
    let mut world = web();
    told(&mut world);
    for _ in 0..40 {
        world.thing_mut("a").manifest["metadata"]["managedFields"] =
            json!([{"manager": "rival", "operation": "Update", "time": "1"}]);
        world.meddle("a");
        world.pass(30_000);
    }
    let told = told(&mut world);
    assert!(told.len() < 10, "{told:#?}");
    let has = |begin: &str| told.iter().any(|one| one.starts_with(begin));
    assert!(has("!Contested on ConfigMap shop/a uid: is contested: field manager rival"), "{told:#?}");
    assert!(has("!Contested on status: main/web: ConfigMap shop/a is contested"), "{told:#?}");
    assert!(has("DriftCorrected on ConfigMap shop/a uid x"), "{told:#?}");
}

#[test]
fn a_failure_is_told_on_the_bundle_and_on_the_object_that_is_there() {
    let mut world = web();
    told(&mut world);
    world.failures.insert("dry-run".into(), failure(Reason::Invalid, "a field is wrong"));
    world.assign("main/web", Settings::default(), &[config("a", "2"), config("b", "1")]);
    world.pass(3_600_000);
    assert_eq!(
        told(&mut world),
        [
            "!Failed on status: main/web: failed: ConfigMap shop/a refused beforehand, in a dry-run: a field is wrong",
            "!Failed on ConfigMap shop/a uid: refused beforehand, in a dry-run: a field is wrong (bundle main/web)",
        ]
    );
}

#[test]
fn health_that_goes_and_comes_is_told() {
    let mut world = World::new();
    let settings = Settings { namespace: Some("shop".into()), ..Settings::default() };
    world.assign("main/web", settings, &[manifest("batch/v1", "Job", "j")]);
    told(&mut world);
    world.set_status("j", json!({"conditions": [{"type": "Failed", "status": "True", "message": "boom"}]}));
    let degraded = told(&mut world);
    assert!(degraded[0].starts_with("!Degraded on status: main/web: is Degraded: Job.batch shop/j"), "{degraded:?}");
    assert!(degraded[1].starts_with("!Degraded on Job.batch shop/j uid"), "{degraded:?}");
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    assert_eq!(told(&mut world), ["Healthy on status: main/web: is Healthy again"]);
}

#[test]
fn a_storm_is_bounded_and_what_was_left_out_is_counted() {
    let mut world = World::new();
    let many: Vec<_> = (0..50).map(|n| config(&format!("m{n}"), "1")).collect();
    world.assign("main/web", Settings::default(), &many);
    told(&mut world);
    for n in 0..50 {
        world.destroy(&format!("m{n}"));
    }
    assert!(told(&mut world).len() <= limits::BUNDLE_NOTES_PER_MINUTE_MAX as usize);
    world.pass(120_000);
    world.meddle("m0");
    let after = told(&mut world);
    assert_eq!(after.len(), 1);
    assert!(after[0].contains("more things happened to the bundle and were not told"), "{after:?}");
}

#[test]
fn a_hub_that_is_gone_for_long_is_told_and_a_short_break_is_not() {
    let mut world = web();
    world.pass(60_000);
    told(&mut world);
    world.published.clear();
    world.step(Event::Disconnected);
    world.pass(limits::HUB_LOST_MILLIS - 1_000);
    world.connect();
    world.pass(60_000);
    assert!(told(&mut world).is_empty() && world.published.is_empty());
    world.step(Event::Disconnected);
    world.pass(2 * limits::HUB_LOST_MILLIS);
    let lost = told(&mut world);
    assert_eq!(lost.len(), 1);
    assert!(lost[0].starts_with("!HubLost on status: the hub was not reached since 2023-11-14T"), "{lost:?}");
    assert_eq!(world.published.len(), 1);
    assert!(world.published[0]["cluster"].contains("hub, not reached since 2023-11-14T"), "{:?}", world.published);
    world.connect();
    world.pass(60_000);
    assert_eq!(told(&mut world), ["HubBack on status: the hub is there again, after 10m"]);
    assert!(world.published[1]["cluster"].contains("hub, attached since 2023-11-14T"), "{:?}", world.published);
}

#[test]
fn the_config_map_is_written_on_change_alone_and_not_too_often() {
    let mut world = web();
    world.pass(60_000);
    let first = world.published.last().unwrap().clone();
    assert!(first["cluster"].contains("edge-1") && first["bundles"].contains("main/web   Applied   Healthy"));
    world.published.clear();
    world.pass(24 * 3_600_000);
    world.touch("a");
    world.pass(3_600_000);
    assert!(world.published.is_empty(), "nothing changed");
    for n in 0..100 {
        world.assign("main/web", Settings::default(), &[config("a", &n.to_string()), config("b", "1")]);
        world.pass(100);
    }
    world.pass(limits::STATUS_MILLIS_MIN);
    assert!((2..=4).contains(&world.published.len()), "{}", world.published.len());
    let order = Order::Suspend { bundle: None, span_millis: 60_000, reason: "night".into(), by: "me".into() };
    world.step(Event::Order { id: 1, order });
    world.pass(limits::STATUS_MILLIS_MIN);
    let last = world.published.last().unwrap();
    assert!(last["cluster"].contains("suspended    the whole cluster until 2023-11-"), "{last:?}");
    // A new process says how it is once; nobody remembers what the old one said.
    world.published.clear();
    world.pass(120_000);
    world.published.clear();
    world.restart();
    world.connect();
    world.pass(3_600_000);
    assert_eq!(world.published.len(), 1);
}

#[test]
fn what_can_t_be_written_is_tried_again_less_and_less_often() {
    let mut world = web();
    world.pass(60_000);
    world.published.clear();
    world.stores_fail = true;
    world.step(Event::Disconnected);
    world.pass(24 * 3_600_000);
    let tries = world.published.len();
    assert!((10..200).contains(&tries), "{tries}");
    world.stores_fail = false;
    world.pass(limits::STATUS_RETRY_MILLIS_MAX * 2);
    let settled = world.published.len();
    world.pass(24 * 3_600_000);
    assert_eq!(world.published.len(), settled);
}

#[test]
fn without_the_lease_nothing_is_said() {
    let mut world = web();
    world.pass(60_000);
    told(&mut world);
    world.published.clear();
    world.step(Event::Lease(false));
    world.step(Event::Disconnected);
    world.pass(24 * 3_600_000);
    assert!(told(&mut world).is_empty() && world.published.is_empty());
}
