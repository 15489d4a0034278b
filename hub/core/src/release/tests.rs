//! Digests of inputs follow content and nothing else, and variables resolve as a naive reading of
//! the layers does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proto_model::{Digest, Value, limits};

use super::*;
use crate::catalog::{Cache, Catalog, Defect, parse};
use crate::select::Index;
use crate::snapshot::{File, Mode, Snapshot};

fn snapshot(files: &[(&str, &str)]) -> Snapshot {
    let files = files.iter().map(|(path, text)| {
        let id = Digest::of(text.as_bytes()).to_string();
        let bytes = Some(Arc::from(text.as_bytes()));
        ((*path).to_owned(), File { id, mode: Mode::Regular, bytes })
    });
    Snapshot { commit: "c".into(), files: files.collect(), ..Snapshot::default() }
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
    combinations(&snapshot, &[]).unwrap()[0].input.digest
}

fn clusters(labels: &[(&str, &str)]) -> Vec<ClusterFacts> {
    let cluster = |(number, (key, value)): (u32, &(&str, &str))| ClusterFacts {
        number,
        name: format!("c{number}"),
        labels: BTreeMap::from([((*key).to_owned(), (*value).to_owned())]),
    };
    (0..).zip(labels).map(cluster).collect()
}

fn combinations(snapshot: &Snapshot, labels: &[(&str, &str)]) -> Result<Vec<Combination>, Vec<Defect>> {
    let catalog = catalog(snapshot);
    let wanted = wanted(&catalog, snapshot, "1.33".into());
    assert_eq!((&wanted.defects, &wanted.asks), (&Vec::new(), &Default::default()));
    let clusters = clusters(labels);
    let index: Index = clusters.iter().map(|one| (one.number, &one.labels)).collect();
    let by_number = clusters.iter().map(|one| (one.number, one)).collect();
    let clusters = Clusters { index: &index, by_number: &by_number };
    let (item, common) = (&catalog.bundles["main/b"], Common::of([&catalog]));
    wanted.recipes["main/b"].combinations(item, &common, clusters, &Tools::default())
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
    let snapshot = snapshot(&[("drover.yaml", &files), ("a/x.yaml", "x"), ("b/x.yaml", "x")]);
    let catalog = catalog(&snapshot);
    let wanted = wanted(&catalog, &snapshot, "1.33".into());
    let clusters = clusters(&[("l", "x"), ("l", "y"), ("l", "z")]);
    let (common, mut renderings, tools) = (Common::of([&catalog]), Renderings::default(), Tools::default());
    let again = |renderings: &Renderings| {
        let (catalog, wanted, clusters) = (&catalog, &wanted, &*clusters);
        goals(Inputs { catalog, common: &common, wanted, clusters, renderings, tools: &tools }, &Default::default())
    };
    let nothing = again(&renderings);
    let missing: BTreeMap<&str, Digest> = nothing.missing.iter().map(|input| (&*input.bundle, input.digest)).collect();
    assert_eq!(nothing.held.keys().collect::<Vec<_>>(), ["main/a", "main/b"]);
    renderings.failed.insert(missing["main/a"]);
    let rendering = Rendering { variant: Digest::of(b"v"), meta: Arc::default() };
    renderings.done.insert(missing["main/b"], rendering);
    let goals = again(&renderings);
    assert_eq!(goals.held.keys().collect::<Vec<_>>(), ["main/a"]);
    assert_eq!(goals.missing, []);
    assert_eq!(goals.bundles["main/b"].pairs.len(), 1, "no variables: one pair for all");
    assert_eq!(goals.bundles["main/b"].pairs[0].1.len(), 3);
}

