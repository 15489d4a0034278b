//! Binding, as user.md describes it: what is bound, what is left, and what is refused.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use proto_model::bind::{BindError, Form, Problem, bind, check_name, check_value, stamp, uses};
use proto_model::variant::Binds;
use proto_model::{Value, Variables};
use serde_json::{Value as Json, json};

fn binds() -> BTreeMap<String, Binds> {
    let plain = Binds::default();
    BTreeMap::from([
        ("a".into(), plain),
        ("port".into(), plain),
        ("on".into(), plain),
        ("list".into(), plain),
        ("tenant".into(), Binds { identity: true }),
        ("cluster".into(), plain),
    ])
}

fn variables() -> Variables {
    Variables::from_iter([
        ("a".to_owned(), Value::Text("A: \"x\"\n- ${port}".into())),
        ("port".to_owned(), Value::Number("8080".into())),
        ("on".to_owned(), Value::Bool(true)),
        ("list".to_owned(), Value::Text("[1, {\"b\": null}]".into())),
        ("tenant".to_owned(), Value::Text("acme".into())),
        ("cluster.name".to_owned(), Value::Text("edge-1".into())),
        ("cluster.labels.topology.kubernetes.io/zone".to_owned(), Value::Text("z1".into())),
    ])
}

fn config(value: Json) -> Json {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"k": value}})
}

fn bound(value: Json) -> Result<Json, BindError> {
    let all = bind(&config(value), &variables(), &binds())?;
    Ok(all["data"]["k"].clone())
}

fn problem(manifest: &Json) -> (String, Problem) {
    let error = bind(manifest, &variables(), &binds()).unwrap_err();
    (error.pointer, error.problem)
}

#[test]
fn listed_names_are_bound() {
    for (text, expected) in [
        ("${port}", json!("8080")),
        ("x${port}y${on}", json!("x8080ytrue")),
        ("${port|int}", json!(8080)),
        ("${on|bool}", json!(true)),
        ("${list|json}", json!([1, {"b": null}])),
        ("${cluster.name}", json!("edge-1")),
        ("${cluster.labels.topology.kubernetes.io/zone}", json!("z1")),
        ("$${port}", json!("$8080")),
        ("${OTHER:-${port}}", json!("${OTHER:-8080}")),
        // A value is text, whatever it looks like, and is not scanned again.
        ("${a}!", json!("A: \"x\"\n- ${port}!")),
    ] {
        assert_eq!(bound(json!(text)).unwrap(), expected, "{text}");
    }
}

#[test]
fn everything_else_stays_byte_for_byte() {
    for text in [
        "${other}",
        "${}",
        "${port",
        "$port",
        "${ port }",
        "${port:-1}",
        "${port|upper}",
        "${port|int",
        "${Port}",
        "${port.x}",
        "${cluster}",
        "${cluster.labels.}",
        "${cluster.other}",
        "${",
        "$",
        "ü${é}",
        "{{port}}",
        "${port|}",
        "${|int}",
        "${port|int }",
    ] {
        assert_eq!(bound(json!(text)).unwrap(), json!(text), "{text}");
    }
}

#[test]
fn cluster_is_bound_only_where_it_is_listed() {
    let mut binds = binds();
    binds.remove("cluster");
    let manifest = config(json!("${cluster.name}"));
    assert_eq!(bind(&manifest, &variables(), &binds).unwrap(), manifest);
}

#[test]
fn keys_kinds_crds_and_disabled_objects_are_left() {
    let keys = json!({"apiVersion": "${port}", "kind": "${port}", "metadata": {"name": "c"},
        "data": {"${port}": 1}});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "c"}, "spec": {"x": "${port}"}});
    let disabled = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "${a}",
        "annotations": {"drover.dev/bind": "disabled"}}, "data": {"x": "${port}"}});
    for manifest in [keys, crd, disabled] {
        assert_eq!(bind(&manifest, &variables(), &binds()).unwrap(), manifest);
        assert!(uses(&manifest, &binds()).unwrap().is_empty());
    }
    let nested = json!({"apiVersion": "v1", "kind": "X", "metadata": {"name": "c"},
        "spec": {"kind": "${port}"}});
    assert_eq!(bind(&nested, &variables(), &binds()).unwrap()["spec"]["kind"], "8080");
}

