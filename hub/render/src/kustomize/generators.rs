//! Early variables in what generators read: the hash in the name of a ConfigMap is over its
//! content, so that the content must be known when it is generated.

use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::yaml::{Data, Node};

use super::graph::Kustomization;
use crate::content::{Files, resolve};
use crate::early::Early;
use crate::manifests::at_file;

const GENERATORS: [&str; 2] = ["configMapGenerator", "secretGenerator"];

/// Binds the literals of generators, and the files that they read.
///
/// # Errors
/// Values that do not fit, with file and line.
pub(super) fn bind(all: &[Kustomization], files: &mut Files, early: &Early<'_>) -> Result<(), Vec<Defect>> {
    let mut defects = Vec::new();
    for one in all {
        if let Err(defect) = literals(one, files, early) {
            defects.push(defect);
        }
        for (path, is_env) in one.root_generators().flat_map(|generator| sources(one, generator)) {
            if let Err(defect) = file(&path, is_env, files, early) {
                defects.push(defect);
            }
        }
    }
    if defects.is_empty() { Ok(()) } else { Err(defects) }
}

impl Kustomization {
    fn root_generators(&self) -> impl Iterator<Item = &Node> {
        GENERATORS.iter().filter_map(|field| self.root.get(field)).flat_map(items)
    }
}

fn items(node: &Node) -> &[Node] {
    match &node.data {
        Data::List(items) => items,
        _ => &[],
    }
}

/// The files that a generator reads, and whether each is a list of keys and values.
fn sources(one: &Kustomization, generator: &Node) -> Vec<(String, bool)> {
    let list = |field| generator.get(field).map(items).unwrap_or_default().iter().filter_map(Node::text);
    let files = list("files").map(|text| (text.split_once('=').map_or(text, |(_, path)| path), false));
    let envs = list("envs").chain(generator.get("env").and_then(Node::text)).map(|path| (path, true));
    files.chain(envs).filter_map(|(path, is_env)| Some((resolve(&one.folder, path)?, is_env))).collect()
}

/// Writes a kustomization anew, as JSON, where its literals name a variable.
fn literals(one: &Kustomization, files: &mut Files, early: &Early<'_>) -> Result<(), Defect> {
    let before = one.root.to_json();
    let after = early.generators(&before).map_err(|why| at_file(&one.path, format!("literals: {why}")))?;
    if before != after {
        files.insert(one.path.clone(), Arc::from(after.to_string().into_bytes()));
    }
    Ok(())
}

fn file(path: &str, is_env: bool, files: &mut Files, early: &Early<'_>) -> Result<(), Defect> {
    // Kustomize says what is missing; what is no text has no variables.
    let Some(text) = files.get(path).filter(|bytes| early.may_be_in(bytes)) else { return Ok(()) };
    let Ok(text) = std::str::from_utf8(text) else { return Ok(()) };
    let bound = early.text(text).map_err(|why| at_file(path, why))?;
    if is_env && bound.lines().count() != text.lines().count() {
        let message = "a variable's value has more than one line, which would make further keys; use `files` for it";
        return Err(at_file(path, message));
    }
    files.insert(path.to_owned(), Arc::from(bound.into_bytes()));
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::kustomize::graph::kustomizations;
    use proto_model::Variables;
    use serde_json::{Value as Json, json};

    fn bound(value: &str) -> Result<Files, Vec<Defect>> {
        let kustomization = "resources: [r.yaml]\nconfigMapGenerator:\n- name: a\n  literals: ['k=${v}', 'o=${x}']\n  \
                             files: [conf=../c.txt]\n  envs: [e.env]\n";
        let list = [
            ("o/kustomization.yaml", kustomization),
            ("c.txt", "${v} ${x}"),
            ("o/e.env", "A=${v}\n"),
            ("o/r.yaml", "${v}"),
        ];
        let mut files: Files = list.map(|(path, text)| (path.to_owned(), Arc::from(text.as_bytes()))).into();
        let variables = Variables([("v".to_owned(), proto_model::Value::Text(value.to_owned()))].into());
        let all = kustomizations(&files, "o");
        bind(&all, &mut files, &Early::of(&variables)).map(|()| files)
    }

    fn text(files: &Files, path: &str) -> String {
        String::from_utf8_lossy(&files[path]).into_owned()
    }

    #[test]
    fn only_what_generators_read_is_bound() {
        let files = bound("1").unwrap();
        let kustomization: Json = serde_json::from_slice(&files["o/kustomization.yaml"]).unwrap();
        assert_eq!(kustomization["configMapGenerator"][0]["literals"], json!(["k=1", "o=${x}"]));
        assert_eq!(text(&files, "c.txt"), "1 ${x}");
        assert_eq!(text(&files, "o/e.env"), "A=1\n");
        assert_eq!(text(&files, "o/r.yaml"), "${v}");
    }

    #[test]
    fn a_value_makes_no_further_keys() {
        let defects = bound("1\nB=2").unwrap_err();
        assert!(defects[0].file == "o/e.env" && defects[0].message.contains("further keys"), "{defects:?}");
    }
}
