//! What people and programs are shown of one fleet, as text beside this file. `UPDATE=1` writes what is found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::path::Path;

use hub_cli::fleet::{diff, explain, get, status};
use hub_cli::output::table::Look;
use hub_cli::output::{self, detail, document, plan, record};
use hub_cli::up::clusters::{self, Kubeconfig, Start};
use hub_cli::up::{event, settled, show};
use hub_cli::view::{
    Bundle, BundleSummary, Cluster, Defect, Given, Hold, Problem, Source, Status, Suspension, Variable,
};

/// A moment in November 2023.
const NOW: u64 = 1_700_000_000_000;
const HEAD: &str = "5c3bd0a1e0f64d7f9b1f7c4ad8f6d24f0a1b2c3d";
const OLD: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567";
const LOOK: Look = Look { width: None, has_colour: false, is_wide: false, now_unix_millis: NOW };

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{} differs; UPDATE=1 writes what is found", path.display());
}

fn bundle(name: &str, age_secs: u64) -> Bundle {
    Bundle {
        bundle: format!("main/{name}"),
        commit: Some(HEAD.into()),
        variant: Some("ab".repeat(32)),
        goal_variant: Some("ab".repeat(32)),
        sync: "Applied".into(),
        health: "Healthy".into(),
        objects: 4,
        since_unix_millis: Some(NOW - age_secs * 1000),
        ..Bundle::default()
    }
}

fn cluster(name: &str, bundles: Vec<Bundle>) -> Cluster {
    Cluster {
        cluster: name.into(),
        connected: true,
        generation: 7,
        acked_generation: 7,
        bundles,
        labels: [("tier".to_owned(), "store".to_owned())].into(),
        seen_unix_millis: Some(NOW - 2000),
        version: Some("0.1.0".into()),
        declared: true,
        incarnation: 1,
        ..Cluster::default()
    }
}

fn source() -> Source {
    Source {
        source: "main".into(),
        commit: Some(HEAD.into()),
        url: "https://git.example.com/fleet".into(),
        reference: "main".into(),
        fetched_unix_millis: Some(NOW - 1000),
        ..Source::default()
    }
}

/// Everything is as it should be.
fn calm() -> Status {
    let bundles = || vec![bundle("platform", 300), bundle("storefront", 20)];
    Status {
        applied_index: 41,
        sources: vec![source()],
        clusters: vec![cluster("store-a", bundles()), cluster("store-b", bundles())],
    }
}

fn hold(kind: &str, message: &str) -> Hold {
    Hold { kind: kind.into(), message: message.into(), ..Hold::default() }
}

fn problem(object: Option<&str>, is_final: bool, message: &str) -> Problem {
    Problem { object: object.map(str::to_owned), is_final, message: message.into() }
}

/// A source with one of everything that can be wrong.
fn troubled_source() -> Source {
    let defect = |file: &str, line, message: &str, note| Defect {
        file: file.into(),
        line,
        message: message.into(),
        bundle: None,
        note,
    };
    let unknown = defect("web/drover.yaml", Some(7), "unknown field `replica`, is `replicas` meant?", false);
    Source {
        error: Some("no answer within 300 s".into()),
        rewind_commit: Some(OLD.into()),
        defects: vec![
            Defect { bundle: Some("main/web".into()), ..unknown },
            defect("fleet.drover.yaml", None, "windows: not carried out yet", true),
        ],
        defects_more: 3,
        ..source()
    }
}

