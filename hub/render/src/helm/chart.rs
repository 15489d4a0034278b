//! The files of a chart with all its subcharts, as Helm is to see them, and where each comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::yaml::{self, Data, Node};
use proto_model::limits;

use super::archive::{Room, unpack};
use crate::content::{Files, below, join, resolve};
use crate::manifests::at_file;

/// A chart and its subcharts.
#[derive(Debug)]
pub(super) struct Chart {
    /// By path in the chart; packed subcharts are unpacked.
    pub(super) files: Files,
    /// Each chart of it, by its folder in the chart; the chart itself under the empty one.
    charts: BTreeMap<String, Declared>,
    /// Where folders of the chart come from, for those whose place is not that of the folder above.
    places: BTreeMap<String, Place>,
}

/// Where a chart lies in the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A folder.
    Folder(String),
    /// A packed chart, by the path of the archive.
    Archive(String),
}

/// What a Chart.yaml says.
#[derive(Clone, Debug, Default)]
struct Declared {
    name: String,
    /// The file that declares the dependencies, by its path in the chart.
    file: String,
    dependencies: Vec<Dependency>,
}

#[derive(Clone, Debug)]
struct Dependency {
    name: String,
    alias: Option<String>,
    repository: String,
    line: u32,
}

impl Chart {
    /// Puts a chart together: packed subcharts are unpacked, and those of folders of the same
    /// source (`repository: file://../x`) are where Helm looks for them.
    ///
    /// # Errors
    /// Dependencies that are not there, archives that cannot be read, and limits.
    pub(super) fn of(root: Place, files: Files, source: &Files) -> Result<Self, Vec<Defect>> {
        let mut chart =
            Self { files, charts: BTreeMap::new(), places: BTreeMap::from([(String::new(), root.clone())]) };
        let mut defects = Vec::new();
        if !chart.files.contains_key("Chart.yaml") {
            let (Place::Folder(file) | Place::Archive(file)) = root;
            return Err(vec![at_file(&file, "is no chart: it has no Chart.yaml")]);
        }
        let mut room = Room::default();
        if let Some(why) = chart.files.values().find_map(|bytes| room.take(bytes.len()).err()) {
            return Err(vec![chart.defect("Chart.yaml", 0, why)]);
        }
        let mut pending = vec![(String::new(), 0)];
        while let Some((folder, depth)) = pending.pop() {
            if depth > limits::CHART_DEPTH_MAX {
                let message = format!("has charts within charts, more than {} deep", limits::CHART_DEPTH_MAX);
                defects.push(chart.defect(&join(&folder, "Chart.yaml"), 0, message));
                break;
            }
            chart.charts.insert(folder.clone(), declared(&chart.files, &folder));
            if let Err(defect) = chart.unpack_in(&folder, &mut room) {
                defects.push(defect);
            }
            if let Err(defect) = chart.bring_in(&folder, source, &mut room) {
                defects.push(defect);
                break;
            }
            pending.extend(chart.children(&folder).into_iter().map(|child| (child, depth + 1)));
        }
        // What could not be unpacked would be missing, too.
        if defects.is_empty() {
            defects.extend(chart.missing());
        }
        if defects.is_empty() { Ok(chart) } else { Err(defects) }
    }

    /// Every template of the chart and its subcharts, by path in the chart. What Helm prints after
    /// an install is none.
    pub(super) fn templates(&self) -> impl Iterator<Item = (&str, &Arc<[u8]>)> {
        self.charts.keys().flat_map(|folder| {
            let templates = join(folder, "templates/");
            self.files
                .iter()
                .filter(move |(path, _)| path.starts_with(&templates) && !path.ends_with("/NOTES.txt"))
                .map(|(path, bytes)| (path.as_str(), bytes))
        })
    }

    /// A defect in a file of the chart.
    pub(super) fn defect(&self, path: &str, line: u32, message: String) -> Defect {
        let holds =
            |prefix: &str| prefix.is_empty() || path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let places = self.places.iter().filter(|(prefix, _)| holds(prefix));
        let Some((prefix, place)) = places.max_by_key(|(prefix, _)| prefix.len()) else {
            return Defect { line, ..at_file(path, message) };
        };
        let inside = path[prefix.len()..].trim_start_matches('/');
        match place {
            Place::Folder(folder) => Defect { line, ..at_file(&join(folder, inside), message) },
            Place::Archive(file) if line == 0 => at_file(file, format!("{inside}: {message}")),
            Place::Archive(file) => at_file(file, format!("{inside}:{line}: {message}")),
        }
    }

