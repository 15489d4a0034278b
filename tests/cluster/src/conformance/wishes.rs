//! What objects ask for in their annotations, and bundles in their settings.

use proto_model::variant::Ignore;
use proto_model::{Identity, Permit, Settings, limits};
use serde_json::{Value as Json, json};
use spoke_core::port::OWNER_LABEL;

use super::World;
use super::driver::{Driver, everything};
use super::spoke::{FINE, plain, put_right, until_there};

fn config(world: &World, name: &str, value: &str) -> Json {
    plain(world.config_map(name, json!({"key": value})))
}

fn asking(mut manifest: Json, annotation: &str, value: &str) -> Json {
    manifest["metadata"]["annotations"][annotation] = value.into();
    manifest
}

pub async fn what_asks_to_be_kept_stays_without_marks(world: &World) {
    let mut driver = Driver::new(world).await;
    let kept = asking(config(world, "a", "1"), "helm.sh/resource-policy", "keep");
    let rest = config(world, "b", "1");
    driver.assign(Settings::default(), &[kept, rest.clone(), config(world, "c", "1")]);
    driver.until_words(FINE).await;
    // What stays is not among what the permit lets go.
    let one = Permit { deletions: 1, ..Permit::default() };
    driver.assign_all(one, &[(super::driver::BUNDLE, Settings::default(), &[rest])]);
    driver.until("applied", |report| (report.objects == 1).then_some(())).await;
    driver.until_words(FINE).await;
    let object = world.object(&world.config_map_id("a")).await;
    assert_eq!(object["data"]["key"], "1");
    assert!(object["metadata"]["labels"].get(OWNER_LABEL).is_none(), "{object}");
    assert_eq!(world.get(&world.config_map_id("c")).await, None);
}

pub async fn what_asks_for_a_word_waits_for_it(world: &World) {
    let mut driver = Driver::new(world).await;
    driver.assign(Settings::default(), &[asking(config(world, "a", "1"), "drover.dev/prune", "confirm")]);
    driver.until_words(FINE).await;
    driver.assign(Settings::default(), &[]);
    driver.until_words("Failed").await;
    assert!(world.get(&world.config_map_id("a")).await.is_some());
    let permit = Permit { confirmed: true, ..everything() };
    driver.assign_all(permit, &[(super::driver::BUNDLE, Settings::default(), &[])]);
    driver.until_words(FINE).await;
    assert_eq!(world.get(&world.config_map_id("a")).await, None);
}

pub async fn what_goes_first_is_gone_before_its_successor_comes(world: &World) {
    let mut driver = Driver::new(world).await;
    let mut first = asking(config(world, "a", "1"), "drover.dev/prune", "first");
    first["metadata"]["finalizers"] = json!(["example.com/hold"]);
    driver.assign(Settings::default(), &[first]);
    driver.until_words(FINE).await;
    driver.assign(Settings::default(), &[config(world, "b", "1")]);
    // Finalizers are shown, and never taken off by us.
    driver.until_words("waits for finalizer example.com/hold").await;
    driver.skip(limits::RETRY_MILLIS_MAX * 2);
    driver.work(300).await;
    assert_eq!(world.get(&world.config_map_id("b")).await, None, "not before the other is gone");
    world.edit(&world.config_map_id("a"), json!({"metadata": {"finalizers": null}})).await;
    driver.skip(limits::RETRY_MILLIS_MAX * 2);
    driver.until_words(FINE).await;
    assert_eq!(world.get(&world.config_map_id("a")).await, None);
    assert!(world.get(&world.config_map_id("b")).await.is_some());
}

pub async fn what_is_made_once_is_never_changed(world: &World) {
    let mut driver = Driver::new(world).await;
    let once = |name: &str, value: &str| asking(config(world, name, value), "drover.dev/apply", "createOnly");
    world.create(&config(world, "theirs", "theirs")).await;
    driver.assign(Settings::default(), &[once("a", "1"), once("theirs", "1")]);
    driver.until_words(FINE).await;
    driver.assign(Settings::default(), &[once("a", "2"), once("theirs", "2"), config(world, "b", "1")]);
    driver.until_words(FINE).await;
    let a = world.config_map_id("a");
    assert_eq!(world.object(&a).await["data"]["key"], "1");
    assert_eq!(world.object(&world.config_map_id("theirs")).await["data"]["key"], "theirs");
    world.edit(&a, json!({"data": {"key": "by hand"}})).await;
    driver.work(500).await;
    assert_eq!(world.object(&a).await["data"]["key"], "by hand");
    // Gone, it is made again.
    world.remove(&a).await;
    until_there(&mut driver, world, &a).await;
    assert_eq!(world.object(&a).await["data"]["key"], "2");
    // It is ours, and goes with its bundle; the other never was.
    driver.assign(Settings::default(), &[]);
    driver.until_words(FINE).await;
    assert_eq!(world.get(&a).await, None);
    assert!(world.get(&world.config_map_id("theirs")).await.is_some());
}

