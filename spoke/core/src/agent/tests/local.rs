//! What people at the cluster are told when they ask.

use proto_model::variant::Settings;
use proto_model::{Identity, limits};
use serde_json::json;

use super::fake::{World, config, failure, manifest};
use crate::agent::slot::Slot;
use crate::agent::{Agent, Event, Outside};
use crate::local::{Object, State};
use crate::port::Reason;

fn world() -> World {
    let mut world = World::new();
    world.agent.introduce("edge-1");
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    world
}

fn say(one: &Object) -> String {
    let trouble = one.trouble.as_ref().map_or_else(String::new, |trouble| format!(" ({})", trouble.message));
    let waits = one.waits_for.as_ref().map_or_else(String::new, |waits| format!(" [{waits}]"));
    let reason = if one.reason.is_empty() { String::new() } else { format!(": {}", one.reason) };
    format!("{} {:?} {}{reason}{trouble}{waits}", one.object, one.state, one.health)
}

fn explain(world: &World, bundle: Option<&str>) -> Vec<String> {
    let explained = world.agent.explain(bundle, world.clock()).unwrap();
    explained.iter().flat_map(|one| &one.objects).map(say).collect()
}

#[test]
fn before_anything_is_known_it_says_why() {
    let agent = Agent::new("1.2.3");
    let outside = Outside {
        lease_trouble: "no answer about the lease".into(),
        ledger_trouble: String::new(),
        hub_trouble: "refused".into(),
    };
    let status = agent.status(&outside, World::new().clock());
    assert_eq!(status.idle_because, "no answer about the lease");
    assert_eq!((status.hub.is_attached, status.hub.trouble.as_str()), (false, "refused"));
    assert!(agent.explain(None, World::new().clock()).unwrap_err().contains("not read yet"));
    assert!(agent.inventory(None).is_err());
}

#[test]
fn a_status_tells_of_hub_ledger_and_bundles() {
    let mut world = world();
    let status = world.agent.status(&Outside::default(), world.clock());
    assert!(status.hub.is_attached && status.idle_because.is_empty() && status.ledger_trouble.is_none());
    assert_eq!((status.cluster.as_str(), status.generation), ("edge-1", 1));
    let web = &status.bundles[0];
    assert_eq!((web.sync.as_str(), web.health.as_str(), web.objects), ("Applied", "Healthy", 2));
    world.step(Event::Disconnected);
    let left = world.clock().unix_millis;
    world.stores_fail = true;
    world.destroy("a");
    world.pass(60_000);
    let outside = Outside { hub_trouble: "connection refused".into(), ..Outside::default() };
    let status = world.agent.status(&outside, world.clock());
    assert_eq!(status.hub.since_unix_millis, Some(left));
    assert_eq!((status.hub.is_attached, status.hub.trouble.as_str()), (false, "connection refused"));
    assert!(status.ledger_trouble.unwrap().message.contains("etcd is away"));
    assert_eq!(status.bundles.len(), 1);
}

#[test]
fn each_object_says_what_it_waits_for_and_what_failed() {
    let mut world = world();
    assert!(explain(&world, None).is_empty(), "all is well");
    assert_eq!(explain(&world, Some("web")), ["ConfigMap shop/a Applied Healthy", "ConfigMap shop/b Applied Healthy"]);
    let mut later = manifest("apps/v1", "Deployment", "d");
    later["metadata"]["namespace"] = "shop".into();
    world.failures.insert("apply ConfigMap shop/a".into(), failure(Reason::Server, "etcd is away"));
    world.assign("main/web", Settings::default(), &[config("a", "2"), config("b", "1"), later]);
    let told = explain(&world, None);
    assert_eq!(told[0], "ConfigMap shop/a Pending Healthy (etcd is away)");
    assert!(told[1].starts_with("Deployment.apps shop/d Pending"), "{told:?}");
    assert!(told[1].ends_with("[ConfigMap shop/a comes first]"), "{told:?}");
    assert_eq!(told.len(), 2);
    let trouble = world.agent.explain(Some("main/web"), world.clock()).unwrap()[0].objects[0].trouble.clone().unwrap();
    assert!(!trouble.is_final && trouble.attempts == 1 && trouble.retry_secs >= 1);
}

#[test]
fn drift_that_stays_and_a_fight_are_told() {
    let mut world = world();
    let fields = json!([{"manager": "rival", "operation": "Update", "time": "1",
        "fieldsV1": {"f:data": {"f:value": {}}}}]);
    for _ in 0..20 {
        world.thing_mut("a").manifest["metadata"]["managedFields"] = fields.clone();
        world.meddle("a");
        world.pass(10_000);
    }
    let explained = world.agent.explain(None, world.clock()).unwrap();
    let object = &explained[0].objects[0];
    assert_eq!(object.state, State::Drifted);
    assert!(object.contested.as_ref().unwrap().contains("field manager rival"), "{object:?}");
}

#[test]
fn an_inventory_has_uid_and_digest_and_no_content() {
    let world = world();
    let owned = world.agent.inventory(None).unwrap();
    let line = &owned[0].objects[0];
    assert_eq!(
        (line.object.as_str(), line.version.as_str(), line.health.as_str()),
        ("ConfigMap shop/a", "v1", "Healthy")
    );
    assert!(line.is_durable && !line.uid.is_empty() && !line.applied.is_empty());
    let all = serde_json::to_string(&owned).unwrap();
    assert!(!all.contains("\"data\"") && !all.contains("\"value\""), "{all}");
}

#[test]
fn answers_are_bounded() {
    let mut world = world();
    let slots = &mut world.agent.bundles.get_mut("main/web").unwrap().slots;
    let like = slots.keys().next().unwrap().clone();
    for n in 0..limits::LOCAL_OBJECTS_MAX + 8 {
        slots.insert(Identity { name: format!("m{n}"), ..like.clone() }, Slot::default());
    }
    let owned = world.agent.inventory(None).unwrap();
    assert_eq!((owned[0].objects.len(), owned[0].objects_more), (limits::LOCAL_OBJECTS_MAX, 10));
    let explained = world.agent.explain(Some("web"), world.clock()).unwrap();
    assert_eq!((explained[0].objects.len(), explained[0].objects_more), (limits::LOCAL_OBJECTS_MAX, 10));
}

#[test]
fn a_short_name_is_enough_where_one_bundle_has_it() {
    let mut world = world();
    world.assign("other/web", Settings::default(), &[config("x", "1")]);
    world.assign("other/db", Settings::default(), &[config("y", "1")]);
    assert_eq!(explain(&world, Some("db")), ["ConfigMap shop/y Applied Healthy"]);
    let unclear = world.agent.inventory(Some("web")).unwrap_err();
    assert_eq!(unclear, "web may be main/web or other/web: give the full name");
}

#[test]
fn what_the_hub_forgot_is_shown_as_unassigned() {
    let mut world = world();
    world.forget("main/web");
    let status = world.agent.status(&Outside::default(), world.clock());
    assert_eq!(status.bundles[0].sync, "Unassigned");
    assert_eq!(status.bundles[0].objects, 2);
}