    /// The path in the chart of a file as Helm calls it: `app/charts/redis/templates/x.yaml`, by
    /// the names of charts rather than by their folders.
    pub(super) fn path_of(&self, called: &str) -> String {
        let mut rest = called.split_once('/').map_or("", |(_, rest)| rest);
        let mut folder = String::new();
        while let Some((name, inside)) = rest.strip_prefix("charts/").and_then(|rest| rest.split_once('/')) {
            let Some(child) = self.child(&folder, name) else { break };
            (folder, rest) = (child, inside);
        }
        join(&folder, rest)
    }

    fn child(&self, folder: &str, name: &str) -> Option<String> {
        let aliases = self.charts.get(folder).map(|one| one.dependencies.as_slice()).unwrap_or_default();
        let real = aliases.iter().find(|one| one.alias.as_deref() == Some(name)).map_or(name, |one| &one.name);
        self.children(folder).into_iter().find(|child| self.charts.get(child).is_some_and(|one| one.name == real))
    }

    /// The folders of the subcharts of a chart.
    fn children(&self, folder: &str) -> Vec<String> {
        let charts = join(folder, "charts");
        let names = below(&self.files, &charts).filter_map(|(rest, _)| rest.strip_suffix("/Chart.yaml"));
        names.filter(|name| !name.contains('/')).map(|name| join(&charts, name)).collect()
    }

    fn unpack_in(&mut self, folder: &str, room: &mut Room) -> Result<(), Defect> {
        let charts = join(folder, "charts");
        let packed: Vec<String> = below(&self.files, &charts)
            .filter_map(|(name, _)| name.strip_suffix(".tgz").filter(|name| !name.contains('/')))
            .map(ToOwned::to_owned)
            .collect();
        for name in packed {
            let (path, target) = (join(&charts, &format!("{name}.tgz")), join(&charts, &name));
            let Some(bytes) = self.files.remove(&path) else { continue };
            let files = unpack(&bytes, room).map_err(|why| self.defect(&path, 0, why))?;
            let at = self.defect(&path, 0, String::new()).file;
            self.places.insert(target.clone(), Place::Archive(at));
            self.files.extend(files.into_iter().map(|(inside, bytes)| (join(&target, &inside), bytes)));
        }
        Ok(())
    }

    /// Copies dependencies that are folders of the same source.
    fn bring_in(&mut self, folder: &str, source: &Files, room: &mut Room) -> Result<(), Defect> {
        let Some(Place::Folder(place)) = self.places.get(folder).cloned() else { return Ok(()) };
        let Some(Declared { file, dependencies, .. }) = self.charts.get(folder).cloned() else { return Ok(()) };
        let children = self.children(folder);
        let mut vendored: BTreeSet<String> = children.iter().map(|child| declared(&self.files, child).name).collect();
        for dependency in dependencies {
            let local = dependency.repository.strip_prefix("file://").and_then(|path| resolve(&place, path));
            let Some(local) = local.filter(|_| !vendored.contains(&dependency.name)) else { continue };
            let target = join(&join(folder, "charts"), &dependency.name);
            let mut is_there = false;
            for (inside, bytes) in below(source, &local) {
                room.take(bytes.len())
                    .map_err(|why| self.defect(&file, dependency.line, format!("this dependency {why}")))?;
                self.files.insert(join(&target, inside), bytes.clone());
                is_there = true;
            }
            if is_there {
                vendored.insert(declared(&self.files, &target).name);
                self.places.insert(target, Place::Folder(local));
            }
        }
        Ok(())
    }

    fn missing(&self) -> Vec<Defect> {
        let mut defects = Vec::new();
        for (folder, chart) in self.charts.iter().filter(|(_, chart)| !chart.dependencies.is_empty()) {
            let children = self.children(folder);
            let name = |child: &String| self.charts.get(child).map(|one| &*one.name);
            let vendored: BTreeSet<&str> = children.iter().filter_map(name).collect();
            for dependency in chart.dependencies.iter().filter(|one| !vendored.contains(&*one.name)) {
                let name = &dependency.name;
                let message = format!(
                    "dependency {name} is not in charts/, and charts are not fetched while rendering; run \
                     `helm dependency build` and commit charts/"
                );
                defects.push(self.defect(&chart.file, dependency.line, message));
            }
        }
        defects
    }
}

/// Reads what a chart says of itself, as far as it can be read; Helm says what is wrong with it.
fn declared(files: &Files, folder: &str) -> Declared {
    let read = |name: &str| {
        let path = join(folder, name);
        let document = yaml::read(files.get(&path)?).ok()?.into_iter().next()?;
        Some((path, document.root))
    };
    let Some((path, root)) = read("Chart.yaml") else { return Declared::default() };
    let name = root.get("name").and_then(Node::text).unwrap_or_default().to_owned();
    // Charts of the first format have their dependencies beside them.
    let (file, dependencies) = match root.get("dependencies") {
        None => read("requirements.yaml").map_or((path, Vec::new()), |(path, root)| (path, dependencies(&root))),
        Some(_) => (path, dependencies(&root)),
    };
    Declared { name, file, dependencies }
}

