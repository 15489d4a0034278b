//! Which kinds the cluster serves, and what is known of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto_model::{GroupKind, Identity};
use serde_json::Value as Json;
use spoke_core::port::{Failure, Kind, Reason};

use crate::custom;
use crate::kinds::{self, Builtin};
use crate::schema::Schema;
use crate::state::{State, fail};
use crate::validate;

/// A kind that is served at one version.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) kind: Kind,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Whether changes of the spec are counted in `metadata.generation`.
    pub(crate) generation: bool,
    /// Whether status is written through a subresource of its own.
    pub(crate) status: bool,
    body: Body,
}

#[derive(Clone, Debug)]
enum Body {
    Builtin(&'static Builtin),
    Custom(Arc<Json>),
}

impl State {
    /// Finds a kind that is served.
    pub(crate) fn resolve(&self, kind: &Kind) -> Result<Resolved, Failure> {
        if let Some(builtin) = kinds::find(&kind.kind)
            && builtin.versions.contains(&kind.version.as_str())
        {
            return Ok(Resolved {
                kind: kind.clone(),
                plural: builtin.plural.into(),
                namespaced: builtin.namespaced,
                generation: builtin.generation,
                status: builtin.top.contains(&"status"),
                body: Body::Builtin(builtin),
            });
        }
        let custom = self.customs.get(&kind.kind);
        let found = custom.and_then(|custom| Some((custom, custom.versions.get(&kind.version)?)));
        let Some((custom, version)) = found else {
            let message = format!("the server has no kind {} at version {}", kind.kind, kind.version);
            return Err(fail(Reason::NoSuchKind, message));
        };
        Ok(Resolved {
            kind: kind.clone(),
            plural: custom.plural.clone(),
            namespaced: custom.namespaced,
            generation: true,
            status: version.status,
            body: Body::Custom(version.schema.clone()),
        })
    }

    /// Finds a kind at any version that is served, for requests to which the version is all one.
    pub(crate) fn any_version(&self, kind: &GroupKind, failure: Failure) -> Result<Resolved, Failure> {
        let version = kinds::find(kind)
            .and_then(|builtin| builtin.versions.first().map(|v| (*v).to_owned()))
            .or_else(|| self.customs.get(kind)?.versions.keys().next().cloned());
        match version {
            Some(version) => self.resolve(&Kind { kind: kind.clone(), version }),
            None => Err(failure),
        }
    }

    /// Kinds that are served, each at one version.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<Kind> {
        let builtins = kinds::BUILTINS.iter().filter_map(|builtin| {
            Some(Kind { kind: builtin.group_kind(), version: (*builtin.versions.first()?).into() })
        });
        let customs = self.customs.values().filter_map(|custom| {
            Some(Kind { kind: custom.kind.clone(), version: custom.versions.keys().next()?.clone() })
        });
        builtins.chain(customs).collect()
    }
}

impl Resolved {
    /// `deployments.apps`, as messages name it.
    pub(crate) fn named(&self) -> String {
        if self.kind.kind.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.kind.kind.group)
        }
    }

    /// How its lists and maps merge.
    pub(crate) fn schema(&self) -> Schema<'_> {
        match &self.body {
            Body::Builtin(_) => Schema::builtin(&self.kind.kind),
            Body::Custom(schema) => Schema::Custom { kind: &self.kind.kind, schema, root: true },
        }
    }

    /// The identity as it is kept: without namespace where the kind has none.
    pub(crate) fn scoped(&self, identity: &Identity) -> Result<Identity, Failure> {
        let mut identity = identity.clone();
        if !self.namespaced {
            identity.namespace.clear();
        } else if identity.namespace.is_empty() {
            let message = format!("{identity}: metadata.namespace: Required value: the kind lives in namespaces");
            return Err(fail(Reason::Invalid, message));
        }
        Ok(identity)
    }

    /// Refuses a manifest that names fields which the kind does not have.
    pub(crate) fn check_types(&self, manifest: &Json) -> Result<(), String> {
        match &self.body {
            Body::Builtin(builtin) => validate::types(builtin, manifest),
            Body::Custom(schema) => custom::undeclared(schema, manifest, ""),
        }
    }

    /// Fills in defaults and drops what the kind does not keep.
    pub(crate) fn fill(&self, object: &mut Json, rank: u64) {
        match &self.body {
            Body::Builtin(builtin) => crate::defaults::fill(builtin.kind, object, rank),
            Body::Custom(schema) => custom::shape(schema, object),
        }
    }

    /// Refuses an object, or a change of it; the field and why.
    pub(crate) fn check(&self, old: Option<&Json>, new: &Json) -> Result<(), String> {
        validate::object(&self.kind.kind, new)?;
        if let Body::Custom(schema) = &self.body {
            custom::check(schema, new, "")?;
        }
        old.map_or(Ok(()), |old| validate::update(&self.kind.kind, old, new))
    }
}

/// The identity of a namespace.
pub(crate) fn namespace_identity(name: &str) -> Identity {
    Identity {
        kind: GroupKind { group: String::new(), kind: "Namespace".into() },
        namespace: String::new(),
        name: name.into(),
    }
}
