//! Charts and kustomizations through the real programs: hub, Helm, Kustomize, spoke.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::{Fleet, Where, bundle, is_settled};
use tests_tools::{Program, tools};

const FILES: [(&str, &str); 9] = [
    (
        "drover.yaml",
        "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\n---\n\
         apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {name: chart}\n\
         spec: {path: chart, namespace: shop, targets: [{selector: {}}]}\n---\n\
         apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {name: overlay}\n\
         spec: {path: overlay, namespace: shop, targets: [{selector: {}}]}\n",
    ),
    ("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 0.1.0\n"),
    ("chart/values.yaml", "colour: blue\n"),
    (
        "chart/templates/config.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata: {colour: {{ .Values.colour }}}\n",
    ),
    (
        "chart/templates/setup.yaml",
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: setup, annotations: {helm.sh/hook: pre-install}}\nspec:\n  \
         template:\n    spec: {restartPolicy: Never, containers: [{name: setup, image: setup}]}\n",
    ),
    (
        "chart/templates/tests/ping.yaml",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: ping, annotations: {helm.sh/hook: test}}\n\
         spec: {containers: [{name: ping, image: ping}]}\n",
    ),
    ("base/kustomization.yaml", "resources: [config.yaml]\n"),
    ("base/config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: base}\ndata: {a: b}\n"),
    ("overlay/kustomization.yaml", "namePrefix: over-\nresources: [../base]\n"),
];

fn variant(status: &Json, name: &str) -> Result<String> {
    let bundle = bundle(status, "a", &format!("main/{name}")).with_context(|| format!("no bundle {name}"))?;
    Ok(bundle["variant"].as_str().context("no variant")?.to_owned())
}

/// A fleet of one cluster that runs what a chart and a kustomization make, and its commit.
fn started() -> Result<(Fleet, String)> {
    let mut fleet = Fleet::new()?;
    fleet.use_renderers()?;
    for (path, text) in FILES {
        fleet.repo.write(path, text)?;
    }
    let first = fleet.repo.commit("the first")?;
    fleet.start_hub()?;
    fleet.join("a", Where::Memory)?;
    fleet.wait_settled(&first)?;
    Ok((fleet, first))
}

/// What `explain` says was noted while the chart was rendered.
fn notes(fleet: &Fleet) -> Result<Json> {
    let explained: Json = serde_json::from_str(&fleet.drover(&["explain", "a", "chart", "-o", "json"])?)?;
    Ok(explained["bundles"][0]["notes"].clone())
}

#[test]
fn charts_and_kustomizations_reach_a_cluster() -> Result<()> {
    let (mut fleet, first) = started()?;
    let before = fleet.status()?;
    let noted = notes(&fleet)?;
    ensure!(noted[0]["file"] == "chart/templates/tests/ping.yaml", "{noted}");
    ensure!(noted[0]["message"].as_str().is_some_and(|message| message.starts_with("Pod ping is left out")), "{noted}");
    // What was rendered before is not rendered again, and its notes are told all the same.
    fleet.kill_hub();
    fleet.start_hub()?;
    fleet.wait_settled(&first)?;
    ensure!(notes(&fleet)? == noted, "{}", notes(&fleet)?);

    fleet.repo.write("chart/values.yaml", "colour: red\n")?;
    let second = fleet.repo.commit("another colour")?;
    let after = fleet.wait_settled(&second)?;
    ensure!(variant(&before, "chart")? != variant(&after, "chart")?, "other values are another content");
    ensure!(variant(&before, "overlay")? == variant(&after, "overlay")?, "the other bundle is what it was");

    fleet.repo.write("chart/templates/config.yaml", "a: 1\nb: {{ .Values.no.such.value }}\n")?;
    let third = fleet.repo.commit("a template that fails")?;
    let status = fleet.wait("the defect is shown", |status| {
        let source = &status["sources"][0];
        source["commit"] == third.as_str() && source["defects"].as_array().is_some_and(|all| !all.is_empty())
    })?;
    let defect = &status["sources"][0]["defects"][0];
    ensure!(defect["file"] == "chart/templates/config.yaml" && defect["line"] == 2, "{defect}");
    ensure!(variant(&status, "chart")? == variant(&after, "chart")?, "the last good content stays");
    let log = fleet.hub_log();
    ensure!(!log.contains("helm and kustomize can"), "the sandbox is closed: {log}");
    Ok(())
}

