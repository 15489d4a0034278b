//! Input that is far too large.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, bail, ensure};
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

/// It ends long before its minute.
pub(crate) fn a_chart_that_loops_and_nobody_wants() -> Result<()> {
    let case = Case::template("{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}");
    let (asked, programs) = (AtomicUsize::new(0), programs()?);
    let is_wanted = || asked.fetch_add(1, Ordering::Relaxed) < 3;
    let ended = programs.render(&case.listed(), |path| case.files.get(path).cloned(), &is_wanted);
    let Err(ended) = ended else { bail!("it was rendered") };
    ensure!(ended.passes && ended.defects[0].message.contains("nobody wants it"), "{ended:?}");
    Ok(())
}

/// The reader of a source gives nothing for what is too large.
pub(crate) fn a_file_that_is_too_large() -> Result<()> {
    let case = Case::template("a: b");
    let read = |path: &str| (!path.ends_with("a.yaml")).then(|| case.files[path].clone());
    let defects = programs()?.render(&case.listed(), read, &|| true);
    let defect = defects.err().and_then(|all| all.defects.into_iter().next());
    ensure!(
        defect.as_ref().is_some_and(|one| one.file == "app/templates/a.yaml" && one.message.contains("larger than"))
    );
    Ok(())
}
