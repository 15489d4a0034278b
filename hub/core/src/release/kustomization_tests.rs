//! What kustomizations read, and what is refused with its line.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::Digest;
use proto_model::variant::Binds;

use super::*;
use crate::snapshot::{File, Mode};

fn snapshot(files: &[(&str, &str)]) -> Snapshot {
    let file = |(path, text): &(&str, &str)| {
        let mode = match *text {
            "LINK" => Mode::Symlink,
            "SUBMODULE" => Mode::Submodule,
            _ => Mode::Regular,
        };
        let bytes = mode.is_file().then(|| Arc::from(text.as_bytes()));
        ((*path).to_owned(), File { id: Digest::of(text.as_bytes()).to_string(), mode, bytes })
    };
    Snapshot { files: files.iter().map(file).collect(), ..Snapshot::default() }
}

fn of(root: &str, files: &[(&str, &str)]) -> Closure {
    let listed: Listed = BTreeMap::from([("size".to_owned(), Binds::default())]);
    closure(root, &snapshot(files), &listed)
}

fn paths(closure: &Closure) -> Vec<&str> {
    closure.files.iter().map(|file| &*file.path).collect()
}

fn defects(root: &str, files: &[(&str, &str)]) -> Vec<String> {
    of(root, files).defects.iter().map(ToString::to_string).collect()
}

#[test]
fn an_overlay_reads_its_bases_and_nothing_else() {
    let files = [
        ("base/kustomization.yaml", "resources: [a.yaml, ../shared]\n"),
        ("base/a.yaml", "a"),
        ("base/unused.yaml", "u"),
        ("shared/Kustomization", "resources: [s.yaml]\n"),
        ("shared/s.yaml", "s"),
        (
            "over/kustomization.yml",
            "resources: [../base]\ncomponents: [../comp]\npatches: [{path: p.yaml}, {patch: 'x: 1'}]\n\
             patchesStrategicMerge: [m.yaml, 'a: 1\n  b: 2']\nreplacements: [{path: r.yaml}]\nopenapi: {path: o.json}\n\
             configMapGenerator: [{name: c, files: [k=c.txt, d.txt], envs: [e.env]}]\n\
             secretGenerator: [{name: s, env: f.env}]\n",
        ),
        ("over/p.yaml", "p"),
        ("over/m.yaml", "m"),
        ("over/r.yaml", "r"),
        ("over/o.json", "{}"),
        ("over/c.txt", "n=${size} ${other}"),
        ("over/d.txt", "d"),
        ("over/e.env", "e"),
        ("over/f.env", "f"),
        ("comp/kustomization.yaml", "kind: Component\n"),
    ];
    let closure = of("over", &files);
    assert_eq!(closure.defects, []);
    let all: Vec<&str> = files.iter().map(|(path, _)| *path).filter(|path| *path != "base/unused.yaml").collect();
    let mut all = all;
    all.sort_unstable();
    assert_eq!(paths(&closure), all);
    assert_eq!(closure.needs.iter().map(|need| &*need.name).collect::<Vec<_>>(), ["size"]);
}

#[test]
fn what_was_not_read_is_asked_for() {
    let mut snapshot = snapshot(&[("k/kustomization.yaml", "resources: [../b]"), ("b/kustomization.yaml", "")]);
    snapshot.files.get_mut("b/kustomization.yaml").unwrap().bytes = None;
    let listed = Listed::default();
    let first = closure("k", &snapshot, &listed);
    assert_eq!(first.asks.iter().collect::<Vec<_>>(), ["b/kustomization.yaml"]);
    assert_eq!(first.defects, []);
    snapshot.asked.extend(first.asks);
    let second = closure("k", &snapshot, &listed);
    assert!(second.asks.is_empty() && second.defects[0].message.contains("larger than"), "{second:?}");
}

