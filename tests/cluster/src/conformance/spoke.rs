//! What a spoke's decisions come to in a cluster.

use std::collections::BTreeMap;

use proto_model::ask::{Change, FieldDiff};
use proto_model::variant::Drift;
use proto_model::{HealthCheck, Identity, Settings, Sync, limits};
use serde_json::{Value as Json, json};

use super::World;
use super::driver::Driver;
use super::world::eventually;

pub const FINE: &str = "Applied Healthy";

/// A manifest as it stands in Git: without marks.
pub fn plain(mut manifest: Json) -> Json {
    let metadata = manifest["metadata"].as_object_mut().unwrap();
    metadata.remove("labels");
    metadata.remove("annotations");
    manifest
}

fn config(world: &World, name: &str, value: &str) -> Json {
    plain(world.config_map(name, json!({"key": value})))
}

pub async fn a_refusal_beforehand_changes_nothing(world: &World) {
    let mut driver = Driver::new(world).await;
    let fixed = |value: &str| {
        let mut config = config(world, "fixed", value);
        config["immutable"] = true.into();
        config
    };
    driver.assign(Settings::default(), &[config(world, "a", "1"), fixed("1")]);
    driver.until_words(FINE).await;
    driver.assign(Settings::default(), &[config(world, "a", "2"), config(world, "new", "1"), fixed("2")]);
    let words = driver.until_words("Failed").await;
    assert!(words.contains("fixed refused beforehand, in a dry-run"), "{words}");
    driver.skip(limits::RETRY_MILLIS_MAX * 2);
    driver.work(500).await;
    assert_eq!(world.object(&world.config_map_id("a")).await["data"]["key"], "1");
    assert_eq!(world.get(&world.config_map_id("new")).await, None);

    driver.assign(Settings::default(), &[config(world, "a", "2"), config(world, "new", "1"), fixed("1")]);
    driver.until_words(FINE).await;
    assert_eq!(world.object(&world.config_map_id("a")).await["data"]["key"], "2");
}

pub async fn a_job_that_would_be_refused_is_not_deleted(world: &World) {
    let mut driver = Driver::new(world).await;
    let job = |image: &str, policy: &str| {
        let mut job = plain(world.job("j", image));
        job["spec"]["template"]["spec"]["restartPolicy"] = policy.into();
        job
    };
    driver.assign(Settings::default(), &[job("registry.example/app:1", "Never")]);
    driver.until_words(FINE).await;
    let before = world.get(&world.identity("batch", "Job", "j")).await.unwrap().uid;
    driver.assign(Settings::default(), &[job("registry.example/app:2", "Always")]);
    driver.until_words("Failed").await;
    assert_eq!(world.get(&world.identity("batch", "Job", "j")).await.unwrap().uid, before);
    driver.assign(Settings::default(), &[job("registry.example/app:2", "Never")]);
    driver.until_words(FINE).await;
    assert_ne!(world.get(&world.identity("batch", "Job", "j")).await.unwrap().uid, before);
}

pub async fn a_namespace_with_foreign_objects_stays(world: &World) {
    let mut driver = Driver::new(world).await;
    let inner = format!("{}-in", world.namespace);
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": inner}});
    let mut ours = config(world, "ours", "1");
    ours["metadata"]["namespace"] = inner.as_str().into();
    driver.assign(Settings::default(), &[namespace, ours]);
    driver.until_words(FINE).await;
    let inside = |name: &str| Identity { namespace: inner.clone(), ..world.config_map_id(name) };
    let mut theirs = config(world, "theirs", "1");
    theirs["metadata"]["namespace"] = inner.as_str().into();
    world.create(&theirs).await;

    driver.remove();
    let words = driver.until_words("holds objects that are not in the inventory").await;
    assert!(words.contains(&inside("theirs").to_string()), "{words}");
    driver.skip(limits::RETRY_MILLIS_MAX * 2);
    driver.work(500).await;
    assert_eq!(world.get(&inside("ours")).await, None);
    assert_eq!(world.object(&inside("theirs")).await["data"]["key"], "1");

    world.remove(&inside("theirs")).await;
    driver.skip(limits::RETRY_MILLIS_MAX * 2);
    driver.until("the bundle is gone", |report| report.variant.is_none().then_some(())).await;
    let own = Identity { namespace: String::new(), ..world.identity("", "Namespace", &inner) };
    eventually("the namespace is gone", || async { world.get(&own).await.is_none().then_some(()) }).await;
}

