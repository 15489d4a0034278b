//! What a cluster must run now, and the fence that keeps time from running backwards.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Digest, GroupKind, Variables};

/// The fence of everything that a hub says to a cluster. One fence means one content for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// Which hub: 32 hexadecimal digits.
    pub hub_id: String,
    /// Rises only when a hub is restored or recovered by force.
    pub epoch: u64,
    /// Rises when the cluster behind a name is replaced.
    pub incarnation: u64,
    /// Rises by one with each change of the cluster's assignments.
    pub generation: u64,
}

/// Why a spoke refuses what a hub says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// Another hub.
    #[error("hub {theirs} is not the hub {ours} that this cluster belongs to")]
    OtherHub {
        /// The hub of the ledger.
        ours: String,
        /// The hub that spoke.
        theirs: String,
    },
    /// A state that this cluster has left behind.
    #[error("{what} {theirs} is older than {ours}, which this cluster holds already")]
    Older {
        /// `epoch`, `incarnation` or `generation`.
        what: &'static str,
        /// What the ledger holds.
        ours: u64,
        /// What the hub said.
        theirs: u64,
    },
    /// The same fence with other content.
    #[error("generation {0} came with other content than this cluster holds under it")]
    OtherContent(u64),
}

impl Fence {
    /// Whether a spoke at this fence may take `next`; `same_content` says whether what comes
    /// with `next` equals what is held.
    ///
    /// # Errors
    /// `next` belongs to another hub, is older, or carries other content under the same number.
    pub fn admits(&self, next: &Self, same_content: bool) -> Result<(), FenceError> {
        if self.hub_id.is_empty() {
            return Ok(());
        }
        if self.hub_id != next.hub_id {
            return Err(FenceError::OtherHub { ours: self.hub_id.clone(), theirs: next.hub_id.clone() });
        }
        let pairs = [
            ("epoch", self.epoch, next.epoch),
            ("incarnation", self.incarnation, next.incarnation),
            ("generation", self.generation, next.generation),
        ];
        for (what, ours, theirs) in pairs {
            if theirs < ours {
                return Err(FenceError::Older { what, ours, theirs });
            }
            if theirs > ours {
                return Ok(());
            }
        }
        if same_content { Ok(()) } else { Err(FenceError::OtherContent(next.generation)) }
    }
}

/// What an assignment may remove from its cluster, compared with what ran there before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Permit {
    /// Objects that may go.
    #[serde(default)]
    pub deletions: u64,
    /// Protected kinds of which objects may go.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub protected: BTreeSet<GroupKind>,
    /// Whether objects may go that ask for somebody's word first.
    #[serde(default, skip_serializing_if = "is_not")]
    pub confirmed: bool,
    /// Of a bundle that goes: its objects stay, owned by nobody.
    #[serde(default, skip_serializing_if = "is_not")]
    pub orphan: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_not(flag: &bool) -> bool {
    !*flag
}

impl Permit {
    /// Both permits together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            deletions: self.deletions.saturating_add(other.deletions),
            protected: self.protected.union(&other.protected).cloned().collect(),
            confirmed: self.confirmed || other.confirmed,
            orphan: self.orphan || other.orphan,
        }
    }
}

/// Kinds whose deletion takes data or other objects along: each needs its own word in a permit.
#[must_use]
pub fn is_protected(kind: &GroupKind) -> bool {
    kind.is_shared() || kind.is("", "PersistentVolumeClaim")
}

/// Versions of the rules that an assignment was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuleVersions {
    /// How variables are bound.
    pub binding: u32,
    /// In which order objects are applied and removed.
    pub ordering: u32,
    /// How health is read from objects.
    pub health: u32,
}

/// The rules of this build.
pub const RULES: RuleVersions = RuleVersions { binding: 1, ordering: 1, health: 1 };

impl RuleVersions {
    /// Whether a spoke with these rules can carry out an assignment made for `wanted`.
    #[must_use]
    pub fn knows(&self, wanted: &Self) -> bool {
        self.binding >= wanted.binding && self.ordering >= wanted.ordering && self.health >= wanted.health
    }
}

/// For one cluster and bundle: what it must run now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// The variant's digest.
    pub variant: Digest,
    /// The cluster's variables for the bundle.
    pub variables: Variables,
    /// What may be removed on the way there.
    pub permit: Permit,
    /// The rules it was made for.
    pub rules: RuleVersions,
}

impl Assignment {
    /// The digest of the assignment: two assignments are the same content when it is equal.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Writing plain maps to memory has no way to fail.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }
}

/// What a cluster holds: an assignment or, on its way out, a removal, for each bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// Run this.
    Run(Assignment),
    /// Remove the bundle, within the permit. Kept until the spoke has said that it is gone.
    Remove(Permit),
}

impl Entry {
    /// The digest of the entry.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Run(assignment) => assignment.digest(),
            Self::Remove(permit) => Digest::of_parts([&b"remove"[..], &serde_json::to_vec(permit).unwrap_or_default()]),
        }
    }
}

/// One digest over everything that a cluster holds: bundle names in order, each with the digest of
/// its entry.
#[must_use]
pub fn root(entries: &BTreeMap<String, Digest>) -> Digest {
    Digest::of_parts(entries.iter().flat_map(|(name, digest)| [name.as_bytes(), &digest.0[..]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(epoch: u64, incarnation: u64, generation: u64) -> Fence {
        Fence { hub_id: "h".into(), epoch, incarnation, generation }
    }

    #[test]
    fn a_fence_only_rises() {
        let held = fence(1, 1, 7);
        assert_eq!(held.admits(&fence(1, 1, 8), false), Ok(()));
        assert_eq!(held.admits(&fence(2, 1, 1), false), Ok(()));
        assert_eq!(held.admits(&fence(1, 2, 1), false), Ok(()));
        assert_eq!(held.admits(&fence(1, 1, 7), true), Ok(()));
        assert_eq!(held.admits(&fence(1, 1, 7), false), Err(FenceError::OtherContent(7)));
        assert!(matches!(held.admits(&fence(1, 1, 6), false), Err(FenceError::Older { what: "generation", .. })));
        assert!(matches!(held.admits(&fence(0, 2, 9), false), Err(FenceError::Older { what: "epoch", .. })));
    }

    #[test]
    fn another_hub_is_refused() {
        let next = Fence { hub_id: "x".into(), ..fence(9, 9, 9) };
        assert!(matches!(fence(1, 1, 1).admits(&next, false), Err(FenceError::OtherHub { .. })));
        assert_eq!(Fence::default().admits(&next, false), Ok(()));
    }
}
