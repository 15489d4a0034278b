//! What the hub renders equals what the bare programs render, object by object, as kubectl reads
//! it; what Drover changes on purpose is taken away on both sides, and looked at by itself.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hub_core::release::lock::Origin;
use hub_core::release::{Chart, How, Patch};
use hub_render::Renderer;
use hub_render::offline::{Offline, Role};
use proto_model::{Digest, Value, Variables};
use serde_json::{Deserializer, Value as Json, json};
use tests_tools::fleet::run;
use tests_tools::{Program, tools};

use crate::case::{Case, KUBE_VERSION, NAMESPACE, RELEASE, folder, manifests, programs, words};

/// What a bare program prints, as kubectl reads it.
fn by_kubectl(printed: &str) -> Result<Vec<Json>> {
    let place = tempfile::tempdir()?;
    let file = place.path().join("all.yaml");
    std::fs::write(&file, printed)?;
    let mut command = Command::new(tools::program(Program::Kubectl)?);
    command.args(["annotate", "--local", "--dry-run=client", "-o", "json", "-f"]).arg(&file).arg("tests=x").env_clear();
    let text = run(command)?;
    Deserializer::from_str(&text).into_iter::<Json>().map(|object| Ok(object?)).collect()
}

/// Takes away what Drover and kubectl put there.
fn plain(mut object: Json, namespace: &str) -> Json {
    let is_hook = object.pointer("/metadata/annotations/drover.dev~1hook").is_some();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Json::as_object_mut) {
        metadata.retain(|name, value| name != "creationTimestamp" && !(name == "namespace" && *value == namespace));
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Json::as_object_mut) {
            annotations.retain(|name, _| name != "tests" && !(is_hook && name.starts_with("drover.dev/")));
        }
        metadata.retain(|name, value| name != "annotations" || value.as_object().is_none_or(|map| !map.is_empty()));
    }
    if is_hook && let Some(template) = object.pointer_mut("/spec/template/metadata").and_then(Json::as_object_mut) {
        template.remove("annotations");
    }
    if is_hook && let Some(template) = object.pointer_mut("/spec/template").and_then(Json::as_object_mut) {
        template.retain(|name, value| name != "metadata" || value.as_object().is_none_or(|map| !map.is_empty()));
    }
    object
}

fn is_left_out(object: &Json) -> bool {
    let hook = object.pointer("/metadata/annotations/helm.sh~1hook").and_then(Json::as_str);
    hook.is_some_and(|hook| hook == "test" || hook == "pre-delete")
}

/// Compares, and gives what the hub rendered.
fn compare(case: &Case, printed: &str, namespace: &str) -> Result<Vec<Json>> {
    let rendered = case.render(&programs()?).map_err(words)?;
    let ours = manifests(&rendered);
    let theirs: Vec<Json> = by_kubectl(printed)?.into_iter().filter(|object| !is_left_out(object)).collect();
    ensure!(!theirs.is_empty() && ours.len() == theirs.len(), "{} objects, not {}", ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        let (ours, theirs) = (plain(ours.clone(), namespace), plain(theirs, namespace));
        ensure!(ours == theirs, "hub:  {ours:#}\nbare: {theirs:#}");
    }
    Ok(ours)
}

fn bare_helm(chart: &Path, args: &[&str]) -> Result<String> {
    let home = tempfile::tempdir()?;
    let mut command = Command::new(tools::program(Program::Helm)?);
    command.env_clear().env("HOME", home.path()).args(["template", RELEASE]).arg(chart);
    command.args(["--include-crds", "--namespace", NAMESPACE, "--kube-version", KUBE_VERSION]).args(args);
    run(command)
}

fn bare_kustomize(folder: &Path) -> Result<String> {
    let mut command = Command::new(tools::program(Program::Kustomize)?);
    command.env_clear().arg("build").arg(folder);
    run(command)
}

pub(crate) fn an_umbrella_chart_with_subcharts_and_conditions() -> Result<()> {
    let case = Case::read("umbrella")?.helm("shop", |helm| {
        helm.values_files = vec!["production.yaml".into()];
        helm.values = [json!({"web": {"image": "front"}}), json!({"web": {"image": "shop"}})]
            .into_iter()
            .filter_map(|values| values.as_object().cloned())
            .collect();
        helm.api_versions = vec!["monitoring.coreos.com/v1".into()];
    });
    // The bare program has the folder of the same source brought to it by hand.
    let place = tempfile::tempdir()?;
    run({
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(folder("umbrella").join(".")).arg(place.path());
        copy
    })?;
    std::fs::rename(place.path().join("worker"), place.path().join("shop/charts/worker"))?;
    let values = place.path().join("production.yaml");
    let args = ["-f", &values.to_string_lossy(), "--set", "web.image=shop", "-a", "monitoring.coreos.com/v1"];
    let objects = compare(&case, &bare_helm(&place.path().join("shop"), &args)?, NAMESPACE)?;
    let image = objects.iter().find_map(|one| one.pointer("/spec/template/spec/containers/0/image"));
    ensure!(image == Some(&json!("registry.example.com/shop:7e2")), "{image:?}");
    ensure!(objects.iter().all(|one| one["metadata"]["name"] != "cache-is-off"), "the condition is off");
    Ok(())
}