pub async fn what_cannot_change_is_made_anew_where_it_asks_for_that(world: &World) {
    let mut driver = Driver::new(world).await;
    let fixed = |value: &str| {
        let mut config = config(world, "a", value);
        config["immutable"] = true.into();
        config
    };
    driver.assign(Settings::default(), &[fixed("1")]);
    driver.until_words(FINE).await;
    let a = world.config_map_id("a");
    let before = world.get(&a).await.unwrap().uid;
    driver.assign(Settings::default(), &[fixed("2")]);
    driver.until_words("annotate it drover.dev/replace: recreate").await;
    assert_eq!(world.object(&a).await["data"]["key"], "1");
    driver.assign(Settings::default(), &[asking(fixed("2"), "drover.dev/replace", "recreate")]);
    driver.until_words(FINE).await;
    let after = world.get(&a).await.unwrap();
    assert_ne!(after.uid, before);
    assert_eq!(world.object(&a).await["data"]["key"], "2");
}

pub async fn hands_are_kept_off_what_asks_for_it(world: &World) {
    let mut driver = Driver::new(world).await;
    driver.assign(Settings::default(), &[config(world, "a", "1"), config(world, "b", "1")]);
    driver.until_words(FINE).await;
    let a = world.config_map_id("a");
    let off = json!({"metadata": {"annotations": {"drover.dev/reconcile": "disabled"}}, "data": {"key": "by hand"}});
    world.edit(&a, off).await;
    driver.until_words("is left alone").await;
    driver.assign(Settings::default(), &[config(world, "a", "2"), config(world, "b", "2")]);
    driver.until_words("Waiting").await;
    put_right(&mut driver, world, &world.config_map_id("b"), "/data/key", "2").await;
    assert_eq!(world.object(&a).await["data"]["key"], "by hand");
    // Nor is it deleted.
    driver.assign(Settings::default(), &[config(world, "b", "2")]);
    driver.until_words("is left alone").await;
    driver.assign(Settings::default(), &[config(world, "a", "2"), config(world, "b", "2")]);
    driver.until_words("is left alone").await;
    world.edit(&a, json!({"metadata": {"annotations": {"drover.dev/reconcile": null}}})).await;
    put_right(&mut driver, world, &a, "/data/key", "2").await;
    driver.until_words(FINE).await;
}

pub async fn an_ignored_field_is_set_once_and_left_to_others(world: &World) {
    let mut driver = Driver::new(world).await;
    let rule = Ignore { kind: Some("ConfigMap".into()), fields: vec!["/data/key".into()], ..Ignore::default() };
    let settings = || Settings { ignore: vec![rule.clone()], ..Settings::default() };
    let with = |key: &str, more: &str| plain(world.config_map("a", json!({"key": key, "more": more})));
    driver.assign(settings(), &[with("1", "1")]);
    driver.until_words(FINE).await;
    let a = world.config_map_id("a");
    assert_eq!(world.object(&a).await["data"], json!({"key": "1", "more": "1"}), "sent when it is made");
    driver.assign(settings(), &[with("2", "2")]);
    driver.until_words(FINE).await;
    assert_eq!(world.object(&a).await["data"], json!({"key": "1", "more": "2"}), "not changed, and not removed");
    world.edit(&a, json!({"data": {"key": "theirs"}})).await;
    driver.work(700).await;
    assert_eq!(world.object(&a).await["data"]["key"], "theirs", "theirs to change");
    driver.assign(settings(), &[with("3", "3")]);
    driver.until_words(FINE).await;
    assert_eq!(world.object(&a).await["data"], json!({"key": "theirs", "more": "3"}));
    // Another field is put right as ever, and the ignored one stays.
    world.edit(&a, json!({"data": {"more": "drift", "key": "again"}})).await;
    put_right(&mut driver, world, &a, "/data/more", "3").await;
    assert_eq!(world.object(&a).await["data"]["key"], "again");
}

