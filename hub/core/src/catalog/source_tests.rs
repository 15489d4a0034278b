//! Further sources: what they may declare, what of that is kept, and how much.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_model::{Digest, limits};

use super::*;
use crate::release::wanted;
use crate::snapshot::{File, Mode, Snapshot};

fn snapshot(files: &[(&str, &str)]) -> Snapshot {
    let files = files.iter().map(|(path, text)| {
        let id = Digest::of(text.as_bytes()).to_string();
        ((*path).to_owned(), File { id, mode: Mode::Regular, bytes: Some(Arc::from(text.as_bytes())) })
    });
    Snapshot { commit: "c".into(), files: files.collect(), ..Snapshot::default() }
}

fn document(kind: &str, name: &str, spec: &str) -> String {
    format!("apiVersion: {API_VERSION}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n")
}

fn may(text: &str) -> May {
    serde_json::from_str(text).unwrap()
}

fn of_team(text: &str, may: &May, last: Option<&Catalog>) -> Parsed {
    parse_within(&snapshot(&[("drover.yaml", text)]), "team", Some(may), last, &mut Cache::default())
}

fn words(parsed: &Parsed) -> Vec<String> {
    parsed.defects.iter().map(ToString::to_string).collect()
}

#[test]
fn a_source_declares_what_it_may_and_nothing_else() {
    let all = [
        document("Bundle", "web", "{}"),
        document("RolloutPolicy", "slow", "{}"),
        document("VariableSet", "mine", "{variables: {a: 1}}"),
        document("Cluster", "c", "{}"),
        document("Source", "more", "{url: \"https://h/x\"}"),
    ]
    .concat();
    let parsed = of_team(&all, &May::default(), None);
    assert_eq!(parsed.catalog.bundles.keys().collect::<Vec<_>>(), ["team/web"]);
    assert_eq!(parsed.catalog.policies.keys().collect::<Vec<_>>(), ["team/slow"]);
    assert!(parsed.catalog.clusters.is_empty() && parsed.catalog.variable_sets.is_empty());
    assert!(parsed.catalog.sources.is_empty(), "sources have no sources");
    let found = words(&parsed);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("drover.yaml:11: defect: this source may not declare a VariableSet"), "{found:?}");
    assert!(
        found[1].starts_with("drover.yaml:16: defect: a Cluster is declared in the root source alone"),
        "{found:?}"
    );
    assert!(found[2].starts_with("drover.yaml:21: defect: a Source is declared in the root source alone"), "{found:?}");

    let more = of_team(&all, &may(r#"{"declare": ["Bundle", "RolloutPolicy", "VariableSet"]}"#), None);
    assert_eq!(more.catalog.variable_sets.len(), 1);
    // What was taken away is not kept as what was good last, not even where its file cannot be read.
    for text in [&*all, "oops: ["] {
        let less = of_team(text, &may(r#"{"declare": ["Bundle"]}"#), Some(&more.catalog));
        assert!(less.catalog.variable_sets.is_empty() && less.catalog.policies.is_empty(), "{text}");
    }
    // Its bundles stay as they are, held, until somebody decides.
    let none = of_team(&all, &may(r#"{"declare": []}"#), Some(&more.catalog));
    assert!(none.catalog.held["team/web"].contains("may not declare a Bundle"), "{:?}", none.catalog.held);
    assert!(none.catalog.bundles.contains_key("team/web"));
    assert_eq!(none.defects.iter().filter(|defect| defect.bundle.as_deref() == Some("team/web")).count(), 1);
}

#[test]
fn a_bundle_keeps_to_the_namespaces_and_objects_of_its_source() {
    let limit = may(r#"{"namespaces": ["team-*"]}"#);
    let text = document("Bundle", "a", "{namespace: team-a}")
        + &document("Bundle", "b", "{namespace: kube-system}")
        + &document("Bundle", "c", "{replaces: [main/web]}")
        + &document("Bundle", "d", "{serviceAccount: kube-system/admin}")
        + &document("Bundle", "e", "{serviceAccount: team-a/deployer}");
    let parsed = of_team(&text, &limit, None);
    assert!(!parsed.catalog.held.contains_key("team/a"));
    assert!(parsed.catalog.held["team/b"].starts_with("drover.yaml:9: namespace kube-system is none"), "{parsed:?}");
    assert!(parsed.catalog.held.contains_key("team/c"), "the objects of another source are not its own to take");
    let held = &parsed.catalog.held["team/d"];
    assert!(held.contains("namespace kube-system is none"), "the rights of others are not its own to take: {held}");
    let recipes = wanted(&parsed.catalog, &snapshot(&[]), "1.33".into()).recipes;
    assert_eq!(recipes.keys().collect::<Vec<_>>(), ["team/a", "team/e"]);
}

#[test]
fn a_source_fetches_charts_with_the_credentials_that_it_may_use_alone() {
    let chart = |credentials: &str| {
        let helm = format!("{{oci: \"oci://r/charts\", chart: web, version: 1.0.0{credentials}}}");
        document("Bundle", "web", &format!("{{render: {{helm: {helm}}}}}"))
    };
    let why = |text: &str, limit: &str| of_team(text, &may(limit), None).catalog.held.get("team/web").cloned();
    assert_eq!(why(&chart(""), "{}"), None);
    assert_eq!(why(&chart(", credentials: charts"), r#"{"credentials": ["charts"]}"#), None);
    for limit in ["{}", r#"{"credentials": ["other"]}"#] {
        let held = why(&chart(", credentials: charts"), limit).unwrap();
        assert!(held.starts_with("drover.yaml:4: this source may not use credentials charts"), "{held}");
        assert!(held.contains("may.credentials"), "{held}");
    }
    // Where it was allowed before, nothing is fetched with them any more.
    let before = of_team(&chart(", credentials: charts"), &may(r#"{"credentials": ["charts"]}"#), None);
    let after = of_team(&chart(", credentials: charts"), &May::default(), Some(&before.catalog));
    assert!(wanted(&after.catalog, &snapshot(&[]), "1.33".into()).recipes.is_empty());
}

#[test]
fn a_defective_source_keeps_its_last_good_form() {
    let root = |text: &str, last: Option<&Catalog>| {
        parse(&snapshot(&[("drover.yaml", text)]), "main", last, &mut Cache::default())
    };
    let good = root(&document("Source", "team", "{url: \"https://h/team.git\", poll: 5m, ref: v1}"), None);
    assert_eq!(words(&good), <[&str; 0]>::default());
    let spec = &good.catalog.sources["team"].spec;
    assert_eq!((&*spec.reference, spec.poll), ("v1", Some(Span::minutes(5))));
    assert_eq!(Catalog::decode(&good.catalog.encode()).unwrap(), good.catalog);
    for broken in [document("Source", "team", "{url: \"https://me:hunter2@h/team.git\"}"), "oops: [".to_owned()] {
        let then = root(&broken, Some(&good.catalog));
        assert_eq!(then.catalog.sources["team"].spec, good.catalog.sources["team"].spec);
        assert!(!then.defects.is_empty() && !words(&then).concat().contains("hunter2"), "{then:?}");
    }
    assert!(root("", Some(&good.catalog)).catalog.sources.is_empty(), "one that was taken away is gone");
    let own = root(&document("Source", "main", "{url: \"https://h/x\"}"), None);
    assert!(own.catalog.sources.is_empty() && words(&own).concat().contains("root source itself"), "{own:?}");
}

#[test]
fn more_sources_than_a_hub_follows_are_each_a_defect() {
    let mut text = String::new();
    for at in 0..limits::SOURCES_MAX + 2 {
        text += &document("Source", &format!("s{at:03}"), "{url: \"https://h/x\"}");
    }
    let parsed = parse(&snapshot(&[("drover.yaml", &text)]), "main", None, &mut Cache::default());
    assert_eq!(parsed.catalog.sources.len(), limits::SOURCES_MAX);
    assert_eq!(parsed.defects.len(), 2);
    assert!(parsed.defects[0].message.contains(&limits::SOURCES_MAX.to_string()), "{:?}", parsed.defects);
}

/// A bundle in a folder of its own with a handful of files, and a dependency on the one before.
fn monorepo(bundles: usize, files: usize) -> Snapshot {
    let mut all = BTreeMap::new();
    let mut put = |path: String, text: &str| {
        let id = Digest::of(text.as_bytes()).to_string();
        all.insert(path, File { id, mode: Mode::Regular, bytes: Some(Arc::from(text.as_bytes())) });
    };
    for at in 0..bundles {
        let mut spec = "{targets: [{selector: {}}]".to_owned();
        if let Some(before) = at.checked_sub(1) {
            let _ = write!(spec, ", dependsOn: [{{bundle: b{before:05}}}]");
        }
        let folder = format!("apps/{:02}/b{at:05}", at % 100);
        put(format!("{folder}/drover.yaml"), &document("Bundle", &format!("b{at:05}"), &(spec + "}")));
        (0..files).for_each(|file| put(format!("{folder}/deep/er/{file}.yaml"), "a: 1"));
    }
    Snapshot { commit: "c".into(), files: all, ..Snapshot::default() }
}

#[test]
fn a_repository_of_10_000_bundles_is_read_and_the_next_one_is_a_defect() {
    let max = limits::BUNDLES_PER_SOURCE_MAX;
    let snapshot = monorepo(max + 1, 1);
    let parsed = parse(&snapshot, "main", None, &mut Cache::default());
    assert_eq!(parsed.catalog.bundles.len(), max);
    let [defect] = parsed.defects.as_slice() else { panic!("{:?}", parsed.defects) };
    assert_eq!(defect.bundle.as_deref(), Some("main/b10000"));
    assert!(defect.message.contains("one more than 10000") && defect.line == 1, "{defect}");
    assert!(parsed.catalog.held.contains_key("main/b10000"));
}

#[test]
fn the_work_for_a_monorepo_grows_with_its_size_and_no_faster() {
    // Ten times the bundles in ten times the time, with a margin for a busy machine: what grows
    // with the square takes a hundred times as long.
    let time = |bundles: usize| {
        let snapshot = monorepo(bundles, 9);
        let mut best = Duration::MAX;
        for _ in 0..2 {
            let start = Instant::now();
            let parsed = parse(&snapshot, "main", None, &mut Cache::default());
            assert_eq!(wanted(&parsed.catalog, &snapshot, "1.33".into()).recipes.len(), bundles);
            best = best.min(start.elapsed());
        }
        best
    };
    let (small, large) = (time(500), time(5_000));
    assert!(large < 40 * small, "{small:?} for 500 bundles, {large:?} for 5,000");
}

#[test]
fn a_circle_of_10_000_bundles_and_as_many_misspelled_dependencies_are_told_at_once() {
    let max = limits::BUNDLES_PER_SOURCE_MAX;
    let all = |on: &dyn Fn(usize) -> String| {
        let documents = (0..max).map(|at| {
            let spec = format!("{{dependsOn: [{{bundle: {}}}]}}", on(at));
            (format!("b{at:05}/drover.yaml"), document("Bundle", &format!("b{at:05}"), &spec))
        });
        let files: Vec<(String, String)> = documents.collect();
        snapshot(&files.iter().map(|(path, text)| (&**path, &**text)).collect::<Vec<_>>())
    };
    let start = Instant::now();
    let circle = all(&|at| format!("b{:05}", (at + 1) % max));
    let parsed = parse(&circle, "main", None, &mut Cache::default());
    assert_eq!((parsed.catalog.held.len(), parsed.defects.len()), (max, max));
    assert!(parsed.defects.iter().all(|defect| defect.message.len() < 500), "{}", parsed.defects[0]);
    let misspelled = all(&|at| format!("c{at:05}"));
    let parsed = parse(&misspelled, "main", None, &mut Cache::default());
    assert_eq!((parsed.catalog.held.len(), parsed.defects.len()), (max, max));
    // Seconds where each costs a look at a few, hours where each costs one at all the others.
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn bundles_that_all_take_a_whole_repository_are_held_at_a_limit() {
    let mut files = BTreeMap::new();
    let mut put = |path: String, text: &str| {
        let bytes = Some(Arc::from(text.as_bytes()));
        files.insert(path, File { id: Digest::of(text.as_bytes()).to_string(), mode: Mode::Regular, bytes });
    };
    let documents: String = (0..25).map(|at| document("Bundle", &format!("b{at:02}"), "{}")).collect();
    put("drover.yaml".to_owned(), &documents);
    (0..100_000).for_each(|at| put(format!("{:02}/{at}.yaml", at % 100), "a: 1"));
    let snapshot = Snapshot { commit: "c".into(), files, ..Snapshot::default() };
    let parsed = parse(&snapshot, "main", None, &mut Cache::default());
    let wanted = wanted(&parsed.catalog, &snapshot, "1.33".into());
    assert_eq!((wanted.recipes.len(), wanted.held.len()), (20, 5), "{:?}", wanted.defects);
    let defect = &wanted.defects[0];
    assert!(defect.message.contains("2000000") && defect.line > 0 && defect.bundle.is_some(), "{defect}");
}
