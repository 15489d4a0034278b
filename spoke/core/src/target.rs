//! What a bundle wants in this cluster: each object of its variant, bound, with its identity, stage
//! and digest. The bound objects themselves are not kept.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::bind;
use proto_model::report::{ObjectProblem, cut};
use proto_model::{Digest, GroupKind, Identity, Object, Variables, Wishes, object};
use serde_json::Value as Json;

use crate::order::{self, Stage};
use crate::pack::Content;
use crate::port::Kind;
use crate::scaler;
use crate::secret;

/// Scopes of kinds as far as they are known: `true` for kinds that live in namespaces.
pub type Scopes = BTreeMap<Kind, bool>;

/// One object that a bundle wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its place in the list of bound objects.
    pub index: usize,
    /// API version.
    pub version: String,
    /// Stage.
    pub stage: Stage,
    /// The author's number in the stage.
    pub order: i32,
    /// Digest of the bound object without marks.
    pub content: Digest,
    /// What its annotations ask for.
    pub wishes: Wishes,
    /// Services that must have endpoints before it is made: those that a webhook configuration calls, as namespace and
    /// name.
    pub calls: Vec<(String, String)>,
}

/// What a bundle wants, as far as the kinds of its objects are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// By identity.
    pub targets: BTreeMap<Identity, Target>,
    /// Kinds whose scope is not known, with one object of each.
    pub unknown: BTreeMap<Kind, Identity>,
    /// Namespaces that objects were put into by the bundle's settings, and that it does not bring.
    pub namespace: Option<String>,
    /// Namespaces that the bundle brings.
    pub brings: BTreeSet<String>,
    /// Kinds that the bundle defines, with the definition of each.
    pub defines: BTreeMap<GroupKind, Identity>,
    /// What its autoscalers scale.
    pub scales: BTreeSet<Identity>,
}

