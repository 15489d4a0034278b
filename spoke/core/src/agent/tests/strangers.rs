//! What other people do between a look and a write, and what bundles are asked to leave alone.

use proto_model::Permit;
use proto_model::variant::{Ignore, Settings};
use serde_json::{Value as Json, json};

use super::fake::{World, config, failure, manifest};
use crate::agent::Event;
use crate::port::{OWNER_ANNOTATION, Reason};

fn asking(name: &str, value: &str, annotation: &str, word: &str) -> Json {
    let mut object = config(name, value);
    object["metadata"]["annotations"] = json!({annotation: word});
    object
}

fn restart(world: &mut World) {
    world.restart();
    world.step(Event::Connected);
    world.welcome(true);
}

#[test]
fn what_somebody_made_between_two_tries_is_left_alone() {
    let mut world = World::new();
    world.failures.insert("apply ConfigMap shop/a".into(), failure(Reason::Quota, "quota is full"));
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.put(config("a", "theirs"));
    world.failures.clear();
    world.pass(10_000);
    assert!(world.words("main/web").contains("exists, not ours"), "{}", world.words("main/web"));
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "theirs");
}

#[test]
fn what_somebody_made_while_an_object_waited_for_its_turn_is_left_alone() {
    let mut world = World::new();
    let objects = [manifest("batch/v1", "Job", "j"), asking("a", "1", "drover.dev/order", "1")];
    world.assign("main/web", Settings { namespace: Some("shop".into()), ..Settings::default() }, &objects);
    world.put(config("a", "theirs"));
    world.pass(60_000);
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    assert!(world.words("main/web").contains("exists, not ours"), "{}", world.words("main/web"));
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "theirs");
}

#[test]
fn what_could_not_be_compared_is_not_taken_for_nothing() {
    let mut world = World::new();
    world.put(config("a", "theirs"));
    world.failures.insert("dry-run ConfigMap shop/a".into(), failure(Reason::Webhook, "does not support dry run"));
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.failures.clear();
    world.failures.insert("get".into(), failure(Reason::Unreachable, "timed out"));
    world.assign("main/web", Settings::default(), &[config("a", "2")]);
    world.failures.clear();
    world.pass(120_000);
    assert!(world.words("main/web").contains("exists, not ours"), "{}", world.words("main/web"));
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "theirs");
}

#[test]
fn hands_are_kept_off_what_is_kept_as_well() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), asking("b", "1", "drover.dev/prune", "keep")]);
    world.thing_mut("b").manifest["metadata"]["annotations"]["drover.dev/reconcile"] = "disabled".into();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    restart(&mut world);
    world.pass(120_000);
    assert!(!world.log().iter().any(|line| line.starts_with("patch")));
    assert!(world.words("main/web").contains("is left alone"), "{}", world.words("main/web"));
    if let Some(annotations) = world.thing_mut("b").manifest["metadata"]["annotations"].as_object_mut() {
        annotations.remove("drover.dev/reconcile");
    }
    world.touch("b");
    world.pass(120_000);
    assert!(world.thing_mut("b").manifest.pointer("/metadata/annotations/drover.dev~1owned-by").is_none());
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn what_is_made_once_goes_from_one_bundle_to_another_as_it_is() {
    let mut world = World::new();
    let once = |value: &str| asking("a", value, "drover.dev/apply", "createOnly");
    world.assign("main/one", Settings::default(), &[once("1")]);
    world.assign("main/two", Settings::default(), &[once("2")]);
    assert!(world.words("main/two").contains("belongs to bundle main/one"), "{}", world.words("main/two"));
    world.assign_with("main/one", Settings::default(), &[], Permit::default());
    assert_eq!(
        (world.words("main/one"), world.words("main/two")),
        ("Applied Healthy".into(), "Applied Healthy".into())
    );
    let manifest = &world.thing_mut("a").manifest;
    assert_eq!(manifest["data"]["value"], "1", "it is never changed");
    let marks = manifest["metadata"]["annotations"][OWNER_ANNOTATION].as_str().unwrap_or_default();
    assert!(marks.contains("main/two") && !marks.contains("main/one"), "{marks}");
}

#[test]
fn what_is_gone_of_a_bundle_unknown_to_the_hub_is_in_nobody_s_way() {
    let mut world = World::new();
    world.assign("main/one", Settings::default(), &[config("a", "1")]);
    world.forget("main/one");
    world.assign("main/two", Settings::default(), &[config("a", "2")]);
    assert!(world.words("main/two").contains("belongs to bundle main/one"), "{}", world.words("main/two"));
    world.destroy("a");
    world.pass(120_000);
    assert_eq!(world.words("main/two"), "Applied Healthy");
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
}

#[test]
fn a_field_that_is_left_alone_no_more_is_applied_again() {
    let mut world = World::new();
    let rule = Ignore { fields: vec!["/data/value".into()], ..Ignore::default() };
    let leaving = Settings { ignore: vec![rule], ..Settings::default() };
    world.assign("main/web", leaving, &[config("a", "1")]);
    world.thing_mut("a").manifest["data"]["value"] = "theirs".into();
    world.touch("a");
    world.pass(10_000);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "theirs");
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1");
}

#[test]
fn what_was_left_as_somebody_made_it_is_made_again_once_it_is_gone() {
    let mut world = World::new();
    world.put(config("a", "theirs"));
    world.assign("main/web", Settings::default(), &[asking("a", "1", "drover.dev/apply", "createOnly")]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    // It never bore our marks: no watch tells.
    let gone = world.find("a");
    world.things.remove(&gone);
    world.pass(2 * proto_model::limits::WATCH_AGE_MILLIS_MAX);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1");
}
