//! What must never come of a refusal, of a long wait, or of words that came late: a deletion, or a write to what is
//! somebody else's.

use proto_model::limits;
use proto_model::variant::{Adopt, Settings};
use serde_json::{Value as Json, json};

use super::fake::{World, config, failure, manifest, permit};
use crate::agent::Event;
use crate::port::Reason;
use crate::suspend::Order;

const HOUR: u64 = 3_600_000;

fn job(image: &str) -> Json {
    let mut job = manifest("batch/v1", "Job", "j");
    job["metadata"]["namespace"] = "shop".into();
    job["spec"] = json!({"image": image});
    job
}

fn annotated(mut manifest: Json, name: &str, value: &str) -> Json {
    manifest["metadata"]["annotations"][name] = value.into();
    manifest
}

fn deletes(world: &mut World) -> Vec<String> {
    let mut log = world.log();
    log.retain(|line| line.starts_with("delete"));
    log
}

fn denied() -> crate::port::Failure {
    failure(Reason::Invalid, "denied by policy images")
}

#[test]
fn a_policy_that_refuses_a_correction_deletes_nothing() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[job("1")]);
    world.failures.insert("apply Job.batch shop/j".into(), denied());
    world.meddle("j");
    world.pass(HOUR);
    assert_eq!(deletes(&mut world), [""; 0]);
    assert!(world.words("main/web").contains("denied by policy"), "{}", world.words("main/web"));
}

#[test]
fn a_policy_that_knows_no_dry_runs_and_refuses_the_write_deletes_nothing() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[job("1")]);
    world.log();
    let no_dry_runs = failure(Reason::Webhook, "does not support dry run");
    world.failures = [("dry-run".into(), no_dry_runs), ("apply Job.batch shop/j".into(), denied())].into();
    world.assign("main/web", Settings::default(), &[job("2")]);
    world.pass(HOUR);
    assert_eq!(deletes(&mut world), [""; 0]);
    let words = world.words("main/web");
    assert!(words.contains("denied by policy images; it is not deleted to be made anew"), "{words}");
    // Once it can be told that it can be made, it is.
    world.failures.clear();
    world.immutable.insert("Job".into());
    world.pass(HOUR);
    assert_eq!(deletes(&mut world), ["delete Job.batch shop/j"]);
    assert_eq!(world.thing_mut("j").manifest["spec"]["image"], "2");
}

#[test]
fn what_was_not_there_is_looked_for_again_when_its_turn_comes() {
    let mut world = World::new();
    let after = annotated(config("b", "ours"), "drover.dev/order", "1");
    world.assign("main/web", Settings::default(), &[job("1"), after]);
    world.put(config("b", "theirs"));
    world.pass(2 * limits::ABSENT_MILLIS);
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.pass(HOUR);
    assert_eq!(world.thing_mut("b").manifest["data"]["value"], "theirs");
    assert!(world.words("main/web").contains("exists, not ours: ConfigMap shop/b"), "{}", world.words("main/web"));
}

#[test]
fn what_could_not_be_made_is_looked_for_before_it_is_tried_again() {
    let mut world = World::new();
    world.failures.insert("apply ConfigMap shop/a".into(), failure(Reason::Quota, "quota is full"));
    world.assign("main/web", Settings::default(), &[config("a", "ours")]);
    world.put(config("a", "theirs"));
    world.failures.clear();
    world.pass(HOUR);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "theirs");
}

#[test]
fn what_is_put_back_by_hand_during_a_suspension_is_looked_at_first() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    let (reason, by) = (String::new(), String::new());
    let order = Order::Suspend { bundle: None, span_millis: HOUR, reason, by };
    world.step(Event::Order { id: 1, order });
    world.destroy("a");
    world.put(config("a", "restored by hand"));
    world.log();
    world.step(Event::Order { id: 2, order: Order::Resume { bundle: None } });
    world.pass(HOUR);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "restored by hand");
    assert!(world.words("main/web").contains("exists, not ours"), "{}", world.words("main/web"));
}

#[test]
fn what_was_being_taken_over_and_is_wanted_no_more_stays_its_maker_s() {
    let mut world = World::new();
    world.put(job("theirs"));
    world.immutable.insert("Job".into());
    world.failures.insert("patch Job.batch shop/j".into(), failure(Reason::Webhook, "webhook is down"));
    let always = || Settings { adopt: Adopt::Always, ..Settings::default() };
    world.assign("main/web", always(), &[config("a", "1"), job("ours")]);
    world.pass(60_000);
    world.failures.clear();
    world.log();
    world.assign_with("main/web", always(), &[config("a", "1")], permit(5));
    world.pass(HOUR);
    assert_eq!(deletes(&mut world), [""; 0]);
    assert_eq!(world.thing_mut("j").manifest["spec"]["image"], "theirs");
    assert!(world.thing_mut("j").manifest["metadata"]["labels"].is_null());
}

