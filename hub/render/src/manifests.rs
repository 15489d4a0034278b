//! Manifests mode: the files of a bundle are its objects.

use std::collections::BTreeMap;
use std::sync::Arc;

use hub_core::catalog::Defect;
use hub_core::release::meta::{MetaError, ObjectMeta};
use hub_core::release::scope::{self, Scope};
use hub_core::release::{RenderInput, VariantMeta};
use hub_core::yaml::Node;
use proto_model::object::identity;
use proto_model::{GroupKind, Identity, Object, Variant, limits};
use serde_json::Value as Json;

use crate::content;
use crate::document::{self, Placed};
use crate::{hooks, refuse};

/// What a rendering gives.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// The list of objects with their settings.
    pub variant: Variant,
    /// The bodies, in the order of the list.
    pub objects: Vec<Object>,
    /// What can be told of them without their bodies.
    pub meta: VariantMeta,
    /// What is worth knowing and holds nothing, such as tests that were left out.
    pub notes: Vec<Defect>,
}

/// Renders a bundle whose files are its objects; `read` gives the content of a file.
///
/// # Errors
/// All that is wrong with the bundle's files; the bundle is held.
pub fn render(input: &RenderInput, read: impl Fn(&str) -> Option<Arc<[u8]>>) -> Result<Rendered, Vec<Defect>> {
    let mut defects = Vec::new();
    let placed = placed(input, read, &mut defects);
    finish(input, placed, defects)
}

/// What all ways of rendering end with: from what was read to what is kept.
pub(crate) fn finish(
    input: &RenderInput,
    placed: Vec<Placed>,
    mut defects: Vec<Defect>,
) -> Result<Rendered, Vec<Defect>> {
    let hooks::Mapped { placed, mut notes } = hooks::map(placed, &mut defects);
    shorten(&mut notes);
    let placed = within_limits(input, placed, &mut defects);
    let scopes = Scopes::of(&placed);
    let (mut objects, mut metas) = (Vec::new(), Vec::new());
    let mut seen = BTreeMap::new();
    for one in &placed {
        let Ok(Identity { kind, .. }) = identity(&one.node.to_json()) else {
            continue;
        };
        refuse::look(one, &kind, &mut defects);
        let manifest = clean(one.node.to_json(), &kind, input.settings.namespace.as_deref(), &scopes);
        note_duplicate(one, &manifest, &mut seen, &mut defects);
        match Object::new(&manifest) {
            Ok(object) => match ObjectMeta::of(&input.settings, &object) {
                Ok(meta) => {
                    metas.push(meta);
                    objects.push(object);
                }
                Err(error) => defects.push(cannot_bind(one, &error)),
            },
            Err(bad) => defects.push(one.defect([], format!("{} {bad}", one.words()))),
        }
    }
    if !defects.is_empty() {
        return Err(held(input, defects));
    }
    let meta = VariantMeta::new(&input.settings, metas);
    let variant = meta.variant(&input.settings, Vec::new());
    let notes = notes.into_iter().take(limits::DEFECTS_MAX).map(Defect::shown).collect();
    Ok(Rendered { variant, objects, meta, notes })
}

/// What is wrong, as the bundle shows it.
pub(crate) fn held(input: &RenderInput, mut defects: Vec<Defect>) -> Vec<Defect> {
    shorten(&mut defects);
    defects.into_iter().map(|defect| defect.shown().holding(&input.bundle)).collect()
}

/// All manifests of the bundle's files, in the order of the files, within the limits.
pub(crate) fn placed(
    input: &RenderInput,
    read: impl Fn(&str) -> Option<Arc<[u8]>>,
    defects: &mut Vec<Defect>,
) -> Vec<Placed> {
    let mut placed = Vec::new();
    for (path, bytes) in content::within_limits(input, read, defects) {
        match document::read(path, &bytes) {
            Ok(found) => placed.extend(found),
            Err(found) => defects.extend(found),
        }
    }
    placed
}

fn within_limits(input: &RenderInput, placed: Vec<Placed>, defects: &mut Vec<Defect>) -> Vec<Placed> {
    let (found, max) = (placed.len(), limits::VARIANT_OBJECTS_MAX);
    if found <= max {
        return placed;
    }
    defects.push(at_file(&input.path, format!("the bundle has {found} objects, more than {max}; split it")));
    Vec::new()
}

pub(crate) fn too_many_bytes() -> String {
    format!("the files of the bundle are more than {} bytes; split it", limits::BUNDLE_BYTES_MAX)
}

