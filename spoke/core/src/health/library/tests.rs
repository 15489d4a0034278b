//! The library against live objects: `tests/health` holds one file a family, each document headed by the verdict it
//! must get and what it shows; beside it stand the reasons.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use proto_model::{Health, HealthCheck, object};
use serde_json::Value as Json;

use super::super::{Assessment, Checks, assess, depth, gets_status};
use super::*;
use crate::port::Depth;

struct Case {
    /// The verdict that it must get.
    wanted: String,
    /// What it shows.
    name: String,
    object: Json,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/health")
}

/// The cases of every file, by the name of the file.
fn cases() -> Vec<(PathBuf, Vec<Case>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), read(&path))).collect()
}

fn read(path: &Path) -> Vec<Case> {
    let text = fs::read_to_string(path).unwrap();
    let documents = text.split("\n---\n").filter(|document| !document.trim().is_empty());
    documents
        .map(|document| {
            let heading = document.trim_start().lines().next().unwrap_or_default();
            let Some((wanted, name)) = heading.strip_prefix("# ").and_then(|heading| heading.split_once(": ")) else {
                panic!("{}: a document must begin with `# Verdict: what it shows`, not {heading:?}", path.display());
            };
            let object = serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{heading}: {error}"));
            Case { wanted: wanted.into(), name: name.into(), object }
        })
        .collect()
}

/// Holds a text against a file, which UPDATE=1 writes.
#[track_caller]
fn expect(path: &Path, found: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, found).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{} differs; UPDATE=1 writes what is found", path.display());
}

#[test]
fn live_objects_get_the_verdict_that_stands_above_them() {
    let mut wrong = String::new();
    let mut reasons = Vec::new();
    for (path, cases) in cases() {
        let mut found = String::new();
        for case in &cases {
            let identity = object::identity(&case.object).unwrap();
            let verdict = assess(&identity.kind, &case.object, &Checks::default());
            let said = format!("{}: {}\n  {identity}: {}\n", verdict.health, case.name, verdict.message);
            if verdict.health.to_string() != case.wanted {
                wrong.push_str(&format!("wanted {} of {said}", case.wanted));
            }
            assert_eq!(verdict.health == Health::Healthy, verdict.message.is_empty(), "{said}");
            found.push_str(&said);
        }
        reasons.push((path.with_extension("out"), found));
    }
    assert!(wrong.is_empty(), "{wrong}");
    reasons.iter().for_each(|(path, found)| expect(path, found));
}

#[test]
fn every_rule_has_an_object_that_is_healthy_and_one_that_is_not() {
    let all: Vec<(GroupKind, String)> = cases()
        .into_iter()
        .flat_map(|(_, cases)| cases)
        .map(|case| (object::identity(&case.object).unwrap().kind, case.wanted))
        .collect();
    let mut missing = String::new();
    for row in table::LIBRARY.iter().flat_map(|family| family.rows) {
        let is_of = |kind: &GroupKind| {
            kind.group == row.group && (row.kinds == table::ANY || row.kinds.contains(&kind.kind.as_str()))
        };
        let has = |healthy: bool| all.iter().any(|(kind, wanted)| is_of(kind) && (wanted == "Healthy") == healthy);
        let is_silent = matches!(row.known, Known::Silent);
        if !has(true) || !(is_silent || has(false)) {
            missing.push_str(&format!("{}\n", words::kinds(row)));
        }
    }
    assert!(missing.is_empty(), "no case for\n{missing}");
}

#[test]
fn a_check_of_people_goes_before_the_library() {
    let check = |api_version: &str, kind: &str| {
        let healthy = "object.metadata.name == 'other'".to_owned();
        let (title, api_version, kind) = ("HealthCheck main/c".into(), api_version.to_owned(), kind.to_owned());
        HealthCheck { title, api_version, kind, healthy, ..HealthCheck::default() }
    };
    let all = [check("cert-manager.io/v1", "Certificate"), check("monitoring.coreos.com/v1", "ServiceMonitor")];
    let checks = Checks::of(&all);
    for written in &all {
        let object = serde_json::json!({
            "apiVersion": written.api_version, "kind": written.kind, "metadata": {"name": "x"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        let kind = object::identity(&object).unwrap().kind;
        assert_eq!(assess(&kind, &object, &Checks::default()), Assessment::healthy());
        let found = assess(&kind, &object, &checks);
        let unmet = "HealthCheck main/c: `healthy` does not hold yet";
        assert_eq!((found.health, found.message.as_str()), (Health::Progressing, unmet));
    }
}

#[test]
fn what_gets_no_status_is_watched_by_its_metadata_and_not_waited_for() {
    let kind = |group: &str, kind: &str| GroupKind { group: group.into(), kind: kind.into() };
    let monitor = kind("monitoring.coreos.com", "ServiceMonitor");
    assert_eq!((depth(&monitor), gets_status(&monitor)), (Depth::Metadata, false));
    let certificate = kind("cert-manager.io", "Certificate");
    assert_eq!((depth(&certificate), gets_status(&certificate)), (Depth::Whole, true));
    for (kind, lacks_status) in
        [(monitor, false), (certificate, true), (kind("networking.istio.io", "VirtualService"), false)]
    {
        let found = assess(&kind, &serde_json::json!({"metadata": {"name": "x"}}), &Checks::default());
        assert_eq!(found, Assessment { lacks_status, ..Assessment::healthy() }, "{kind}");
    }
}

#[test]
fn kinds_stand_in_the_library_once() {
    let rows = || table::LIBRARY.iter().flat_map(|family| family.rows);
    for (at, row) in rows().enumerate() {
        for kind in row.kinds {
            let hides = rows()
                .take(at)
                .any(|other| other.group == row.group && (other.kinds.contains(kind) || other.kinds == table::ANY));
            assert!(!hides, "{kind}.{} stands in an earlier row", row.group);
        }
    }
}

#[test]
fn the_page_for_operators_says_what_the_rules_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/health.md");
    let text = fs::read_to_string(&path).unwrap();
    let (start, end) = ("<!-- tables: made by the tests of spoke-core -->\n", "<!-- end of tables -->");
    let (before, rest) = text.split_once(start).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    expect(&path, &format!("{before}{start}\n{}\n{end}{after}", words::page()));
}
