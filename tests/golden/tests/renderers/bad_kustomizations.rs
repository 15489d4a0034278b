//! Kustomizations that nobody should have to trust.

use std::sync::Arc;

use anyhow::{Result, ensure};
use hub_core::release::Patch;
use hub_render::program::Limits;

use crate::case::{Case, programs, within};

const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: v}\n";

/// A base, and an overlay beside it.
fn overlay(text: &str) -> Case {
    Case::of(&[
        ("base/kustomization.yaml", "resources: [cm.yaml]\n"),
        ("base/cm.yaml", CONFIG),
        ("o/kustomization.yaml", text),
    ])
    .kustomize("o")
}

/// Found before Kustomize runs; and if it were not, nothing could be fetched.
pub(crate) fn a_remote_base() -> Result<()> {
    let programs = programs()?;
    for address in [
        "https://github.com/x/y//z?ref=main",
        "git@example.com:x/y.git",
        "github.com/x/y",
        "ssh://git@example.com/x/y.git",
    ] {
        let case = overlay(&format!("resources:\n- ../base\n- {address}\n"));
        case.is_held(&programs, "o/kustomization.yaml", 3, &format!("{address} is remote: nothing is fetched"))?;
    }
    Ok(())
}

pub(crate) fn an_exec_plugin() -> Result<()> {
    let mut case = overlay("resources: [../base]\ntransformers:\n- plugin.yaml\n");
    let plugin = "apiVersion: x/v1\nkind: Foo\nmetadata:\n  name: foo\n  annotations:\n    config.kubernetes.io/function: |\n      \
                  exec: {path: ./x.sh}\n";
    case.files.insert("o/plugin.yaml".into(), plugin.as_bytes().into());
    case.files.insert("o/x.sh".into(), b"#!/bin/sh\ntouch /tmp/drover-was-here\n".as_slice().into());
    case.is_held(&programs()?, "o/plugin.yaml", 2, "would run a program and is not allowed here")
}

pub(crate) fn a_cycle() -> Result<()> {
    let mut case = overlay("resources:\n- ../o2\n");
    case.files.insert("o2/kustomization.yaml".into(), b"resources:\n- ../o\n".as_slice().into());
    case.is_held(&programs()?, "o2/kustomization.yaml", 2, "name each other in a circle")
}

/// Links are no files of a snapshot, so that nothing is there where one is named.
pub(crate) fn a_link_out_of_the_tree() -> Result<()> {
    let case = overlay("resources:\n- ../base\n- link.yaml\n");
    case.is_held(&programs()?, "o/kustomization.yaml", 3, "names o/link.yaml, which is not in the source, or is a link")
}

pub(crate) fn a_file_outside_of_the_folder() -> Result<()> {
    let programs = programs()?;
    overlay("resources:\n- ../base/cm.yaml\n").is_held(&programs, "o/kustomization.yaml", 2, "is outside of")?;
    let defect = overlay("configMapGenerator:\n- name: a\n  files: [/etc/passwd]\n").defect(&programs)?;
    ensure!(defect.file == "o/kustomization.yaml" && defect.line == 3, "{defect}");
    Ok(())
}

pub(crate) fn an_unknown_field() -> Result<()> {
    overlay("resources: [../base]\nresourcess: []\n").is_held(&programs()?, "o/kustomization.yaml", 2, "resourcess")
}

/// Nine levels of ten: a thousand million texts.
pub(crate) fn bomb() -> String {
    let mut text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx0: &x0 lol\n".to_owned();
    for level in 1..10 {
        let aliases = vec![format!("*x{}", level - 1); 10].join(", ");
        text.push_str(&format!("x{level}: &x{level} [{aliases}]\n"));
    }
    text
}

pub(crate) fn a_yaml_bomb() -> Result<()> {
    let mut case = overlay("resources:\n- ../base\n- bomb.yaml\n");
    case.files.insert("o/bomb.yaml".into(), bomb().into_bytes().into());
    let defect = case.defect(&within(Limits { secs: 20, memory_bytes: 500_000_000, ..Limits::default() })?)?;
    ensure!(!defect.message.is_empty() && defect.file.starts_with("o/"), "{defect}");
    // And as a manifest, where no program reads it.
    let manifest = Case::of(&[("bomb.yaml", &bomb())]);
    manifest.is_held(&programs()?, "bomb.yaml", 11, "nodes")
}

pub(crate) fn a_patch_that_does_not_apply() -> Result<()> {
    let case = overlay(
        "resources: [../base]\npatches:\n- target: {kind: ConfigMap}\n  patch: '- {op: remove, path: /data/no}'\n",
    );
    let defect = case.defect(&programs()?)?;
    ensure!(defect.file == "o/kustomization.yaml" && defect.message.contains("/data/no"), "{defect}");
    let mut case = overlay("resources: [../base]\n");
    let patch = |at: u32, text: &str| {
        let content = serde_json::json!({"target": {"kind": "ConfigMap"}, "patch": text});
        Arc::new(Patch::new("drover.yaml", 10 + at, &format!("spec.patches.{at}"), content))
    };
    let good = "- {op: add, path: /data/x, value: y}";
    case.input.patches =
        vec![patch(0, good), patch(1, good), patch(2, "- {op: remove, path: /data/no}"), patch(3, good)];
    case.is_held(&programs()?, "drover.yaml", 12, "spec.patches.2 cannot be applied: ")
}

/// A patch may be that of a Secret, and what is said of it goes to everybody who may look.
pub(crate) fn patches_and_literals_are_not_quoted() -> Result<()> {
    let programs = programs()?;
    let broken = "kind: Secret\nstringData:\n  password: \"hunter2\"]\n x: [";
    let mut own = overlay("resources: [../base]\n");
    let content = serde_json::json!({"target": {"kind": "ConfigMap"}, "patch": broken});
    own.input.patches = vec![Arc::new(Patch::new("drover.yaml", 7, "spec.patches.0 (app/p.yaml)", content))];
    own.is_held(&programs, "drover.yaml", 7, "spec.patches.0 (app/p.yaml) cannot be applied: it is neither")?;
    let inline = broken.replace('\n', "\n    ");
    for text in [
        format!("resources: [../base]\npatches:\n- target: {{kind: ConfigMap}}\n  patch: |\n    {inline}\n"),
        format!("resources: [../base]\npatchesStrategicMerge:\n- |\n    {inline}\n"),
        "secretGenerator:\n- name: a\n  literals: [hunter2]\n".to_owned(),
    ] {
        let defect = overlay(&text).defect(&programs)?;
        ensure!(!defect.message.contains("hunter2") && !defect.message.is_empty(), "{defect}");
    }
    ensure!(own.defect(&programs)?.message.len() < 200);
    Ok(())
}

pub(crate) fn charts_of_kustomize() -> Result<()> {
    let case =
        overlay("resources: [../base]\nhelmCharts:\n- {name: x, repo: 'https://charts.example.com', version: 1.0.0}\n");
    case.is_held(&programs()?, "o/kustomization.yaml", 2, "fetch and run Helm")
}

pub(crate) fn a_pointer_of_lfs() -> Result<()> {
    let mut case = overlay("configMapGenerator: [{name: a, files: [data.bin]}]\n");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n".as_slice();
    case.files.insert("o/data.bin".into(), pointer.into());
    case.is_held(&programs()?, "o/data.bin", 1, "Git LFS")
}
