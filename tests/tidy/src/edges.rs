//! Which crate may use which: an edge runs only from a higher layer to a lower one, and hub and spoke share none.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value as Json;

use crate::tree;

/// Words, thought, shells, binaries, proofs.
const LAYERS: &[&[&str]] = &[
    &["proto-model"],
    &["hub-core", "proto-wire", "spoke-core"],
    &["hub-git", "hub-render", "hub-store", "hub-raft", "spoke-kube", "spoke-memory"],
    &["hub-server", "hub-cli", "spoke-agent"],
];
/// The prefix of the crates above all layers.
const PROOFS: &str = "tests-";

/// The crates that decide and never touch the world.
pub const PURE: &[&str] = &["proto-model", "hub-core", "spoke-core"];

/// All that a pure crate may use: nothing here reads a clock, a file, a socket or a die.
const PURE_USES: &[&str] = &[
    "proto-model",
    "base64",
    "bytes",
    "cel",
    "ciborium",
    "globset",
    "granit-parser",
    "hex",
    "imbl",
    "roaring",
    "schemars",
    "serde",
    "serde-saphyr",
    "serde_json",
    "sha2",
    "strsim",
    "thiserror",
    "zeroize",
    "zstd",
];

/// A crate of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its folder, relative to the root.
    pub folder: String,
    /// What it uses: name, and whether only its tests do.
    pub uses: BTreeMap<String, bool>,
}

/// The crates of the workspace.
///
/// # Errors
/// `cargo metadata` fails.
pub fn crates() -> Result<Vec<Crate>> {
    let mut command = Command::new(env!("CARGO"));
    command.current_dir(tree::root()).args(["metadata", "--no-deps", "--format-version", "1"]);
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    parse(&serde_json::from_slice(&output.stdout).context("cargo metadata is not JSON")?)
}

fn parse(metadata: &Json) -> Result<Vec<Crate>> {
    let text = |value: &Json, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let root = text(metadata, "workspace_root");
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let mut crates = Vec::new();
    for package in packages {
        let manifest = text(package, "manifest_path");
        let folder = manifest.trim_start_matches(&root).trim_matches('/').trim_end_matches("/Cargo.toml");
        let mut uses = BTreeMap::new();
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let is_dev = dependency["kind"].as_str() == Some("dev");
            let only_tests = uses.entry(text(dependency, "name")).or_insert(true);
            *only_tests &= is_dev;
        }
        crates.push(Crate { name: text(package, "name"), folder: folder.to_owned(), uses });
    }
    Ok(crates)
}

/// Complaints about names and edges.
#[must_use]
pub fn complaints(crates: &[Crate]) -> Vec<String> {
    let mut complaints = Vec::new();
    for one in crates {
        let name = &one.name;
        if one.folder.replace('/', "-") != *name {
            complaints.push(format!("{}: the crate is called {name}, not as its path with dashes", one.folder));
        }
        let Some(own) = layer(name) else {
            complaints.push(format!("{name}: has no layer; tests/tidy/src/edges.rs lists them"));
            continue;
        };
        for used in one.uses.keys().filter(|used| crates.iter().any(|one| one.name == **used)) {
            let Some(below) = layer(used) else { continue };
            let sides = [name, used].map(|name| name.split('-').next().unwrap_or_default());
            if own < LAYERS.len() && below >= own {
                complaints.push(format!("{name} uses {used}, which is not in a lower layer"));
            }
            if sides == ["hub", "spoke"] || sides == ["spoke", "hub"] {
                complaints.push(format!("{name} uses {used}, and hub and spoke share no edge"));
            }
        }
        if PURE.contains(&name.as_str()) {
            let impure =
                one.uses.iter().filter(|(used, only_tests)| !**only_tests && !PURE_USES.contains(&used.as_str()));
            complaints.extend(impure.map(|(used, _)| format!("{name} is pure and uses {used}")));
        }
    }
    complaints
}

fn layer(name: &str) -> Option<usize> {
    if name.starts_with(PROOFS) {
        return Some(LAYERS.len());
    }
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, uses: &[(&str, bool)]) -> Crate {
        let uses = uses.iter().map(|(name, only_tests)| ((*name).to_owned(), *only_tests)).collect();
        Crate { name: name.into(), folder: name.replacen('-', "/", 1), uses }
    }

    #[test]
    fn edges_run_downwards_only() {
        let fine = [
            one("proto-model", &[("serde", false), ("proptest", true)]),
            one("hub-core", &[("proto-model", false)]),
            one("spoke-core", &[]),
            one("hub-server", &[("hub-core", false), ("tokio", false)]),
            one("tests-sim", &[("hub-core", false), ("spoke-core", false), ("tests-tools", false)]),
            one("tests-tools", &[]),
        ];
        assert_eq!(complaints(&fine), Vec::<String>::new());
        let wrong = [
            one("proto-model", &[("hub-core", false)]),
            one("hub-core", &[("rand", false)]),
            one("hub-raft", &[("hub-store", false)]),
            one("hub-store", &[]),
            one("hub-server", &[("spoke-core", true)]),
            one("spoke-core", &[]),
            one("hub-odd", &[]),
            Crate { folder: "hub/x".into(), ..one("hub-git", &[]) },
        ];
        assert_eq!(complaints(&wrong).len(), 7, "{:#?}", complaints(&wrong));
    }
}
