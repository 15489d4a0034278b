//! Early variables in what generators read: the hash in the name of a ConfigMap is over its
//! content, so that the content must be known when it is generated.

use std::collections::BTreeMap;
use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::yaml::{Data, Node};

use super::graph::Kustomization;
use crate::content::{Files, resolve};
use crate::early::Early;
use crate::manifests::at_file;

const GENERATORS: [&str; 2] = ["configMapGenerator", "secretGenerator"];

/// Binds the literals of generators, and the files that they read: each once, from what the source has,
/// however many generators name it, since what was bound is not scanned again.
///
/// # Errors
/// Values that do not fit, with file and line.
pub(super) fn bind(all: &[Kustomization], files: &mut Files, early: &Early<'_>) -> Result<(), Vec<Defect>> {
    let (mut bound, mut defects) = (Files::new(), Vec::new());
    let named = all.iter().flat_map(|one| one.root_generators().flat_map(|generator| sources(one, generator)));
    // A file that one of them reads as keys and values must stay as many.
    let mut read: BTreeMap<String, bool> = BTreeMap::new();
    for (path, is_env) in named {
        *read.entry(path).or_default() |= is_env;
    }
    for (path, is_env) in read {
        match file(&path, is_env, files, early) {
            Ok(content) => bound.extend(content.map(|content| (path, content))),
            Err(defect) => defects.push(defect),
        }
    }
    for one in all {
        match literals(one, early) {
            // One that a generator reads is a kustomization all the same.
            Ok(content) => bound.extend(content.map(|content| (one.path.clone(), content))),
            Err(defect) => defects.push(defect),
        }
    }
    files.extend(bound);
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

/// A kustomization written anew, as JSON, where its literals name a variable.
fn literals(one: &Kustomization, early: &Early<'_>) -> Result<Option<Arc<[u8]>>, Defect> {
    let before = one.root.to_json();
    let after = early.generators(&before).map_err(|why| at_file(&one.path, format!("literals: {why}")))?;
    Ok((before != after).then(|| Arc::from(after.to_string().into_bytes())))
}

/// The content of a file, bound; `None` where there is nothing to bind in it.
fn file(path: &str, is_env: bool, files: &Files, early: &Early<'_>) -> Result<Option<Arc<[u8]>>, Defect> {
    // Kustomize says what is missing; what is no text has no variables.
    let Some(text) = files.get(path).filter(|bytes| early.may_be_in(bytes)) else { return Ok(None) };
    let Ok(text) = std::str::from_utf8(text) else { return Ok(None) };
    let bound = early.text(text).map_err(|why| at_file(path, why))?;
    if is_env && bound.lines().count() != text.lines().count() {
        let message = "a variable's value has more than one line, which would make further keys; use `files` for it";
        return Err(at_file(path, message));
    }
    Ok(Some(Arc::from(bound.into_bytes())))
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
    fn a_file_that_two_generators_name_is_bound_once() {
        let kustomization =
            "configMapGenerator:\n- {name: a, files: [c.txt]}\n- {name: b, files: [k=c.txt], envs: [c.txt]}\n";
        let list = [("o/kustomization.yaml", kustomization), ("o/c.txt", "a=${v}")];
        let mut files: Files = list.map(|(path, text)| (path.to_owned(), Arc::from(text.as_bytes()))).into();
        let value = |text: &str| proto_model::Value::Text(text.to_owned());
        let variables = Variables([("v".to_owned(), value("${w}")), ("w".to_owned(), value("secret"))].into());
        let all = kustomizations(&files, "o");
        bind(&all, &mut files, &Early::of(&variables)).unwrap();
        assert_eq!(text(&files, "o/c.txt"), "a=${w}", "what was bound is not scanned again");
    }

    #[test]
    fn a_value_makes_no_further_keys() {
        let defects = bound("1\nB=2").unwrap_err();
        assert!(defects[0].file == "o/e.env" && defects[0].message.contains("further keys"), "{defects:?}");
    }
}