pub(crate) fn an_operator_with_hooks_and_definitions() -> Result<()> {
    let case = Case::read("operator")?.helm("", |_| {});
    let objects = compare(&case, &bare_helm(&folder("operator"), &[])?, NAMESPACE)?;
    let order = |name: &str, kind: &str| {
        let one = objects.iter().find(|one| one["metadata"]["name"] == name && one["kind"] == kind);
        one.and_then(|one| one["metadata"]["annotations"]["drover.dev/order"].as_str()).map(ToOwned::to_owned)
    };
    ensure!(order("rel-setup", "ServiceAccount").as_deref() == Some("-1000005"));
    ensure!(order("rel-setup", "Job").as_deref() == Some("-1000000"));
    ensure!(order("rel-check", "Job").as_deref() == Some("1000001"));
    ensure!(order("rel", "ServiceAccount").is_none());
    let notes = case.render(&programs()?).map_err(words)?.notes;
    let has =
        |file: &str, word: &str| notes.iter().any(|one| one.note && one.file == file && one.message.contains(word));
    ensure!(has("templates/tests/connection.yaml", "Pod rel-test-connection is left out: it is a test"), "{notes:?}");
    ensure!(has("templates/hooks.yaml", "Job rel-cleanup is left out"), "{notes:?}");
    ensure!(notes.len() == 2, "{notes:?}");
    Ok(())
}

pub(crate) fn a_library_chart() -> Result<()> {
    let case = Case::read("library")?.helm("", |_| {});
    compare(&case, &bare_helm(&folder("library"), &[])?, NAMESPACE).map(drop)
}

pub(crate) fn a_chart_with_files_and_tpl() -> Result<()> {
    let case = Case::read("files")?.helm("", |_| {});
    let objects = compare(&case, &bare_helm(&folder("files"), &[])?, NAMESPACE)?;
    let config = objects.iter().find(|one| one["kind"] == "ConfigMap").context("no ConfigMap")?;
    let conf = config["data"]["nginx.conf"].as_str().unwrap_or_default();
    ensure!(conf.contains("$upstream${request_uri}"), "{conf}");
    Ok(())
}

pub(crate) fn kustomize_overlays_with_generators_and_patches() -> Result<()> {
    let case = Case::read("overlays")?.kustomize("production");
    compare(&case, &bare_kustomize(&folder("overlays/production"))?, "default").map(drop)
}

pub(crate) fn kustomize_components_and_replacements() -> Result<()> {
    let case = Case::read("components")?.kustomize("site");
    compare(&case, &bare_kustomize(&folder("components/site"))?, "default").map(drop)
}

pub(crate) fn a_monitoring_stack_of_definitions_and_dashboards() -> Result<()> {
    let case = Case::read("monitoring")?.kustomize("");
    compare(&case, &bare_kustomize(&folder("monitoring"))?, "default").map(drop)
}

/// Where a chart might come from; nobody asks there.
fn origin() -> Origin {
    let repo = Some("https://charts.example.com".into());
    Origin { repo, oci: None, chart: "api".into(), version: "1.0.0".into() }
}

/// The same chart, packed, and as a packed subchart of another one.
pub(crate) fn a_packed_chart() -> Result<()> {
    let place = tempfile::tempdir()?;
    let mut command = Command::new(tools::program(Program::Helm)?);
    command.env_clear().env("HOME", place.path()).args(["package", "--destination"]).arg(place.path());
    run({
        command.arg(folder("library"));
        command
    })?;
    let archive = std::fs::read(place.path().join("api-1.0.0.tgz"))?;
    let bare = bare_helm(&folder("library"), &[])?;
    let digest = Digest::of(&archive);
    let mut packed = Case::of(&[]).helm("", |helm| {
        helm.chart = Chart::Archive { origin: Box::new(origin()), credentials: None, digest };
    });
    packed.files.insert(format!("charts/{digest}.tgz"), archive.clone().into());
    compare(&packed, &bare, NAMESPACE)?;

    let chart = "apiVersion: v2\nname: outer\nversion: 1.0.0\ndependencies: [{name: api, version: 1.x.x}]\n";
    let mut outer = Case::of(&[("o/Chart.yaml", chart)]).helm("o", |_| {});
    outer.files.insert("o/charts/api-1.0.0.tgz".into(), archive.into());
    compare(&outer, &bare, NAMESPACE).map(drop)
}

