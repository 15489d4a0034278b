//! One Kubernetes manifest after rendering: canonical JSON, addressed by its digest.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::digest::{Digest, canonical};
use crate::identity::{GroupKind, Identity};
use crate::limits;

/// A manifest after rendering and before binding, as canonical JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// SHA-256 of `body`.
    pub digest: Digest,
    /// Canonical JSON.
    pub body: Arc<[u8]>,
}

/// Why bytes are no object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadObject {
    /// Not JSON, or no map at the top.
    #[error("is not a map")]
    NotAMap,
    /// A required field is missing or no text.
    #[error("has no {0}")]
    Missing(&'static str),
    /// A name or namespace that would lead a request elsewhere: `x/status` is a part of `x`.
    #[error("has a {0} with `/`, `%` or a control character, or that is `.` or `..`: no object can have it")]
    NoStep(&'static str),
    /// Over the limit of [`limits::OBJECT_BYTES_MAX`].
    #[error("is {0} bytes, more than {max}", max = limits::OBJECT_BYTES_MAX)]
    TooLarge(usize),
    /// Not in canonical form, so its digest would not be unique.
    #[error("is not canonical JSON")]
    NotCanonical,
}

impl Object {
    /// Makes an object of a manifest.
    ///
    /// # Errors
    /// The manifest has no `apiVersion`, `kind` or `metadata.name`, or is too large.
    pub fn new(manifest: &Json) -> Result<Self, BadObject> {
        identity(manifest)?;
        let body = canonical(manifest);
        if body.len() > limits::OBJECT_BYTES_MAX {
            return Err(BadObject::TooLarge(body.len()));
        }
        Ok(Self { digest: Digest::of(&body), body: body.into() })
    }

    /// Reads an object that came over the wire or from a disk: it must be canonical.
    ///
    /// # Errors
    /// As [`Object::new`], and where the bytes are not in canonical form.
    pub fn from_body(body: impl Into<Arc<[u8]>>) -> Result<Self, BadObject> {
        let body = body.into();
        let manifest: Json = serde_json::from_slice(&body).map_err(|_| BadObject::NotAMap)?;
        let object = Self::new(&manifest)?;
        if object.body != body {
            return Err(BadObject::NotCanonical);
        }
        Ok(object)
    }

    /// The manifest as a value. `Null` cannot occur: a body is checked when it is made.
    #[must_use]
    pub fn manifest(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or(Json::Null)
    }
}

/// The identity of a manifest as it stands (bind it first where names may be bound).
///
/// # Errors
/// A required field is missing.
pub fn identity(manifest: &Json) -> Result<Identity, BadObject> {
    if !manifest.is_object() {
        return Err(BadObject::NotAMap);
    }
    let text = |pointer, what| match manifest.pointer(pointer).and_then(Json::as_str) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(BadObject::Missing(what)),
    };
    let namespace = manifest.pointer("/metadata/namespace").and_then(Json::as_str).unwrap_or_default();
    Ok(Identity {
        kind: GroupKind::of(text("/apiVersion", "apiVersion")?, text("/kind", "kind")?),
        namespace: step(namespace, "metadata.namespace")?.into(),
        name: step(text("/metadata/name", "metadata.name")?, "metadata.name")?.into(),
    })
}

/// What API servers ask of every name, whatever the kind: that it is one step of a path.
fn step<'a>(text: &'a str, what: &'static str) -> Result<&'a str, BadObject> {
    let bad = text.contains(['/', '%']) || text.contains(char::is_control) || matches!(text, "." | "..");
    if bad { Err(BadObject::NoStep(what)) } else { Ok(text) }
}

/// An annotation of a manifest.
#[must_use]
pub fn annotation<'a>(manifest: &'a Json, name: &str) -> Option<&'a str> {
    manifest.get("metadata")?.get("annotations")?.get(name)?.as_str()
}

/// A label of a manifest.
#[must_use]
pub fn label<'a>(manifest: &'a Json, name: &str) -> Option<&'a str> {
    manifest.get("metadata")?.get("labels")?.get(name)?.as_str()
}