#[test]
fn names_take_identity_variables_only() {
    let named = |name: &str, namespace: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace}})
    };
    let all = bind(&named("x-${cluster.name}", "${tenant}"), &variables(), &binds()).unwrap();
    assert_eq!(all["metadata"], json!({"name": "x-edge-1", "namespace": "acme"}));
    assert_eq!(problem(&named("x", "${port}")), ("/metadata/namespace".into(), Problem::NotIdentity("port".into())));
    let label = "cluster.labels.topology.kubernetes.io/zone";
    assert_eq!(
        problem(&named(&format!("${{{label}}}"), "x")),
        ("/metadata/name".into(), Problem::NotIdentity(label.into()))
    );
    assert_eq!(
        problem(&named("${tenant|json}", "x")),
        ("/metadata/name".into(), Problem::TypedIdentity("tenant".into()))
    );
    assert_eq!(problem(&named("${port}", "x")), problem(&named("${port}", "y")));
}

#[test]
fn secret_data_is_bound_inside_its_encoding() {
    let secret = |value: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
            "data": {"k": value}, "stringData": {"k": "${port}"}})
    };
    let encoded = STANDARD.encode(b"\xff\x00port=${port}\xfe");
    let all = bind(&secret(&encoded), &variables(), &binds()).unwrap();
    assert_eq!(all["data"]["k"], STANDARD.encode(b"\xff\x00port=8080\xfe"));
    assert_eq!(all["stringData"]["k"], "8080");
    // In lines, as some tools write it, and left so where nothing is bound.
    let broken = format!("{}\n{}\n", &encoded[..8], &encoded[8..]);
    let all = bind(&secret(&broken), &variables(), &binds()).unwrap();
    assert_eq!(all["data"]["k"], STANDARD.encode(b"\xff\x00port=8080\xfe"));
    let other = "JHtv\ndGhlcn0=";
    assert_eq!(bind(&secret(other), &variables(), &binds()).unwrap()["data"]["k"], other);
    let typed = STANDARD.encode("${port|int}");
    let all = bind(&secret(&typed), &variables(), &binds()).unwrap();
    assert_eq!(all["data"]["k"], STANDARD.encode("8080"));
    assert_eq!(problem(&secret("${port}")), ("/data/k".into(), Problem::NotBase64));
    assert_eq!(bind(&secret("${other}"), &variables(), &binds()).unwrap()["data"]["k"], "${other}");
}

#[test]
fn what_is_wrong_names_object_and_field() {
    let mut table = variables();
    table.0.remove("port");
    let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"a/b": [{}, {"~": "${port}"}]}});
    let error = bind(&manifest, &table, &binds()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Deployment.apps shop/web: /spec/a~1b/1/~0: variable port has no value for this cluster; \
         give it one, or a default in the bundle"
    );
    let found: Vec<_> = uses(&manifest, &binds()).unwrap().into_iter().collect();
    assert_eq!((found[0].name.as_str(), found[0].form), ("port", Form::Text));
    assert_eq!((found[0].pointer.as_str(), found[0].identity), ("/spec/a~1b/1/~0", false));
    let not_alone = Problem::NotAlone { name: "port".into(), form: Form::Int };
    assert_eq!(problem(&config(json!("x${port|int}"))), ("/data/k".into(), not_alone));
    let (_, bad) = problem(&config(json!("${a|bool}")));
    assert!(matches!(bad, Problem::BadValue { .. }), "{bad}");
    assert!(!bad.to_string().contains('"'), "a value shows: {bad}");
}

