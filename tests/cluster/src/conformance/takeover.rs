//! Objects that change hands: between bundles, from people to us, and back to nobody.

use proto_model::variant::Adopt;
use proto_model::{Identity, Permit, Settings};
use serde_json::{Value as Json, json};
use spoke_core::port::OWNER_LABEL;

use super::World;
use super::driver::{BUNDLE, Driver, everything};
use super::spoke::{FINE, plain, until_there};

const OTHER: &str = "main/other";

fn config(world: &World, name: &str, data: Json) -> Json {
    plain(world.config_map(name, data))
}

fn adopt(adopt: Adopt) -> Settings {
    Settings { adopt, ..Settings::default() }
}

async fn uid(world: &World, identity: &Identity) -> String {
    world.get(identity).await.unwrap().uid
}

fn managers(object: &Json) -> Vec<&str> {
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.filter_map(|entry| entry["manager"].as_str()).collect()
}

pub async fn an_object_moves_between_bundles_and_is_never_deleted(world: &World) {
    let mut driver = Driver::new(world).await;
    let settings = Settings::default;
    driver.assign(settings(), &[config(world, "a", json!({"one": "1", "old": "1"})), config(world, "b", json!({}))]);
    driver.until_words(FINE).await;
    let a = world.config_map_id("a");
    let before = uid(world, &a).await;

    let (rest, moved) = ([config(world, "b", json!({}))], [config(world, "a", json!({"one": "2"}))]);
    driver.assign_all(everything(), &[(BUNDLE, settings(), &rest), (OTHER, settings(), &moved)]);
    driver.until_words_of(OTHER, FINE).await;
    driver.until_words(FINE).await;
    assert_eq!(uid(world, &a).await, before, "it was not made anew");
    let object = world.object(&a).await;
    // What its former bundle alone had is gone, and so is that bundle's name.
    assert_eq!(object["data"], json!({"one": "2"}));
    assert_eq!(managers(&object), ["drover/main/other"]);

    // And back, while the other goes away as a whole.
    let both = [config(world, "a", json!({"one": "3"})), config(world, "b", json!({}))];
    driver.assign_all(everything(), &[(BUNDLE, settings(), &both), (OTHER, settings(), &[])]);
    driver.until_words(FINE).await;
    driver.until_words_of(OTHER, FINE).await;
    assert_eq!(uid(world, &a).await, before);
    assert_eq!(world.object(&a).await["data"], json!({"one": "3"}));
}

pub async fn what_cannot_change_moves_and_is_made_anew(world: &World) {
    let mut driver = Driver::new(world).await;
    let settings = Settings::default;
    let job = |image: &str| plain(world.job("j", image));
    driver.assign(settings(), &[job("registry.example/app:1")]);
    driver.until_words(FINE).await;
    let id = world.identity("batch", "Job", "j");
    let before = uid(world, &id).await;
    // Nothing but the new owner's word lets the old one go: no permit does.
    let none = Permit::default();
    driver.assign_all(none, &[(BUNDLE, settings(), &[]), (OTHER, settings(), &[job("registry.example/app:2")])]);
    driver.until_words_of(OTHER, FINE).await;
    driver.until_words(FINE).await;
    assert_ne!(uid(world, &id).await, before);
    let object = world.object(&id).await;
    assert_eq!(object["spec"]["template"]["spec"]["containers"][0]["image"], "registry.example/app:2");
}

pub async fn a_bundle_that_replaces_another_takes_its_objects(world: &World) {
    let mut driver = Driver::new(world).await;
    driver.assign(Settings::default(), &[config(world, "a", json!({"one": "1", "old": "1"}))]);
    driver.until_words(FINE).await;
    let a = world.config_map_id("a");
    let before = uid(world, &a).await;
    let replaces = Settings { replaces: vec![BUNDLE.into()], ..Settings::default() };
    driver.assign_all(everything(), &[(OTHER, replaces, &[config(world, "a", json!({"one": "1"}))])]);
    // As long as the other wants it, it is not taken.
    driver.until_words_of(OTHER, "belongs to bundle main/web").await;
    // The permit of a removal that only hands over lets nothing go.
    driver.remove_with(Permit::default());
    driver.until_words_of(OTHER, FINE).await;
    driver.until("the old name is gone", |report| report.variant.is_none().then_some(())).await;
    assert_eq!(uid(world, &a).await, before);
    assert_eq!(world.object(&a).await["data"], json!({"one": "1"}));
}

