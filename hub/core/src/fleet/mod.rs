//! The replicated value: what must survive the loss of any process, and nothing else.
//!
//! **Stored**, and why: accepted heads (so that a rewind is noticed), catalogs and variants by
//! digest (so that a new leader goes on without Git), goals and assignments (what is promised to
//! clusters), generations and sessions (the fence), sync and health as bits (rollouts count on
//! them), tokens and keys (who may speak), acts of operators and holds of the guard.
//! **Not stored**: who is attached, details of reports, why a cluster waits. Those are derived, or
//! live in the memory of a replica.
//!
//! Everything is made of maps that clone cheaply: a snapshot is a clone.

mod apply;
mod bundle;
mod intern;
mod leave;
mod operate;
mod suspend;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use proto_model::assign::Entry as Held;
use proto_model::{Digest, Fence};
use serde::{Deserialize, Serialize};

pub use apply::{Answer, Refused};
pub use bundle::{Bundle, Release};
pub use intern::Interner;
pub use leave::Leaving;
pub use suspend::{Suspension, Suspensions};

use crate::command::{GoalPart, HeadsPart, Pair, Quarantine, Token};

/// The format that this version writes.
pub const FORMAT: u8 = 1;
/// The level of behaviour of [`Fleet::apply`] that this version supports.
pub const LEVEL: u32 = 1;

/// The replicated value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Level of behaviour that all voters support.
    pub level: u32,
    /// The hub: 32 hexadecimal digits.
    pub hub_id: String,
    /// Rises only when the hub is restored or recovered by force.
    pub epoch: u64,
    /// Rises by one with each entry that took effect; the parent of the next one.
    pub revision: u64,
    /// The latest wall time in the log, milliseconds since 1970.
    pub at_unix_millis: u64,
    /// Sources by name.
    pub sources: OrdMap<String, Source>,
    /// Clusters by name.
    pub clusters: OrdMap<String, Cluster>,
    /// Names of clusters by number.
    pub names: OrdMap<u32, String>,
    /// The number of the next cluster; numbers are never used twice.
    pub next_number: u32,
    /// The incarnation of the next cluster: above that of any that left, so that a name that comes
    /// back never means an old fence again.
    pub next_incarnation: u64,
    /// Bundles by full name.
    pub bundles: OrdMap<String, Arc<Bundle>>,
    /// What is assigned or wanted, as numbers.
    pub pairs: Interner,
    /// Renderings by the digest of their inputs.
    pub renderings: OrdMap<Digest, Digest>,
    /// Parts of the publish under way, by publish.
    pub staged: Option<Staged>,
    /// Join tokens by id.
    pub tokens: OrdMap<String, TokenState>,
    /// Results of operators' requests, by request id.
    pub requests: OrdMap<String, Request>,
    /// What operators did, oldest first.
    pub audit: Vector<Audit>,
    /// What operators want to be left alone for a while, by cluster. What is here is in force.
    #[serde(default, skip_serializing_if = "OrdMap::is_empty")]
    pub suspensions: OrdMap<String, Suspensions>,
}

/// A Git repository and the ref that is followed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where it is read from.
    pub url: String,
    /// Branch, tag or commit that is followed.
    pub reference: String,
    /// Folder within the repository; empty for its root.
    pub path: String,
    /// Whether its heads must be signed.
    #[serde(default)]
    pub verified: bool,
    /// The accepted head.
    pub head: Option<Head>,
    /// Commits that were heads, oldest first.
    pub heads: Vector<String>,
    /// A head that is not a descendant of the accepted one, waiting for approval.
    pub rewind: Option<Rewind>,
}

/// An accepted head.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// The commit.
    pub commit: String,
    /// Body: the catalog.
    pub catalog: Digest,
    /// Body: the defects.
    pub defects: Digest,
    /// When it was accepted.
    pub at_unix_millis: u64,
}