/// What each combination is rendered from, in short: how, values, patches, early variables, clusters.
fn shapes(bundle: &str, files: &[(&str, &str)], labels: &[(&str, &str)]) -> Vec<String> {
    let mut all = vec![("drover.yaml", bundle)];
    all.extend(files);
    let snapshot = snapshot(&all);
    let shape = |one: &Combination| {
        let how = match &one.input.how {
            How::Manifests => "manifests".to_owned(),
            How::Kustomize { root } => format!("kustomize {root}"),
            How::Helm(helm) => format!("helm {}", serde_json::to_string(&helm.values).unwrap()),
        };
        let patches = one.input.patches.len();
        let early: Vec<String> =
            one.input.early.0.iter().map(|(name, value)| format!("{name}={}", value.text())).collect();
        format!("{how} patches={patches} early={} on={:?}", early.join(","), one.clusters.iter().collect::<Vec<_>>())
    };
    let mut found: Vec<String> = combinations(&snapshot, labels).unwrap().iter().map(shape).collect();
    found.sort();
    found
}

#[test]
fn targets_choose_kustomizations_and_the_first_match_decides() {
    let text = bundle(
        "b",
        "{path: k, targets: [{selector: {matchLabels: {tier: edge}}, kustomize: {path: overlays/edge}}, \
         {selector: {matchLabels: {tier: core}}, kustomize: {path: ./overlays/core}}, \
         {selector: {matchExpressions: [{key: tier, operator: In, values: [edge, lab]}]}, kustomize: {path: overlays/core}}]}",
    );
    let files = [
        ("k/base/kustomization.yaml", "resources: [a.yaml]"),
        ("k/base/a.yaml", "a"),
        ("k/overlays/edge/kustomization.yaml", "resources: [../../base]"),
        ("k/overlays/core/kustomization.yaml", "resources: [../../base]"),
    ];
    let labels = [("tier", "edge"), ("tier", "core"), ("tier", "lab"), ("tier", "none")];
    assert_eq!(
        shapes(&text, &files, &labels),
        ["kustomize k/overlays/core patches=0 early= on=[1, 2]", "kustomize k/overlays/edge patches=0 early= on=[0]"]
    );
}

#[test]
fn overrides_and_early_variables_make_as_many_renderings_as_are_used() {
    let text = bundle(
        "b",
        "{path: c, variables: {size: {default: 1}, late: {default: x}}, \
         render: {helm: {values: {n: '${size|int}'}, valuesFiles: [v.yaml]}}, targets: [{selector: {}}], \
         overrides: [{selector: {matchLabels: {tier: edge}}, values: {edge: true}, patches: [{patch: 'a'}]}, \
         {selector: {matchLabels: {tier: big}}, variables: {size: 3}}]}",
    );
    let files = [
        ("c/Chart.yaml", "name: c"),
        ("c/templates/a.yaml", "${late}"),
        ("c/v.yaml", "x: ${late}-${other}"),
        ("c/z", "z"),
    ];
    let labels = [("tier", "edge"), ("tier", "core"), ("tier", "big"), ("tier", "core")];
    let n = r#"{"n":"${size|int}"}"#;
    assert_eq!(
        shapes(&text, &files, &labels),
        [
            format!("helm [{n},{{\"edge\":true}}] patches=1 early=late=x,size=1 on=[0]"),
            format!("helm [{n}] patches=0 early=late=x,size=1 on=[1, 3]"),
            format!("helm [{n}] patches=0 early=late=x,size=3 on=[2]"),
        ]
    );
    // Nobody yet: it is rendered as it stands, so that defects show.
    assert_eq!(shapes(&text, &files, &[]), [format!("helm [{n}] patches=0 early=late=x,size=1 on=[]")]);
}

#[test]
fn what_a_rendering_needs_must_have_a_value_everywhere() {
    let text = bundle(
        "b",
        "{path: c, variables: {size: {}}, render: {helm: {values: {n: '${size}'}}}, targets: [{selector: {}}], \
         overrides: [{selector: {matchLabels: {tier: big}}, variables: {size: 3}}]}",
    );
    let snapshot = snapshot(&[("drover.yaml", &text), ("c/Chart.yaml", "name: c")]);
    let found = combinations(&snapshot, &[("tier", "big"), ("tier", "core")]).unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message, "cluster c1: variable size has no value, which is needed to render");
    assert_eq!(combinations(&snapshot, &[]).unwrap(), []);
}