#[test]
fn values_are_checked_by_form() {
    let text = |text: &str| Value::Text(text.into());
    for good in ["0", "-5", "18446744073709551615", "-9223372036854775808"] {
        assert_eq!(check_value(Form::Int, &text(good)), Ok(()), "{good}");
    }
    for bad in ["", "x", "1.0", "+1", "007", "-0", "1e3", " 1", "18446744073709551616"] {
        assert!(check_value(Form::Int, &text(bad)).is_err(), "{bad}");
    }
    for bad in ["", "True", "yes", "1"] {
        assert!(check_value(Form::Bool, &text(bad)).is_err(), "{bad}");
    }
    for bad in ["", "{", "[1,]", "x", "1 2"] {
        assert!(check_value(Form::Json, &text(bad)).is_err(), "{bad}");
    }
    assert_eq!(check_value(Form::Bool, &Value::Bool(false)), Ok(()));
    assert_eq!(check_value(Form::Json, &Value::Number("1.5".into())), Ok(()));
    assert_eq!(check_value(Form::Text, &text("")), Ok(()));
    for bad in ["", "1a", "a b", "a/b", "cluster.name", "a}", "ä"] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
    for good in ["a", "storeId", "_x-1.y", "cluster"] {
        assert_eq!(check_name(good), Ok(()), "{good}");
    }
}

fn workload(kind: &str, namespace: &str, pod: Json) -> Json {
    let version = if kind == "Job" { "batch/v1" } else { "apps/v1" };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "w", "namespace": namespace},
        "spec": {"template": {"spec": pod}}})
}

fn source(kind: &str, name: &str, value: &str) -> Json {
    json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"},
        "data": {"k": value}})
}

fn stamp_of(kind: &str, namespace: &str, pod: Json, sources: &[(Json, bool)]) -> Option<String> {
    let mut objects = vec![workload(kind, namespace, pod)];
    objects.extend(sources.iter().map(|(object, _)| object.clone()));
    let bound: Vec<bool> = std::iter::once(false).chain(sources.iter().map(|(_, bound)| *bound)).collect();
    stamp(&mut objects, &bound);
    let pointer = "/spec/template/metadata/annotations/drover.dev~1bound";
    objects[0].pointer(pointer).and_then(Json::as_str).map(str::to_owned)
}

