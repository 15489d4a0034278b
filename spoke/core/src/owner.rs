//! Whose an object is: the marks that Drover puts on what it owns, and what they say.
//!
//! An object of a shared kind (namespaces, CRDs) has one label for all its claimants and an
//! annotation that lists them all, so that claimants apply the same text and do not fight over it.

use proto_model::{Digest, Identity};
use serde_json::Value as Json;

use crate::port::{Live, OWNER_ANNOTATION, OWNER_LABEL, OwnerMark};

/// Who says that an object is its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The hub.
    pub hub_id: &'a str,
    /// Full name of the bundle.
    pub bundle: &'a str,
}

/// Whose a live object is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// The asking bundle's; for a shared kind, of any bundle of this hub.
    Ours,
    /// Another bundle's of the same hub.
    OtherBundle(String),
    /// Of another hub.
    OtherHub(String),
    /// Nobody has marked it.
    Unmarked,
}

/// The value of [`OWNER_LABEL`]: 16 hexadecimal digits.
#[must_use]
pub fn label(owner: Owner<'_>, identity: &Identity) -> String {
    let bundle = if identity.kind.is_shared() { "" } else { owner.bundle };
    let digest = Digest::of_parts([owner.hub_id.as_bytes(), bundle.as_bytes()]);
    hex::encode(&digest.0[..8])
}

/// The value of [`OWNER_ANNOTATION`] for these claimants, which come in order.
#[must_use]
pub fn annotation<'a>(hub_id: &str, incarnation: u64, claimants: impl IntoIterator<Item = &'a str>) -> String {
    let marks: Vec<OwnerMark> = claimants
        .into_iter()
        .map(|bundle| OwnerMark { hub: hub_id.into(), bundle: bundle.into(), incarnation })
        .collect();
    // Writing plain structs to memory has no way to fail.
    serde_json::to_string(&marks).unwrap_or_default()
}

/// Puts label and annotation on a manifest.
pub fn mark(manifest: &mut Json, label: &str, annotation: &str) {
    for (map, name, value) in [("labels", OWNER_LABEL, label), ("annotations", OWNER_ANNOTATION, annotation)] {
        let Some(metadata) = manifest.get_mut("metadata").and_then(Json::as_object_mut) else {
            continue;
        };
        let map = metadata.entry(map).or_insert(Json::Null);
        if !map.is_object() {
            // `labels: null` is how some charts write "none".
            *map = Json::Object(serde_json::Map::new());
        }
        if let Some(map) = map.as_object_mut() {
            map.insert(name.into(), value.into());
        }
    }
}

/// Whose a live object is, as its marks say.
#[must_use]
pub fn ownership(live: &Live, owner: Owner<'_>) -> Ownership {
    let mut of_hub = live.owners.iter().filter(|mark| mark.hub == owner.hub_id).peekable();
    match of_hub.peek() {
        Some(_) if live.identity.kind.is_shared() => Ownership::Ours,
        Some(first) => {
            let other = first.bundle.clone();
            if of_hub.any(|mark| mark.bundle == owner.bundle) { Ownership::Ours } else { Ownership::OtherBundle(other) }
        }
        None => match live.owners.first() {
            Some(mark) => Ownership::OtherHub(mark.hub.clone()),
            None => Ownership::Unmarked,
        },
    }
}

/// Why an object that is not ours stops its bundle; `None` where it is ours.
#[must_use]
pub fn objection(ownership: &Ownership, identity: &Identity) -> Option<String> {
    match ownership {
        Ownership::Ours => None,
        Ownership::OtherBundle(bundle) => {
            Some(format!("belongs to bundle {bundle} of this cluster; remove it from one of the two"))
        }
        Ownership::OtherHub(hub) => {
            Some(format!("exists, not ours: {identity} belongs to hub {hub}; delete it or rename yours"))
        }
        Ownership::Unmarked => Some(format!("exists, not ours: {identity}; delete it or rename yours")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proto_model::GroupKind;
    use serde_json::json;

    use super::*;

    const WEB: Owner<'_> = Owner { hub_id: "h", bundle: "main/web" };

    fn live(kind: &str, owners: &[(&str, &str)]) -> Live {
        Live {
            identity: Identity { kind: GroupKind::of("v1", kind), namespace: String::new(), name: "n".into() },
            version: "v1".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            deleting: false,
            finalizers: Vec::new(),
            owners: owners
                .iter()
                .map(|(hub, bundle)| OwnerMark { hub: (*hub).into(), bundle: (*bundle).into(), incarnation: 1 })
                .collect(),
            managed: BTreeMap::new(),
            hands_off: false,
            scaled: false,
            changed_by: None,
            has_status: false,
            object: None,
        }
    }

    #[test]
    fn marks_say_whose_an_object_is() {
        let of = |kind, owners: &[_]| ownership(&live(kind, owners), WEB);
        assert_eq!(of("Secret", &[("h", "main/web")]), Ownership::Ours);
        assert_eq!(of("Secret", &[("h", "main/db")]), Ownership::OtherBundle("main/db".into()));
        assert_eq!(of("Namespace", &[("h", "main/db")]), Ownership::Ours);
        assert_eq!(of("Secret", &[("x", "main/web")]), Ownership::OtherHub("x".into()));
        assert_eq!(of("Namespace", &[]), Ownership::Unmarked);
    }

    #[test]
    fn marks_are_put_beside_what_is_there() {
        let mut manifest = json!({"metadata": {"labels": {"a": "b"}, "annotations": null}});
        mark(&mut manifest, "0011", "[]");
        assert_eq!(
            manifest,
            json!({"metadata": {
                "labels": {"a": "b", "drover.dev/owner": "0011"},
                "annotations": {"drover.dev/owned-by": "[]"}
            }})
        );
    }

    #[test]
    fn claimants_of_a_shared_kind_share_the_label() {
        let namespace = live("Namespace", &[]).identity;
        let secret = live("Secret", &[]).identity;
        let db = Owner { bundle: "main/db", ..WEB };
        assert_eq!(label(WEB, &namespace), label(db, &namespace));
        assert_ne!(label(WEB, &secret), label(db, &secret));
        assert_eq!(label(WEB, &secret).len(), 16);
    }
}