/// One of everything that can be wrong.
fn troubled() -> Status {
    let failed = Bundle {
        sync: "Failed".into(),
        health: "Degraded".into(),
        problems: vec![
            problem(Some("Deployment shop/web"), true, "is invalid: spec.replicas"),
            problem(None, false, "webhook unreachable"),
        ],
        problems_more: 1,
        notes: vec![Defect {
            file: "web/templates/tests/ping.yaml".into(),
            message: "Pod ping is left out: it is a test".into(),
            bundle: Some("main/web".into()),
            note: true,
            ..Defect::default()
        }],
        ..bundle("web", 90)
    };
    let guard = Hold {
        since_unix_millis: Some(NOW - 60_000),
        objects: vec!["ConfigMap shop/a".into(), "ConfigMap shop/b".into()],
        objects_total: 12,
        ..hold("guard", "12 objects would go; run `drover rollout approve main/db --deletions`")
    };
    let held = Bundle { goal_variant: None, commit: Some(OLD.into()), hold: Some(guard), ..bundle("db", 4000) };
    let offline = hold("offline", "its spoke is not connected");
    let late = Bundle {
        goal_variant: Some("cd".repeat(32)),
        commit: Some(OLD.into()),
        hold: Some(offline.clone()),
        ..bundle("web", 90_000)
    };
    let waiting = Bundle {
        sync: "Waiting".into(),
        health: "Unknown".into(),
        hold: Some(hold("dependency", "waits for main/platform to be installed")),
        problems: vec![problem(None, false, "waits for main/platform to be installed")],
        ..bundle("web", 5)
    };
    let (sync, health) = ("Applying".into(), "Progressing".into());
    let busy = Bundle { sync, health, since_unix_millis: None, ..bundle("platform", 0) };
    let drifted = Bundle { drifted: true, ..bundle("db", 30) };
    let away = Cluster { connected: false, hold: Some(offline.message), ..cluster("store-c", vec![late]) };
    Status {
        applied_index: 42,
        sources: vec![troubled_source()],
        clusters: vec![
            cluster("store-a", vec![held, failed]),
            cluster("store-b", vec![drifted, busy, waiting]),
            away,
            cluster("store-d", Vec::new()),
        ],
    }
}

#[test]
fn status_is_shown_worst_first() {
    let status = troubled();
    golden("status.txt", &status::tables(&status, LOOK));
    golden("status-wide.txt", &status::tables(&status, Look { is_wide: true, ..LOOK }));
    golden("status-narrow.txt", &status::tables(&status, Look { width: Some(80), ..LOOK }));
    golden("status.json", &output::json(&document::Status::from(&status)).unwrap());
    golden("status.yaml", &output::yaml(&document::Status::from(&calm())).unwrap());
    golden("status-empty.txt", &status::tables(&Status::default(), LOOK));
}

#[test]
fn lists_are_shown_worst_first() {
    let status = troubled();
    let summary = |name: &str, healthy, failed| BundleSummary {
        bundle: format!("main/{name}"),
        commit: Some(HEAD.into()),
        path: name.into(),
        clusters: 3,
        current: 3,
        applied: healthy,
        healthy,
        held: 0,
        failed,
    };
    let mut text = get::clusters_table(&status.clusters, Look { is_wide: true, ..LOOK }).text(LOOK);
    text += "\n";
    text += &get::bundles_table(&[summary("calm", 3, 0), summary("broken", 2, 1)]).text(LOOK);
    text += "\n";
    text += &get::sources_table(&status.sources, LOOK).text(LOOK);
    golden("get.txt", &text);
}

#[test]
fn an_explanation_names_object_hold_and_origin() {
    let given = |value: &str, origin: &str, line: u32| Given {
        value: value.into(),
        origin: origin.into(),
        file: Some("fleet/drover.yaml".into()),
        line: Some(line),
    };
    let itself = Given { value: "store-a".into(), origin: "the cluster itself".into(), ..Given::default() };
    let variable = |name: &str, values: &[Given]| Variable {
        bundle: "main/web".into(),
        name: name.into(),
        values: values.to_vec(),
    };
    let variables = [
        variable("cluster.name", &[itself]),
        variable(
            "logLevel",
            &[given("trace", "override 1", 12), given("debug", "VariableSet edge", 30), given("info", "default", 9)],
        ),
        variable("storeId", &[given("142", "Cluster store-a", 4)]),
        variable("zone", &[]),
    ];
    let status = troubled();
    let texts: Vec<String> = status
        .clusters
        .iter()
        .map(|cluster| explain::text(cluster, Some(&variables[..]).filter(|_| cluster.cluster == "store-a"), LOOK))
        .collect();
    golden("explain.txt", &texts.join("--\n"));
    let unheard =
        Cluster { connected: false, acked_generation: 0, seen_unix_millis: None, ..cluster("store-z", Vec::new()) };
    let first = explain::text(&unheard, None, LOOK).lines().next().map(str::to_owned);
    assert_eq!(first.as_deref(), Some("store-z, generation 7, not connected"), "the hub has just been started");
}