/// A rewind that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rewind {
    /// The commit that would become the head.
    pub commit: String,
    /// Since when it waits.
    pub since_unix_millis: u64,
    /// Whether an operator said that it is meant.
    pub approved: bool,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// Its number, for bitmaps.
    pub number: u32,
    /// Rises when the cluster behind the name is replaced.
    pub incarnation: u64,
    /// Rises by one with each change of its assignments.
    pub generation: u64,
    /// Labels from Git.
    pub declared: Option<BTreeMap<String, String>>,
    /// The source that declares it.
    pub declared_by: Option<String>,
    /// Whether a declaration was there and went away: labels and assignments stay as they are.
    pub declaration_removed: bool,
    /// Labels of the token that it joined with.
    pub token_labels: BTreeMap<String, String>,
    /// SHA-256 of its public key; `None` until it joined.
    pub key: Option<Digest>,
    /// The token that it joined with.
    pub token: Option<String>,
    /// uid of its kube-system; `None` until it attached.
    pub uid: Option<String>,
    /// Counter of its sessions.
    pub session: u64,
    /// The newest session of which the spoke has shown the token: one with an older token is a
    /// clone. Welcomes after it may all have been lost on their way.
    pub presented: u64,
    /// Whether its certificates are worth nothing any more.
    pub revoked: bool,
    /// The revision that revoked them last; 0: none did. Nobody joins under the name with a token
    /// made before, not even after the cluster was replaced: it may be in the same wrong hands.
    pub revoked_at: u64,
    /// Why it is not served.
    pub quarantine: Option<Quarantine>,
    /// Since when it is known, or, where it was replaced, may join anew.
    pub since_unix_millis: u64,
    /// Whether it is on its way out of the fleet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<Leaving>,
}

impl Cluster {
    /// Labels as selectors see them: those from Git win over those of the token.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.token_labels.clone();
        labels.extend(self.declared.clone().unwrap_or_default());
        labels
    }

    /// Whether anything may be assigned to it: it is declared, or its token gave it labels, and it does not leave.
    #[must_use]
    pub fn is_assignable(&self) -> bool {
        self.leaving.is_none() && (self.declared.is_some() || !self.token_labels.is_empty())
    }

    /// Whether it keeps what it has since Git no longer declares it: nobody has said that it leaves.
    #[must_use]
    pub fn is_undeclared(&self) -> bool {
        self.declaration_removed && self.leaving.is_none()
    }
}

/// Parts of a publish that has not ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Staged {
    /// Which publish.
    pub publish: Digest,
    /// Its goals, in order.
    pub parts: Vector<Arc<GoalPart>>,
    /// What it says of bundles beside.
    pub heads: Vector<Arc<HeadsPart>>,
}

/// A join token and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenState {
    /// The token.
    pub token: Token,
    /// The revision that made it.
    pub made_at: u64,
    /// Clusters that joined with it.
    pub used: OrdSet<String>,
}

/// The result of an operator's request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// When it was carried out.
    pub at_unix_millis: u64,
    /// What was answered.
    pub answer: String,
}

/// One line of the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// When.
    pub at_unix_millis: u64,
    /// Who.
    pub who: String,
    /// What.
    pub what: String,
    /// Why, in the operator's words; may be empty.
    pub why: String,
}

/// A stored Fleet that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BadFleet {
    /// Written by a later version.
    #[error("snapshot of format {0}, this version reads up to {FORMAT}: upgrade this replica")]
    Format(u8),
    /// Not a Fleet.
    #[error("snapshot can't be decoded: {0}")]
    Decode(String),
}

impl Fleet {
    /// The Fleet of a hub that has just been made.
    #[must_use]
    pub fn new(hub_id: impl Into<String>) -> Self {
        Self {
            level: LEVEL,
            hub_id: hub_id.into(),
            epoch: 1,
            revision: 0,
            at_unix_millis: 0,
            sources: OrdMap::new(),
            clusters: OrdMap::new(),
            names: OrdMap::new(),
            next_number: 0,
            next_incarnation: 1,
            bundles: OrdMap::new(),
            pairs: Interner::default(),
            renderings: OrdMap::new(),
            staged: None,
            tokens: OrdMap::new(),
            requests: OrdMap::new(),
            audit: Vector::new(),
            suspensions: OrdMap::new(),
        }
    }