/// Binds all objects of a bundle, in the order of its variant, with namespaces filled in, the
/// digests of what pods use stamped on their templates, and plain text of Secrets encoded.
///
/// # Errors
/// A problem for each object that does not bind.
pub fn bind_all(content: &Content, variables: &Variables, scopes: &Scopes) -> Result<Vec<Json>, Vec<ObjectProblem>> {
    let variant = content.variant();
    let mut bound = Vec::with_capacity(variant.objects.len());
    let mut was_bound = Vec::with_capacity(variant.objects.len());
    let mut problems = Vec::new();
    for digest in &variant.objects {
        // A Content holds every body of its variant.
        let Some(body) = content.body(digest) else {
            continue;
        };
        let manifest = Object { digest: *digest, body: body.clone() }.manifest();
        match bind::bind(&manifest, variables, &variant.settings.binds) {
            Ok(object) => {
                was_bound.push(object != manifest);
                bound.push(object);
            }
            Err(error) => problems.push(ObjectProblem {
                object: object::identity(&manifest).ok(),
                is_final: true,
                message: cut(&error.to_string()),
            }),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let defined = defined_scopes(&bound);
    for manifest in &mut bound {
        if let Some(kind) = kind_of(manifest)
            && let Some(namespaced) = scope(&kind, scopes, &defined)
        {
            place(manifest, namespaced, variant.settings.namespace.as_deref());
        }
    }
    if !variant.settings.keeps_pods {
        bind::stamp(&mut bound, &was_bound);
    }
    bound.iter_mut().for_each(secret::encode);
    Ok(bound)
}

/// What a bundle wants, of its bound objects.
///
/// # Errors
/// A problem for each object that can't be placed, or stands in the way of another.
pub fn wanted(bound: &[Json], namespace: Option<&str>, scopes: &Scopes) -> Result<Wanted, Vec<ObjectProblem>> {
    let defined = defined_scopes(bound);
    let mut wanted = Wanted::default();
    let mut problems = Vec::new();
    let mut problem = |identity: Option<Identity>, message: String| {
        problems.push(ObjectProblem { object: identity, is_final: true, message: cut(&message) });
    };
    for (index, manifest) in bound.iter().enumerate() {
        let (identity, kind) = match (object::identity(manifest), kind_of(manifest)) {
            (Ok(identity), Some(kind)) => (identity, kind),
            (Err(error), _) => {
                problem(None, format!("object {index} {error} after binding"));
                continue;
            }
            _ => continue,
        };
        let order = match order::number(manifest) {
            Ok(order) => order,
            Err(message) => {
                problem(Some(identity), message);
                continue;
            }
        };
        if scope(&kind, scopes, &defined).is_none() {
            wanted.unknown.entry(kind).or_insert(identity);
            continue;
        }
        if order::is_definition(&identity.kind)
            && let Some((kind, _)) = defined_scope(manifest)
        {
            wanted.defines.insert(kind, identity.clone());
        }
        let wishes = match Wishes::read(manifest) {
            Ok(wishes) => wishes,
            Err(bad) => {
                problem(Some(identity), bad.to_string());
                continue;
            }
        };
        wanted.scales.extend(scaler::target(&identity, manifest));
        let target = Target {
            index,
            wishes,
            calls: order::called_services(&identity.kind, manifest),
            version: kind.version,
            stage: Stage::of(&identity.kind, order),
            order,
            content: Digest::of_json(manifest),
        };
        if wanted.targets.insert(identity.clone(), target).is_some() {
            problem(Some(identity), "is in the bundle twice once variables are bound".into());
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let namespaces = wanted.targets.keys().filter(|identity| identity.kind.is("", "Namespace"));
    wanted.brings = namespaces.map(|identity| identity.name.clone()).collect();
    wanted.namespace = namespace
        .filter(|name| !wanted.brings.contains(*name))
        .filter(|name| wanted.targets.keys().any(|identity| identity.namespace == *name))
        .map(str::to_owned);
    Ok(wanted)
}

/// Kind and version of a manifest.
fn kind_of(manifest: &Json) -> Option<Kind> {
    let api_version = manifest.get("apiVersion")?.as_str()?;
    let version = api_version.rsplit('/').next().unwrap_or(api_version).to_owned();
    Some(Kind { kind: GroupKind::of(api_version, manifest.get("kind")?.as_str()?), version })
}

/// Scopes of the kinds that the bundle itself defines: known before the cluster knows them.
fn defined_scopes(bound: &[Json]) -> BTreeMap<GroupKind, bool> {
    bound.iter().filter_map(defined_scope).collect()
}

fn defined_scope(manifest: &Json) -> Option<(GroupKind, bool)> {
    if !order::is_definition(&kind_of(manifest)?.kind) {
        return None;
    }
    let text = |pointer| manifest.pointer(pointer).and_then(Json::as_str);
    let kind = GroupKind { group: text("/spec/group")?.to_owned(), kind: text("/spec/names/kind")?.to_owned() };
    Some((kind, text("/spec/scope")? == "Namespaced"))
}

fn scope(kind: &Kind, scopes: &Scopes, defined: &BTreeMap<GroupKind, bool>) -> Option<bool> {
    match defined.get(&kind.kind) {
        Some(namespaced) => Some(*namespaced),
        None if kind.kind.is_shared() => Some(false),
        None => scopes.get(kind).copied(),
    }
}

/// Gives a namespaced object without namespace the bundle's; takes it from any other.
fn place(manifest: &mut Json, namespaced: bool, namespace: Option<&str>) {
    let Some(metadata) = manifest.get_mut("metadata").and_then(Json::as_object_mut) else {
        return;
    };
    let has_one = metadata.get("namespace").and_then(Json::as_str).is_some_and(|name| !name.is_empty());
    if !namespaced {
        metadata.remove("namespace");
    } else if !has_one {
        metadata.insert("namespace".into(), namespace.unwrap_or("default").into());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::Arc;

    use proto_model::{Settings, Variant};
    use serde_json::json;

    use super::*;

    fn content(manifests: &[Json], namespace: Option<&str>) -> Content {
        let objects: Vec<Object> = manifests.iter().map(|one| Object::new(one).unwrap()).collect();
        let variant = Variant {
            settings: Settings { namespace: namespace.map(Into::into), ..Settings::default() },
            objects: objects.iter().map(|object| object.digest).collect(),
        };
        let body = |digest: &Digest| objects.iter().find(|one| one.digest == *digest).map(|one| Arc::clone(&one.body));
        Content::new(variant, body).unwrap()
    }

    fn manifest(api_version: &str, kind: &str, name: &str) -> Json {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}})
    }

    fn scopes() -> Scopes {
        let kind = |api: &str, kind: &str| Kind { kind: GroupKind::of(api, kind), version: "v1".into() };
        BTreeMap::from([(kind("v1", "ConfigMap"), true), (kind("rbac.authorization.k8s.io/v1", "ClusterRole"), false)])
    }

    fn plan(manifests: &[Json], namespace: Option<&str>) -> Result<Wanted, Vec<ObjectProblem>> {
        let bound = bind_all(&content(manifests, namespace), &Variables::default(), &scopes())?;
        wanted(&bound, namespace, &scopes())
    }

    #[test]
    fn namespaces_are_filled_in_and_taken_away() {
        let mut role = manifest("rbac.authorization.k8s.io/v1", "ClusterRole", "r");
        role["metadata"]["namespace"] = "odd".into();
        let manifests = [manifest("v1", "ConfigMap", "c"), role];
        let found = plan(&manifests, Some("shop")).unwrap();
        let names: Vec<String> = found.targets.keys().map(ToString::to_string).collect();
        assert_eq!(names, ["ConfigMap shop/c", "ClusterRole.rbac.authorization.k8s.io r"]);
        assert_eq!(found.namespace.as_deref(), Some("shop"));
        let found = plan(&manifests, None).unwrap();
        assert!(found.targets.keys().any(|identity| identity.namespace == "default"));
        assert_eq!(found.namespace, None);
    }

    #[test]
    fn a_namespace_that_the_bundle_brings_is_not_made_beforehand() {
        let manifests = [manifest("v1", "ConfigMap", "c"), manifest("v1", "Namespace", "shop")];
        let found = plan(&manifests, Some("shop")).unwrap();
        assert_eq!(found.namespace, None);
        assert_eq!(found.brings, BTreeSet::from(["shop".to_owned()]));
    }

    #[test]
    fn kinds_are_known_from_the_bundles_own_definitions() {
        let widget = manifest("example.com/v1", "Widget", "w");
        let found = plan(std::slice::from_ref(&widget), None).unwrap();
        assert_eq!(found.unknown.len(), 1);
        assert!(found.targets.is_empty());
        let mut definition = manifest("apiextensions.k8s.io/v1", "CustomResourceDefinition", "widgets.example.com");
        definition["spec"] = json!({"group": "example.com", "names": {"kind": "Widget"}, "scope": "Cluster"});
        let found = plan(&[widget, definition], None).unwrap();
        assert!(found.unknown.is_empty());
        assert_eq!(found.defines.len(), 1);
        assert!(found.targets.keys().any(|identity| identity.to_string() == "Widget.example.com w"));
    }

    #[test]
    fn text_of_a_secret_is_bound_and_then_encoded() {
        let mut secret = manifest("v1", "Secret", "s");
        secret["stringData"] = json!({"key": "store ${store}", "other": "${other}"});
        let binds = BTreeMap::from([("store".to_owned(), proto_model::variant::Binds::default())]);
        let object = Object::new(&secret).unwrap();
        let variant = Variant { settings: Settings { binds, ..Settings::default() }, objects: vec![object.digest] };
        let content = Content::new(variant, |_| Some(Arc::clone(&object.body))).unwrap();
        let value = proto_model::variable::Value::Number("142".into());
        let bound = bind_all(&content, &Variables::from_iter([("store".to_owned(), value)]), &scopes()).unwrap();
        assert_eq!(bound[0]["data"], json!({"key": "c3RvcmUgMTQy", "other": "JHtvdGhlcn0="}));
        assert_eq!(bound[0].get("stringData"), None);
    }

    #[test]
    fn two_objects_under_one_identity_are_a_problem() {
        let mut other = manifest("v1", "ConfigMap", "c");
        other["metadata"]["namespace"] = "default".into();
        let problems = plan(&[manifest("v1", "ConfigMap", "c"), other], None).unwrap_err();
        assert!(problems[0].message.contains("twice"), "{problems:?}");
    }
}