#[test]
fn remote_bases_are_refused_with_their_line() {
    for remote in [
        "https://github.com/org/repo//base?ref=v1",
        "github.com/org/repo/base",
        "git@github.com:org/repo.git",
        "https://example.com/all.yaml",
    ] {
        let text = format!("resources:\n- a.yaml\n- {remote}\n");
        let found = defects("k", &[("k/kustomization.yaml", &text), ("k/a.yaml", "a")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("k/kustomization.yaml:3: defect: ") && found[0].contains("remote"), "{found:?}");
    }
}

#[test]
fn cycles_are_named() {
    let files = [
        ("a/kustomization.yaml", "resources:\n- ../b\n"),
        ("b/kustomization.yaml", "resources:\n- x.yaml\n- ../a\n"),
        ("b/x.yaml", "x"),
    ];
    assert_eq!(defects("a", &files), ["b/kustomization.yaml:3: defect: kustomizations go in a circle: a → b → a"]);
    // Twice is no circle.
    let diamond = [
        ("a/kustomization.yaml", "resources: [../b, ../c]"),
        ("b/kustomization.yaml", "resources: [../d]"),
        ("c/kustomization.yaml", "resources: [../d]"),
        ("d/kustomization.yaml", "resources: []"),
    ];
    assert_eq!(defects("a", &diamond), [] as [&str; 0]);
}

#[test]
fn exec_plugins_and_helm_charts_are_refused() {
    let plugin = "apiVersion: x/v1\nkind: X\nmetadata:\n  name: x\n  annotations:\n    \
                  config.kubernetes.io/function: |\n      exec: {path: ./run}\n";
    let files = [("k/kustomization.yaml", "generators:\n- g.yaml\n"), ("k/g.yaml", plugin)];
    assert_eq!(
        defects("k", &files),
        ["k/g.yaml:1: defect: would run a program or a container, which is not carried out"]
    );
    let inline = format!("transformers:\n- |\n  {}\n", plugin.replace('\n', "\n  "));
    assert_eq!(defects("k", &[("k/kustomization.yaml", &inline)]).len(), 1);
    let charts = "resources: []\nhelmCharts:\n- name: x\n";
    let found = defects("k", &[("k/kustomization.yaml", charts)]);
    assert!(found[0].starts_with("k/kustomization.yaml:2: defect: helmCharts"), "{found:?}");
}

#[test]
fn what_is_missing_or_elsewhere_has_a_line() {
    for (entry, says) in [
        ("none.yaml", "does not exist"),
        ("../../out", "leads out of the source"),
        ("link.yaml", "symbolic link"),
        ("linked/x.yaml", "symbolic link"),
        ("module/x", "submodule"),
        ("empty", "has no kustomization.yaml"),
    ] {
        let text = format!("resources:\n- {entry}\n");
        let files = [
            ("k/kustomization.yaml", &*text),
            ("k/link.yaml", "LINK"),
            ("k/linked", "LINK"),
            ("k/module", "SUBMODULE"),
            ("k/empty/readme", "r"),
        ];
        let found = defects("k", &files);
        assert_eq!(found.len(), 1, "{entry}: {found:?}");
        assert!(found[0].starts_with("k/kustomization.yaml:2: defect: ") && found[0].contains(says), "{found:?}");
    }
    let crds = [("k/kustomization.yaml", "crds: [d]\n"), ("k/d/x", "x")];
    assert!(defects("k", &crds)[0].contains("is a folder, and a file is asked for"));
    let twice = [("k/kustomization.yaml", "{}"), ("k/Kustomization", "{}")];
    assert!(defects("k", &twice)[0].contains("takes only one"));
    assert!(defects("k", &[("k/kustomization.yaml", "a: [")])[0].starts_with("k/kustomization.yaml:1: defect: "));
}

/// What each folder takes of the stack is taken again by the one below.
#[test]
fn a_chain_of_bases_ends_at_its_limit() {
    let file = |at: usize| (format!("k{at}/kustomization.yaml"), format!("resources:\n- ../k{}\n", at + 1));
    let files: Vec<(String, String)> = (0..990).map(file).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    assert_eq!(
        defects("k0", &files),
        ["k63/kustomization.yaml:2: defect: k64 is a base of bases, more than 64 deep; flatten them"]
    );
    let last = [&files[926..989], &[("k989/kustomization.yaml", "resources: []")]].concat();
    assert_eq!(defects("k926", &last), [] as [&str; 0]);
}
