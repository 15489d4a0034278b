//! YAML is read as kubectl reads it: every file under `kubectl/` through the pinned kubectl and
//! through Drover gives the same objects, or an error in both.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Deserializer, Value as Json};
use tests_tools::{Program, ensure as ensure_tools};

const MARK: &str = "tests.drover.dev/read-by";

fn files() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kubectl");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.sort();
    Ok(files)
}

/// What a reader makes of a file: its objects, or why it refuses.
type Read = std::result::Result<Vec<Json>, String>;

/// What kubectl reads, without asking any server.
fn by_kubectl(kubectl: &Path, file: &Path) -> Result<Read> {
    let output = Command::new(kubectl)
        .args(["annotate", "--local", "--dry-run=client", "-o", "json", "-f"])
        .arg(file)
        .arg(format!("{MARK}=kubectl"))
        .env_clear()
        .output()
        .context("kubectl does not run")?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let mut objects = Vec::new();
    for object in Deserializer::from_slice(&output.stdout).into_iter::<Json>() {
        let mut object = object?;
        let metadata = object.get_mut("metadata").and_then(Json::as_object_mut);
        let metadata = metadata.context("kubectl gave an object without metadata")?;
        let annotations = metadata.get_mut("annotations").and_then(Json::as_object_mut);
        let annotations = annotations.context("kubectl gave an object without its mark")?;
        annotations.remove(MARK);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
        objects.push(object);
    }
    Ok(Ok(objects))
}

fn by_drover(file: &Path) -> Result<Read> {
    let bytes = std::fs::read(file)?;
    let placed = match hub_render::document::read("file.yaml", &bytes) {
        Ok(placed) => placed,
        Err(defects) => {
            let words: Vec<String> = defects.iter().map(ToString::to_string).collect();
            return Ok(Err(words.join("; ")));
        }
    };
    let objects = placed.into_iter().map(|one| {
        let mut object = one.node.to_json();
        if let Some(metadata) = object.get_mut("metadata").and_then(Json::as_object_mut) {
            metadata.retain(|name, value| name != "annotations" || !value.is_null());
        }
        object
    });
    Ok(Ok(objects.collect()))
}

/// Equal, with numbers compared by what an API server makes of them.
fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => {
            a == b || (a.as_i64().is_none() || b.as_i64().is_none()) && a.as_f64() == b.as_f64()
        }
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn yaml_reads_as_kubectl_reads_it() -> Result<()> {
    let kubectl = ensure_tools()?.program(Program::Kubectl);
    let (mut compared, mut refused, mut wrong) = (0, 0, Vec::new());
    for file in files()? {
        let name = file.display();
        let stricter = name.to_string().contains("stricter-");
        match (by_kubectl(&kubectl, &file)?, by_drover(&file)?) {
            (Ok(_), Err(_)) if stricter => refused += 1,
            (Err(_), Err(_)) if !stricter => refused += 1,
            (Ok(kubectl), Ok(drover)) if !stricter => {
                compared += kubectl.len();
                let equal = kubectl.len() == drover.len() && kubectl.iter().zip(&drover).all(|(a, b)| same(a, b));
                if !equal {
                    let (kubectl, drover) = (Json::from(kubectl), Json::from(drover));
                    wrong.push(format!("{name}\n  kubectl {kubectl}\n  drover  {drover}"));
                }
            }
            (kubectl, drover) => {
                let words = |read: Read| read.err().unwrap_or_else(|| "reads it".into());
                wrong.push(format!("{name}\n  kubectl {}\n  drover  {}", words(kubectl), words(drover)));
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    ensure!(compared >= 15 && refused >= 3, "compared {compared} objects, {refused} refused by both");
    Ok(())
}