#[test]
fn a_diff_tells_object_by_object_and_field_by_field() {
    let field = |pointer: &str, live: Option<&str>, bound: Option<&str>| detail::DiffField {
        pointer: pointer.into(),
        live: live.map(Into::into),
        bound: bound.map(Into::into),
    };
    let object = |object: &str, change: &str, fields: Vec<detail::DiffField>| detail::DiffObject {
        object: object.into(),
        change: change.into(),
        fields,
        fields_more: 0,
        message: None,
    };
    let fields = vec![field("/spec/replicas", Some("3"), Some("2")), field("/spec/paused", Some("true"), None)];
    let mut changed = object("Deployment.apps shop/web", "fields", fields);
    changed.fields_more = 2;
    let mut unknown = object("Widget.example.com shop/w", "unknown", Vec::new());
    unknown.message = Some("its kind is not known in this cluster".into());
    let objects = vec![
        changed,
        object("Secret shop/s", "fields", vec![field("/data/key", Some("***"), Some("***"))]),
        object("ConfigMap shop/new", "missing", Vec::new()),
        object("ConfigMap shop/old", "unwanted", Vec::new()),
        unknown,
    ];
    let (cluster, bundle) = ("store-a".to_owned(), "main/web".to_owned());
    let differs = detail::Diff { cluster, bundle, generation: 7, variant: None, objects, same: 4, unseen: 1 };
    let same = detail::Diff { objects: Vec::new(), unseen: 0, ..differs.clone() };
    golden("diff.txt", &[diff::text(&differs, LOOK), diff::text(&same, LOOK)].join("--\n"));
}

#[test]
fn a_wide_table_is_cut_nowhere() {
    let look = Look { width: Some(80), ..LOOK };
    let lines = |format| {
        let output = output::Output { format };
        let text = output.text(&(), |look| status::tables(&troubled(), look), look).unwrap();
        text.lines().map(str::len).max().unwrap()
    };
    assert!(lines(output::Format::Wide) > 120);
    let tables = status::tables(&troubled(), look);
    let rows = tables.split_once("\n\n").unwrap().1;
    assert!(rows.lines().all(|line| line.chars().count() <= 80), "{rows}");
}

#[test]
fn what_is_missing_is_told_cluster_by_cluster() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let mut text = String::new();
    let mut tell = |title: &str, status: &Status, expected: &[&str], after: u64| {
        text.push_str(&format!("# {title}\n"));
        for reason in settled::missing(status, &names(expected), after) {
            text.push_str(&format!("{reason}\n"));
        }
    };
    let begun = NOW - 5000;
    tell("everything is as it should be", &calm(), &["store-a", "store-b"], begun);
    tell("a cluster of this run is not known", &calm(), &["store-a", "store-z"], begun);
    tell("the head was read before this run", &calm(), &["store-a"], NOW);
    tell("nothing is known", &Status::default(), &[], begun);
    tell("troubled", &troubled(), &["store-a", "store-b", "store-c", "store-d"], begun);
    let one = |change: &dyn Fn(&mut Status)| {
        let mut status = calm();
        change(&mut status);
        status
    };
    tell(
        "another commit",
        &one(&|status| status.clusters[1].bundles[0].commit = Some(OLD.into())),
        &["store-b"],
        begun,
    );
    tell(
        "not assigned",
        &one(&|status| status.clusters[0].bundles[1].goal_variant = Some("cd".into())),
        &["store-a"],
        begun,
    );
    tell(
        "being removed",
        &one(&|status| {
            status.clusters[0].bundles[1] =
                Bundle { variant: None, goal_variant: None, sync: "Removing".into(), ..bundle("storefront", 1) };
        }),
        &["store-a"],
        begun,
    );
    tell("not stored", &one(&|status| status.clusters[0].acked_generation = 6), &["store-a"], begun);
    tell("no commit", &one(&|status| status.sources[0].commit = None), &["store-a"], begun);
    tell(
        "only a note",
        &one(&|status| status.sources[0].defects = vec![Defect { note: true, ..Defect::default() }]),
        &["store-a"],
        begun,
    );
    golden("settled.txt", &text);
}

