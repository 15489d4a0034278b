//! The JSON Schemas under `docs/schemas` are those of the types that read declarations.
//! `UPDATE=1` writes them anew.

use std::path::Path;

use anyhow::{Result, ensure};
use hub_core::catalog::schemas;

#[test]
fn the_schemas_are_current() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas");
    let update = std::env::var_os("UPDATE").is_some();
    for (kind, schema) in schemas() {
        let path = folder.join(format!("{kind}.json"));
        let text = serde_json::to_string_pretty(&schema)? + "\n";
        if update {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(&path, &text)?;
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        ensure!(found == text, "{} is not current; UPDATE=1 writes it", path.display());
    }
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.is_file() {
            let kind = path.file_stem().and_then(|kind| kind.to_str()).unwrap_or_default();
            ensure!(schemas().contains_key(kind), "{} is the schema of no kind", path.display());
        }
    }
    Ok(())
}

#[test]
fn defaults_are_in_the_schemas() {
    let all = schemas();
    let at = |kind: &str, pointer: &str| all[kind].pointer(pointer).cloned();
    let field = |name: &str| format!("/properties/spec/properties/{name}/default");
    assert_eq!(at("Bundle", &field("path")), Some(".".into()));
    assert_eq!(at("Bundle", &field("drift")), Some("correct".into()));
    assert_eq!(at("Bundle", &field("adopt")), Some("ifNoDiff".into()));
    assert_eq!(at("RolloutPolicy", &field("deadline")), Some("15m".into()));
    assert_eq!(at("RolloutPolicy", &field("onFailure")), Some("pause".into()));
    assert_eq!(
        at("Bundle", "/properties/spec/additionalProperties"),
        Some(false.into()),
        "unknown fields are errors in the schema too"
    );
}