/// Leaves so many that they can be read, and counts the rest.
fn shorten(defects: &mut Vec<Defect>) {
    let more = defects.len().saturating_sub(limits::DEFECTS_PER_BUNDLE_MAX);
    defects.truncate(limits::DEFECTS_PER_BUNDLE_MAX);
    if more > 0
        && let Some(last) = defects.last_mut()
    {
        last.message.push_str(&format!(" (and {more} more in this bundle)"));
    }
}

fn cannot_bind(one: &Placed, error: &MetaError) -> Defect {
    let pointer = match error {
        MetaError::Bind(error) => error.pointer.as_str(),
        MetaError::Object { .. } => "",
    };
    let steps: Vec<String> =
        pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
    one.defect(steps.iter().map(String::as_str), error.to_string())
}

pub(crate) fn too_large() -> String {
    format!("is larger than {} bytes; exclude it, or split it", limits::FILE_BYTES_MAX)
}

pub(crate) fn at_file(file: &str, message: impl Into<String>) -> Defect {
    Defect { file: file.to_owned(), line: 0, message: message.into(), bundle: None, note: false }
}

fn note_duplicate(
    one: &Placed,
    manifest: &Json,
    seen: &mut BTreeMap<Identity, (String, u32)>,
    defects: &mut Vec<Defect>,
) {
    let Ok(identity) = identity(manifest) else {
        return;
    };
    let words = identity.to_string();
    if let Some((file, line)) = seen.insert(identity, (one.file.clone(), one.line)) {
        // What a program rendered has a file, and no line in it.
        let place = if line == 0 { file } else { format!("{file}:{line}") };
        defects.push(one.defect([], format!("{words} stands in {place} already")));
    }
}

/// Scopes of kinds: built-in ones, and those of the bundle's own CRDs. Others are left to the
/// spoke, which asks its API server.
struct Scopes(BTreeMap<GroupKind, Scope>);

impl Scopes {
    fn of(placed: &[Placed]) -> Self {
        let crds = placed.iter().filter_map(|one| {
            let text = |path: &[&str]| one.node.at(path.iter().copied()).and_then(Node::text);
            if text(&["kind"]) != Some("CustomResourceDefinition") {
                return None;
            }
            let kind = GroupKind {
                group: text(&["spec", "group"])?.to_owned(),
                kind: text(&["spec", "names", "kind"])?.to_owned(),
            };
            let scope = match text(&["spec", "scope"])? {
                "Cluster" => Scope::Cluster,
                _ => Scope::Namespaced,
            };
            Some((kind, scope))
        });
        Self(crds.collect())
    }

    fn scope(&self, kind: &GroupKind) -> Option<Scope> {
        scope::scope(kind).or_else(|| self.0.get(kind).copied())
    }
}

/// What the API server writes itself, and no manifest should say.
const SERVER_FIELDS: [&str; 7] =
    ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink", "deletionTimestamp"];

/// Takes away what belongs to the server and its controllers, and puts the object into its namespace
/// where its scope is known.
fn clean(mut manifest: Json, kind: &GroupKind, namespace: Option<&str>, scopes: &Scopes) -> Json {
    if let Some(map) = manifest.as_object_mut() {
        map.remove("status");
        // Kubernetes fills these in, whatever is written here: mostly `rules: []`, which would take
        // them away again at each apply.
        if kind.is("rbac.authorization.k8s.io", "ClusterRole") && map.contains_key("aggregationRule") {
            map.remove("rules");
        }
    }
    let Some(metadata) = manifest.get_mut("metadata").and_then(Json::as_object_mut) else {
        return manifest;
    };
    for field in SERVER_FIELDS {
        metadata.remove(field);
    }
    metadata.retain(|_, value| !value.is_null());
    // What templates leave without a value is an empty text to the API server.
    for field in ["labels", "annotations"] {
        let entries = metadata.get_mut(field).and_then(Json::as_object_mut).into_iter().flatten();
        entries.filter(|(_, value)| value.is_null()).for_each(|(_, value)| *value = "".into());
    }
    let missing = metadata.get("namespace").is_none_or(|one| one == "");
    match scopes.scope(kind) {
        Some(Scope::Cluster) => {
            metadata.remove("namespace");
        }
        // Where nothing names one, `kubectl apply` takes this one too.
        Some(Scope::Namespaced) if missing => {
            metadata.insert("namespace".into(), namespace.unwrap_or("default").into());
        }
        Some(Scope::Namespaced) => {}
        None if missing => {
            metadata.remove("namespace");
        }
        None => {}
    }
    manifest
}
