//! What the golden cases cannot show: the cache, and the way through bytes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use super::*;
use crate::snapshot::{File, Mode, Snapshot};

fn snapshot(files: &[(&str, &str, Option<&str>)]) -> Snapshot {
    let files = files.iter().map(|(path, id, text)| {
        let bytes = text.map(|text| Arc::from(text.as_bytes()));
        ((*path).to_owned(), File { id: (*id).to_owned(), mode: Mode::Regular, bytes })
    });
    Snapshot { commit: "c".into(), files: files.collect(), ..Snapshot::default() }
}

const CLUSTER: &str = "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: c1}\n\
                       spec: {variables: {a: 1.10, b: yes please, c: true}}\n";

#[test]
fn what_was_read_once_is_not_asked_for_again() {
    let mut cache = Cache::default();
    let first = parse(&snapshot(&[("drover.yaml", "1", Some(CLUSTER))]), "main", None, &mut cache);
    assert_eq!(first.defects, []);
    // The content is not there any more, the id is.
    let again = parse(&snapshot(&[("a/drover.yaml", "1", None)]), "main", None, &mut cache);
    assert_eq!(again.defects, []);
    assert_eq!(again.catalog.clusters["c1"].file, "a/drover.yaml");
    // What no snapshot names is forgotten.
    let _ = parse(&snapshot(&[]), "main", None, &mut cache);
    let gone = parse(&snapshot(&[("drover.yaml", "1", None)]), "main", None, &mut cache);
    assert_eq!(gone.defects.len(), 1);
}

#[test]
fn a_catalog_survives_as_bytes_with_its_spellings() {
    let parsed = parse(&snapshot(&[("drover.yaml", "1", Some(CLUSTER))]), "main", None, &mut Cache::default());
    let back = Catalog::decode(&parsed.catalog.encode()).unwrap();
    assert_eq!(back, parsed.catalog);
    let value = |name: &str| back.clusters["c1"].spec.variables[name].0.clone();
    assert_eq!(value("a"), proto_model::Value::Number("1.10".into()));
    assert_eq!(value("b"), proto_model::Value::Text("yes please".into()));
    assert_eq!(value("c"), proto_model::Value::Bool(true));
}

#[test]
fn a_declaration_that_means_far_more_than_it_says_is_a_defect_of_its_own() {
    let text = "x".repeat(1_000);
    let many = vec!["*a"; 2_000].join(", ");
    let bomb = format!(
        "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: web}}\n\
         spec: {{render: {{helm: {{values: {{one: &a {text}, all: [{many}]}}}}}}, targets: [{{selector: {{}}}}]}}\n---\n{CLUSTER}"
    );
    let parsed = parse(&snapshot(&[("drover.yaml", "1", Some(&bomb))]), "main", None, &mut Cache::default());
    assert_eq!(parsed.defects.len(), 1, "{:?}", parsed.defects);
    let defect = &parsed.defects[0];
    assert!(defect.line == 1 && defect.message.contains("once its aliases are written out"), "{defect:?}");
    assert!(parsed.catalog.clusters.contains_key("c1"), "the other declaration of the file counts");
    assert!(parsed.catalog.encode().len() < 10_000);
}

#[test]
fn a_file_of_another_name_declares_nothing() {
    let files = [("xdrover.yaml", "1", Some(CLUSTER)), ("drover.yml", "1", Some(CLUSTER))];
    assert_eq!(parse(&snapshot(&files), "main", None, &mut Cache::default()), Parsed::default());
}

#[test]
fn directories_are_resolved_within_the_source() {
    assert_eq!(directory("a/b/drover.yaml", "."), Some("a/b".into()));
    assert_eq!(directory("a/b/drover.yaml", "../c/./d/"), Some("a/c/d".into()));
    assert_eq!(directory("drover.yaml", "."), Some(String::new()));
    assert_eq!(directory("a/drover.yaml", "../.."), None);
    assert_eq!(directory("a/drover.yaml", "/etc"), None);
}

#[test]
fn what_a_file_held_is_held_with_it_and_says_why() {
    let bundle = |name: &str| {
        format!(
            "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: {name}}}\nspec: {{targets: []}}\n---\n"
        )
    };
    let good = format!("{}{}{CLUSTER}", bundle("a"), bundle("b"));
    let first = parse(&snapshot(&[("drover.yaml", "1", Some(&good))]), "main", None, &mut Cache::default());
    assert_eq!(first.defects, []);
    // Broken whole, one document that is none, and no file at all.
    for (broken, file, line) in [
        (Some(format!("{good}oops: [\n")), "drover.yaml:15: ", 15),
        (Some(format!("oops: 1\n---\n{CLUSTER}")), "drover.yaml:1: ", 1),
        (None, "drover.yaml: ", 0),
    ] {
        let files = snapshot(&[("drover.yaml", "2", broken.as_deref())]);
        let then = parse(&files, "main", Some(&first.catalog), &mut Cache::default());
        let named: Vec<_> = then.defects.iter().map(|one| (one.bundle.as_deref(), one.line)).collect();
        assert_eq!(named, [(Some("main/a"), line), (Some("main/b"), line)]);
        assert!(then.catalog.held["main/a"].starts_with(file), "{}", then.catalog.held["main/a"]);
        assert_eq!(then.catalog.bundles, first.catalog.bundles);
        assert_eq!(then.catalog.clusters["c1"].spec, first.catalog.clusters["c1"].spec);
    }
}

proptest::proptest! {
    // A source can hold anything: whatever it is, it is a defect or a declaration, never a panic.
    #[test]
    fn any_bytes_are_read(
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
        at in proptest::prelude::any::<proptest::sample::Index>(),
        cut in 0usize..8,
    ) {
        let mut bytes = CLUSTER.replace("Cluster", "Bundle").into_bytes();
        let at = at.index(bytes.len());
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, noise);
        let file = File { id: "1".into(), mode: Mode::Regular, bytes: Some(bytes.into()) };
        let files = [("drover.yaml".to_owned(), file)].into();
        let snapshot = Snapshot { files, ..Snapshot::default() };
        let parsed = parse(&snapshot, "main", None, &mut Cache::default());
        let _ = crate::release::wanted(&parsed.catalog, &snapshot, "1.33".into());
    }
}