#[test]
fn charts_of_the_hubs_own_machine_need_a_source_that_is_a_path() {
    let chart = "{path: c, render: {helm: {repo: 'https://localhost:9/charts', chart: web, version: 1.2.3}}}";
    let text = bundle("b", chart);
    let lock = "apiVersion: drover.dev/v1alpha1\nkind: Lock\ncharts:\n- {repo: 'https://localhost:9/charts', chart: web, \
                version: 1.2.3, digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}\n";
    let snapshot = snapshot(&[("drover.yaml", &text), ("drover.lock", lock), ("c/x", "x")]);
    let catalog = catalog(&snapshot);
    let refused = wanted(&catalog, &snapshot, "1.33".into());
    assert!(refused.recipes.is_empty() && refused.defects[0].line == 4, "{refused:?}");
    assert!(refused.defects[0].message.contains("the hub's own machine"), "{refused:?}");
    let local = wanted(&catalog, &snapshot, Rules { kube_version: "1.33", is_local: true });
    assert_eq!((local.recipes.len(), local.defects), (1, Vec::new()));
}

#[test]
fn what_runs_is_part_of_the_address() {
    let text = bundle("b", "{path: c}");
    let snapshot = snapshot(&[("drover.yaml", &text), ("c/Chart.yaml", "name: c")]);
    let catalog = catalog(&snapshot);
    let address = |helm: &str, kube: &str| {
        let recipe = &wanted(&catalog, &snapshot, kube.into()).recipes["main/b"];
        let (index, by_number) = (Index::default(), BTreeMap::new());
        let clusters = Clusters { index: &index, by_number: &by_number };
        let tools = Tools { helm: Some(helm.into()), kustomize: None };
        let common = Common::default();
        recipe.combinations(&catalog.bundles["main/b"], &common, clusters, &tools).unwrap()[0].input.digest
    };
    assert_eq!(address("4.0", "1.33"), address("4.0", "1.33"));
    assert_ne!(address("4.0", "1.33"), address("4.1", "1.33"));
    assert_ne!(address("4.0", "1.33"), address("4.0", "1.34"));
}

#[test]
fn only_a_bundle_that_asked_is_looked_at_again() {
    let text = bundle("a", "{path: a}") + "---\n" + &bundle("b", "{path: b}");
    let files = [
        ("drover.yaml", &*text),
        ("a/x.yaml", "x"),
        ("b/kustomization.yaml", "resources: [../c]"),
        ("c/kustomization.yaml", "resources: [../d]"),
        ("d/kustomization.yaml", "resources: []"),
    ];
    let whole = snapshot(&files);
    let catalog = catalog(&whole);
    let (mut read, mut turns, mut asked) = (whole.clone(), Turns::default(), Vec::new());
    read.files.values_mut().for_each(|file| file.bytes = None);
    let last = loop {
        let wanted = turns.next(&catalog, &read, "1.33".into());
        if wanted.asks.is_empty() {
            break wanted;
        }
        for path in &wanted.asks {
            read.files.insert(path.clone(), whole.files[path].clone());
        }
        asked.extend(wanted.asks);
        // What the other one is made of is known by now.
        read.files.remove("a/x.yaml");
    };
    assert_eq!(asked, ["b/kustomization.yaml", "c/kustomization.yaml", "d/kustomization.yaml"]);
    assert_eq!(last, wanted(&catalog, &whole, "1.33".into()), "in turns or at once");
}

#[test]
fn charts_that_are_a_whole_repository_are_held_at_a_limit() {
    let names = (0..60).map(|at| format!("b{at:02}"));
    let mut text =
        names.map(|name| bundle(&name, "{path: b, render: {helm: {chart: ../c}}}") + "---\n").collect::<String>();
    text += &bundle("z", "{path: z}");
    let mut snapshot =
        snapshot(&[("drover.yaml", &text), ("c/Chart.yaml", "name: c"), ("b/x", "x"), ("z/a.yaml", "a")]);
    let file = snapshot.files["b/x"].clone();
    snapshot.files.extend((0..20_000).map(|at| (format!("c/{at:05}"), file.clone())));
    let catalog = catalog(&snapshot);
    let wanted = wanted(&catalog, &snapshot, "1.33".into());
    assert_eq!((wanted.held.len(), wanted.recipes.len()), (60, 1));
    let defect = &wanted.defects[0];
    assert!(defect.file == "c/Chart.yaml" && defect.message.contains("more than 10000 files"), "{defect}");
}

