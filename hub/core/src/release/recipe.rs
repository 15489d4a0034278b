//! What one bundle is rendered from, whichever clusters there are: the ways of turning its files
//! into objects, and what overrides add.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use proto_model::{Settings, limits};
use serde_json::{Map, Value as Json};

use super::chart;
use super::early::{self, Listed, Need};
use super::input::{Chart, Helm, How, InputFile};
use super::kustomization;
use super::lock::{LOCK_FILE, Lock, Origin};
use super::patch::{Patch, Room};
use super::tree::{Found, Reader, below, join};
use super::wanted::Rules;
use crate::catalog::spec::{BundleSpec, HelmSpec};
use crate::catalog::{Declared, Defect, directory};
use crate::snapshot::{Mode, Snapshot, is_declaration};
use crate::yaml;

/// What one bundle is rendered from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recipe {
    /// Full name of the bundle.
    pub bundle: String,
    /// Folder of the bundle, relative to the source's path; empty for its root.
    pub path: String,
    /// What shapes what spokes do.
    pub settings: Settings,
    /// Distinct ways of turning files into objects.
    pub(super) ways: Vec<Way>,
    /// The way of each target, in their order; where there are no targets, that of nobody.
    pub(super) targets: Vec<usize>,
    /// Patches for every cluster.
    pub(super) patches: Vec<Arc<Patch>>,
    /// What each override adds to a rendering, in their order.
    pub(super) extras: Vec<Extra>,
}

/// One way of turning files into objects.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Way {
    pub(super) how: How,
    pub(super) files: Vec<InputFile>,
    /// Variables that the rendering itself needs.
    pub(super) needs: BTreeSet<Need>,
}

/// What an override adds to a rendering.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Extra {
    pub(super) values: Map<String, Json>,
    pub(super) patches: Vec<Arc<Patch>>,
    pub(super) needs: BTreeSet<Need>,
}

impl Recipe {
    /// The files of all its ways.
    pub fn files(&self) -> impl Iterator<Item = &InputFile> {
        self.ways.iter().flat_map(|way| &way.files)
    }

    /// Whether there is nothing that objects could come from.
    #[must_use]
    pub fn is_without_files(&self) -> bool {
        self.ways.iter().all(|way| way.files.is_empty() && way.how == How::Manifests)
    }

    /// The variables that renderings need before they begin.
    pub fn early_names(&self) -> impl Iterator<Item = &str> {
        let needs = self.ways.iter().map(|way| &way.needs).chain(self.extras.iter().map(|extra| &extra.needs));
        needs.flatten().map(|need| &*need.name)
    }
}

/// What is found out about a bundle.
#[derive(Debug, Default)]
pub(super) struct Made {
    pub(super) recipe: Recipe,
    pub(super) asks: BTreeSet<String>,
    pub(super) defects: Vec<Defect>,
    pub(super) notes: Vec<Defect>,
    /// Paths that were looked at for its charts.
    pub(super) looked: usize,
}

/// What a rendering is worked out from.
#[derive(Clone, Copy)]
pub(super) struct Maker<'a> {
    pub(super) item: &'a Declared<BundleSpec>,
    pub(super) snapshot: &'a Snapshot,
    /// Folders where other bundles begin.
    pub(super) borders: &'a BTreeSet<String>,
    pub(super) rules: Rules<'a>,
}

