//! Which files each bundle is rendered from: the key of its rendering.

use std::collections::{BTreeMap, BTreeSet};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use proto_model::variant::{Binds, Dependency};
use proto_model::{Digest, Settings, limits};

use super::input::{InputFile, RENDERER_VERSION, RenderInput};
use crate::catalog::spec::BundleSpec;
use crate::catalog::{Catalog, Declared, Defect, directory, full_name};
use crate::snapshot::{Mode, Snapshot, is_declaration};

/// What is to be rendered of one snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// By full name of the bundle.
    pub inputs: BTreeMap<String, RenderInput>,
    /// Bundles that cannot be rendered, and why.
    pub held: BTreeMap<String, String>,
    /// What is wrong with their files.
    pub defects: Vec<Defect>,
}

/// What is to be rendered of a snapshot: one input for each bundle that is not held.
#[must_use]
pub fn wanted(catalog: &Catalog, snapshot: &Snapshot) -> Wanted {
    let mut borders: BTreeSet<String> = catalog.boundaries.clone();
    borders.extend(catalog.bundles.values().filter_map(|item| directory(&item.file, &item.spec.path)));
    let mut wanted = Wanted::default();
    for (full, item) in &catalog.bundles {
        if catalog.held.contains_key(full) {
            continue;
        }
        let (result, notes) = input(full, item, snapshot, &borders);
        wanted.defects.extend(notes);
        match result {
            Ok(input) => {
                wanted.inputs.insert(full.clone(), input);
            }
            Err(defects) => {
                if let Some(first) = defects.first() {
                    let why = format!("{}: {}", first.file, first.message);
                    wanted.held.insert(full.clone(), why);
                }
                let defects = defects.into_iter().map(|defect| defect.holding(full));
                wanted.defects.extend(defects);
            }
        }
    }
    wanted
}

/// The input of one bundle, or what is wrong with its files; and notes about them.
fn input(
    full: &str,
    item: &Declared<BundleSpec>,
    snapshot: &Snapshot,
    borders: &BTreeSet<String>,
) -> (Result<RenderInput, Vec<Defect>>, Vec<Defect>) {
    let found = match Found::of(item, snapshot, borders) {
        Ok(found) => found,
        Err(defect) => return (Err(vec![defect]), Vec::new()),
    };
    let Found { path, files, mut defects, notes } = found;
    if !defects.is_empty() {
        defects.truncate(limits::DEFECTS_MAX);
        return (Err(defects), notes);
    }
    let settings = settings(item);
    let digest = address(&path, &files, &settings);
    let bundle = full.into();
    (Ok(RenderInput { digest, bundle, path, files, settings, ..RenderInput::default() }), notes)
}

/// What lies below a bundle's path.
struct Found {
    path: String,
    files: Vec<InputFile>,
    defects: Vec<Defect>,
    notes: Vec<Defect>,
}

impl Found {
    fn of(item: &Declared<BundleSpec>, snapshot: &Snapshot, borders: &BTreeSet<String>) -> Result<Self, Defect> {
        let path = directory(&item.file, &item.spec.path)
            .ok_or_else(|| item.defect("spec.path", "path leads out of the source"))?;
        let globs =
            |globs: &[String], field: &str| globset(globs).map_err(|error| item.defect(field, error.to_string()));
        let include = globs(&item.spec.include, "spec.include")?;
        let exclude = globs(&item.spec.exclude, "spec.exclude")?;
        let render = item.spec.render.as_ref();
        let plain = render.is_some_and(|render| render.manifests.is_some());
        let (files, defects, notes) = (Vec::new(), Vec::new(), Vec::new());
        let mut found = Self { path, files, defects, notes };
        for (file, entry) in below(snapshot, &found.path) {
            let Some(relative) = relative(file, &found.path) else { continue };
            let beyond = is_beyond(file, &found.path, borders);
            if beyond || is_declaration(file) || exclude.is_match(relative) {
                continue;
            }
            let defect = |message: String| {
                let (file, line, bundle) = (file.clone(), 0, None);
                Defect { file, line, message, bundle, note: false }
            };
            match (entry.mode, renderer(relative).filter(|_| !plain)) {
                (Mode::Submodule, _) => {
                    found.defects.push(defect("is a submodule, which is not read; exclude it".into()));
                }
                (Mode::Unnamed, _) => {
                    found.defects.push(defect(UNNAMED.into()));
                }
                (_, Some(message)) => found.defects.push(defect(message)),
                (Mode::Symlink, None) => {
                    let link = defect("is a symbolic link, which is not followed; exclude it".into());
                    if include.is_match(relative) {
                        found.defects.push(link);
                    } else {
                        // It may stand for a folder with manifests, or for nothing of the kind.
                        found.notes.push(link.as_note());
                    }
                }
                (Mode::Regular | Mode::Executable, None) if include.is_match(relative) => {
                    found.files.push(InputFile { path: file.clone(), id: entry.id.clone() });
                }
                (Mode::Regular | Mode::Executable, None) => {}
            }
        }
        Ok(found)
    }
}

/// What is wrong with an entry whose name is none.
const UNNAMED: &str =
    "its name is no UTF-8 text, has control characters, is too long, or no name for a file; rename or exclude it";

/// What another renderer than manifests mode would take.
fn renderer(relative: &str) -> Option<String> {
    let name = match relative {
        "kustomization.yaml" | "kustomization.yml" | "Kustomization" => "Kustomize",
        "Chart.yaml" => "Helm",
        _ => return None,
    };
    Some(format!(
        "is rendered by {name}, which is not carried out yet; exclude it, or set \
         `render: {{manifests: {{}}}}`"
    ))
}

fn below<'a>(snapshot: &'a Snapshot, path: &str) -> impl Iterator<Item = (&'a String, &'a crate::snapshot::File)> {
    let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
    let end = prefix.clone();
    snapshot.files.range(prefix..).take_while(move |(file, _)| file.starts_with(&end))
}

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

/// What of a bundle's declaration shapes what a spoke does.
fn settings(item: &Declared<BundleSpec>) -> Settings {
    let spec = &item.spec;
    let binds = spec.variables.iter();
    let depends_on =
        spec.depends_on.iter().map(|on| Dependency { bundle: full_name(&item.source, &on.bundle), until: on.until });
    Settings {
        namespace: spec.namespace.clone(),
        binds: binds.map(|(name, one)| (name.clone(), Binds { identity: one.identity })).collect(),
        depends_on: depends_on.collect(),
        drift: spec.drift,
    }
}

fn address(path: &str, files: &[InputFile], settings: &Settings) -> Digest {
    // Writing plain maps to memory has no way to fail.
    let settings = serde_json::to_vec(settings).unwrap_or_default();
    let version = RENDERER_VERSION.to_be_bytes();
    let head = [&b"manifests"[..], &version, &settings, path.as_bytes()];
    let files = files.iter().flat_map(|file| [file.path.as_bytes(), file.id.as_bytes()]);
    Digest::of_parts(head.into_iter().chain(files))
}