pub async fn what_scales_a_workload_counts_its_replicas(world: &World) {
    let mut driver = Driver::new(world).await;
    let deployment = |name: &str, image: &str| {
        let mut deployment = world.deployment(name, json!({}));
        deployment["spec"]["replicas"] = 1.into();
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
        plain(deployment)
    };
    let scaler = |name: &str, of: &str| {
        let fields = json!({"spec": {"minReplicas": 1, "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": of}}});
        plain(world.manifest("autoscaling/v2", "HorizontalPodAutoscaler", name, fields))
    };
    // One is scaled by the bundle's own autoscaler, one by somebody's, one by nobody's.
    world.create(&scaler("theirs", "far")).await;
    let all = |image: &str| {
        [deployment("near", image), deployment("far", image), deployment("fixed", image), scaler("ours", "near")]
    };
    driver.assign(Settings::default(), &all("registry.example/app:1"));
    driver.until("applied", |report| (report.sync == proto_model::Sync::Applied).then_some(())).await;
    let id = |name: &str| world.identity("apps", "Deployment", name);
    for name in ["near", "far", "fixed"] {
        world.scale(&id(name), 3).await;
    }
    put_right(&mut driver, world, &id("fixed"), "/spec/replicas", 1).await;
    driver.assign(Settings::default(), &all("registry.example/app:2"));
    driver.until("applied", |report| (report.sync == proto_model::Sync::Applied).then_some(())).await;
    for (name, replicas) in [("near", 3), ("far", 3), ("fixed", 1)] {
        let object = world.object(&id(name)).await;
        assert_eq!(object["spec"]["replicas"], replicas, "{name}");
        assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example/app:2", "{name}");
    }
    // What scales comes later: from then on it counts.
    world.create(&scaler("later", "fixed")).await;
    world.scale(&id("fixed"), 4).await;
    driver.work(700).await;
    driver.assign(Settings::default(), &all("registry.example/app:3"));
    driver.until("applied", |report| (report.sync == proto_model::Sync::Applied).then_some(())).await;
    assert_eq!(world.object(&id("fixed")).await["spec"]["replicas"], 4);
    driver.work(300).await;
    let drifted = driver.until("no drift", |report| (!report.drifted).then_some(report.drifted)).await;
    assert!(!drifted);
}

pub async fn a_webhook_waits_for_what_it_calls(world: &World) {
    let mut driver = Driver::new(world).await;
    let name = format!("{}.example.com", world.namespace);
    let webhook = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [{"name": name, "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Fail",
            "clientConfig": {"service": {"namespace": world.namespace, "name": "hook"}},
            "rules": [{"apiGroups": ["nothing.example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}]}],
    });
    driver.assign(Settings::default(), &[config(world, "a", "1"), webhook]);
    driver.until_words(&format!("waits for an endpoint of Service {}/hook", world.namespace)).await;
    let identity = Identity {
        namespace: String::new(),
        ..world.identity("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", &name)
    };
    assert_eq!(world.get(&identity).await, None);
    let slice = world.manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        "hook-1",
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.9"], "conditions": {"ready": true}}], "ports": []}),
    );
    let mut slice = plain(slice);
    slice["metadata"]["labels"] = json!({"kubernetes.io/service-name": "hook"});
    world.create(&slice).await;
    driver.skip(limits::RETRY_MILLIS_MAX * 2);
    driver.until_words(FINE).await;
    assert!(world.get(&identity).await.is_some());
    driver.remove();
    driver.until("the bundle is gone", |report| report.variant.is_none().then_some(())).await;
}

pub async fn a_hook_runs_once_and_is_cleaned_away(world: &World) {
    let mut driver = Driver::new(world).await;
    let hook = |image: &str| asking(plain(world.job("hook", image)), "drover.dev/hook-delete", "succeeded");
    driver.assign(Settings::default(), &[hook("registry.example/app:1"), config(world, "a", "1")]);
    driver.until_words(FINE).await;
    let job = world.identity("batch", "Job", "hook");
    gone(&mut driver, world, &job).await;
    driver.work(700).await;
    driver.until_words(FINE).await;
    assert_eq!(world.get(&job).await, None, "its outcome is kept: it does not run again");
    // Nor does it after a restart, or when something else changes.
    driver.restart(false).await;
    driver.assign(Settings::default(), &[hook("registry.example/app:1"), config(world, "a", "2")]);
    driver.until_words(FINE).await;
    driver.work(500).await;
    assert_eq!(world.get(&job).await, None);
    // Other content is another run.
    driver.assign(Settings::default(), &[hook("registry.example/app:2"), config(world, "a", "2")]);
    until_there(&mut driver, world, &job).await;
    driver.until_words(FINE).await;
    gone(&mut driver, world, &job).await;
}

async fn gone(driver: &mut Driver, world: &World, identity: &Identity) {
    for _ in 0..600 {
        driver.work(100).await;
        if world.get(identity).await.is_none() {
            return;
        }
    }
    panic!("{identity} is still there");
}