/// Its objects would go, though nobody said so.
#[test]
fn a_path_that_is_no_folder_is_a_defect_and_not_an_empty_bundle() {
    for (path, said) in [
        ("b", "folder b does not exist"),
        ("a/x", "folder a/x does not exist"),
        ("a/x.yaml", "a/x.yaml is a file"),
        ("a", ""),
        (".", ""),
    ] {
        let files = bundle("a", &format!("{{path: {path}}}"));
        let snapshot = snapshot(&[("drover.yaml", &files), ("a/x.yaml", "x"), ("a/xy/z.yaml", "x"), ("a.yaml", "x")]);
        let wanted = wanted(&catalog(&snapshot), &snapshot, "1.33".into());
        let messages: Vec<&str> = wanted.defects.iter().map(|defect| &*defect.message).collect();
        assert_eq!(messages.len(), usize::from(!said.is_empty()), "{path}: {messages:?}");
        assert!(messages.iter().all(|message| message.starts_with(said)), "{path}: {messages:?}");
        assert_eq!(wanted.recipes.contains_key("main/a"), said.is_empty(), "{path}");
    }
}

#[test]
fn a_bundle_s_own_patches_are_no_manifests_of_it() {
    let over = "[{selector: {}, patches: [{path: sub/other.yaml}]}]";
    let spec = format!("{{path: b, patches: [{{path: fix.yaml}}], overrides: {over}, targets: [{{selector: {{}}}}]}}");
    let declared = bundle("b", &spec);
    let snapshot = snapshot(&[
        ("drover.yaml", &declared),
        ("b/web.yaml", "kind: Web"),
        ("b/fix.yaml", "kind: Web"),
        ("b/sub/other.yaml", "spec: {}"),
        ("b/sub/more.yaml", "kind: More"),
    ]);
    let found = wanted(&catalog(&snapshot), &snapshot, "1.33".into());
    let files: Vec<&str> = found.recipes["main/b"].files().map(|file| &*file.path).collect();
    assert_eq!(files, ["b/sub/more.yaml", "b/web.yaml"]);
}

#[test]
fn patches_are_taken_up_to_a_limit_and_shared() {
    let patches = |count: usize, path: &str| {
        let list = vec![format!("{{path: {path}}}"); count].join(", ");
        bundle(
            "b",
            &format!(
                "{{path: b, patches: [{list}], targets: [{{selector: {{}}}}], \
            overrides: [{{selector: {{matchLabels: {{l: x}}}}, patches: [{{patch: 'y'}}]}}]}}"
            ),
        )
    };
    let large = "x".repeat(limits::PATCH_BYTES_PER_BUNDLE_MAX / 10);
    let files = |text: &str| snapshot(&[("drover.yaml", text), ("b/small", "x"), ("b/large", &large)]);
    let of = |text: &str| combinations(&files(text), &[("l", "x"), ("l", "y")]).unwrap();
    let two = of(&patches(10, "large"));
    assert_eq!(two.iter().map(|one| one.input.patches.len()).collect::<Vec<_>>(), [10, 11]);
    assert!(Arc::ptr_eq(&two[0].input.patches[3], &two[1].input.patches[3]), "nothing is copied");
    assert_eq!((two[0].input.patches[3].line, &*two[0].input.patches[3].name), (4, "spec.patches.3 (b/large)"));
    for (count, path) in [(11, "large"), (limits::PATCHES_PER_BUNDLE_MAX + 1, "small")] {
        let snapshot = files(&patches(count, path));
        let wanted = wanted(&catalog(&snapshot), &snapshot, "1.33".into());
        assert_eq!((wanted.recipes.len(), wanted.defects.len()), (0, 1));
        assert!(wanted.defects[0].message.contains("patches or"), "{:?}", wanted.defects);
    }
}