pub async fn a_change_in_a_secret_is_put_right(world: &World) {
    let mut driver = Driver::new(world).await;
    let fields = json!({"stringData": {"key": "value"}, "data": {"other": "eA=="}});
    driver.assign(Settings::default(), &[plain(world.manifest("v1", "Secret", "s", fields))]);
    driver.until_words(FINE).await;
    let secret = world.identity("", "Secret", "s");
    assert_eq!(world.object(&secret).await["data"], json!({"key": "dmFsdWU=", "other": "eA=="}));
    world.edit(&secret, json!({"data": {"key": "ZXZpbA=="}})).await;
    put_right(&mut driver, world, &secret, "/data/key", "dmFsdWU=").await;
}

pub async fn a_custom_resource_waits_for_its_status(world: &World) {
    let mut driver = Driver::new(world).await;
    let (definition, group) = world.definition();
    let widget = plain(world.widget(&group, "w", json!({"size": 1})));
    driver.assign(Settings::default(), &[plain(definition.clone()), widget.clone()]);
    driver.until_words("Applied Progressing Widget").await;
    let identity = world.identity(&group, "Widget", "w");
    world.edit_status(&identity, json!({"phase": "Running"})).await;
    driver.until_words(FINE).await;

    // Another one, whose controller writes nothing.
    let silent = plain(world.widget(&group, "silent", json!({"size": 1})));
    driver.assign(Settings::default(), &[plain(definition), widget, silent]);
    driver.until_words("silent waits for its controller to write a status").await;
    driver.skip(limits::STATUS_WAIT_MILLIS);
    driver.until_words(FINE).await;
}

pub async fn a_health_check_reads_what_a_controller_writes(world: &World) {
    let mut driver = Driver::new(world).await;
    let (definition, group) = world.definition();
    let widget = plain(world.widget(&group, "w", json!({"size": 1})));
    let check = |kind: &str, api_version: &str, healthy: &str, degraded: Option<&str>| HealthCheck {
        title: "HealthCheck main/c".into(),
        api_version: api_version.into(),
        kind: kind.into(),
        healthy: healthy.into(),
        degraded: degraded.map(Into::into),
        ..HealthCheck::default()
    };
    let with = |health: Vec<HealthCheck>| Settings { health, ..Settings::default() };
    let phases = check(
        "Widget",
        &format!("{group}/v1"),
        "object.status.phase == 'Running'",
        Some("object.status.phase == 'Lost'"),
    );
    driver.assign(with(vec![phases.clone()]), &[plain(definition.clone()), widget.clone()]);
    driver.until_words("Applied Progressing Widget").await;
    let identity = world.identity(&group, "Widget", "w");
    for (phase, words) in [
        ("Starting", "HealthCheck main/c: `healthy` does not hold yet"),
        ("Lost", "Applied Degraded Widget"),
        ("Running", FINE),
    ] {
        world.edit_status(&identity, json!({"phase": phase})).await;
        driver.until_words(words).await;
    }
    // Of another kind, of which only metadata was watched until now.
    let config = config(world, "a", "1");
    let objects = [plain(definition), widget, config];
    driver.assign(with(vec![phases.clone()]), &objects);
    driver.until_words(FINE).await;
    let data = check("ConfigMap", "v1", "object.data.theirs == 'done'", None);
    driver.assign(with(vec![phases, data]), &objects);
    driver.until_words("HealthCheck main/c: `healthy`: there is no field \"theirs\"").await;
    world.edit(&world.config_map_id("a"), json!({"data": {"theirs": "done"}})).await;
    driver.until_words(FINE).await;
}

