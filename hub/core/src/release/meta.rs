//! What of a variant's objects can be told without their bodies: identities and used variables.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::bind::{self, BindError, Use};
use proto_model::object::{BadObject, identity};
use proto_model::variant::{APPLY_RULES, Binds, OnRemoval};
use proto_model::{Digest, HealthCheck, Identity, Object, Settings, Variables, Variant, Wishes};
use serde_json::{Value as Json, json};

use super::scope;
use crate::check::Identities;

/// What of a variant's objects can be told without their bodies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VariantMeta {
    /// The variables that the bundle binds.
    pub binds: BTreeMap<String, Binds>,
    /// What happens to the objects when the bundle goes away.
    pub on_removal: OnRemoval,
    /// The objects, in the order of the variant.
    pub objects: Vec<ObjectMeta>,
}

/// One object of a variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its digest.
    pub digest: Digest,
    /// Its identity before binding. One without a namespace, of a kind that is not known to be of
    /// the cluster's scope, counts as lying in the bundle's namespace: the spoke puts it there.
    pub identity: Identity,
    /// Its API version, as its manifest writes it.
    pub api_version: String,
    /// Its labels before binding.
    pub labels: BTreeMap<String, String>,
    /// The variables that it uses.
    pub uses: BTreeSet<Use>,
    /// What it asks of whoever applies and removes it.
    pub wishes: Wishes,
}

/// Why nothing can be told of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// It is no object.
    #[error("object {digest:?} {bad}")]
    Object {
        /// Which.
        digest: Digest,
        /// Why.
        bad: BadObject,
    },
    /// A variable stands where it may not.
    #[error(transparent)]
    Bind(#[from] BindError),
}

impl VariantMeta {
    /// From the objects of a variant, in its order.
    ///
    /// # Errors
    /// An object is none, or uses a variable where it may not.
    pub fn of<'a>(settings: &Settings, objects: impl IntoIterator<Item = &'a Object>) -> Result<Self, MetaError> {
        let objects = objects.into_iter().map(|object| ObjectMeta::of(settings, object)).collect::<Result<_, _>>()?;
        Ok(Self::new(settings, objects))
    }

    /// From what can be told of the objects, in the variant's order.
    #[must_use]
    pub fn new(settings: &Settings, objects: Vec<ObjectMeta>) -> Self {
        Self { binds: settings.binds.clone(), on_removal: settings.on_removal, objects }
    }

    /// The variant of these objects: the settings of their bundle, with the health checks that can be about them, and
    /// the rules of applying that they need. A spoke that does not know those refuses it.
    #[must_use]
    pub fn variant(&self, settings: &Settings, health: Vec<HealthCheck>) -> Variant {
        let asks = self.objects.iter().any(|object| object.wishes != Wishes::default());
        let apply_rules = if asks { APPLY_RULES } else { settings.apply_rules };
        let objects = self.objects.iter().map(|object| object.digest).collect();
        Variant { settings: Settings { health, apply_rules, ..settings.clone() }, objects }
    }

    /// Whether names or namespaces depend on variables.
    #[must_use]
    pub fn binds_identities(&self) -> bool {
        self.objects.iter().any(ObjectMeta::binds_identity)
    }

    /// The identities of the objects after binding, in their order.
    ///
    /// # Errors
    /// A variable that is part of a name has no value.
    pub fn identities(&self, variables: &Variables) -> Result<Vec<Identity>, BindError> {
        self.objects.iter().map(|object| object.bound(variables, &self.binds)).collect()
    }

    /// The same with what becomes of each, for what moves would take away.
    ///
    /// # Errors
    /// A variable that is part of a name has no value.
    pub fn removals(&self, variables: &Variables) -> Result<Identities, BindError> {
        let prunes = self.objects.iter().map(|object| object.wishes.prune);
        let objects = self.identities(variables)?.into_iter().zip(prunes).collect();
        Ok(Identities { objects, orphans: self.on_removal == OnRemoval::Orphan })
    }

    /// The names of all variables that any object uses.
    #[must_use]
    pub fn used(&self) -> BTreeSet<&str> {
        self.objects.iter().flat_map(|object| &object.uses).map(|used| &*used.name).collect()
    }
}

