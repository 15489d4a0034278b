//! Health checks: judged from whole objects, and anew when they change.

use proto_model::{HealthCheck, Settings};
use serde_json::json;

use super::fake::{World, config, manifest};
use crate::port::Depth;

fn with_check(kind: (&str, &str), healthy: &str) -> Settings {
    let check = HealthCheck {
        title: "HealthCheck main/c".into(),
        api_version: kind.0.into(),
        kind: kind.1.into(),
        healthy: healthy.into(),
        ..HealthCheck::default()
    };
    Settings { namespace: Some("shop".into()), health: vec![check], ..Settings::default() }
}

const WIDGET: (&str, &str) = ("example.com/v1", "Widget");

#[test]
fn a_check_decides_when_a_bundle_is_healthy() {
    let mut world = World::new();
    let widget = [manifest(WIDGET.0, WIDGET.1, "w")];
    world.assign("main/web", with_check(WIDGET, "object.status.phase == 'Running'"), &widget);
    assert_eq!(
        world.words("main/web"),
        "Applied Progressing [Widget.example.com shop/w HealthCheck main/c: `healthy`: there is no field \"status\"]"
    );
    world.set_status("w", json!({"phase": "Running"}));
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn what_is_there_is_judged_anew_when_its_checks_change() {
    let mut world = World::new();
    let widget = [manifest(WIDGET.0, WIDGET.1, "w")];
    let plain = Settings { namespace: Some("shop".into()), ..Settings::default() };
    world.assign("main/web", plain.clone(), &widget);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    world.log();
    world.assign("main/web", with_check(WIDGET, "object.status.phase == 'Running'"), &widget);
    let log = world.log();
    let healthy = log.iter().position(|line| line.contains("Healthy"));
    assert_eq!(healthy, None, "never Healthy on what was seen before: {log:?}");
    assert!(log.contains(&"get Widget.example.com shop/w".to_owned()), "{log:?}");
    assert!(!log.iter().any(|line| line.starts_with("apply")), "nothing of it changed: {log:?}");
    world.set_status("w", json!({"phase": "Starting"}));
    world.pass(1_000);
    assert_eq!(
        world.words("main/web"),
        "Applied Progressing [Widget.example.com shop/w HealthCheck main/c: `healthy` does not hold yet]"
    );
    // And when they are gone, by what is known of the kind.
    world.assign("main/web", plain, &widget);
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn what_a_check_is_about_is_watched_whole() {
    let mut world = World::new();
    world.assign("main/web", Settings { namespace: Some("shop".into()), ..Settings::default() }, &[config("a", "1")]);
    world.assign("main/two", with_check(("v1", "ConfigMap"), "object.data.ready == 'yes'"), &[config("b", "1")]);
    assert_eq!(world.watched.values().copied().collect::<Vec<_>>(), [Depth::Whole]);
}
