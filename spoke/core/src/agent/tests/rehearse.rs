//! Asking before writing, and what an answer may mean.

use proto_model::limits;
use proto_model::variant::Settings;
use serde_json::{Value as Json, json};

use super::fake::{World, config, failure, manifest};
use crate::port::Reason;

fn in_shop() -> Settings {
    Settings { namespace: Some("shop".into()), ..Settings::default() }
}

fn written(world: &mut World, verb: &str) -> Vec<String> {
    let mut log = world.log();
    log.retain(|line| line.starts_with(verb));
    log
}

fn refuse(world: &mut World, what: &str, reason: Reason) {
    world.failures.insert(what.into(), failure(reason, "no"));
}

fn definition() -> Json {
    let mut definition = manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com");
    definition["spec"] = json!({"group": "example.com", "names": {"kind": "Widget"}, "scope": "Namespaced"});
    definition
}

#[test]
fn a_refusal_beforehand_leaves_everything_as_it_was() {
    let mut world = World::new();
    let old = [config("a", "1"), config("b", "1"), config("c", "1")];
    world.assign("main/web", in_shop(), &old);
    world.log();
    refuse(&mut world, "dry-run ConfigMap shop/c", Reason::Invalid);
    let new = [config("a", "2"), config("b", "1"), config("c", "2")];
    world.assign("main/web", in_shop(), &new);
    world.pass(limits::RETRY_MILLIS_MAX * 3);
    let log = world.log();
    assert!(!log.iter().any(|line| line.starts_with("apply")), "{log:?}");
    // What stays as it is needs no question; what passed is not asked about again.
    let asked = |name: &str| log.iter().filter(|line| **line == format!("dry-run ConfigMap shop/{name}")).count();
    assert_eq!((asked("a"), asked("b")), (1, 0));
    assert!((2..=4).contains(&asked("c")), "{}", asked("c"));
    assert_eq!(
        world.words("main/web"),
        "Failed Progressing [final: ConfigMap shop/c refused beforehand, in a dry-run: no]"
    );
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1");
    // The cluster changes its mind.
    world.failures.clear();
    world.pass(limits::RETRY_MILLIS_MAX * 2);
    assert_eq!(written(&mut world, "apply"), ["apply ConfigMap shop/a", "apply ConfigMap shop/c"]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn every_stage_is_asked_about_before_the_first_write() {
    let mut world = World::new();
    refuse(&mut world, "dry-run Ingress.networking.k8s.io shop/late", Reason::Forbidden);
    let mut last = config("z", "1");
    last["metadata"]["annotations"] = json!({"drover.dev/order": "9"});
    let objects = [config("a", "1"), manifest("networking.k8s.io/v1", "Ingress", "late"), last];
    world.assign("main/web", in_shop(), &objects);
    world.pass(1_000);
    assert!(world.things.is_empty());
    assert_eq!(written(&mut world, "dry-run").len(), 3);
}

#[test]
fn a_write_that_is_refused_lets_the_rest_of_its_stage_go_on() {
    let mut world = World::new();
    refuse(&mut world, "apply ConfigMap shop/a", Reason::Invalid);
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    assert_eq!(world.words("main/web"), "Failed Progressing [final: ConfigMap shop/a no]");
    assert_eq!(world.find("b").name, "b");
    // Once writing has begun, nothing is asked any more.
    world.log();
    world.pass(limits::RETRY_MILLIS_MAX * 3);
    assert!(!written(&mut world, "dry-run").iter().any(|line| line.contains("shop/b")));
}

#[test]
fn what_only_the_write_can_tell_is_no_refusal() {
    for reason in [
        Reason::Webhook,
        Reason::NoSuchNamespace,
        Reason::NoSuchKind,
        Reason::Quota,
        Reason::Conflict,
        Reason::Terminating,
    ] {
        let mut world = World::new();
        refuse(&mut world, "dry-run", reason);
        world.assign("main/web", in_shop(), &[config("a", "1")]);
        assert_eq!(world.words("main/web"), "Applied Healthy", "{reason:?}");
    }
}

#[test]
fn an_answer_that_did_not_come_is_asked_for_again() {
    for reason in [Reason::Unreachable, Reason::Throttled, Reason::Unauthorized] {
        let mut world = World::new();
        refuse(&mut world, "dry-run ConfigMap shop/a", reason);
        world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
        world.pass(limits::RETRY_MILLIS_MAX);
        assert!(world.things.is_empty(), "{reason:?}");
        assert_eq!(world.words("main/web"), "Waiting Progressing [ConfigMap shop/a no]");
        assert!(written(&mut world, "dry-run").len() < 20);
        world.failures.clear();
        world.pass(limits::RETRY_MILLIS_MAX * 2);
        assert_eq!(world.words("main/web"), "Applied Healthy");
    }
    // A server that fails at dry-runs of a kind for ever does not keep it from being written.
    let mut world = World::new();
    refuse(&mut world, "dry-run ConfigMap shop/a", Reason::Server);
    world.assign("main/web", in_shop(), &[config("a", "1")]);
    world.pass(limits::RETRY_MILLIS_MAX);
    assert_eq!(written(&mut world, "dry-run").len() as u32, limits::DRY_RUNS_MAX);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn newer_content_ends_the_questions_about_older() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1")]);
    world.is_held = true;
    refuse(&mut world, "dry-run", Reason::Invalid);
    world.assign("main/web", in_shop(), &[config("a", "bad")]);
    let asked = world.held.len();
    assert_eq!(asked, 1);
    // The answer about the old content comes after the new content did.
    world.assign("main/web", in_shop(), &[config("a", "good")]);
    let question = world.held.pop_front().unwrap();
    for event in world.carry_out(question) {
        world.step(event);
    }
    world.failures.clear();
    world.release();
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "good");
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn a_restart_asks_nothing_where_nothing_changed_and_drift_is_put_right_unasked() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    world.restart();
    world.connect();
    world.pass(60_000);
    assert!(written(&mut world, "dry-run").is_empty());
    world.meddle("a");
    world.destroy("b");
    let log = world.log();
    assert!(!log.iter().any(|line| line.starts_with("dry-run")), "{log:?}");
    assert_eq!(log.iter().filter(|line| line.starts_with("apply")).count(), 2);
}

#[test]
fn drift_is_put_right_while_new_content_is_refused() {
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    refuse(&mut world, "dry-run ConfigMap shop/b", Reason::Invalid);
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "2")]);
    world.log();
    world.meddle("a");
    assert_eq!(written(&mut world, "apply"), ["apply ConfigMap shop/a"]);
}