fn dependencies(root: &Node) -> Vec<Dependency> {
    let Some(Data::List(items)) = root.get("dependencies").map(|node| &node.data) else { return Vec::new() };
    let text = |node: &Node, field| node.get(field).and_then(Node::text).map(ToOwned::to_owned);
    let one = |node: &Node| {
        let (alias, repository) = (text(node, "alias"), text(node, "repository").unwrap_or_default());
        Some(Dependency { name: text(node, "name")?, alias, repository, line: node.line })
    };
    items.iter().filter_map(one).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> Files {
        list.iter().map(|(path, text)| ((*path).to_owned(), Arc::from(text.as_bytes()))).collect()
    }

    fn chart(list: &[(&str, &str)]) -> Result<Chart, Vec<Defect>> {
        let source = files(list);
        let own = below(&source, "app").map(|(path, bytes)| (path.to_owned(), bytes.clone())).collect();
        Chart::of(Place::Folder("app".into()), own, &source)
    }

    #[test]
    fn subcharts_are_found_by_name_and_alias() {
        let chart = chart(&[
            ("app/Chart.yaml", "name: app\ndependencies:\n- {name: redis, alias: cache}\n"),
            ("app/charts/folder/Chart.yaml", "name: redis\n"),
            ("app/charts/folder/templates/a.yaml", "x"),
            ("app/templates/NOTES.txt", "x"),
        ])
        .unwrap();
        assert_eq!(chart.path_of("app/charts/cache/templates/a.yaml"), "charts/folder/templates/a.yaml");
        assert_eq!(chart.path_of("app/templates/b.yaml"), "templates/b.yaml");
        assert_eq!(chart.templates().map(|(path, _)| path).collect::<Vec<_>>(), ["charts/folder/templates/a.yaml"]);
    }

    #[test]
    fn folders_of_the_same_source_are_dependencies() {
        let chart = chart(&[
            ("app/Chart.yaml", "name: app\ndependencies:\n- {name: lib, repository: 'file://../lib'}\n"),
            ("lib/Chart.yaml", "name: lib\n"),
            ("lib/templates/a.yaml", "x"),
        ])
        .unwrap();
        assert!(chart.files.contains_key("charts/lib/templates/a.yaml"));
        let defect = chart.defect("charts/lib/templates/a.yaml", 3, "x".into());
        assert_eq!((defect.file.as_str(), defect.line), ("lib/templates/a.yaml", 3));
    }

    #[test]
    fn dependencies_that_are_not_there_have_a_line() {
        let defects = chart(&[
            ("app/Chart.yaml", "name: app\ndependencies:\n- name: a\n- name: redis\n"),
            ("app/charts/a/Chart.yaml", "name: a"),
        ])
        .unwrap_err();
        assert_eq!((defects[0].file.as_str(), defects[0].line, defects.len()), ("app/Chart.yaml", 4, 1));
        assert!(defects[0].message.contains("redis"), "{defects:?}");
    }

    #[test]
    fn dependencies_together_have_one_limit() {
        let many: String = (0..20).map(|at| format!("- {{name: lib{at}, repository: 'file://../lib'}}\n")).collect();
        let mut list = vec![("app/Chart.yaml".to_owned(), format!("name: app\ndependencies:\n{many}"))];
        list.push(("lib/Chart.yaml".to_owned(), "name: lib".to_owned()));
        list.extend((0..1_000).map(|at| (format!("lib/f{at}"), String::new())));
        let list: Vec<(&str, &str)> = list.iter().map(|(path, text)| (&**path, &**text)).collect();
        let defects = chart(&list).unwrap_err();
        // The tenth of them is too much, and what follows is not even copied.
        assert_eq!((&*defects[0].file, defects[0].line), ("app/Chart.yaml", 12), "{defects:?}");
        assert!(defects[0].message.contains("is more than 10000 files"), "{defects:?}");
    }

    #[test]
    fn charts_that_hold_each_other_end() {
        let defects = chart(&[
            ("app/Chart.yaml", "name: app\ndependencies:\n- {name: b, repository: 'file://../b'}\n"),
            ("b/Chart.yaml", "name: b\ndependencies:\n- {name: app, repository: 'file://../app'}\n"),
        ])
        .unwrap_err();
        assert!(defects.iter().any(|one| one.message.contains("deep")), "{defects:?}");
    }
}