pub async fn a_diff_tells_what_an_apply_would_change(world: &World) {
    let mut driver = Driver::new(world).await;
    let secret = plain(world.manifest("v1", "Secret", "s", json!({"stringData": {"key": "hidden-in-git"}})));
    let mut deployment = world.deployment("d", json!({}));
    deployment["spec"]["replicas"] = 1.into();
    let deployment = plain(deployment);
    let objects = [config(world, "a", "1"), config(world, "gone", "1"), secret, deployment];
    let report = Settings { drift: Drift::Report, ..Settings::default() };
    driver.assign(report, &objects);
    driver.until("applied", |report| (report.sync == Sync::Applied).then_some(())).await;
    let diff = driver.diff().await;
    assert_eq!((diff.objects, diff.same, diff.unseen), (Vec::new(), 4, 0), "defaults are no difference");

    world.edit(&world.config_map_id("a"), json!({"data": {"key": "theirs", "other": "x"}})).await;
    world.edit(&world.identity("", "Secret", "s"), json!({"data": {"key": "ZXZpbA=="}})).await;
    world.remove(&world.config_map_id("gone")).await;
    let deployment = world.identity("apps", "Deployment", "d");
    world.edit(&deployment, json!({"spec": {"replicas": 7, "paused": true}})).await;
    let diff = driver.diff().await;
    let field = |pointer: &str, live: &str, bound: &str| FieldDiff {
        pointer: pointer.into(),
        live: Some(live.into()),
        bound: Some(bound.into()),
    };
    let fields = |fields: Vec<FieldDiff>| Change::Fields { fields, more: 0 };
    let found: BTreeMap<String, Change> = diff.objects.into_iter().map(|one| (one.object.name, one.change)).collect();
    let expected = BTreeMap::from([
        ("a".to_owned(), fields(vec![field("/data/key", "\"theirs\"", "\"1\"")])),
        ("gone".to_owned(), Change::Missing),
        ("s".to_owned(), fields(vec![field("/data/key", "***", "***")])),
        // Not what somebody else added.
        ("d".to_owned(), fields(vec![field("/spec/replicas", "7", "1")])),
    ]);
    assert_eq!(found, expected);
    assert!(!format!("{found:?}").contains("ZXZpbA"), "no value of a Secret");
    assert_eq!(world.object(&world.config_map_id("a")).await["data"]["key"], "theirs", "nothing is changed");
    assert_eq!(world.get(&world.config_map_id("gone")).await, None);
}

pub async fn who_takes_a_field_back_is_named(world: &World) {
    let mut driver = Driver::new(world).await;
    driver.assign(Settings::default(), &[config(world, "a", "ours")]);
    driver.until_words(FINE).await;
    let identity = world.config_map_id("a");
    for round in 0..limits::CORRECTIONS_MAX {
        world.edit(&identity, json!({"data": {"key": format!("theirs-{round}")}})).await;
        driver.skip(limits::RETRY_MILLIS_MAX);
        put_right(&mut driver, world, &identity, "/data/key", "ours").await;
    }
    world.edit(&identity, json!({"data": {"key": "theirs"}})).await;
    driver.until_words("field manager kubectl-patch keeps taking back what drover/main/web sets").await;
    assert_eq!(world.object(&identity).await["data"]["key"], "theirs");
}

pub async fn a_correction_is_said_where_people_look(world: &World) {
    let mut driver = Driver::new(world).await;
    driver.assign(Settings::default(), &[config(world, "a", "ours")]);
    driver.until_words(FINE).await;
    let identity = world.config_map_id("a");
    world.edit(&identity, json!({"data": {"key": "theirs"}})).await;
    put_right(&mut driver, world, &identity, "/data/key", "ours").await;
    let uid = world.get(&identity).await.unwrap().uid;
    let message = eventually("an Event tells of it", || async {
        let events = world.events(&world.namespace).await;
        let is_it = |event: &&Json| event["reason"] == "DriftCorrected" && event["involvedObject"]["uid"] == *uid;
        events.iter().find(is_it).map(|event| event["message"].as_str().unwrap().to_owned())
    })
    .await;
    assert_eq!(
        message,
        "was changed (field manager kubectl-patch wrote last), and was put back as assigned (bundle main/web)"
    );
    if let Some(described) = world.described(&identity).await {
        assert!(described.contains("DriftCorrected"), "{described}");
    }
}

/// Works until a field of an object is as it should be.
pub async fn put_right(driver: &mut Driver, world: &World, identity: &Identity, pointer: &str, value: impl Into<Json>) {
    let value = value.into();
    for _ in 0..600 {
        driver.work(100).await;
        if world.object(identity).await.pointer(pointer).is_some_and(|found| *found == value) {
            return;
        }
    }
    panic!("{identity} is not put right");
}

/// Works until an object is there.
pub async fn until_there(driver: &mut Driver, world: &World, identity: &Identity) {
    for _ in 0..600 {
        driver.work(100).await;
        if world.get(identity).await.is_some() {
            return;
        }
    }
    panic!("{identity} is not made");
}
