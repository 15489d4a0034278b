//! What can be said of a checkout before a merge, of a further source as well: the real program, without a hub.

use std::process::{Command, Output};

use anyhow::{Result, ensure};
use tests_tools::fleet::{Repo, program};
use tests_tools::process;
use tests_wire::hub::config_map;

const ROOT: &str = "\
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: a}
---
apiVersion: drover.dev/v1alpha1
kind: Source
metadata: {name: team}
spec: {url: \"https://git.example.com/team.git\", may: {namespaces: [team-a]}}
";
const APP: &str = "\
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: app}
spec: {path: app, namespace: team-a, targets: [{selector: {}}]}
";

fn drover(repo: &Repo, args: &[&str]) -> Result<Output> {
    let mut command = Command::new(program("drover")?);
    command.current_dir(repo.dir()).args(args);
    process::output(command)
}

#[test]
fn what_the_hub_would_refuse_of_a_team_is_seen_before_the_merge() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (root, team) = (Repo::new(dir.path().join("root"))?, Repo::new(dir.path().join("team"))?);
    root.write("drover.yaml", ROOT)?;
    team.write("drover.yaml", APP)?;
    team.write("app/app.yaml", &config_map("app", "one"))?;
    team.commit("what the team may")?;
    let system = config_map("app", "one").replace("name: app", "name: app, namespace: kube-system");
    team.write("app/app.yaml", &system)?;

    let root = root.dir().to_string_lossy().into_owned();
    let as_team = ["--root", &root, "--as", "team"];
    for verb in [&["lint"][..], &["plan", "--against", "main"]] {
        let alone = drover(&team, verb)?;
        let said = String::from_utf8_lossy(&alone.stderr).into_owned();
        ensure!(alone.status.success(), "the root source may do everything: {said}");
        ensure!(said.contains("read as the root source") && said.contains("--root DIR --as NAME"), "{said}");

        let found = drover(&team, &[verb, &as_team[..]].concat())?;
        let (out, said) = (String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
        ensure!(found.status.code() == Some(1), "{out}{said}");
        ensure!(out.contains("drover.yaml:4") && out.contains("namespace kube-system is none"), "{out}");
        ensure!(said.contains("read as source team, within its `may`"), "{said}");
    }
    let unknown = drover(&team, &["lint", "--root", &root, "--as", "tean"])?;
    let said = String::from_utf8_lossy(&unknown.stderr);
    ensure!(!unknown.status.success() && said.contains("did you mean \"team\""), "{said}");
    ensure!(drover(&team, &["lint", "--as", "team"])?.status.code() == Some(2), "--as needs --root");
    Ok(())
}

#[test]
fn what_is_defective_now_keeps_its_last_form_in_a_plan() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let repo = Repo::new(dir.path().join("root"))?;
    let cluster =
        "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\nspec: {variables: {level: info}}\n";
    let bound = "variables: {level: {default: warn}}, targets";
    repo.write("drover.yaml", &format!("{cluster}---\n{}", APP.replace("targets", bound)))?;
    repo.write("app/app.yaml", &config_map("app", "${level}"))?;
    repo.commit("what is good")?;
    let broken = cluster.replace("spec: {", "spec: {labels: x, ");
    repo.write("drover.yaml", &format!("{broken}---\n{}", APP.replace("targets", bound)))?;
    let plan = drover(&repo, &["plan", "--against", "main"])?;
    let text = String::from_utf8_lossy(&plan.stdout);
    ensure!(plan.status.code() == Some(1), "the defect is told: {text}");
    ensure!(
        text.contains("unknown field \"labels\"") && !text.contains("warn"),
        "the cluster keeps what it had: {text}"
    );

    // Whoever asks for what that cluster gets is told why nobody knows it.
    let render = drover(&repo, &["render", "app", "--cluster", "a"])?;
    let said = String::from_utf8_lossy(&render.stderr);
    ensure!(!render.status.success() && said.contains("some declarations are defective"), "{said}");
    let held = APP.replace("path: app", "pathh: app");
    repo.write("drover.yaml", &format!("{cluster}---\n{held}"))?;
    let render = drover(&repo, &["render", "app", "--cluster", "a"])?;
    let said = String::from_utf8_lossy(&render.stderr);
    ensure!(!render.status.success() && said.contains("drover.yaml:9: ") && said.contains("pathh"), "{said}");
    Ok(())
}

#[test]
fn a_lock_keeps_the_pins_of_what_cannot_be_read() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let repo = Repo::new(dir.path().join("root"))?;
    let lock = format!(
        "apiVersion: drover.dev/v1alpha1\nkind: Lock\ncharts:\n- repo: https://charts.example.com\n  chart: web\n  \
         version: 1.2.3\n  digest: sha256:{}\n",
        "ab".repeat(32)
    );
    let chart = "render: {helm: {repo: \"https://charts.example.com\", chart: web, version: 1.2.3}}, targets";
    repo.write("drover.lock", &lock)?;
    repo.write("drover.yaml", &APP.replace("path: app, ", "pathh: app, ").replace("targets", chart))?;
    let locked = drover(&repo, &["lock"])?;
    let said = String::from_utf8_lossy(&locked.stderr).into_owned() + &String::from_utf8_lossy(&locked.stdout);
    ensure!(locked.status.success() && said.contains("some declarations are defective"), "{said}");
    ensure!(!said.contains("removed"), "{said}");
    ensure!(std::fs::read_to_string(repo.dir().join("drover.lock"))?.contains("1.2.3"), "the pin is there");
    // What is well and names no chart gives its pin up.
    repo.write("drover.yaml", APP)?;
    repo.write("app/app.yaml", &config_map("app", "one"))?;
    let locked = drover(&repo, &["lock"])?;
    let said = String::from_utf8_lossy(&locked.stdout);
    ensure!(locked.status.success() && said.contains("removed"), "{said}");
    Ok(())
}
