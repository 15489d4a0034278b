//! `helm template`, as a rendering: its input laid out, its output read, and the same twice.

mod archive;
mod chart;
mod complaint;
mod ignore;
mod scan;
mod twice;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hub_core::catalog::Defect;
use hub_core::catalog::spec::Lookup;
use hub_core::release::{Chart as Where, Helm, RenderInput};
use serde_json::Value as Json;

use crate::content::{self, Files, below};
use crate::document::Placed;
use crate::early::Early;
use crate::manifests::at_file;
use crate::output;
use crate::program::{Failure, Runs, Tool, Work};
use crate::render::{failed, not_laid_out};
use crate::unrendered::Unrendered;
use archive::Room;
use chart::{Chart, Place};
use ignore::Ignored;

/// Where the chart is laid out.
const CHART: &str = "chart";
/// Between two renderings of a chart that asks for the time, which is mostly written in seconds.
const CLOCK_STEP: Duration = Duration::from_millis(1_100);

/// The objects of a chart.
///
/// # Errors
/// All that is wrong with the chart, its values, or Helm.
pub(crate) fn objects(
    runs: Runs<'_>,
    input: &RenderInput,
    helm: &Helm,
    read: &impl Fn(&str) -> Option<Arc<[u8]>>,
) -> Result<Vec<Placed>, Unrendered> {
    let place = match &helm.chart {
        Where::Folder(folder) => Place::Folder(folder.clone()),
        Where::Archive { digest, .. } => Place::Archive(format!("charts/{digest}.tgz")),
    };
    let (Place::Folder(file) | Place::Archive(file)) = &place;
    runs.programs.require(Tool::Helm, file)?;
    // Packed charts and values are read before there is a chart that could say where they lie.
    let files = content::collect(input, read, |path| {
        path.ends_with(".tgz") || helm.values_files.iter().any(|one| one == path)
    })?;
    let own = match &place {
        Place::Folder(folder) => below(&files, folder).map(|(path, bytes)| (path.to_owned(), bytes.clone())).collect(),
        Place::Archive(path) => {
            let bytes = read(path).ok_or_else(|| vec![at_file(path, "the chart is not there")])?;
            let unpacked = archive::unpack(&bytes, &mut Room::default());
            unpacked.map_err(|why| vec![at_file(path, why)])?
        }
    };
    let chart = Chart::of(place.clone(), own, &files)?;
    refuse_pointers(&chart)?;
    if helm.lookup == Lookup::Refuse {
        refuse_lookups(&chart)?;
    }
    let work = runs.programs.work().map_err(|failure| failed(Tool::Helm, file, &failure))?;
    lay_out(&work, input, helm, &chart, &files)?;
    let args = arguments(input, helm);
    let run = || {
        let printed = runs.run(Tool::Helm, input.tools.helm.as_deref(), &work, args.clone());
        printed.map_err(|failure| complain(&failure, &chart, &work, file))
    };
    let once = run()?;
    if chart.templates().any(|(_, bytes)| !calls(bytes, &["now", "ago"]).is_empty()) {
        thread::sleep(CLOCK_STEP);
    }
    let again = run()?;
    let objects = parse(&once, &chart)?;
    if once != again
        && let Some(defect) = twice::difference(&objects, &parse(&again, &chart)?)
    {
        return Err(vec![defect].into());
    }
    Ok(objects)
}

/// Pointers of Git LFS among what Helm loads: a template may ask for any file of its chart.
fn refuse_pointers(chart: &Chart) -> Result<(), Vec<Defect>> {
    let ignored = Ignored::of(|path| chart.files.get(path).map(AsRef::as_ref));
    let pointers = chart.files.iter().filter(|(path, bytes)| content::is_pointer(bytes) && !ignored.has(path));
    let message = format!("{}, or leave it out with .helmignore", content::POINTER);
    let defects: Vec<Defect> = pointers.map(|(path, _)| chart.defect(path, 1, message.clone())).collect();
    if defects.is_empty() { Ok(()) } else { Err(defects) }
}

