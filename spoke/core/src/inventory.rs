//! The inventory of a bundle: every object that it owns in this cluster or is about to make.
//!
//! An object enters before it is first applied and leaves once it is seen to be gone (or to be
//! somebody else's). What is not in here is never deleted.

use std::collections::BTreeMap;

use proto_model::variant::ServiceAccount;
use proto_model::{Digest, Identity, Wishes};
use serde::{Deserialize, Serialize};

use crate::ledger::Unreadable;

const VERSION: u32 = 1;

/// What is known of one owned object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tracked {
    /// API version at which it was last applied.
    pub version: String,
    /// Its uid; `None` until it was seen or applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Digest of the fields that our field manager owned when the API server answered our last
    /// apply: what differs from it later is drift.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<Digest>,
    /// Digest of the bound object that was last applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Digest>,
    /// The author's stage, for deletion in reverse.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub order: i32,
    /// Of a Job that came to its end as applied and may vanish: whether it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<bool>,
    /// Digest of what came to its end, as it was bound, marks aside: another incarnation of the fleet's hub runs it no
    /// second time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_content: Option<Digest>,
    /// Whether a status is still waited for, of a custom resource whose controller writes one.
    #[serde(default, skip_serializing_if = "is_not")]
    pub awaits_status: bool,
    /// What its annotations asked for when it was last applied.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wishes: Wishes,
    /// Whose it was before it is applied for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Former>,
}

/// Whose fields an object has that is being taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Former {
    /// Of people and their tools.
    People,
    /// Of another bundle, by its full name.
    Bundle(String),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_not(flag: &bool) -> bool {
    !*flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(order: &i32) -> bool {
    *order == 0
}

/// What is durable of one bundle beside its assignment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Whether the bundle was Healthy here at least once.
    pub installed: bool,
    /// The variant that was last begun.
    pub variant: Option<Digest>,
    /// Who applies, reads and deletes; `None`: the spoke itself.
    pub account: Option<ServiceAccount>,
    /// Its objects.
    pub objects: BTreeMap<Identity, Tracked>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    version: u32,
    bundle: String,
    installed: bool,
    variant: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<ServiceAccount>,
    objects: Vec<Line>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    identity: Identity,
    tracked: Tracked,
}

impl Inventory {
    /// The key of a bundle's record.
    #[must_use]
    pub fn key(bundle: &str) -> String {
        format!("inventory/{bundle}")
    }

    /// The bundle of a record's key; `None` for other records.
    #[must_use]
    pub fn bundle_of(key: &str) -> Option<&str> {
        key.strip_prefix("inventory/")
    }

    /// The bytes of the record.
    #[must_use]
    pub fn encode(&self, bundle: &str) -> Vec<u8> {
        let line =
            |(identity, tracked): (&Identity, &Tracked)| Line { identity: identity.clone(), tracked: tracked.clone() };
        let record = Record {
            version: VERSION,
            bundle: bundle.into(),
            installed: self.installed,
            variant: self.variant,
            account: self.account.clone(),
            objects: self.objects.iter().map(line).collect(),
        };
        // Writing plain structs to memory has no way to fail; an empty record would not decode.
        serde_json::to_vec(&record).unwrap_or_default()
    }

    /// Reads what [`Inventory::encode`] wrote.
    ///
    /// # Errors
    /// A newer format, another bundle, or bytes that are not what was written.
    pub fn decode(bytes: &[u8], bundle: &str) -> Result<Self, Unreadable> {
        let unreadable = |why: String| {
            Unreadable::new(format!(
                "the inventory of bundle {bundle} can't be read ({why}); run the version of the \
                 spoke that wrote it, or restore the records in namespace drover-system"
            ))
        };
        let record: Record = serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        if record.version != VERSION || record.bundle != bundle {
            return Err(unreadable(format!("format {} of {}", record.version, record.bundle)));
        }
        let objects = record.objects.into_iter().map(|line| (line.identity, line.tracked));
        Ok(Self {
            installed: record.installed,
            variant: record.variant,
            account: record.account,
            objects: objects.collect(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proto_model::GroupKind;

    use super::*;

    #[test]
    fn round_trip() {
        let identity =
            Identity { kind: GroupKind::of("apps/v1", "Deployment"), namespace: "shop".into(), name: "web".into() };
        let tracked = Tracked {
            version: "v1".into(),
            uid: Some("u".into()),
            managed: Some(Digest::of(b"m")),
            applied: Some(Digest::of(b"a")),
            order: -1,
            finished: Some(true),
            finished_content: Some(Digest([7; 32])),
            awaits_status: true,
            wishes: Wishes { create_only: true, ..Wishes::default() },
            former: Some(Former::Bundle("main/old".into())),
        };
        let inventory = Inventory {
            installed: true,
            variant: Some(Digest::of(b"v")),
            account: Some(ServiceAccount { namespace: "shop".into(), name: "deployer".into() }),
            objects: BTreeMap::from([(identity, tracked)]),
        };
        let bytes = inventory.encode("main/web");
        assert_eq!(Inventory::decode(&bytes, "main/web").unwrap(), inventory);
        assert!(Inventory::decode(&bytes, "main/db").is_err());
        assert!(Inventory::decode(b"{}", "main/web").is_err());
        assert_eq!(Inventory::bundle_of(&Inventory::key("main/web")), Some("main/web"));
    }
}