#[test]
fn every_way_to_use_a_bound_source_is_stamped() {
    let sources = [(source("ConfigMap", "c", "1"), true), (source("Secret", "s", "1"), true)];
    for pod in [
        json!({"volumes": [{"configMap": {"name": "c"}}]}),
        json!({"volumes": [{"secret": {"secretName": "s"}}]}),
        json!({"volumes": [{"projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
        json!({"volumes": [{"projected": {"sources": [{"configMap": {"name": "c"}}]}}]}),
        json!({"containers": [{"envFrom": [{"configMapRef": {"name": "c"}}]}]}),
        json!({"containers": [{"envFrom": [{"secretRef": {"name": "s"}}]}]}),
        json!({"initContainers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "c"}}}]}]}),
        json!({"containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}),
    ] {
        for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
            assert!(stamp_of(kind, "shop", pod.clone(), &sources).is_some(), "{kind} {pod}");
        }
        assert_eq!(stamp_of("Job", "shop", pod.clone(), &sources), None);
        assert_eq!(stamp_of("Deployment", "other", pod, &sources), None);
    }
    let pulls = json!({"imagePullSecrets": [{"name": "s"}]});
    assert_eq!(stamp_of("Deployment", "shop", pulls, &sources), None);
}

#[test]
fn the_stamp_follows_bound_content_and_nothing_else() {
    let pod = json!({"volumes": [{"configMap": {"name": "c"}}, {"configMap": {"name": "d"}}]});
    let stamp = |value: &str, other: &str| {
        let sources = [(source("ConfigMap", "c", value), true), (source("ConfigMap", "d", other), false)];
        stamp_of("Deployment", "shop", pod.clone(), &sources)
    };
    assert_eq!(stamp("1", "1"), stamp("1", "2"));
    assert_ne!(stamp("1", "1"), stamp("2", "1"));
    let mut labelled = source("ConfigMap", "c", "1");
    labelled["metadata"]["labels"] = json!({"x": "y"});
    assert_eq!(stamp("1", "1"), stamp_of("Deployment", "shop", pod.clone(), &[(labelled, true)]));
    assert_eq!(stamp_of("Deployment", "shop", pod, &[(source("ConfigMap", "c", "1"), false)]), None);
}

// Pieces of text among which are references, things that look like them, and their parts.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("${a}".to_owned()),
        Just("${port}".to_owned()),
        Just("${tenant}".to_owned()),
        Just("${other}".to_owned()),
        Just("${".to_owned()),
        Just("}".to_owned()),
        Just("$".to_owned()),
        Just("|int}".to_owned()),
        "[a-z.$ {}|]{0,6}",
        ".{0,4}",
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn manifest() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![text().prop_map(Json::from), any::<i64>().prop_map(Json::from)];
    let tree = leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Json::from),
            proptest::collection::btree_map("[a-z${}~/]{0,6}", inner, 0..4)
                .prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    });
    tree.prop_map(
        |spec| json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec}),
    )
}

fn shape(value: &Json) -> Json {
    match value {
        Json::Array(items) => items.iter().map(shape).collect(),
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
        Json::String(_) => Json::from(""),
        other => other.clone(),
    }
}

fn table(value: &str) -> Variables {
    ["a", "port", "on", "list", "tenant"].into_iter().map(|name| (name.to_owned(), Value::Text(value.into()))).collect()
}

proptest! {
    // Values without a lower-case letter cannot make a reference to a listed name.
    #[test]
    fn binding_twice_is_binding_once(manifest in manifest(), value in "[A-Z0-9$\\{\\}\"\n: ]{0,12}") {
        if let Ok(once) = bind(&manifest, &table(&value), &binds()) {
            prop_assert_eq!(bind(&once, &table(&value), &binds()).unwrap(), once);
        }
    }

    #[test]
    fn a_value_never_becomes_structure(manifest in manifest(), value in ".{0,20}") {
        let typed = uses(&manifest, &binds()).is_ok_and(|uses| {
            uses.iter().any(|one| one.form != Form::Text)
        });
        prop_assume!(!typed);
        if let Ok(bound) = bind(&manifest, &table(&value), &binds()) {
            prop_assert_eq!(shape(&bound), shape(&manifest));
        }
    }

    #[test]
    fn without_listed_names_nothing_changes(manifest in manifest(), value in ".{0,20}") {
        let none = BTreeMap::from([("unused".to_owned(), Binds::default())]);
        prop_assert_eq!(bind(&manifest, &table(&value), &none).unwrap(), manifest.clone());
    }

    // What stands around references is kept: with each reference's own text as its value, binding
    // is the identity.
    #[test]
    fn what_surrounds_a_reference_is_untouched(manifest in manifest()) {
        let own = ["a", "port", "tenant"]
            .into_iter()
            .map(|name| (name.to_owned(), Value::Text(format!("${{{name}}}"))))
            .collect();
        if let Ok(bound) = bind(&manifest, &own, &binds()) {
            prop_assert_eq!(bound, manifest);
        }
    }

    #[test]
    fn uses_are_what_binding_needs(manifest in manifest()) {
        if let Ok(uses) = uses(&manifest, &binds()) {
            let enough: Variables =
                uses.iter().map(|one| (one.name.clone(), Value::Number("1".into()))).collect();
            prop_assert!(bind(&manifest, &enough, &binds()).is_ok());
            if let Some(one) = uses.first() {
                let mut short = enough;
                short.0.remove(&one.name);
                let error = bind(&manifest, &short, &binds()).unwrap_err();
                prop_assert_eq!(error.problem, Problem::Missing(one.name.clone()));
            }
        }
    }
}
