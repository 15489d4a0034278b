//! Applying: order, namespaces, ownership, retries, dependencies.

use proto_model::variant::{Dependency, Settings, Until};
use serde_json::json;

use proto_model::{Permit, limits};

use super::fake::{World, config, failure, manifest, permit};
use crate::agent::{Effect, Event};
use crate::health;
use crate::port::{OWNER_ANNOTATION, OWNER_LABEL, Observation, Outcome, Reason};

fn in_shop() -> Settings {
    Settings { namespace: Some("shop".into()), ..Settings::default() }
}

#[test]
fn a_first_assignment_is_durable_then_inventoried_then_applied() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    assert_eq!(
        world.log(),
        [
            "store bundle/main/web ledger",
            "send Ack 1",
            // What an earlier ledger may have left is searched for, once.
            "recover",
            "discover ConfigMap",
            "send Report main/web Applying Progressing",
            "store inventory/main/web ledger",
            "get ConfigMap shop/a",
            "get ConfigMap shop/b",
            "dry-run ConfigMap shop/a",
            "dry-run ConfigMap shop/b",
            "apply ConfigMap shop/a",
            "apply ConfigMap shop/b",
            "watch ConfigMap",
            "store inventory/main/web",
            "send Report main/web Applied Healthy",
        ]
    );
    let report = world.report("main/web");
    assert_eq!((report.generation, report.objects, report.installed), (1, 2, true));
}

#[test]
fn objects_carry_their_owner() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    let manifest = world.thing_mut("a").manifest.clone();
    let label = manifest["metadata"]["labels"][OWNER_LABEL].as_str().unwrap();
    assert_eq!(label.len(), 16);
    let marks = manifest["metadata"]["annotations"][OWNER_ANNOTATION].as_str().unwrap();
    assert_eq!(marks, r#"[{"hub":"hub","bundle":"main/web","incarnation":1}]"#);
    assert!(world.thing_mut("a").managed.contains_key("drover/main/web"));
}

#[test]
fn the_bundles_namespace_is_filled_in_and_made_first() {
    let mut world = World::new();
    let bare = manifest("v1", "ConfigMap", "a");
    let settings = Settings { namespace: Some("fresh".into()), ..Settings::default() };
    world.assign("main/web", settings, &[bare]);
    assert!(world.namespaces.contains("fresh"));
    assert_eq!(world.find("a").namespace, "fresh");
    let log = world.log();
    let at = |what: &str| log.iter().position(|line| line == what).unwrap();
    assert!(at("ensure namespace fresh") < at("apply ConfigMap fresh/a"), "{log:?}");
}

#[test]
fn stages_wait_for_each_other_and_one_failure_stops_only_what_comes_after() {
    let mut world = World::new();
    world.failures.insert("apply ConfigMap shop/a".into(), failure(Reason::Quota, "quota is full"));
    let objects = [manifest("apps/v1", "Deployment", "web"), config("a", "1"), config("b", "1")];
    world.assign("main/web", in_shop(), &objects);
    let applies =
        |log: Vec<String>| -> Vec<String> { log.into_iter().filter(|line| line.starts_with("apply")).collect() };
    assert_eq!(applies(world.log()), ["apply ConfigMap shop/a", "apply ConfigMap shop/b"]);
    assert_eq!(world.words("main/web"), "Waiting Progressing [ConfigMap shop/a quota is full]");
    world.failures.clear();
    world.pass(1_000);
    assert_eq!(applies(world.log()), ["apply ConfigMap shop/a", "apply Deployment.apps shop/web"]);
    assert_eq!(
        world.words("main/web"),
        "Applied Progressing [Deployment.apps shop/web is not observed by its controller yet]"
    );
}