/// One patch, over what three ways of rendering give.
pub(crate) fn patches_over_all_ways_of_rendering() -> Result<()> {
    let labels = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: any, labels: {patched: \"yes\"}}\n";
    let patches = [
        json!({"target": {"kind": "Deployment"}, "patch": "- {op: replace, path: /spec/replicas, value: 9}"}),
        json!({"target": {"kind": "Deployment"}, "patch": labels}),
    ];
    let mut manifests_only = Case::of(&[(
        "d.yaml",
        &String::from_utf8_lossy(Case::read("overlays")?.files.get("base/deployment.yaml").context("no deployment")?),
    )]);
    manifests_only.input.settings.namespace = Some(NAMESPACE.into());
    for mut case in
        [manifests_only, Case::read("overlays")?.kustomize("production"), Case::read("library")?.helm("", |_| {})]
    {
        let before = manifests(&case.render(&programs()?).map_err(words)?);
        case.input.patches =
            patches.iter().map(|one| Arc::new(Patch::new("drover.yaml", 1, "spec.patches", one.clone()))).collect();
        let after = manifests(&case.render(&programs()?).map_err(words)?);
        ensure!(before.len() == after.len());
        for (mut before, after) in before.into_iter().zip(after) {
            if before["kind"] == "Deployment" {
                before["spec"]["replicas"] = json!(9);
                before["metadata"]["labels"]["patched"] = json!("yes");
            }
            ensure!(before == after, "{before:#}\n{after:#}");
        }
    }
    Ok(())
}

pub(crate) fn early_variables_are_bound_before_rendering() -> Result<()> {
    let text = |text: &str| Value::Text(text.into());
    let early = Variables([("greeting".to_owned(), text("hi")), ("n".to_owned(), text("3"))].into());
    let mut case = Case::read("overlays")?.kustomize("base");
    let unbound = manifests(&case.render(&programs()?).map_err(words)?);
    case.input.early = early.clone();
    let bound = manifests(&case.render(&programs()?).map_err(words)?);
    let config = |all: &[Json]| all.iter().find(|one| one["kind"] == "ConfigMap").cloned().unwrap_or_default();
    ensure!(config(&bound)["data"]["message"] == "hi", "{:#}", config(&bound));
    ensure!(config(&bound)["data"]["app.properties"].as_str().is_some_and(|text| text.contains("${not.bound}")));
    ensure!(config(&bound)["metadata"]["name"] != config(&unbound)["metadata"]["name"], "the hash is over the content");

    let mut case = Case::template(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n{{ range until (int .Values.count) }}  k{{ . }}: {{ $.Values.say | quote }}\n{{ end }}",
    );
    case.files.insert("v.yaml".into(), b"count: ${n|int}\nsay: \"${greeting} ${other}\"\n".as_slice().into());
    case.input.early = early;
    if let How::Helm(helm) = &mut case.input.how {
        helm.values_files = vec!["v.yaml".into()];
    }
    let object = manifests(&case.render(&programs()?).map_err(words)?);
    ensure!(object[0]["data"] == json!({"k0": "hi ${other}", "k1": "hi ${other}", "k2": "hi ${other}"}), "{object:?}");
    Ok(())
}

pub(crate) fn many_renderings_at_once_are_the_same() -> Result<()> {
    let case = Case::read("library")?.helm("", |_| {});
    let programs = programs()?;
    let once = case.render(&programs).map_err(words)?.variant.digest();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..4).map(|_| scope.spawn(|| case.render(&programs).map_err(words))).collect();
        runs.into_iter().try_for_each(|run| {
            let rendered = run.join().ok().context("a rendering panicked")??;
            ensure!(rendered.variant.digest() == once);
            Ok(())
        })
    })
}

/// All the cases as bundles of one source: what the hub works out that they read is all that they
/// need.
pub(crate) fn a_tree_of_bundles_as_the_hub_reads_it() -> Result<()> {
    let place = tempfile::tempdir()?;
    run({
        let mut copy = Command::new("cp");
        copy.arg("-r").arg(folder(".").join(".")).arg(place.path());
        copy
    })?;
    let mut declarations =
        "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: c1}\nspec: {}\n".to_owned();
    let bundles = [
        ("umbrella", "path: umbrella, render: {helm: {chart: ./shop, valuesFiles: [production.yaml]}}", 4),
        ("operator", "path: operator", 8),
        ("library", "path: library", 2),
        ("files", "path: files", 3),
        ("overlays", "path: overlays/production", 5),
        ("components", "path: components/site", 3),
        ("monitoring", "path: monitoring", 4),
    ];
    for (name, spec, _) in bundles {
        declarations.push_str(&format!(
            "---\napiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: {name}}}\nspec: {{{spec}, namespace: {name}, \
             targets: [{{selector: {{}}}}]}}\n"
        ));
    }
    std::fs::write(place.path().join("drover.yaml"), declarations)?;
    let renderer = Renderer { programs: Arc::new(programs()?), ..Renderer::default() };
    let tree = Offline::load(place.path(), &Role::default(), &renderer)?;
    let defects: Vec<String> = tree.lint().iter().filter(|one| !one.note).map(ToString::to_string).collect();
    ensure!(defects.is_empty(), "{}", defects.join("\n"));
    ensure!(tree.lint().iter().any(|one| one.note && one.message.contains("test of the chart")), "tests are listed");
    for (name, _, objects) in bundles {
        let found = tree.render(name, "c1")?.len();
        ensure!(found == objects, "{name} has {found} objects, not {objects}");
    }
    Ok(())
}
