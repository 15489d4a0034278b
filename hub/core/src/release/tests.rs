//! Digests of inputs follow content and nothing else, and variables resolve as a naive reading of
//! the layers does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proto_model::{Digest, Value};

use super::*;
use crate::catalog::{Cache, Catalog, parse};
use crate::select::Index;
use crate::snapshot::{File, Mode, Snapshot};

fn snapshot(files: &[(&str, &str)]) -> Snapshot {
    let files = files.iter().map(|(path, text)| {
        let id = Digest::of(text.as_bytes()).to_string();
        let bytes = Some(Arc::from(text.as_bytes()));
        ((*path).to_owned(), File { id, mode: Mode::Regular, bytes })
    });
    Snapshot { commit: "c".into(), files: files.collect() }
}

fn catalog(snapshot: &Snapshot) -> Catalog {
    let parsed = parse(snapshot, "main", None, &mut Cache::default());
    assert_eq!(parsed.defects, []);
    parsed.catalog
}

fn bundle(name: &str, spec: &str) -> String {
    format!("apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn digest(files: &[(&str, &str)]) -> Digest {
    let snapshot = snapshot(files);
    wanted(&catalog(&snapshot), &snapshot).inputs["main/b"].digest
}

#[test]
fn the_digest_of_an_input_follows_its_content() {
    let plain = bundle("b", "{path: b}");
    let base = digest(&[("drover.yaml", &plain), ("b/a.yaml", "a"), ("x.yaml", "x")]);
    let same = [
        // Another file that is not the bundle's, another target, another name of the file.
        [("drover.yaml", plain.clone()), ("b/a.yaml", "a".into()), ("x.yaml", "y".into())],
        [
            ("drover.yaml", bundle("b", "{path: b, targets: [{selector: {}}]}")),
            ("b/a.yaml", "a".into()),
            ("b/readme.md", "y".into()),
        ],
        [("z.drover.yaml", plain.clone()), ("b/a.yaml", "a".into()), ("b/deep/c.txt", "y".into())],
    ];
    for files in &same {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, &**text)).collect();
        assert_eq!(digest(&files), base, "{files:?}");
    }
    let other = [
        [("drover.yaml", plain.clone()), ("b/a.yaml", "b".into())],
        [("drover.yaml", plain.clone()), ("b/b.yaml", "a".into())],
        [("drover.yaml", bundle("b", "{path: b, namespace: shop}")), ("b/a.yaml", "a".into())],
        [("drover.yaml", bundle("b", "{path: b, drift: report}")), ("b/a.yaml", "a".into())],
        [("drover.yaml", bundle("b", "{path: b, variables: {v: {}}}")), ("b/a.yaml", "a".into())],
    ];
    for files in &other {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (*path, &**text)).collect();
        assert_ne!(digest(&files), base, "{files:?}");
    }
}

#[test]
fn a_bundle_without_rendering_is_held_and_the_others_go_on() {
    let files = bundle("a", "{path: a}") + "---\n" + &bundle("b", "{path: b, targets: [{selector: {}}]}");
    let snapshot = snapshot(&[("drover.yaml", &files), ("b/x.yaml", "x")]);
    let catalog = catalog(&snapshot);
    let wanted = wanted(&catalog, &snapshot);
    let rendering = Rendering { variant: Digest::of(b"v"), meta: Arc::default() };
    let renderings = BTreeMap::from([(wanted.inputs["main/b"].digest, rendering)]);
    let clusters: Vec<ClusterFacts> =
        (0..3).map(|number| ClusterFacts { number, name: format!("c{number}"), ..Default::default() }).collect();
    let goals = goals(&catalog, &wanted, &clusters, &renderings, &Default::default());
    assert_eq!(goals.held.keys().collect::<Vec<_>>(), ["main/a"]);
    assert_eq!(goals.bundles["main/b"].pairs.len(), 1, "no variables: one pair for all");
    assert_eq!(goals.bundles["main/b"].pairs[0].1.len(), 3);
}

proptest! {
    // Each layer gives `v` or not, to the cluster's tier or to another.
    #[test]
    fn the_highest_layer_that_matches_wins(
        default in any::<bool>(),
        sets in prop::collection::vec((any::<bool>(), any::<bool>()), 0..4),
        overrides in prop::collection::vec((any::<bool>(), any::<bool>()), 0..4),
        own in any::<bool>(),
    ) {
        let selector = |matches: bool| format!("{{matchLabels: {{tier: {}}}}}", if matches { "edge" } else { "core" });
        let values = |gives: bool, value: String| if gives { format!("{{v: {value}}}") } else { "{}".into() };
        let mut expected = default.then(|| "default".to_owned());
        let mut text = String::new();
        for (at, (matches, gives)) in sets.iter().enumerate() {
            text += &format!(
                "apiVersion: drover.dev/v1alpha1\nkind: VariableSet\nmetadata: {{name: s{at}}}\n\
                 spec: {{selector: {}, variables: {}}}\n---\n",
                selector(*matches), values(*gives, format!("set{at}"))
            );
            if *matches && *gives {
                expected = Some(format!("set{at}"));
            }
        }
        let mut list = Vec::new();
        for (at, (matches, gives)) in overrides.iter().enumerate() {
            list.push(format!("{{selector: {}, variables: {}}}", selector(*matches), values(*gives, format!("over{at}"))));
            if *matches && *gives {
                expected = Some(format!("over{at}"));
            }
        }
        if own {
            expected = Some("own".into());
        }
        text += &format!(
            "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: c, labels: {{tier: edge}}}}\n\
             spec: {{variables: {}}}\n---\n", values(own, "own".into())
        );
        let default = if default { "{default: default}" } else { "{}" };
        text += &bundle("b", &format!("{{variables: {{v: {default}}}, overrides: [{}]}}", list.join(", ")));
        let catalog = catalog(&snapshot(&[("drover.yaml", &text)]));
        let cluster = ClusterFacts {
            number: 7,
            name: "c".into(),
            labels: catalog.clusters["c"].labels.clone(),
        };
        let index: Index = [(7, &cluster.labels)].into_iter().collect();
        let layers = layers(&catalog, &catalog.bundles["main/b"], &index);
        prop_assert_eq!(layers.value("v", &cluster), expected.clone().map(Value::Text));
        let place = layers.resolve("v", &cluster).map(|found| found.place);
        let wanted = expected.map(|value| match value.as_str() {
            "own" => "Cluster c".to_owned(),
            "default" => "default".to_owned(),
            other => match other.strip_prefix("set") {
                Some(at) => format!("VariableSet s{at}"),
                None => format!("override {}", other.trim_start_matches("over").parse::<usize>().unwrap() + 1),
            },
        });
        prop_assert_eq!(place, wanted);
    }
}