impl Maker<'_> {
    /// The recipe of the bundle.
    pub(super) fn make(&self, settings: Settings) -> Made {
        let mut made = Made::default();
        let item = self.item;
        let Some(path) = directory(&item.file, &item.spec.path) else {
            made.defects.push(item.defect("spec.path", "path leads out of the source"));
            return made;
        };
        let listed = settings.binds.clone();
        made.recipe = Recipe { bundle: item.full_name(), path, settings, ..Recipe::default() };
        self.ways(&listed, &mut made);
        let mut room = Room::default();
        made.recipe.patches = self.patches("spec.patches", &item.spec.patches, &mut room, &mut made);
        for (at, over) in item.spec.overrides.iter().enumerate() {
            let field = format!("spec.overrides.{at}");
            let patches = self.patches(&format!("{field}.patches"), &over.patches, &mut room, &mut made);
            let needs = match early::needs(&Json::Object(over.values.clone()), &listed) {
                Ok(needs) => needs,
                Err(message) => {
                    made.defects.push(item.defect(&format!("{field}.values"), message));
                    BTreeSet::new()
                }
            };
            let is_helm = |way: &Way| matches!(way.how, How::Helm(_));
            if !over.values.is_empty() && !made.recipe.ways.iter().any(is_helm) && made.asks.is_empty() {
                let message = "the override has values for Helm, and no chart is rendered";
                made.defects.push(item.defect(&format!("{field}.values"), message));
            }
            made.recipe.extras.push(Extra { values: over.values.clone(), patches, needs });
        }
        // A bundle without anything of the kind is as one without overrides.
        if made.recipe.extras.iter().all(|extra| extra.values.is_empty() && extra.patches.is_empty()) {
            made.recipe.extras.clear();
        }
        made
    }

    /// The bundle's own way where a target takes it, and that of each target that has another.
    fn ways(&self, listed: &Listed, made: &mut Made) {
        let targets = &self.item.spec.targets;
        let own = targets.is_empty() || targets.iter().any(|target| target.kustomize.is_none());
        if own {
            let way = self.own_way(listed, made);
            made.recipe.ways.push(way);
        }
        for (at, target) in targets.iter().enumerate() {
            let Some(other) = &target.kustomize else {
                made.recipe.targets.push(0);
                continue;
            };
            let way = self.kustomize(&format!("spec.targets.{at}.kustomize"), &other.path, listed, made);
            let known = made.recipe.ways.iter().position(|known| *known == way);
            let place = known.unwrap_or_else(|| {
                made.recipe.ways.push(way);
                made.recipe.ways.len() - 1
            });
            made.recipe.targets.push(place);
        }
    }

    fn own_way(&self, listed: &Listed, made: &mut Made) -> Way {
        let path = made.recipe.path.clone();
        let render = self.item.spec.render.clone().unwrap_or_default();
        if let Some(kustomize) = &render.kustomize {
            return self.kustomize("spec.render.kustomize", &kustomize.path, listed, made);
        }
        if let Some(helm) = &render.helm {
            return self.helm(helm, listed, made);
        }
        if render.manifests.is_none() {
            let exclude = globset(&self.item.spec.exclude).unwrap_or_default();
            let stands = |name: &str| {
                !exclude.is_match(name) && join(&path, name).is_some_and(|path| self.snapshot.files.contains_key(&path))
            };
            if kustomization::NAMES.into_iter().any(stands) {
                return self.kustomize("spec.path", ".", listed, made);
            }
            if stands("Chart.yaml") {
                let plain = HelmSpec { chart: ".".into(), ..HelmSpec::default() };
                return self.helm(&plain, listed, made);
            }
        }
        self.manifests(made)
    }

    fn kustomize(&self, field: &str, folder: &str, listed: &Listed, made: &mut Made) -> Way {
        let Some(root) = join(&made.recipe.path, folder) else {
            made.defects.push(self.item.defect(field, format!("path {folder:?} leads out of the source")));
            return Way::default();
        };
        let closure = kustomization::closure(&root, self.snapshot, listed);
        made.asks.extend(closure.asks);
        // A kustomization that is missing altogether is named where it is asked for.
        let own = |defect: Defect| {
            if defect.file == root && defect.line == 0 { self.item.defect(field, defect.message) } else { defect }
        };
        made.defects.extend(closure.defects.into_iter().map(own));
        Way { how: How::Kustomize { root }, files: closure.files, needs: closure.needs }
    }

    fn helm(&self, spec: &HelmSpec, listed: &Listed, made: &mut Made) -> Way {
        let field = |name: &str| format!("spec.render.helm.{name}");
        let mut reader = Reader::new(self.snapshot);
        let mut needs = BTreeSet::new();
        let chart = match Origin::of(spec) {
            Err((name, message)) => {
                made.defects.push(self.item.defect(&field(name), message));
                Chart::default()
            }
            Ok(Some(origin)) if origin.is_of_this_machine() && !self.rules.is_local => {
                let place = if origin.repo.is_some() { "repo" } else { "oci" };
                let message = "a chart is taken from the hub's own machine only where the root source is a path of it";
                made.defects.push(self.item.defect(&field(place), message));
                Chart::default()
            }
            Ok(Some(origin)) => self.pinned(&origin, spec.credentials.as_ref(), &mut reader, made),
            Ok(None) => self.folder_chart(&spec.chart, &mut reader, made),
        };
        let mut values_files = Vec::new();
        for (at, file) in spec.values_files.iter().enumerate() {
            let target = join(&made.recipe.path, file);
            let found = target.as_deref().map_or(Found::Nothing, |target| reader.found(target));
            let Some(target) = target.filter(|_| found == Found::File) else {
                let message = format!("values file {file} does not exist below the source's path");
                made.defects.push(self.item.defect(&field(&format!("valuesFiles.{at}")), message));
                continue;
            };
            reader.take(&target);
            if !listed.is_empty()
                && let Some(bytes) = reader.content(&target)
            {
                match file_needs(&bytes, listed) {
                    Ok(found) => needs.extend(found),
                    Err((line, message)) => reader.defect(&target, line, &message),
                }
            }
            values_files.push(target);
        }
        match early::needs(&Json::Object(spec.values.clone()), listed) {
            Ok(found) => needs.extend(found),
            Err(message) => made.defects.push(self.item.defect(&field("values"), message)),
        }
        made.asks.append(&mut reader.asks);
        made.defects.append(&mut reader.defects);
        made.looked += reader.looked;
        let render = self.item.spec.render.clone().unwrap_or_default();
        let helm = Helm {
            chart,
            release: spec.release_name.clone().unwrap_or_else(|| self.item.name.clone()),
            values_files,
            values: if spec.values.is_empty() { Vec::new() } else { vec![spec.values.clone()] },
            lookup: spec.lookup,
            kube_version: render.kube_version.unwrap_or_else(|| self.rules.kube_version.to_owned()),
            api_versions: render.api_versions,
        };
        Way { how: How::Helm(Box::new(helm)), files: reader.files(), needs }
    }

    fn folder_chart(&self, folder: &str, reader: &mut Reader<'_>, made: &mut Made) -> Chart {
        let field = "spec.render.helm.chart";
        let Some(root) = join(&made.recipe.path, folder) else {
            made.defects.push(self.item.defect(field, format!("chart {folder:?} leads out of the source")));
            return Chart::default();
        };
        let has_chart = join(&root, "Chart.yaml").is_some_and(|file| reader.found(&file) == Found::File);
        if has_chart {
            chart::take(&root, reader);
        } else {
            let shown = if root.is_empty() { "." } else { &root };
            let message =
                format!("folder {shown} has no Chart.yaml; a chart from elsewhere needs repo or oci, and version");
            made.defects.push(self.item.defect(field, message));
        }
        Chart::Folder(root)
    }

    fn pinned(&self, origin: &Origin, credentials: Option<&String>, reader: &mut Reader<'_>, made: &mut Made) -> Chart {
        let field = "spec.render.helm.chart";
        let unpinned = || {
            let words = origin.words();
            self.item
                .defect(field, format!("{words} is not pinned in {LOCK_FILE}; run `drover lock` and commit the file"))
        };
        if reader.found(LOCK_FILE) != Found::File {
            made.defects.push(unpinned());
            return Chart::default();
        }
        let Some(bytes) = reader.content(LOCK_FILE) else { return Chart::default() };
        match Lock::read(&bytes) {
            Err((line, message)) => reader.defect(LOCK_FILE, line, &message),
            Ok(lock) => match lock.digest(origin) {
                None => made.defects.push(unpinned()),
                Some(digest) => {
                    let (origin, credentials) = (Box::new(origin.clone()), credentials.cloned());
                    return Chart::Archive { origin, credentials, digest };
                }
            },
        }
        Chart::default()
    }

    fn manifests(&self, made: &mut Made) -> Way {
        let mut way = Way::default();
        if let Some(why) = self.is_nowhere(&made.recipe.path) {
            made.defects.push(self.item.defect("spec.path", why));
            return way;
        }
        match Plain::of(self, &made.recipe.path) {
            Ok(plain) => {
                way.files = plain.files;
                made.defects.extend(plain.defects);
                made.notes.extend(plain.notes);
            }
            Err(defect) => made.defects.push(defect),
        }
        way
    }

    /// Why a path is no folder. Nothing lies below a path that is misspelled either, and that must not take away what
    /// runs.
    fn is_nowhere(&self, path: &str) -> Option<String> {
        let below = format!("{path}/");
        let files = &self.snapshot.files;
        let is_folder =
            path.is_empty() || files.range(below.clone()..).next().is_some_and(|(file, _)| file.starts_with(&below));
        if is_folder {
            return None;
        }
        Some(match files.get(path) {
            Some(file) if file.mode.is_file() => {
                format!("{path} is a file; path names its folder, and include the file")
            }
            Some(_) => format!("{path} is a symbolic link or a submodule, which is not read; name a folder"),
            None => format!("folder {path} does not exist; to let the bundle go, remove its declaration"),
        })
    }
}

