//! The files of a chart that lies in the source, with the charts in other folders of the source that
//! it depends on by `repository: file://…`.

use std::collections::{BTreeSet, VecDeque};

use proto_model::limits;

use super::tree::{Found, Reader, join};
use crate::yaml::{self, Data, Node};

/// Takes a chart and all that it depends on: from folder to folder in a queue, since each is named
/// by the one before, and a chain of them may be as long as a source has folders.
pub(super) fn take(root: &str, reader: &mut Reader<'_>) {
    let mut done = BTreeSet::from([root.to_owned()]);
    let mut pending = VecDeque::from([(root.to_owned(), 0)]);
    while let Some((folder, depth)) = pending.pop_front() {
        let Some(chart) = join(&folder, "Chart.yaml") else { continue };
        if !reader.take_folder(&folder) {
            let max = limits::CHART_FILES_MAX;
            let message =
                format!("the chart is made of more than {max} files; give it a folder of its own, or split it");
            return reader.defect(&chart, 0, &message);
        }
        let (file, named) = dependencies(&folder, chart, reader);
        for (line, dependency) in named {
            if !done.insert(dependency.clone()) {
                continue;
            }
            if depth >= limits::CHART_DEPTH_MAX {
                let max = limits::CHART_DEPTH_MAX;
                let message =
                    format!("{dependency} is a chart that charts depend on, more than {max} deep; flatten it");
                return reader.defect(&file, line, &message);
            }
            pending.push_back((dependency, depth + 1));
        }
    }
}

/// The folders of the source that a chart depends on, each with its line, and the file that says so:
/// charts of the first format have a requirements.yaml. Helm says what is wrong with what cannot be read.
fn dependencies(folder: &str, chart: String, reader: &mut Reader<'_>) -> (String, Vec<(u32, String)>) {
    let local = |one: &Node| {
        let repository = one.get("repository")?;
        Some((repository.line, join(folder, repository.text()?.strip_prefix("file://")?)?))
    };
    for file in [Some(chart.clone()), join(folder, "requirements.yaml")].into_iter().flatten() {
        if reader.found(&file) != Found::File {
            continue;
        }
        let root = reader.content(&file).and_then(|bytes| yaml::read(&bytes).ok()?.into_iter().next());
        let Some(root) = root.map(|first| first.root) else { continue };
        if let Some(Data::List(all)) = root.get("dependencies").map(|node| &node.data) {
            return (file, all.iter().filter_map(local).collect());
        }
    }
    (chart, Vec::new())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::snapshot::{File, Mode, Snapshot};

    fn snapshot(files: impl Iterator<Item = (String, String)>) -> Snapshot {
        let file = |(path, text): (String, String)| {
            (path, File { id: text.clone(), mode: Mode::Regular, bytes: Some(Arc::from(text.into_bytes())) })
        };
        Snapshot { files: files.map(file).collect::<BTreeMap<_, _>>(), ..Snapshot::default() }
    }

    fn chain(length: usize) -> Snapshot {
        let text = |at| format!("name: c\ndependencies:\n- name: d\n  repository: file://../c{}\n", at + 1);
        snapshot((0..length).map(|at| (format!("c{at}/Chart.yaml"), text(at))))
    }

    #[test]
    fn a_chain_of_charts_ends_at_its_limit() {
        let whole = chain(limits::CHART_DEPTH_MAX + 1);
        let mut reader = Reader::new(&whole);
        take("c0", &mut reader);
        assert_eq!(
            reader.defects.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["c10/Chart.yaml:4: defect: c11 is a chart that charts depend on, more than 10 deep; flatten it"]
        );
        let good = snapshot([("c0/Chart.yaml".to_owned(), "name: c".to_owned())].into_iter());
        let mut reader = Reader::new(&good);
        take("c0", &mut reader);
        assert_eq!((reader.defects.len(), reader.files().len()), (0, 1));
        // One per folder of a source: what is looked at is bounded, and so is the stack.
        let long = chain(20_000);
        let mut reader = Reader::new(&long);
        take("c0", &mut reader);
        assert_eq!((reader.defects.len(), reader.files().len()), (1, limits::CHART_DEPTH_MAX + 1));
    }

    #[test]
    fn a_chart_of_the_first_format_names_others_in_a_file_of_its_own() {
        let files = [
            ("a/Chart.yaml", "name: a"),
            ("a/requirements.yaml", "dependencies:\n- {name: b, repository: \"file://../b\"}\n"),
            ("b/Chart.yaml", "name: b"),
            ("b/templates/b.yaml", "b"),
            ("c/Chart.yaml", "name: c"),
        ];
        let all = snapshot(files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())));
        let mut reader = Reader::new(&all);
        take("a", &mut reader);
        let taken: Vec<&str> = files.iter().map(|(path, _)| *path).filter(|path| !path.starts_with('c')).collect();
        assert_eq!(reader.files().iter().map(|file| &*file.path).collect::<Vec<_>>(), taken);
    }

    #[test]
    fn a_chart_that_is_the_whole_source_is_looked_at_no_further_than_its_limit() {
        let files = (0..3 * limits::CHART_FILES_MAX).map(|at| (format!("f/{at:06}"), String::new()));
        let large = snapshot(files.chain([("Chart.yaml".to_owned(), "name: c".to_owned())]));
        let mut reader = Reader::new(&large);
        take("", &mut reader);
        assert_eq!(
            reader.defects[0].to_string(),
            format!(
                "Chart.yaml: defect: the chart is made of more than {} files; give it a folder of its own, or split it",
                limits::CHART_FILES_MAX
            )
        );
        assert!(reader.looked <= limits::CHART_FILES_MAX + 1, "{} paths", reader.looked);
    }
}
