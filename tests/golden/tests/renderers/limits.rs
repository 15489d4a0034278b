//! Input that is far too large.

use anyhow::{Result, ensure};
use hub_render::program::Limits;

use crate::bad_kustomizations::bomb;
use crate::case::{Case, programs, within};

pub(crate) fn a_document_of_100_megabytes() -> Result<()> {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: {{ repeat 100000000 \"x\" }}}\n";
    let programs = within(Limits { memory_bytes: 1 << 33, ..Limits::default() })?;
    Case::template(text).is_held(&programs, "app", 0, "helm printed more than 67108864 bytes")
}

pub(crate) fn a_yaml_bomb_in_values() -> Result<()> {
    let mut case = Case::template("a: b");
    case.files.insert("app/values.yaml".into(), bomb().into_bytes().into());
    let defect = case.defect(&within(Limits { secs: 20, memory_bytes: 500_000_000, ..Limits::default() })?)?;
    ensure!(defect.file.starts_with("app"), "{defect}");
    Ok(())
}

/// The reader of a source gives nothing for what is too large.
pub(crate) fn a_file_that_is_too_large() -> Result<()> {
    let case = Case::template("a: b");
    let defects =
        programs()?.render(&case.listed(), |path| (!path.ends_with("a.yaml")).then(|| case.files[path].clone()));
    let defect = defects.err().and_then(|all| all.defects.into_iter().next());
    ensure!(
        defect.as_ref().is_some_and(|one| one.file == "app/templates/a.yaml" && one.message.contains("larger than"))
    );
    Ok(())
}
