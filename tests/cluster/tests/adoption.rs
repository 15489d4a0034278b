//! What people made with kubectl, Kustomize and Helm becomes a bundle's without being made anew;
//! what Git drops afterwards disappears, though its former tool had set it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::Value as Json;
use tests_cluster::site::{Site, config_map};
use tests_tools::{Options, Program, fleet, tools};

/// A Deployment whose container has a variable, and a Service.
fn manifests(name: &str, labels: &str, with_variable: bool) -> String {
    let variable = if with_variable { ", {name: OLD, value: \"1\"}" } else { "" };
    let port = if with_variable { ", {name: old, port: 81}" } else { "" };
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, labels: {{{labels}}}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: run, image: "registry.example/run:1", env: [{{name: NEW, value: "1"}}{variable}]}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, labels: {{{labels}}}}}
spec: {{selector: {{app: {name}}}, ports: [{{name: new, port: 80}}{port}]}}
"#
    )
}

/// uids of the two objects.
fn uids(site: &Site, name: &str) -> Result<[String; 2]> {
    let uid = |kind| Ok::<_, anyhow::Error>(site.object(kind, name, name)?["metadata"]["uid"].to_string());
    Ok([uid("deployment")?, uid("service")?])
}

/// What Git has is ours alone. Defaults count as set by whoever made the object, and may stay so.
fn ensure_nothing_of_git(object: &Json, manager: &str) -> Result<()> {
    let entries = object["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    for entry in entries.iter().filter(|entry| entry["manager"] == manager) {
        let fields = entry["fieldsV1"].to_string();
        for ours in ["f:env", "f:image\"", "f:ports", "f:labels", "f:matchLabels"] {
            ensure!(!fields.contains(ours), "{manager} still has {ours}: {fields}");
        }
    }
    Ok(())
}

/// The bundle takes over what is there; then Git drops a field of each.
fn is_taken_over(site: &Site, name: &str, labels: &str, managers: &[&str]) -> Result<()> {
    let before = uids(site, name)?;
    site.bundle(name, &format!("  namespace: {name}\n"))?;
    site.write(&format!("{name}/all.yaml"), &manifests(name, labels, true))?;
    site.settle("the same in Git")?;
    for kind in ["deployment", "service"] {
        let object = site.object(kind, name, name)?;
        for manager in managers {
            ensure_nothing_of_git(&object, manager)?;
        }
    }
    site.write(&format!("{name}/all.yaml"), &manifests(name, labels, false))?;
    site.settle("without a field")?;
    let deployment = site.object("deployment", name, name)?;
    let env = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
    ensure!(env.as_array().is_some_and(|all| all.len() == 1), "{env}");
    let ports = site.object("service", name, name)?["spec"]["ports"].clone();
    ensure!(ports.as_array().is_some_and(|all| all.len() == 1), "{ports}");
    ensure!(uids(site, name)? == before, "it was made anew");
    Ok(())
}

/// One cluster serves the three tools: each has a namespace of its own.
#[test]
fn what_tools_made_is_taken_over_and_a_removed_field_goes() -> Result<()> {
    let site = Site::joined(Options::full("adoption"))?;
    client_side_apply(&site)?;
    kustomize(&site)?;
    a_helm_release(&site)
}

fn client_side_apply(site: &Site) -> Result<()> {
    site.kubectl(&["create", "namespace", "by-hand"])?;
    site.cluster.kubectl_text(["apply", "-n", "by-hand", "-f", "-"], &manifests("by-hand", "", true))?;
    is_taken_over(site, "by-hand", "", &["kubectl-client-side-apply"])?;
    let annotations = site.object("service", "by-hand", "by-hand")?["metadata"]["annotations"].clone();
    ensure!(annotations.get("kubectl.kubernetes.io/last-applied-configuration").is_none(), "{annotations}");
    Ok(())
}

fn kustomize(site: &Site) -> Result<()> {
    let folder = site.fleet.dir().join("kustomization");
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("all.yaml"), manifests("kustomized", "", true))?;
    let kustomization = "namespace: kustomized\nresources: [all.yaml]\nlabels: [{pairs: {team: shop}}]\n";
    std::fs::write(folder.join("kustomization.yaml"), kustomization)?;
    site.kubectl(&["create", "namespace", "kustomized"])?;
    site.kubectl(&["apply", "-k", folder.to_str().unwrap()])?;
    is_taken_over(site, "kustomized", "team: shop", &["kubectl-client-side-apply"])
}

fn helm(site: &Site, args: &[&str]) -> Result<String> {
    let mut helm = Command::new(tools::program(Program::Helm)?);
    helm.args(args).arg("--kubeconfig").arg(site.cluster.kubeconfig()).env("HOME", site.fleet.dir());
    fleet::run(helm)
}

/// While the release is there it owns its objects; once its record is gone they are free.
fn a_helm_release(site: &Site) -> Result<()> {
    let chart = site.fleet.dir().join("chart");
    std::fs::create_dir_all(chart.join("templates"))?;
    std::fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: released\nversion: 1.0.0\n")?;
    let labels = "app.kubernetes.io/managed-by: Helm";
    std::fs::write(chart.join("templates/all.yaml"), manifests("released", labels, true))?;
    helm(site, &["install", "shop", chart.to_str().unwrap(), "-n", "released", "--create-namespace"])?;
    let before = uids(site, "released")?;

    site.bundle("released", "  namespace: released\n")?;
    site.write("released/all.yaml", &manifests("released", labels, true))?;
    site.fleet.repo.commit("what a release has")?;
    site.wait_explained("main/released", &["exists, not ours", "Helm release released/shop"])?;
    ensure!(site.object("service", "released", "released")?["metadata"]["labels"].get("drover.dev/owner").is_none());

    // As docs of Helm have it for leaving Helm: the record goes, the objects stay.
    site.kubectl(&["delete", "secret", "-n", "released", "-l", "owner=helm,name=shop"])?;
    // Other content, so that nobody waits for the next try.
    site.write("released/more.yaml", &config_map("more", "1"))?;
    is_taken_over(site, "released", labels, &["helm"])?;
    ensure!(uids(site, "released")? == before, "it was made anew");
    let releases: Json = serde_json::from_str(&helm(site, &["list", "-n", "released", "-o", "json"])?)?;
    ensure!(releases.as_array().is_some_and(Vec::is_empty), "{releases}");
    Ok(())
}