/// What lies with the machine is no defect for good, and nobody has to push for it.
#[test]
fn what_waits_for_a_program_is_rendered_once_it_is_there() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let helm = fleet.dir().join("helm");
    fleet.use_helm(&helm);
    for (path, text) in FILES.into_iter().take(5) {
        let text = if path == "drover.yaml" {
            text.split("---\n").take(2).collect::<Vec<_>>().join("---\n")
        } else {
            text.into()
        };
        fleet.repo.write(path, &text)?;
    }
    let commit = fleet.repo.commit("a chart")?;
    fleet.start_hub()?;
    fleet.join("a", Where::Memory)?;
    let status = fleet.wait("the defect is shown", |status| {
        status["sources"][0]["defects"].as_array().is_some_and(|all| !all.is_empty())
    })?;
    let defects = &status["sources"][0]["defects"];
    ensure!(defects[0]["message"].as_str().is_some_and(|message| message.starts_with("needs helm: ")), "{defects}");
    std::os::unix::fs::symlink(tools::program(Program::Helm)?, &helm)?;
    let is_there = |status: &Json| bundle(status, "a", "main/chart").is_some() && is_settled(status, &commit);
    let settled = fleet.wait("the chart is there", is_there)?;
    ensure!(settled["sources"][0]["defects"].as_array().is_none_or(Vec::is_empty), "{}", settled["sources"]);
    Ok(())
}

/// It ends at its limit of a minute, and nobody else waits that long.
#[test]
fn a_chart_that_loops_holds_up_no_other_bundle() -> Result<()> {
    let (fleet, _) = started()?;
    let before = fleet.status()?;
    let at = |status: &Json, name: &str, commit: &str| {
        bundle(status, "a", &format!("main/{name}")).is_some_and(|bundle| bundle["commit"] == commit)
    };
    let is_late = |status: &Json| {
        let defects = status["sources"][0]["defects"].as_array().cloned().unwrap_or_default();
        let says = |text: &Json| text.as_str().is_some_and(|text| text.starts_with("is still being rendered"));
        let hold = &bundle(status, "a", "main/chart").unwrap_or(&Json::Null)["hold"];
        matches!(&defects[..], [defect] if says(&defect["message"]) && defect["line"] == 5 && !hold.is_null())
    };

    fleet
        .repo
        .write("chart/templates/loop.yaml", "{{ range until 99999 }}{{ range until 99999 }}{{ end }}{{ end }}")?;
    fleet.repo.write("base/config.yaml", &FILES[7].1.replace("b}", "c}"))?;
    let second = fleet.repo.commit("a chart that loops, and another bundle")?;
    let status = fleet.wait("the other bundle goes on", |status| at(status, "overlay", &second) && is_late(status))?;
    ensure!(variant(&status, "chart")? == variant(&before, "chart")?, "its clusters keep what they have");
    fleet.repo.write("base/config.yaml", &FILES[7].1.replace("b}", "d}"))?;
    let third = fleet.repo.commit("the other bundle again")?;
    fleet.wait("the other bundle goes on again", |status| at(status, "overlay", &third) && is_late(status))?;
    fleet.repo.write("chart/templates/loop.yaml", "")?;
    let fourth = fleet.repo.commit("no loop")?;
    fleet.wait_settled(&fourth)?;
    Ok(())
}

/// No commit comes, and no program is another one.
#[test]
fn what_failed_with_the_machine_is_rendered_once_the_machine_does() -> Result<()> {
    let (fleet, _) = started()?;
    let room = fleet.hub_dir().join("renderings");
    std::fs::remove_dir_all(&room)?;
    std::fs::write(&room, "")?;
    fleet.repo.write("chart/values.yaml", "colour: red\n")?;
    let second = fleet.repo.commit("another colour")?;
    fleet.wait("the defect is shown", |status| {
        let defects = status["sources"][0]["defects"].as_array().cloned().unwrap_or_default();
        defects.iter().any(|defect| defect["message"].as_str().is_some_and(|text| text.contains("cannot be")))
    })?;
    std::fs::remove_file(&room)?;
    fleet.wait_settled(&second)?;
    Ok(())
}