#[test]
fn events_are_what_changed() {
    let mut text = String::new();
    let mut tell = |title: &str, before: &Status, after: &Status| {
        text.push_str(&format!("# {title}\n"));
        for event in event::changes(before, after, NOW) {
            text.push_str(&format!("{}{}\n", event.line(), if event.is_minor { "  (minor)" } else { "" }));
        }
    };
    tell("from nothing", &Status::default(), &calm());
    tell("nothing changed but times", &calm(), &{
        let mut later = calm();
        later.applied_index += 1;
        later.clusters[0].bundles[0].since_unix_millis = Some(NOW);
        later
    });
    tell("into trouble", &calm(), &troubled());
    tell("out of it", &troubled(), &calm());
    tell("a new commit with the old content", &calm(), &{
        let mut later = calm();
        later.sources[0].commit = Some(OLD.into());
        later.clusters[0].bundles[0].commit = Some(OLD.into());
        later
    });
    golden("events.txt", &text);
    let first = event::changes(&Status::default(), &calm(), NOW);
    let lines: Vec<String> = first.iter().map(|event| serde_json::to_string(event).unwrap() + "\n").collect();
    golden("events.jsonl", &lines.concat());
}

#[test]
fn the_live_table_folds_what_is_fine_where_room_is_short() {
    let names: BTreeSet<String> = ["store-a", "store-b", "store-c", "store-d"].map(str::to_owned).into();
    let events: VecDeque<String> = ["22:13:20 ready hub".to_owned()].into();
    let calm_names: BTreeSet<String> = ["store-a", "store-b"].map(str::to_owned).into();
    let frame = |status: &Status, names: &BTreeSet<String>, height| {
        show::frame(status, names, &events, &["edit it".to_owned()], height, LOOK)
    };
    let texts = [
        frame(&troubled(), &names, 40),
        frame(&troubled(), &names, 11),
        frame(&calm(), &calm_names, 9),
        frame(&calm(), &calm_names, 8),
        frame(&Status::default(), &BTreeSet::new(), 40),
    ];
    for (text, height) in texts.iter().zip([40, 11, 9, 8, 40]) {
        assert!(text.lines().count() <= height, "{text}");
    }
    golden("live.txt", &texts.join("--\n"));
}

#[test]
fn spokes_are_started_for_the_declared_clusters_else_for_local_ones() {
    let kubeconfig = |name: &str| Kubeconfig { file: name.into(), context: None };
    let names = |status: &Status, count, kubeconfigs: &[Kubeconfig]| {
        let wanted = clusters::wanted(status, |_| false, count, kubeconfigs).ok()??;
        Some(wanted.into_iter().collect::<Vec<(String, Start)>>())
    };
    let mut undeclared = calm();
    undeclared.clusters.clear();
    let start =
        |name: &str, is_declared, kubeconfig: Option<Kubeconfig>| (name.to_owned(), Start { kubeconfig, is_declared });
    assert_eq!(names(&Status::default(), None, &[]), None, "nobody knows yet");
    assert_eq!(names(&calm(), Some(9), &[]), Some(vec![start("store-a", true, None), start("store-b", true, None)]));
    assert_eq!(
        names(&undeclared, Some(2), &[]),
        Some(vec![start("local-1", false, None), start("local-2", false, None)])
    );
    assert_eq!(names(&calm(), None, &[kubeconfig("k1")]), Some(vec![start("store-a", true, Some(kubeconfig("k1")))]));
    assert_eq!(
        names(&undeclared, None, &[kubeconfig("k1")]),
        Some(vec![start("local-1", false, Some(kubeconfig("k1")))])
    );
    let three = [kubeconfig("1"), kubeconfig("2"), kubeconfig("3")];
    assert!(clusters::wanted(&calm(), |_| false, None, &three).is_err(), "more kubeconfigs than clusters");
    let mut emptied = calm();
    emptied.clusters.iter_mut().for_each(|cluster| cluster.declared = false);
    emptied.clusters.push(Cluster { declared: false, ..cluster("local-1", Vec::new()) });
    let wanted = clusters::wanted(&emptied, |name| name != "store-b", None, &[]).unwrap().unwrap();
    let kept: Vec<&str> = wanted.keys().map(String::as_str).collect();
    assert_eq!(kept, ["store-a"], "a declaration that is gone makes nobody up");
}