#[test]
fn what_a_file_says_makes_no_defect_long() {
    let name = "n\u{7}".repeat(1_000_000);
    let text = format!("resources: ['{}']", name.replace('\u{7}', "x"));
    let snapshot = snapshot(&[("drover.yaml", &bundle("b", "{path: b}")), ("b/kustomization.yaml", &text)]);
    let wanted = wanted(&catalog(&snapshot), &snapshot, "1.33".into());
    let (message, held) = (&wanted.defects[0].message, &wanted.held["main/b"]);
    assert!(message.len() <= limits::DEFECT_BYTES_MAX && message.ends_with("does not exist"), "{}", message.len());
    assert!(held.len() < 2 * limits::DEFECT_BYTES_MAX, "{}", held.len());
}

/// Catalog, recipes and renderings of files, as if everything rendered to what its name says.
struct World {
    catalog: Catalog,
    wanted: Wanted,
    renderings: Renderings,
    clusters: Vec<ClusterFacts>,
}

impl World {
    fn of(files: &[(&str, &str)], labels: &[(&str, &str)]) -> Self {
        let snapshot = snapshot(files);
        let catalog = catalog(&snapshot);
        let wanted = wanted(&catalog, &snapshot, "1.33".into());
        let mut world = Self { catalog, wanted, renderings: Renderings::default(), clusters: clusters(labels) };
        let missing = world.goals(None).missing;
        let done = |input: &RenderInput| {
            (input.digest, Rendering { variant: Digest::of(&input.digest.0), meta: Arc::default() })
        };
        world.renderings.done = missing.iter().map(done).collect();
        world
    }

    fn goals(&self, last: Option<&Self>) -> Goals {
        let (common, tools) = (Common::of([&self.catalog]), Tools::default());
        let before =
            last.map(|last| (last, Common::of([&last.catalog]), last.catalog.bundles.keys().cloned().collect()));
        let last = before.as_ref().map(|(last, common, bundles)| Last { inputs: last.inputs(common, &tools), bundles });
        goals_after(self.inputs(&common, &tools), &Default::default(), last)
    }

    fn inputs<'a>(&'a self, common: &'a Common<'a>, tools: &'a Tools) -> Inputs<'a> {
        let Self { catalog, wanted, renderings, clusters } = self;
        Inputs { catalog, common, wanted, clusters, renderings, tools }
    }
}

#[test]
fn only_what_changed_is_worked_out_again_and_it_is_what_all_would_give() {
    let two = |a: &str, more: &str| {
        bundle("a", &format!("{{path: a, targets: [{{selector: {a}}}]}}"))
            + "---\n"
            + &bundle("b", "{path: b, targets: [{selector: {}}]}")
            + more
    };
    let set =
        "---\napiVersion: drover.dev/v1alpha1\nkind: VariableSet\nmetadata: {name: v}\nspec: {variables: {x: 1}}\n";
    let check = "---\napiVersion: drover.dev/v1alpha1\nkind: RolloutPolicy\nmetadata: {name: p}\nspec: {}\n";
    let edge = [("tier", "edge"), ("tier", "core")];
    let of = |text: &str, a: &str, labels: &[(&str, &str)]| {
        World::of(&[("drover.yaml", text), ("a/x.yaml", a), ("b/x.yaml", "b")], labels)
    };
    let base = of(&two("{}", ""), "a", &edge);
    for (next, same) in [
        (of(&two("{}", ""), "a", &edge), &["main/a", "main/b"][..]),
        (of(&two("{}", ""), "other", &edge), &["main/b"]),
        (of(&two("{matchLabels: {tier: edge}}", ""), "a", &edge), &["main/b"]),
        // What counts for all of them.
        (of(&two("{}", ""), "a", &[("tier", "edge"), ("tier", "edge")]), &[]),
        (of(&two("{}", ""), "a", &edge[..1]), &[]),
        (of(&two("{}", set), "a", &edge), &[]),
        (of(&two("{}", check), "a", &edge), &[]),
    ] {
        let (mut found, whole, before) = (next.goals(Some(&base)), next.goals(None), base.goals(None));
        assert_eq!(found.same.iter().collect::<Vec<_>>(), same);
        for name in std::mem::take(&mut found.same) {
            found.bundles.insert(name.clone(), before.bundles[&name].clone());
        }
        assert_eq!(found, whole);
    }
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
        let common = Common::of([&catalog]);
        let layers = layers(&common, &catalog.bundles["main/b"], &index);
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