#[test]
fn what_goes_first_does_not_go_while_it_may_be_named_under_a_new_version() {
    let mut world = World::new();
    let widget = |version: &str| {
        let mut widget = manifest(&format!("example.com/{version}"), "Widget", "w");
        widget["metadata"]["namespace"] = "shop".into();
        annotated(widget, "drover.dev/prune", "first")
    };
    world.assign("main/web", Settings::default(), &[widget("v1"), config("a", "1")]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    world.failures.insert("discover Widget.example.com".into(), failure(Reason::NoSuchKind, "no such kind"));
    world.assign_with("main/web", Settings::default(), &[widget("v2"), config("a", "2")], permit(5));
    world.pass(HOUR);
    assert_eq!(deletes(&mut world), [""; 0]);
    // Nor does it hold up the others.
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
}

#[test]
fn what_a_suspended_bundle_owns_is_given_to_nobody() {
    let mut world = World::new();
    world.resend(&[("main/one", &[config("a", "1"), config("c", "1")]), ("main/two", &[config("b", "1")])], permit(0));
    let (reason, by) = (String::new(), String::new());
    let bundle = Some("main/one".to_owned());
    world.step(Event::Order { id: 1, order: Order::Suspend { bundle: bundle.clone(), span_millis: HOUR, reason, by } });
    world.log();
    world.resend(&[("main/one", &[config("c", "1")]), ("main/two", &[config("a", "2"), config("b", "1")])], permit(0));
    world.pass(HOUR / 2);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1");
    world.step(Event::Order { id: 2, order: Order::Resume { bundle } });
    world.pass(60_000);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
    assert_eq!(world.words("main/two"), "Applied Healthy");
    assert_eq!(deletes(&mut world), [""; 0]);
}

#[test]
fn what_shall_stay_and_asks_for_hands_off_says_why_it_waits() {
    let mut world = World::new();
    let kept = annotated(config("a", "1"), "drover.dev/prune", "keep");
    world.assign("main/web", Settings::default(), &[kept, config("b", "1")]);
    world.thing_mut("a").manifest["metadata"]["annotations"]["drover.dev/reconcile"] = "disabled".into();
    world.touch("a");
    world.remove("main/web", permit(5));
    world.pass(60_000);
    assert!(world.words("main/web").contains("is left alone, as its annotation"), "{}", world.words("main/web"));
    let annotations = world.thing_mut("a").manifest["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.remove("drover.dev/reconcile");
    world.touch("a");
    world.pass(60_000);
    assert_eq!(world.report("main/web").variant, None);
    assert!(world.thing_mut("a").manifest["metadata"]["labels"].as_object().unwrap().is_empty());
}

#[test]
fn a_job_that_ran_does_not_run_again_for_another_incarnation() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[job("1"), config("a", "1")]);
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.destroy("j");
    world.pass(60_000);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    world.fence.incarnation += 1;
    world.log();
    world.assign("main/web", Settings::default(), &[job("1"), config("a", "1")]);
    world.pass(60_000);
    let log = world.log();
    assert!(log.contains(&"apply ConfigMap shop/a".to_owned()), "its marks are new: {log:?}");
    assert!(!log.iter().any(|line| line.starts_with("apply Job")), "{log:?}");
    assert_eq!(world.words("main/web"), "Applied Healthy");
    // Other content runs.
    world.assign("main/web", Settings::default(), &[job("2"), config("a", "1")]);
    assert!(world.log().contains(&"apply Job.batch shop/j".to_owned()));
}

#[test]
fn a_report_that_waits_hides_no_other_timer() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    // Counts that change soon after a report wait for a while.
    world.failures.insert("get ConfigMap shop/a".into(), failure(Reason::Unreachable, "no route"));
    world.destroy("a");
    world.destroy("b");
    world.stores_fail = true;
    let (reason, by) = (String::new(), String::new());
    world.step(Event::Order { id: 1, order: Order::Suspend { bundle: None, span_millis: HOUR, reason, by } });
    world.pass(limits::REPORT_MILLIS_MIN * 4);
    assert!(world.wake.is_some_and(|at| at > world.now), "{:?} at {}", world.wake, world.now);
    world.stores_fail = false;
    world.log();
    world.pass(limits::RETRY_MILLIS_MAX * 2);
    assert!(world.log().contains(&"obeyed 1: 1 suspended".to_owned()));
}