#[test]
fn the_schemas_are_those_of_the_documents() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas/cli");
    let schemas: BTreeMap<&str, schemars::Schema> = [
        ("status", schemars::schema_for!(document::Status)),
        ("clusters", schemars::schema_for!(document::Clusters)),
        ("bundles", schemars::schema_for!(document::Bundles)),
        ("sources", schemars::schema_for!(document::Sources)),
        ("tokens", schemars::schema_for!(record::Tokens)),
        ("audit", schemars::schema_for!(record::AuditTrail)),
        ("explain", schemars::schema_for!(document::Explain)),
        ("diff", schemars::schema_for!(detail::Diff)),
        ("done", schemars::schema_for!(document::Done)),
        ("join-token", schemars::schema_for!(document::JoinToken)),
        ("lint", schemars::schema_for!(document::Lint)),
        ("plan", schemars::schema_for!(plan::Plan)),
        ("hub-init", schemars::schema_for!(document::HubMade)),
        ("up-event", schemars::schema_for!(event::Event)),
    ]
    .into();
    for (name, schema) in schemas {
        let found = output::json(&schema).unwrap();
        let path = folder.join(format!("{name}.json"));
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(&folder).unwrap();
            fs::write(&path, &found).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{} differs; UPDATE=1 writes what is found", path.display());
    }
}

#[test]
fn what_is_left_alone_and_who_leaves_is_told_with_how_it_ends() {
    let at_hub = Suspension {
        at_hub: true,
        whole_cluster: false,
        until_unix_millis: Some(NOW + 3_600_000),
        by: Some("ada".into()),
        reason: Some("an audit".into()),
        message: "suspended until 2023-11-14T23:13:20Z by ada: an audit; `drover resume store-a main/web` ends it"
            .into(),
    };
    let here = Suspension {
        message:
            "suspended at the cluster until 2023-11-15T00:13:20Z by root: night; `drover-spoke resume` there ends it"
                .into(),
        ..Suspension::default()
    };
    let held = Bundle {
        suspended: true,
        hold: Some(Hold { since_unix_millis: Some(NOW - 60_000), ..hold("suspended", &at_hub.message) }),
        goal_variant: Some("cd".repeat(32)),
        suspensions: vec![at_hub.clone(), here],
        problems: vec![problem(None, false, "is suspended until 2023-11-15T00:13:20Z by root: night")],
        ..bundle("web", 90)
    };
    let settled = Bundle { suspended: true, suspensions: vec![at_hub], ..bundle("db", 30) };
    let words = "it leaves the fleet: our marks are taken off its objects, which stay, and then it is forgotten";
    let (sync, health, goal_variant) = ("Removing".into(), "Unknown".into(), None);
    let going = Bundle { sync, health, goal_variant, hold: Some(hold("leaving", words)), ..bundle("web", 5) };
    let leaving =
        Cluster { hold: Some(words.into()), leaving: true, declared: false, ..cluster("store-b", vec![going]) };
    let clusters = vec![cluster("store-a", vec![held, settled]), leaving];
    let status = Status { applied_index: 43, sources: vec![source()], clusters };
    let mut text = status::tables(&status, LOOK);
    for cluster in &status.clusters {
        text += &format!("--\n{}", explain::text(cluster, None, LOOK));
    }
    golden("suspended.txt", &text);
    golden("suspended.json", &output::json(&document::Status::from(&status)).unwrap());
}