    /// The bytes of a snapshot: a format byte and CBOR with field names.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        // Writing plain data to memory has no way to fail; a cut snapshot would not decode.
        let _ = ciborium::into_writer(self, &mut out);
        out
    }

    /// Reads the bytes of a snapshot.
    ///
    /// # Errors
    /// Written by a later version, or damaged: the replica must stop.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadFleet> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => ciborium::from_reader(rest).map_err(|error| BadFleet::Decode(error.to_string())),
            Some((&other, _)) => Err(BadFleet::Format(other)),
            None => Err(BadFleet::Decode("it is empty".into())),
        }
    }

    /// The name and state of the cluster with a number.
    #[must_use]
    pub fn by_number(&self, number: u32) -> Option<(&str, &Cluster)> {
        let name = self.names.get(&number)?;
        Some((name, self.clusters.get(name)?))
    }

    /// The fence of a cluster's present assignments.
    #[must_use]
    pub fn fence(&self, cluster: &Cluster) -> Fence {
        Fence {
            hub_id: self.hub_id.clone(),
            epoch: self.epoch,
            incarnation: cluster.incarnation,
            generation: cluster.generation,
        }
    }

    /// What a cluster must hold, by bundle; `variables` gives the table behind a digest. `None`
    /// while a table is missing: nothing may be told to the cluster then.
    #[must_use]
    pub fn entries(
        &self,
        cluster: &Cluster,
        variables: impl Fn(&Digest) -> Option<Arc<proto_model::Variables>>,
    ) -> Option<BTreeMap<String, Held>> {
        let mut out = BTreeMap::new();
        for (name, bundle) in &self.bundles {
            if let Some(assigned) = bundle.assigned.get(&cluster.number) {
                let pair = self.pairs.pair(*assigned)?;
                out.insert(
                    name.clone(),
                    Held::Run(proto_model::Assignment {
                        variant: pair.variant,
                        variables: (*variables(&pair.variables)?).clone(),
                        permit: bundle.permit(cluster.number),
                        rules: proto_model::assign::RULES,
                    }),
                );
            } else if bundle.removing.contains(cluster.number) {
                out.insert(name.clone(), Held::Remove(bundle.permit(cluster.number)));
            }
        }
        Some(out)
    }

    /// What is assigned to a cluster of a bundle.
    #[must_use]
    pub fn assigned(&self, bundle: &Bundle, number: u32) -> Option<Pair> {
        self.pairs.pair(*bundle.assigned.get(&number)?)
    }

    /// What a cluster should run of a bundle.
    #[must_use]
    pub fn goal(&self, bundle: &Bundle, number: u32) -> Option<Pair> {
        self.pairs.pair(*bundle.goal.get(&number)?)
    }

    /// Digests of all variants that must be kept: what is assigned or wanted, the last releases,
    /// what a publish under way names, renderings.
    #[must_use]
    pub fn variants(&self) -> BTreeSet<Digest> {
        let mut out: BTreeSet<Digest> = self.pairs.iter().map(|pair| pair.variant).collect();
        out.extend(self.renderings.values().copied());
        let releases = self.bundles.values().flat_map(|bundle| &bundle.releases);
        out.extend(releases.flat_map(|release| &release.variants).copied());
        let staged = self.staged.iter().flat_map(|staged| &staged.parts);
        out.extend(staged.flat_map(|part| &part.pairs).map(|pair| pair.variant));
        out
    }

    /// Digests of all bodies that must be kept, without those of the objects that variants list.
    #[must_use]
    pub fn referenced(&self) -> BTreeSet<Digest> {
        let mut out = self.variants();
        for head in self.sources.values().filter_map(|source| source.head.as_ref()) {
            out.extend([head.catalog, head.defects]);
        }
        out.extend(self.pairs.iter().map(|pair| pair.variables));
        let staged = self.staged.iter().flat_map(|staged| &staged.parts);
        out.extend(staged.flat_map(|part| &part.pairs).map(|pair| pair.variables));
        out
    }
}