/// What a file with values needs.
fn file_needs(bytes: &[u8], listed: &Listed) -> Result<BTreeSet<Need>, (u32, String)> {
    let documents = yaml::read(bytes).map_err(|error| (error.line, error.message))?;
    let mut needs = BTreeSet::new();
    for document in documents {
        needs.extend(early::needs(&document.root.to_json(), listed).map_err(|message| (document.line, message))?);
    }
    Ok(needs)
}

/// The manifests below a bundle's path.
struct Plain {
    files: Vec<InputFile>,
    defects: Vec<Defect>,
    notes: Vec<Defect>,
}

impl Plain {
    fn of(maker: &Maker<'_>, path: &str) -> Result<Self, Defect> {
        let item = maker.item;
        let globs =
            |globs: &[String], field: &str| globset(globs).map_err(|error| item.defect(field, error.to_string()));
        let include = globs(&item.spec.include, "spec.include")?;
        let exclude = globs(&item.spec.exclude, "spec.exclude")?;
        // The bundle's own patches are no manifests of it.
        let patch = |patch: &Json| join(path, patch.get("path")?.as_str()?);
        let all = item.spec.overrides.iter().flat_map(|one| &one.patches).chain(&item.spec.patches);
        let patches: BTreeSet<String> = all.filter_map(patch).collect();
        let (files, defects, notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut found = Self { files, defects, notes };
        for (file, entry) in below(maker.snapshot, path) {
            let Some(relative) = relative(file, path) else { continue };
            let beyond = is_beyond(file, path, maker.borders);
            if beyond || is_declaration(file) || exclude.is_match(relative) || patches.contains(file) {
                continue;
            }
            let defect = |message: &str| {
                let (file, line, bundle, message) = (file.clone(), 0, None, message.to_owned());
                Defect { file, line, message, bundle, note: false }
            };
            match entry.mode {
                Mode::Submodule => {
                    let message = "is a submodule, which is not read; exclude it";
                    let (file, line, message) = maker.snapshot.modules.place(file, message);
                    found.defects.push(Defect { file, line, message, bundle: None, note: false });
                }
                Mode::Unnamed => found.defects.push(defect(UNNAMED)),
                Mode::Symlink => {
                    let link = defect("is a symbolic link, which is not followed; exclude it");
                    if include.is_match(relative) {
                        found.defects.push(link);
                    } else {
                        // It may stand for a folder with manifests, or for nothing of the kind.
                        found.notes.push(link.as_note());
                    }
                }
                Mode::Regular | Mode::Executable if include.is_match(relative) => {
                    found.files.push(InputFile { path: file.clone(), id: entry.id.clone() });
                }
                Mode::Regular | Mode::Executable => {}
            }
        }
        found.defects.truncate(limits::DEFECTS_MAX);
        Ok(found)
    }
}

/// What is wrong with an entry whose name is none.
const UNNAMED: &str =
    "its name is no UTF-8 text, has control characters, is too long, or no name for a file; rename or exclude it";

fn relative<'a>(file: &'a str, path: &str) -> Option<&'a str> {
    if path.is_empty() { Some(file) } else { file.strip_prefix(path)?.strip_prefix('/') }
}

/// Whether another bundle's path begins on the way from `path` down to the file.
fn is_beyond(file: &str, path: &str, borders: &BTreeSet<String>) -> bool {
    let mut directory = file;
    while let Some((parent, _)) = directory.rsplit_once('/') {
        if parent == path {
            return false;
        }
        if borders.contains(parent) {
            return true;
        }
        directory = parent;
    }
    false
}

fn globset(globs: &[String]) -> Result<GlobSet, globset::Error> {
    let mut set = GlobSetBuilder::new();
    for glob in globs {
        set.add(GlobBuilder::new(glob).literal_separator(true).build()?);
    }
    set.build()
}

/// The values of needed variables in no cluster in particular: the bundle's defaults. `None` where
/// one has none.
pub(super) fn defaults(item: &Declared<BundleSpec>, needs: &BTreeSet<Need>) -> Option<proto_model::Variables> {
    let value = |need: &Need| {
        let spec = item.spec.variables.get(&need.name)?;
        Some((need.name.clone(), spec.default.as_ref()?.0.clone()))
    };
    needs.iter().map(value).collect::<Option<BTreeMap<_, _>>>().map(proto_model::Variables)
}