#[test]
fn a_border_of_the_author_waits_for_health() {
    let mut world = World::new();
    let job = manifest("batch/v1", "Job", "migrate");
    let mut after = config("a", "1");
    after["metadata"]["annotations"] = json!({"drover.dev/order": "1"});
    world.assign("main/web", in_shop(), &[job, after]);
    assert!(!world.log().contains(&"apply ConfigMap shop/a".to_owned()));
    world.set_status("migrate", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    assert!(world.log().contains(&"apply ConfigMap shop/a".to_owned()));
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn custom_resources_wait_for_their_definition() {
    let mut world = World::new();
    let mut definition = manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com");
    definition["spec"] = json!({"group": "example.com", "names": {"kind": "Widget"},
        "scope": "Namespaced"});
    let widget = manifest("example.com/v1", "Widget", "w");
    world.assign("main/web", in_shop(), &[widget, definition]);
    let asked = |log: &[String], what: &str| log.iter().any(|line| line.contains(what));
    let log = world.log();
    assert!(asked(&log, "apply CustomResourceDefinition") && !asked(&log, "Widget.example.com"));
    let established = json!({"conditions": [{"type": "Established", "status": "True"}]});
    world.set_status("widgets.example.com", established);
    assert!(asked(&world.log(), "apply Widget.example.com shop/w"));
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn a_kind_that_does_not_exist_is_waited_for() {
    let mut world = World::new();
    let missing = failure(Reason::NoSuchKind, "no such kind");
    world.failures.insert("Widget.example.com".into(), missing);
    world.assign("main/web", in_shop(), &[manifest("example.com/v1", "Widget", "w"), config("a", "1")]);
    assert_eq!(
        world.words("main/web"),
        "Waiting Progressing [Widget.example.com w waits for kind Widget.example.com/v1 to exist]"
    );
    assert!(world.things.keys().any(|identity| identity.name == "a"));
    world.failures.clear();
    world.pass(1_000);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn a_kind_of_kubernetes_itself_that_is_gone_is_not_promised() {
    let mut world = World::new();
    world.failures.insert("PodSecurityPolicy.policy".into(), failure(Reason::NoSuchKind, "no such kind"));
    world.assign("main/web", in_shop(), &[manifest("policy/v1beta1", "PodSecurityPolicy", "p")]);
    let words = world.words("main/web");
    assert!(words.contains("this Kubernetes has no PodSecurityPolicy.policy/v1beta1"), "{words}");
    assert!(health::is_built_in("") && health::is_built_in("apps") && health::is_built_in("storage.k8s.io"));
    assert!(!health::is_built_in("gateway.networking.k8s.io") && !health::is_built_in("example.com"));
}

#[test]
fn what_somebody_else_made_is_left_alone() {
    let mut world = World::new();
    world.put(config("a", "theirs"));
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    assert_eq!(
        world.words("main/web"),
        "Failed Progressing [final: ConfigMap shop/a exists, not ours: ConfigMap shop/a \
         differs at /data/value; make them alike, delete it, or let the bundle take it over with `adopt: always`]"
    );
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "theirs");
    assert_eq!(world.thing_mut("b").manifest["data"]["value"], "1");
    let a = world.find("a");
    world.things.remove(&a);
    world.pass(120_000);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn an_object_of_another_bundle_is_named() {
    let mut world = World::new();
    world.assign("main/one", Settings::default(), &[config("a", "1")]);
    world.assign("main/two", Settings::default(), &[config("a", "2")]);
    assert_eq!(
        world.words("main/two"),
        "Failed Progressing [final: ConfigMap shop/a belongs to bundle main/one of this cluster; \
         remove it from one of the two]"
    );
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1");
}

#[test]
fn an_object_goes_from_one_bundle_to_another_as_soon_as_it_may() {
    let mut world = World::new();
    world.assign("main/one", Settings::default(), &[config("a", "1")]);
    world.assign("main/two", Settings::default(), &[config("a", "2")]);
    world.assign_with("main/one", Settings::default(), &[], permit(1));
    assert_eq!(world.words("main/two"), "Applied Healthy");
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
}

#[test]
fn who_stood_back_looks_again_though_the_watch_told_of_the_object() {
    let mut world = World::new();
    world.assign("main/one", Settings::default(), &[config("a", "1")]);
    world.assign("main/two", Settings::default(), &[config("a", "2")]);
    assert!(world.words("main/two").contains("belongs to bundle main/one"), "{}", world.words("main/two"));
    let seen = world.look_at("a");
    world.step(Event::Observed(Observation::Seen(seen)));
    world.assign_with("main/one", Settings::default(), &[], Permit::default());
    assert_eq!(
        (world.words("main/one"), world.words("main/two")),
        ("Applied Healthy".into(), "Applied Healthy".into())
    );
}

#[test]
fn who_stands_back_before_an_apply_looks_again_by_itself() {
    let mut world = World::new();
    world.is_held = true;
    world.assign("main/one", Settings::default(), &[config("a", "1")]);
    world.assign("main/two", Settings::default(), &[config("a", "2")]);
    world.release();
    assert!(world.words("main/two").contains("belongs to bundle main/one"), "{}", world.words("main/two"));
    world.log();
    world.pass(limits::RETRY_MILLIS_MAX * 2);
    assert!(world.log().iter().any(|line| line == "get ConfigMap shop/a"));
}

#[test]
fn what_was_applied_before_does_not_pass_for_what_an_unanswered_request_left() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.is_held = true;
    world.assign("main/web", Settings::default(), &[config("a", "2")]);
    world.release_until("apply");
    let apply = world.held.pop_front().expect("an apply");
    let Effect::Execute { id, .. } = apply else { panic!("{apply:?}") };
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    assert_eq!(world.words("main/web"), "Applying Progressing");
    world.lose(apply);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
    world.step(Event::Done { id, outcome: Outcome::Failed(failure(Reason::Unreachable, "timed out")) });
    world.release();
    world.pass(10_000);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1");
}

#[test]
fn two_bundles_that_look_at_the_same_moment_do_not_both_apply() {
    let mut world = World::new();
    world.is_held = true;
    world.assign("main/one", Settings::default(), &[config("a", "1")]);
    world.assign("main/two", Settings::default(), &[config("a", "2")]);
    world.is_held = false;
    world.release();
    world.pass(1_000);
    assert_eq!(world.words("main/one"), "Applied Healthy");
    assert!(world.words("main/two").contains("belongs to bundle main/one"), "{}", world.words("main/two"));
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "1");
    world.assign_with("main/one", Settings::default(), &[], permit(1));
    world.pass(120_000);
    assert_eq!(world.words("main/two"), "Applied Healthy");
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
}

#[test]
fn claimants_of_a_namespace_share_it_without_a_fight() {
    let mut world = World::new();
    let namespace = manifest("v1", "Namespace", "common");
    world.assign("main/one", Settings::default(), std::slice::from_ref(&namespace));
    world.assign("main/two", Settings::default(), &[namespace]);
    world.pass(60_000);
    for bundle in ["main/one", "main/two"] {
        assert_eq!(world.words(bundle), "Applied Healthy");
    }
    let manifest = &world.thing_mut("common").manifest;
    let marks = manifest["metadata"]["annotations"][OWNER_ANNOTATION].as_str().unwrap();
    assert!(marks.contains("main/one") && marks.contains("main/two"), "{marks}");
    let applies = world.log().iter().filter(|line| line.starts_with("apply")).count();
    assert_eq!(applies, 3, "each once, and the first again when the second came");
}

#[test]
fn an_invalid_job_is_made_anew_and_another_kind_is_not() {
    let mut world = World::new();
    let job = |image: &str| {
        let mut job = manifest("batch/v1", "Job", "j");
        job["spec"] = json!({"image": image});
        job
    };
    world.assign("main/web", in_shop(), &[job("1"), config("a", "1")]);
    world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.log();
    world.immutable = ["Job", "ConfigMap"].map(str::to_owned).into();
    world.assign("main/web", in_shop(), &[job("2"), config("a", "1")]);
    let log = world.log();
    let of_job: Vec<&String> = log.iter().filter(|line| line.contains("Job.batch")).collect();
    assert_eq!(
        of_job[2..],
        [
            "apply Job.batch shop/j",
            // Whether it could be made anew, under another name.
            "dry-run Job.batch shop/drover-a5f6de4e888a",
            "get Job.batch shop/j",
            "delete Job.batch shop/j",
            "get Job.batch shop/j",
            "apply Job.batch shop/j",
        ]
    );
    assert_eq!(world.thing_mut("j").manifest["spec"]["image"], "2");
    world.assign("main/web", in_shop(), &[job("2"), config("a", "2")]);
    assert!(!world.log().iter().any(|line| line.starts_with("delete")));
    assert_eq!(
        world.words("main/web"),
        "Failed Progressing [final: ConfigMap shop/a refused beforehand, in a dry-run: annotate it drover.dev/replace: \
         recreate to have it made anew; field is immutable]"
    );
}

#[test]
fn retries_back_off_and_honour_what_the_server_asks() {
    let mut world = World::new();
    let mut throttled = failure(Reason::Throttled, "slow down");
    throttled.retry_after_millis = Some(20_000);
    world.failures.insert("apply".into(), throttled);
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.log();
    world.pass(19_999);
    assert!(!world.log().iter().any(|line| line.starts_with("apply")));
    world.failures.insert("apply".into(), failure(Reason::Server, "boom"));
    world.pass(600_000);
    let tries = world.log().iter().filter(|line| line.starts_with("apply")).count();
    assert!((8..=20).contains(&tries), "{tries} tries in ten minutes");
}

#[test]
fn requests_under_way_are_bounded_and_bundles_take_turns() {
    let mut world = World::new();
    let many = |prefix: &str| -> Vec<_> { (0..20).map(|n| config(&format!("{prefix}{n}"), "1")).collect() };
    world.assign("main/warm", Settings::default(), &[config("w", "1")]);
    world.log();
    world.is_held = true;
    world.assign("main/one", Settings::default(), &many("a"));
    world.assign("main/two", Settings::default(), &many("b"));
    assert_eq!(world.held.len(), limits::API_REQUESTS_MAX);
    world.log();
    world.release();
    let log = world.log();
    let first = |name: &str| log.iter().position(|line| line.contains(name)).unwrap();
    assert!(first("apply ConfigMap shop/b") < first("apply ConfigMap shop/a9"), "{log:?}");
    assert_eq!(world.words("main/one"), "Applied Healthy");
    assert_eq!(world.words("main/two"), "Applied Healthy");
    assert_eq!(world.things.len(), 41);
}

#[test]
fn dependencies_are_waited_for() {
    for until in [Until::Installed, Until::Healthy, Until::Current] {
        let mut world = World::new();
        let dependency = Dependency { bundle: "main/base".into(), until };
        let settings = Settings { depends_on: vec![dependency], ..Settings::default() };
        world.assign("main/web", settings, &[config("a", "1")]);
        let words = world.words("main/web");
        assert!(words.starts_with("Waiting Progressing [waits for bundle main/base ("), "{words}");
        assert!(words.ends_with("which is not assigned to this cluster]"), "{words}");
        world.assign("main/base", in_shop(), &[manifest("batch/v1", "Job", "j")]);
        assert!(world.words("main/web").starts_with("Waiting"));
        world.set_status("j", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
        assert_eq!(world.words("main/web"), "Applied Healthy", "{until:?}");
    }
}

#[test]
fn a_dependency_of_which_a_kind_is_missing_is_not_healthy() {
    let mut world = World::new();
    world.assign("main/base", in_shop(), &[config("b", "1")]);
    let missing = failure(Reason::NoSuchKind, "no such kind");
    world.failures.insert("Widget.example.com".into(), missing);
    world.assign("main/base", in_shop(), &[config("b", "1"), manifest("example.com/v1", "Widget", "w")]);
    let dependency = Dependency { bundle: "main/base".into(), until: Until::Healthy };
    let settings = Settings { depends_on: vec![dependency], ..Settings::default() };
    world.assign("main/web", settings, &[config("a", "1")]);
    assert!(world.words("main/web").starts_with("Waiting"), "{}", world.words("main/web"));
    world.failures.clear();
    world.pass(60_000);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn a_status_is_waited_for_where_a_controller_writes_one() {
    let gadget = || manifest("example.com/v1", "Gadget", "g");
    let waiting = "Applied Progressing [Gadget.example.com shop/g waits for its controller to write a status]";
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[gadget()]);
    assert_eq!(world.words("main/web"), waiting);
    world.touch("g");
    assert_eq!(world.words("main/web"), waiting);
    world.set_status("g", json!({"phase": "Running"}));
    assert_eq!(world.words("main/web"), "Applied Healthy");

    // Not every controller writes one.
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[gadget()]);
    world.pass(limits::STATUS_WAIT_MILLIS - 1);
    assert_eq!(world.words("main/web"), waiting);
    // A restart is no answer.
    world.restart();
    world.step(Event::Connected);
    world.welcome(true);
    assert_eq!(world.words("main/web"), waiting);
    world.pass(limits::STATUS_WAIT_MILLIS);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    world.restart();
    world.step(Event::Connected);
    world.welcome(true);
    assert_eq!(world.words("main/web"), "Applied Healthy");

    // Where the kind has none, none is waited for.
    let mut world = World::new();
    world.assign("main/web", in_shop(), &[manifest("example.com/v1", "Widget", "w")]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn health_follows_the_watch() {
    let mut world = World::new();
    let mut deployment = manifest("apps/v1", "Deployment", "web");
    deployment["spec"] = json!({"replicas": 1});
    world.assign("main/web", in_shop(), &[deployment]);
    let ready = json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1,
        "readyReplicas": 1, "availableReplicas": 1});
    world.set_status("web", ready);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    world.set_status("web", json!({"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1}));
    assert_eq!(world.words("main/web"), "Applied Progressing [Deployment.apps shop/web 0 of 1 replicas available]");
    assert!(world.report("main/web").installed);
}