#[test]
fn what_the_bundle_brings_itself_is_not_asked_about() {
    let mut world = World::new();
    let mut inside = config("a", "1");
    inside["metadata"]["namespace"] = "fresh".into();
    let mut widget = manifest("example.com/v1", "Widget", "w");
    widget["metadata"]["namespace"] = "fresh".into();
    let objects = [inside.clone(), widget.clone(), definition(), manifest("v1", "Namespace", "fresh")];
    world.assign("main/web", Settings::default(), &objects);
    let established = json!({"conditions": [{"type": "Established", "status": "True"}]});
    world.set_status("widgets.example.com", established);
    assert_eq!(
        written(&mut world, "dry-run"),
        ["dry-run Namespace fresh", "dry-run CustomResourceDefinition.apiextensions.k8s.io widgets.example.com"]
    );
    assert_eq!(world.words("main/web"), "Applied Healthy");
    // The next time they are there.
    inside["data"]["value"] = "2".into();
    widget["spec"] = json!({"size": 2});
    world.assign(
        "main/web",
        Settings::default(),
        &[inside, widget, definition(), manifest("v1", "Namespace", "fresh")],
    );
    assert_eq!(written(&mut world, "dry-run"), ["dry-run ConfigMap fresh/a", "dry-run Widget.example.com fresh/w"]);
}

#[test]
fn a_refusal_that_an_earlier_change_explains_is_none() {
    let mut world = World::new();
    let widget = |size: u32| {
        let mut widget = manifest("example.com/v1", "Widget", "w");
        widget["metadata"]["namespace"] = "shop".into();
        widget["spec"] = json!({"size": size});
        widget
    };
    world.assign("main/web", in_shop(), &[widget(1), definition()]);
    let established = json!({"conditions": [{"type": "Established", "status": "True"}]});
    world.set_status("widgets.example.com", established);
    // A field that only the new definition knows.
    refuse(&mut world, "dry-run Widget", Reason::Invalid);
    let mut newer = definition();
    newer["spec"]["versions"] = json!([{"name": "v2"}]);
    world.assign("main/web", in_shop(), &[widget(2), newer.clone()]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    // With the definition as it is, the refusal stands.
    world.assign("main/web", in_shop(), &[widget(3), newer]);
    assert!(world.words("main/web").contains("refused beforehand"), "{}", world.words("main/web"));
}

#[test]
fn what_cannot_change_is_asked_about_as_new_before_it_is_deleted() {
    let mut world = World::new();
    let job = |image: &str| {
        let mut job = manifest("batch/v1", "Job", "j");
        job["spec"] = json!({"image": image});
        job
    };
    world.assign("main/web", in_shop(), &[job("1")]);
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.immutable.insert("Job".into());
    refuse(&mut world, "dry-run Job.batch shop/drover-", Reason::Invalid);
    world.log();
    world.assign("main/web", in_shop(), &[job("bad")]);
    world.pass(1_000);
    let log = world.log();
    assert!(!log.iter().any(|line| line.starts_with("delete") || line.starts_with("apply")), "{log:?}");
    assert_eq!(world.thing_mut("j").manifest["spec"]["image"], "1");
    world.failures.clear();
    world.pass(limits::RETRY_MILLIS_MAX * 2);
    assert_eq!(world.thing_mut("j").manifest["spec"]["image"], "bad");
    assert!(world.things.keys().all(|identity| identity.name == "j"));
}

#[test]
fn somebody_elses_object_stops_only_itself() {
    let mut world = World::new();
    world.put(config("a", "theirs"));
    world.assign("main/web", in_shop(), &[config("a", "1"), config("b", "1")]);
    assert_eq!(written(&mut world, "apply"), ["apply ConfigMap shop/b"]);
}

#[test]
fn a_namespace_that_is_still_to_be_made_is_asked_about_only_once() {
    let mut world = World::new();
    refuse(&mut world, "dry-run", Reason::NoSuchNamespace);
    let objects: Vec<Json> = (0..50).map(|n| config(&format!("c{n}"), "1")).collect();
    world.assign("main/web", in_shop(), &objects);
    world.pass(1_000);
    let log = world.log();
    let count = |verb: &str| log.iter().filter(|line| line.starts_with(verb)).count();
    assert_eq!(count("apply"), 50);
    // Those that were asked about before the first answer came.
    assert!(count("dry-run") <= limits::API_REQUESTS_MAX, "{log:?}");
    assert_eq!(world.words("main/web"), "Applied Healthy");
}