pub async fn what_people_made_alike_is_adopted_and_a_removed_field_goes(world: &World) {
    let mut driver = Driver::new(world).await;
    let theirs = config(world, "a", json!({"one": "1", "two": "2"}));
    world.apply_by_hand(&theirs).await;
    let a = world.config_map_id("a");
    let before = uid(world, &a).await;
    driver.assign(Settings::default(), std::slice::from_ref(&theirs));
    driver.until_words(FINE).await;
    let object = world.object(&a).await;
    assert_eq!(managers(&object), ["drover/main/web"]);
    let annotations = &object["metadata"]["annotations"];
    assert!(annotations.get("kubectl.kubernetes.io/last-applied-configuration").is_none(), "{annotations}");

    driver.assign(Settings::default(), &[config(world, "a", json!({"one": "1"}))]);
    driver.until_words(FINE).await;
    assert_eq!(world.object(&a).await["data"], json!({"one": "1"}), "what Git has no more is gone");
    assert_eq!(uid(world, &a).await, before);
}

pub async fn what_people_added_stays_when_the_rest_is_adopted(world: &World) {
    let mut driver = Driver::new(world).await;
    let a = world.config_map_id("a");
    world.apply_by_hand(&config(world, "a", json!({"ours": "1", "more": "1", "theirs": "1"}))).await;
    driver.assign(adopt(Adopt::IfNoDiff), &[config(world, "a", json!({"ours": "1", "more": "1"}))]);
    driver.until_words(FINE).await;
    assert_eq!(world.object(&a).await["data"], json!({"ours": "1", "more": "1", "theirs": "1"}), "Git never had it");
    driver.assign(adopt(Adopt::IfNoDiff), &[config(world, "a", json!({"ours": "2"}))]);
    driver.until_words(FINE).await;
    assert_eq!(world.object(&a).await["data"], json!({"ours": "2", "theirs": "1"}), "what Git had goes");
}

pub async fn what_is_made_once_moves_as_it_is(world: &World) {
    let mut driver = Driver::new(world).await;
    let settings = Settings::default;
    let once = |value: &str| {
        let mut once = config(world, "a", json!({"key": value}));
        once["metadata"]["annotations"]["drover.dev/apply"] = "createOnly".into();
        once
    };
    driver.assign(settings(), &[once("1")]);
    driver.until_words(FINE).await;
    let a = world.config_map_id("a");
    let before = uid(world, &a).await;
    driver.assign_all(Permit::default(), &[(BUNDLE, settings(), &[]), (OTHER, settings(), &[once("2")])]);
    driver.until_words_of(OTHER, FINE).await;
    driver.until_words(FINE).await;
    let object = world.object(&a).await;
    assert_eq!((uid(world, &a).await, &object["data"]["key"]), (before, &json!("1")));
    assert_eq!(managers(&object).iter().filter(|name| name.starts_with("drover/")).count(), 1, "{object}");
    // It is the other's now: it goes with that.
    driver.assign_all(everything(), &[(OTHER, settings(), &[])]);
    driver.until_of(OTHER, "gone", |report| (report.objects == 0).then_some(())).await;
    assert_eq!(world.get(&a).await, None);
}

pub async fn what_differs_is_named_or_taken_over_when_asked(world: &World) {
    let mut driver = Driver::new(world).await;
    world.create(&config(world, "a", json!({"one": "theirs", "two": "2"}))).await;
    let ours = [config(world, "a", json!({"one": "ours"})), config(world, "b", json!({}))];
    driver.assign(Settings::default(), &ours);
    let words = driver.until_words("exists, not ours").await;
    assert!(words.contains("differs at /data/one"), "{words}");
    let a = world.config_map_id("a");
    assert_eq!(world.object(&a).await["data"]["one"], "theirs", "nothing is changed");
    until_there(&mut driver, world, &world.config_map_id("b")).await;

    driver.assign(adopt(Adopt::Always), &ours);
    driver.until_words(FINE).await;
    assert_eq!(world.object(&a).await["data"], json!({"one": "ours"}));
}

pub async fn what_a_living_release_owns_is_not_taken(world: &World) {
    let mut driver = Driver::new(world).await;
    let mut theirs = config(world, "a", json!({"one": "1"}));
    theirs["metadata"]["annotations"] =
        json!({"meta.helm.sh/release-name": "shop", "meta.helm.sh/release-namespace": world.namespace});
    world.create(&theirs).await;
    let mut release =
        plain(world.manifest("v1", "Secret", "sh.helm.release.v1.shop.v1", json!({"stringData": {"release": "x"}})));
    release["metadata"]["labels"] = json!({"owner": "helm", "name": "shop"});
    world.create(&release).await;
    driver.assign(adopt(Adopt::Always), &[config(world, "a", json!({"one": "1"}))]);
    let words = driver.until_words("exists, not ours").await;
    assert!(words.contains(&format!("Helm release {}/shop", world.namespace)), "{words}");

    world.remove(&world.identity("", "Secret", "sh.helm.release.v1.shop.v1")).await;
    driver.skip(proto_model::limits::RETRY_MILLIS_MAX * 2);
    driver.until_words(FINE).await;
    let annotations = world.object(&world.config_map_id("a")).await["metadata"]["annotations"].clone();
    assert!(
        annotations.get("meta.helm.sh/release-name").is_some_and(|_| true) || annotations.is_object(),
        "{annotations}"
    );
}