impl ObjectMeta {
    /// From an object and the settings of its variant.
    ///
    /// # Errors
    /// It is none, or uses a variable where it may not.
    pub fn of(settings: &Settings, object: &Object) -> Result<Self, MetaError> {
        let manifest = object.manifest();
        let digest = object.digest;
        let mut identity = identity(&manifest).map_err(|bad| MetaError::Object { digest, bad })?;
        if identity.namespace.is_empty() && scope::scope(&identity.kind) != Some(scope::Scope::Cluster) {
            identity.namespace = settings.namespace.clone().unwrap_or_default();
        }
        let labels = manifest.pointer("/metadata/labels").and_then(Json::as_object).into_iter().flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect();
        let api_version = manifest.get("apiVersion").and_then(Json::as_str).unwrap_or_default().to_owned();
        // What can't be read was a defect of the rendering.
        let wishes = Wishes::read_live(&manifest);
        Ok(Self { digest, identity, api_version, labels, uses: bind::uses(&manifest, &settings.binds)?, wishes })
    }

    /// What of its manifest health checks select by.
    pub(super) fn head(&self) -> Json {
        let Identity { kind, name, .. } = &self.identity;
        json!({
            "apiVersion": self.api_version,
            "kind": kind.kind,
            "metadata": {"name": name, "labels": self.labels},
        })
    }

    fn binds_identity(&self) -> bool {
        self.uses.iter().any(|used| used.identity)
    }

    fn bound(&self, variables: &Variables, binds: &BTreeMap<String, Binds>) -> Result<Identity, BindError> {
        if !self.binds_identity() {
            return Ok(self.identity.clone());
        }
        // Names bind in one place, `proto_model::bind`: it is given as much as it looks at.
        let Identity { kind, namespace, name } = &self.identity;
        let template = json!({
            "apiVersion": if kind.group.is_empty() { "v1".into() } else { format!("{}/v1", kind.group) },
            "kind": kind.kind,
            "metadata": {"name": name, "namespace": namespace},
        });
        let bound = bind::bind(&template, variables, binds)?;
        let text = |pointer, unbound: &String| {
            bound.pointer(pointer).and_then(|text| text.as_str()).unwrap_or(unbound).to_owned()
        };
        Ok(Identity {
            kind: kind.clone(),
            namespace: text("/metadata/namespace", namespace),
            name: text("/metadata/name", name),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proto_model::{GroupKind, Value};

    use super::*;

    #[test]
    fn names_bind_and_missing_namespaces_are_filled() {
        let settings = Settings {
            namespace: Some("shop".into()),
            binds: [("tenant".to_owned(), Binds { identity: true })].into(),
            ..Settings::default()
        };
        let objects: Vec<Object> = [
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c-${tenant}"}}),
            json!({"apiVersion": "x.io/v1", "kind": "Foo", "metadata": {"name": "${other}"}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}}),
        ]
        .iter()
        .map(|manifest| Object::new(manifest).unwrap())
        .collect();
        let meta = VariantMeta::of(&settings, &objects).unwrap();
        assert!(meta.binds_identities());
        let variables = Variables::from_iter([("tenant".to_owned(), Value::Text("a".into()))]);
        let identity = |group: &str, kind: &str, namespace: &str, name: &str| Identity {
            kind: GroupKind { group: group.into(), kind: kind.into() },
            namespace: namespace.into(),
            name: name.into(),
        };
        assert_eq!(
            meta.identities(&variables).unwrap(),
            [
                identity("", "ConfigMap", "shop", "c-a"),
                identity("x.io", "Foo", "shop", "${other}"),
                identity("", "Node", "", "n"),
            ]
        );
        assert!(meta.identities(&Variables::default()).is_err());
    }
}
