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
