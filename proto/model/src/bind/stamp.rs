//! Pods restart when what they read was bound to something else.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use super::kind_of;
use crate::Digest;
use crate::digest::canonical;

/// Annotation of a pod template: a digest over the bound ConfigMaps and Secrets that its pods use.
pub const STAMP_ANNOTATION: &str = "drover.dev/bound";

// Kind (ConfigMap or Secret), namespace, name.
type Key = (&'static str, String, String);

/// Gives the pod template of each Deployment, StatefulSet and DaemonSet that uses a bound
/// ConfigMap or Secret of its namespace the annotation [`STAMP_ANNOTATION`].
///
/// `objects` are all objects of one bundle after [`super::bind`], with their namespaces filled in.
/// `bound` says for each of them whether something was bound in it (it differs from its manifest
/// before binding); where it is shorter, the rest were not. Content that nothing was bound in is
/// left out: it has the same digest everywhere, and restarting its pods is not asked for. Jobs read
/// what they need when they run; their templates cannot change.
pub fn stamp(objects: &mut [Json], bound: &[bool]) {
    let digests: BTreeMap<Key, Digest> = objects
        .iter()
        .zip(bound)
        .filter(|(_, bound)| **bound)
        .filter_map(|(object, _)| Some((key(object)?, content(object))))
        .collect();
    if digests.is_empty() {
        return;
    }
    for object in objects {
        let used: BTreeSet<Key> = uses(object).into_iter().collect();
        let parts: Vec<Vec<u8>> = used
            .iter()
            .filter_map(|key| Some((key, digests.get(key)?)))
            .map(|((kind, _, name), digest)| format!("{kind}/{name}/{digest}").into_bytes())
            .collect();
        if !parts.is_empty() {
            let digest = Digest::of_parts(parts.iter().map(Vec::as_slice));
            annotate(object, &digest.short());
        }
    }
}

fn namespace(object: &Json) -> &str {
    object.pointer("/metadata/namespace").and_then(Json::as_str).unwrap_or_default()
}

fn key(object: &Json) -> Option<Key> {
    let kind = kind_of(object);
    let word = ["ConfigMap", "Secret"].into_iter().find(|word| kind.is("", word))?;
    let name = object.pointer("/metadata/name")?.as_str()?;
    Some((word, namespace(object).to_owned(), name.to_owned()))
}

// Only what pods can read: a new label restarts nothing.
fn content(object: &Json) -> Digest {
    let parts: Vec<Vec<u8>> = ["data", "binaryData", "stringData"]
        .iter()
        .map(|field| object.get(field).map(canonical).unwrap_or_default())
        .collect();
    Digest::of_parts(parts.iter().map(Vec::as_slice))
}

fn is_workload(object: &Json) -> bool {
    let kind = kind_of(object);
    ["Deployment", "StatefulSet", "DaemonSet"].iter().any(|word| kind.is("apps", word))
}

fn list<'a>(value: &'a Json, field: &str) -> impl Iterator<Item = &'a Json> {
    value.get(field).and_then(Json::as_array).into_iter().flatten()
}

// The ConfigMaps and Secrets that the pods of a workload read.
fn uses(object: &Json) -> Vec<Key> {
    let mut found = Vec::new();
    let Some(pod) = object.pointer("/spec/template/spec").filter(|_| is_workload(object)) else {
        return found;
    };
    let mut add = |kind: &'static str, from: &Json, pointer: &str| {
        if let Some(name) = from.pointer(pointer).and_then(Json::as_str) {
            found.push((kind, namespace(object).to_owned(), name.to_owned()));
        }
    };
    for volume in list(pod, "volumes") {
        add("ConfigMap", volume, "/configMap/name");
        add("Secret", volume, "/secret/secretName");
        for source in volume.get("projected").into_iter().flat_map(|it| list(it, "sources")) {
            add("ConfigMap", source, "/configMap/name");
            add("Secret", source, "/secret/name");
        }
    }
    for container in list(pod, "containers").chain(list(pod, "initContainers")) {
        for from in list(container, "envFrom") {
            add("ConfigMap", from, "/configMapRef/name");
            add("Secret", from, "/secretRef/name");
        }
        for env in list(container, "env") {
            add("ConfigMap", env, "/valueFrom/configMapKeyRef/name");
            add("Secret", env, "/valueFrom/secretKeyRef/name");
        }
    }
    found
}

// A template whose metadata is no map is left for the API server to refuse.
fn annotate(object: &mut Json, digest: &str) {
    fn map<'a>(value: &'a mut Json, field: &str) -> Option<&'a mut Json> {
        let member = value.as_object_mut()?.entry(field).or_insert(Json::Null);
        if member.is_null() {
            *member = Json::Object(Map::new());
        }
        Some(member)
    }
    let annotations = object
        .pointer_mut("/spec/template")
        .and_then(|template| map(template, "metadata"))
        .and_then(|metadata| map(metadata, "annotations"))
        .and_then(Json::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.insert(STAMP_ANNOTATION.to_owned(), digest.into());
    }
}
