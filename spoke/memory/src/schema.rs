//! How lists and maps merge: what server-side apply needs to know of a kind's schema.

use proto_model::GroupKind;
use serde_json::Value as Json;

/// A place in a kind's schema.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schema<'a> {
    /// In a built-in kind, known by the name of the field and of the field around it.
    Builtin {
        /// Whose schema.
        kind: &'a GroupKind,
        /// The field around this one; empty at the top.
        parent: &'a str,
        /// This field; empty at the top and for items of lists.
        name: &'a str,
    },
    /// In a custom kind: its `openAPIV3Schema` at this place.
    Custom {
        /// Whose schema.
        kind: &'a GroupKind,
        /// The schema.
        schema: &'a Json,
        /// Whether this is the object itself, whose metadata is every object's.
        root: bool,
    },
    /// Nothing is known: maps merge, lists do not.
    Free,
}

/// How a list merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum List {
    /// As one value.
    Atomic,
    /// As a set of scalars.
    Set,
    /// Item by item, found by these keys.
    Map(Vec<String>),
}

/// Maps of built-in kinds that are one value: selectors and references.
const ATOMIC_MAPS: &[&str] = &[
    "selector",
    "nodeSelector",
    "podSelector",
    "namespaceSelector",
    "labelSelector",
    "objectSelector",
    "roleRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "resourceFieldRef",
    "dataSource",
    "scopeSelector",
    "scaleTargetRef",
    "requiredDuringSchedulingIgnoredDuringExecution",
];

impl<'a> Schema<'a> {
    /// The schema of a built-in kind.
    pub(crate) fn builtin(kind: &'a GroupKind) -> Self {
        Self::Builtin { kind, parent: "", name: "" }
    }

    /// The schema below a field.
    pub(crate) fn field(self, name: &'a str) -> Self {
        match self {
            Self::Builtin { kind, parent, name: own } => {
                Self::Builtin { kind, parent: if own.is_empty() { parent } else { own }, name }
            }
            Self::Custom { kind, root: true, .. } if name == "metadata" => Self::Builtin { kind, parent: "", name },
            Self::Custom { kind, schema, .. } => {
                let below = schema
                    .get("properties")
                    .and_then(|p| p.get(name))
                    .or_else(|| schema.get("additionalProperties").filter(|a| a.is_object()));
                below.map_or(Self::Free, |schema| Self::Custom { kind, schema, root: false })
            }
            Self::Free => Self::Free,
        }
    }

    /// The schema of a list's items.
    pub(crate) fn item(self) -> Self {
        match self {
            Self::Builtin { kind, name, .. } => Self::Builtin { kind, parent: name, name: "" },
            Self::Custom { kind, schema, .. } => {
                schema.get("items").map_or(Self::Free, |schema| Self::Custom { kind, schema, root: false })
            }
            Self::Free => Self::Free,
        }
    }

    /// How a list at this place merges.
    pub(crate) fn list(self) -> List {
        match self {
            Self::Builtin { kind, parent, name } => builtin_list(kind, parent, name),
            Self::Custom { schema, .. } => match text(schema, "x-kubernetes-list-type") {
                Some("set") => List::Set,
                Some("map") => List::Map(
                    schema
                        .get("x-kubernetes-list-map-keys")
                        .and_then(Json::as_array)
                        .into_iter()
                        .flatten()
                        .filter_map(|key| key.as_str().map(Into::into))
                        .collect(),
                ),
                _ => List::Atomic,
            },
            Self::Free => List::Atomic,
        }
    }

    /// Whether a map at this place is one value.
    pub(crate) fn is_atomic_map(self) -> bool {
        match self {
            Self::Builtin { parent, name, .. } => {
                ATOMIC_MAPS.contains(&name) && !matches!(parent, "data" | "labels" | "annotations")
            }
            Self::Custom { schema, .. } => text(schema, "x-kubernetes-map-type") == Some("atomic"),
            Self::Free => false,
        }
    }

    /// What a key of a list's item counts as where it is left out.
    pub(crate) fn key_default(self, key: &str) -> Option<Json> {
        match self {
            Self::Builtin { name: "ports", .. } if key == "protocol" => Some("TCP".into()),
            Self::Custom { schema, .. } => schema.get("items")?.get("properties")?.get(key)?.get("default").cloned(),
            _ => None,
        }
    }
}

fn text<'a>(schema: &'a Json, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Json::as_str)
}

fn builtin_list(kind: &GroupKind, parent: &str, name: &str) -> List {
    let keys: &[&str] = match (parent, name) {
        ("metadata", "finalizers") => return List::Set,
        ("metadata", "ownerReferences") => &["uid"],
        ("containers" | "initContainers" | "ephemeralContainers", "ports") => &["containerPort", "protocol"],
        ("containers" | "initContainers" | "ephemeralContainers", "env")
        | (_, "containers" | "initContainers" | "ephemeralContainers" | "volumes")
        | (_, "imagePullSecrets" | "resourceClaims" | "schedulingGates" | "webhooks")
        | (_, "matchConditions")
        | ("", "secrets") => &["name"],
        (_, "volumeMounts") => &["mountPath"],
        (_, "volumeDevices") => &["devicePath"],
        (_, "hostAliases") => &["ip"],
        (_, "topologySpreadConstraints") => &["topologyKey", "whenUnsatisfiable"],
        ("status", "conditions") => &["type"],
        ("spec", "ports") if kind.is("", "Service") => &["port", "protocol"],
        _ => return List::Atomic,
    };
    List::Map(keys.iter().map(|key| (*key).into()).collect())
}