pub async fn a_bundle_that_adopts_nothing_says_so(world: &World) {
    let mut driver = Driver::new(world).await;
    let manifest = config(world, "a", json!({"one": "1"}));
    world.create(&manifest).await;
    driver.assign(adopt(Adopt::Never), std::slice::from_ref(&manifest));
    driver.until_words("exists, not ours: ConfigMap").await;
    let labels = world.object(&world.config_map_id("a")).await["metadata"]["labels"].clone();
    assert!(labels.get(OWNER_LABEL).is_none(), "{labels}");
}

pub async fn an_orphaned_bundle_leaves_everything_without_marks(world: &World) {
    let mut driver = Driver::new(world).await;
    let mut labelled = config(world, "a", json!({"one": "1"}));
    labelled["metadata"]["labels"] = json!({"team": "shop"});
    driver.assign(Settings::default(), &[labelled, config(world, "b", json!({"two": "2"}))]);
    driver.until_words(FINE).await;
    driver.remove_with(Permit { orphan: true, ..Permit::default() });
    driver.until("the bundle is gone", |report| report.variant.is_none().then_some(())).await;
    for (name, data) in [("a", json!({"one": "1"})), ("b", json!({"two": "2"}))] {
        let object = world.object(&world.config_map_id(name)).await;
        assert_eq!(object["data"], data);
        assert!(object["metadata"]["labels"].get(OWNER_LABEL).is_none());
        let left = object["metadata"]["annotations"]
            .as_object()
            .map_or(0, |all| all.keys().filter(|key| key.contains("drover")).count());
        assert_eq!(left, 0, "{object}");
        assert!(!managers(&object).iter().any(|manager| manager.starts_with("drover/")), "{object}");
    }
    assert_eq!(world.object(&world.config_map_id("a")).await["metadata"]["labels"]["team"], "shop");
}

pub async fn a_lost_ledger_is_rebuilt_from_marks(world: &World) {
    let mut driver = Driver::new(world).await;
    let all = ["a", "b", "c"].map(|name| config(world, name, json!({"one": "1"})));
    driver.assign(Settings::default(), &all);
    driver.until_words(FINE).await;
    let before = uid(world, &world.config_map_id("a")).await;

    // Somebody copied one of them, marks and all.
    let mut copy = config(world, "copy", json!({"one": "1"}));
    let marked = world.object(&world.config_map_id("a")).await["metadata"].clone();
    copy["metadata"]["labels"] = marked["labels"].clone();
    copy["metadata"]["annotations"] = marked["annotations"].clone();
    world.create(&copy).await;

    driver.restart(true).await;
    // Git has dropped two of them meanwhile, and one is somebody's who took our marks off.
    let unmarked = json!({"metadata": {"labels": {OWNER_LABEL: null}, "annotations": {"drover.dev/owned-by": null}}});
    world.edit(&world.config_map_id("c"), unmarked).await;
    driver.assign(Settings::default(), &[config(world, "a", json!({"one": "1"}))]);
    for _ in 0..600 {
        driver.work(100).await;
        if world.get(&world.config_map_id("b")).await.is_none() {
            break;
        }
    }
    driver.until_words(FINE).await;
    assert_eq!(world.get(&world.config_map_id("b")).await, None, "what nobody wants is gone");
    assert!(world.get(&world.config_map_id("c")).await.is_some(), "what is not marked stays");
    assert!(world.get(&world.config_map_id("copy")).await.is_some(), "what we never applied stays");
    assert_eq!(uid(world, &world.config_map_id("a")).await, before, "nothing is made anew");
}

pub async fn nothing_is_done_again_after_a_restart(world: &World) {
    let mut driver = Driver::new(world).await;
    driver.assign(Settings::default(), &[config(world, "a", json!({"one": "1"}))]);
    driver.until_words(FINE).await;
    driver.work(1_500).await;
    let before = world.get(&world.config_map_id("a")).await.unwrap().resource_version;
    driver.restart(false).await;
    driver.until_words(FINE).await;
    driver.work(500).await;
    assert_eq!(world.get(&world.config_map_id("a")).await.unwrap().resource_version, before);
}
