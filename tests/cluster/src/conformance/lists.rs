//! How lists merge.

use serde_json::{Value as Json, json};
use spoke_core::port::Reason;

use super::World;

async fn container(world: &World) -> Json {
    let object = world.object(&world.identity("apps", "Deployment", "d")).await;
    object["spec"]["template"]["spec"]["containers"][0].clone()
}

fn names(list: &Json) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()).collect()
}

/// Somebody else sets the containers of the Deployment to this one, our other fields as they are.
async fn set_container(world: &World, container: Json) {
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    world.edit(&world.identity("apps", "Deployment", "d"), patch).await;
}

pub async fn environment_merges_by_name(world: &World) {
    let env = json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]);
    let one = world.applied(&world.deployment("d", json!({"env": env}))).await;
    let mut edited = container(world).await;
    edited["env"].as_array_mut().unwrap().push(json!({"name": "THEIRS", "value": "x"}));
    set_container(world, edited).await;
    let seen = world.get(&one.identity).await.unwrap();
    assert_eq!(seen.managed, one.managed, "an added variable is not ours");

    world.applied(&world.deployment("d", json!({"env": [{"name": "B", "value": "3"}]}))).await;
    let env = container(world).await["env"].clone();
    let mut sorted = names(&env);
    sorted.sort_unstable();
    assert_eq!(sorted, ["B", "THEIRS"]);
    let b = env.as_array().unwrap().iter().find(|item| item["name"] == "B").unwrap();
    assert_eq!(b["value"], "3");
}

pub async fn ports_merge_by_number_and_protocol(world: &World) {
    let one = json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]);
    world.applied(&world.service("s", one)).await;
    let object = world.object(&world.identity("", "Service", "s")).await;
    assert_eq!(names(&object["spec"]["ports"]), ["dns", "dns-tcp"]);
    let two = json!([{"name": "dns-tcp", "port": 53}, {"name": "web", "port": 80}]);
    world.applied(&world.service("s", two)).await;
    let object = world.object(&world.identity("", "Service", "s")).await;
    assert_eq!(names(&object["spec"]["ports"]), ["dns-tcp", "web"]);
}

pub async fn a_container_that_is_dropped_goes(world: &World) {
    let mut two = world.deployment("d", json!({}));
    let side = json!({"name": "side", "image": "registry.example/side:1"});
    two["spec"]["template"]["spec"]["containers"].as_array_mut().unwrap().push(side);
    world.applied(&two).await;
    world.applied(&world.deployment("d", json!({}))).await;
    let object = world.object(&world.identity("apps", "Deployment", "d")).await;
    assert_eq!(names(&object["spec"]["template"]["spec"]["containers"]), ["main"]);
}

pub async fn plain_lists_are_replaced_whole(world: &World) {
    let one = world.applied(&world.deployment("d", json!({"args": ["a", "b"]}))).await;
    let mut edited = container(world).await;
    edited["args"] = json!(["a", "b", "theirs"]);
    set_container(world, edited).await;
    let seen = world.get(&one.identity).await.unwrap();
    assert_ne!(seen.managed, one.managed, "a plain list is one field");
    world.applied(&world.deployment("d", json!({"args": ["b"]}))).await;
    assert_eq!(container(world).await["args"], json!(["b"]));
}

pub async fn a_repeated_key_is_refused(world: &World) {
    let env = json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]);
    let failure = world.refused(&world.deployment("d", json!({"env": env}))).await;
    assert_eq!(failure.reason, Reason::Invalid, "{failure}");
    assert!(failure.message.contains(".env"), "{failure}");
    let failure = world.refused(&world.deployment("d", json!({"env": [{"value": "1"}]}))).await;
    assert_eq!(failure.reason, Reason::Invalid, "{failure}");
}