fn calls(bytes: &[u8], words: &[&'static str]) -> Vec<(u32, &'static str)> {
    scan::calls(&String::from_utf8_lossy(bytes), words)
}

fn refuse_lookups(chart: &Chart) -> Result<(), Vec<Defect>> {
    let mut defects = Vec::new();
    for (path, bytes) in chart.templates() {
        for (line, _) in calls(bytes, &["lookup"]) {
            let message = "calls lookup, which would find nothing: a chart is rendered for many clusters, far from any; \
                           set `lookup: empty` in the bundle's helm settings if that is right for this chart";
            defects.push(chart.defect(path, line, message.into()));
        }
    }
    if defects.is_empty() { Ok(()) } else { Err(defects) }
}

fn values_path(number: usize) -> String {
    format!("values/{number:04}.yaml")
}

fn arguments(input: &RenderInput, helm: &Helm) -> Vec<String> {
    let namespace = input.settings.namespace.as_deref().unwrap_or("default");
    let mut args: Vec<String> = ["template", "--include-crds", "--namespace", namespace].map(ToOwned::to_owned).into();
    if !helm.kube_version.is_empty() {
        args.extend(["--kube-version".to_owned(), helm.kube_version.clone()]);
    }
    args.extend(helm.api_versions.iter().flat_map(|version| ["--api-versions".to_owned(), version.clone()]));
    let values = helm.values_files.len() + helm.values.len();
    args.extend((0..values).flat_map(|number| ["--values".to_owned(), values_path(number)]));
    // No name is taken for a flag.
    args.extend(["--".to_owned(), helm.release.clone(), CHART.to_owned()]);
    args
}

/// Writes the chart and the values, in which early variables are bound.
fn lay_out(work: &Work, input: &RenderInput, helm: &Helm, chart: &Chart, files: &Files) -> Result<(), Unrendered> {
    let early = Early::of(&input.early);
    let mut laid: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (number, path) in helm.values_files.iter().enumerate() {
        let Some(bytes) = files.get(path) else {
            return Err(vec![at_file(path, "is named as a file of values, and is not in the source")].into());
        };
        let bound = if early.may_be_in(bytes) {
            early.values_file(bytes).map_err(|(line, why)| vec![Defect { line, ..at_file(path, why) }])?
        } else {
            bytes.to_vec()
        };
        laid.insert(values_path(number), bound);
    }
    for (number, values) in (helm.values_files.len()..).zip(&helm.values) {
        let bound = early.json(&Json::Object(values.clone()));
        let bound = bound.map_err(|why| vec![at_file(&input.path, format!("values of the bundle: {why}"))])?;
        laid.insert(values_path(number), bound.to_string().into_bytes());
    }
    let chart = chart.files.iter().map(|(path, bytes)| (format!("{CHART}/{path}"), bytes.as_ref()));
    let values = laid.iter().map(|(path, bytes)| (path.clone(), bytes.as_slice()));
    for (path, bytes) in chart.chain(values) {
        work.lay_out(&path, bytes).map_err(|error| not_laid_out(&input.path, Tool::Helm, &error))?;
    }
    Ok(())
}

fn complain(failure: &Failure, chart: &Chart, work: &Work, file: &str) -> Unrendered {
    let Failure::Complaint(text) = failure else { return failed(Tool::Helm, file, failure) };
    let words = complaint::words(&work.strip(text));
    if let Some((called, line)) = complaint::place(text) {
        return vec![chart.defect(&chart.path_of(&called), line, words)].into();
    }
    // The chart's own files that are no templates.
    let own = [("values.schema.json", "specifications of the schema"), ("values.yaml", "values.yaml")];
    let own = own.into_iter().find(|(_, words)| text.contains(words)).map(|(name, _)| name);
    match own.filter(|name| chart.files.contains_key(*name)) {
        Some(name) => vec![chart.defect(name, complaint::yaml_line(text), words)].into(),
        None => vec![chart.defect("Chart.yaml", 0, words)].into(),
    }
}

/// Reads what Helm printed; comments say which template each document comes from.
fn parse(printed: &[u8], chart: &Chart) -> Result<Vec<Placed>, Vec<Defect>> {
    let text = String::from_utf8_lossy(printed);
    let sources: BTreeMap<u32, &str> =
        (1..).zip(text.lines()).filter_map(|(line, text)| Some((line, text.strip_prefix("# Source: ")?))).collect();
    output::read("helm", printed, |line| {
        let called = sources.range(..=line).next_back().map_or("", |(_, called)| *called);
        chart.defect(&chart.path_of(called.trim()), 0, String::new()).file
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_order() {
        let mut input = RenderInput::default();
        input.settings.namespace = Some("shop".into());
        let helm = Helm {
            release: "web".into(),
            values_files: vec!["a.yaml".into()],
            values: vec![serde_json::Map::new()],
            kube_version: "1.33".into(),
            api_versions: vec!["x/v1".into()],
            ..Helm::default()
        };
        let words = "template --include-crds --namespace shop --kube-version 1.33 --api-versions x/v1 \
                     --values values/0000.yaml --values values/0001.yaml -- web chart";
        assert_eq!(arguments(&input, &helm).join(" "), words);
    }
}
