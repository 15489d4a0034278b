//! What a hub sends a spoke to take it from what it holds to what is assigned, and its answers.
//!
//! These are the domain's words; `proto/wire` turns them into messages and chunks.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ask::Answer;
use crate::assign::{Entry, Fence};
use crate::report::Report;
use crate::suspend::Suspensions;
use crate::{Digest, RuleVersions};

/// What a spoke says first on a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// What the spoke holds.
    pub fence: Fence,
    /// The hub's own MAC over that fence, as it was given; empty before the first.
    pub fence_mac: Vec<u8>,
    /// Digest over what the spoke holds, `assign::root`.
    pub root: Digest,
    /// Digest over the spoke's whole level of reports, [`level`].
    pub level: Digest,
    /// The last session token; empty before the first.
    pub session_token: Vec<u8>,
    /// uid of the namespace `kube-system`.
    pub cluster_uid: String,
    /// The rules that this spoke knows.
    pub rules: RuleVersions,
    /// Version of the spoke, for people.
    pub version: String,
    /// Version of the asks that it answers, [`crate::ask::VERSION`]; 0 from a spoke that knows none.
    pub asks: u32,
    /// Version of the suspensions that it heeds, [`crate::suspend::VERSION`]; 0 from a spoke that heeds none of the
    /// hub's.
    pub suspends: u32,
    /// Whether it holds suspensions of the hub's: where there are none any more, it must be told.
    pub suspended: bool,
}

/// From the hub to a spoke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSpoke {
    /// First answer to a Hello.
    Welcome {
        /// Token of this session, to present at the next Hello.
        session_token: Vec<u8>,
        /// Whether the hub wants to know which entries the spoke holds (its root is unknown).
        want_holding: bool,
        /// Whether the hub wants all reports (its level is unknown).
        want_reports: bool,
    },
    /// A change of assignments; parts follow, and it takes effect at its end.
    Delta(Delta),
    /// A list of objects: whole, or as the difference to one that the spoke holds.
    Variant(VariantPart),
    /// The bytes of one object.
    Body(BodyPart),
    /// Certificates for a renewal that the spoke asked for, PEM, leaf first.
    Certificate(Vec<u8>),
    /// The session is over.
    Refused(Refusal),
    /// How a bundle is live against what is bound; answered by [`ToHub::Answer`].
    Ask {
        /// Names the answer.
        id: u64,
        /// Full name of the bundle.
        bundle: String,
    },
    /// All that the hub has suspended in the cluster, in place of what it said before.
    Suspensions(Suspensions),
}

/// The head of a change: what a cluster must hold afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The fence after the change.
    pub fence: Fence,
    /// The hub's MAC over that fence.
    pub fence_mac: Vec<u8>,
    /// The root that it applies to; the spoke nacks another one.
    pub base: Digest,
    /// The root afterwards.
    pub root: Digest,
    /// Entries that are new or changed, by full bundle name.
    pub set: BTreeMap<String, Entry>,
    /// Bundles that are no longer known: removed, and the spoke has said so.
    pub forget: Vec<String>,
}

/// A variant on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariantPart {
    /// The variant's digest.
    pub digest: Digest,
    /// The variant against which `bytes` were compressed, if any.
    pub base: Option<Digest>,
    /// `Variant::encode`, zstd, with the base's bytes as prefix where there is a base.
    pub bytes: Arc<[u8]>,
}

/// An object's body on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyPart {
    /// The body's digest.
    pub digest: Digest,
    /// The body against which `bytes` were compressed, if any.
    pub base: Option<Digest>,
    /// The canonical JSON, zstd, with the base's bytes as prefix where there is a base.
    pub bytes: Arc<[u8]>,
}

/// Why a hub ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The certificate was revoked.
    Revoked,
    /// Two spokes use one identity.
    DuplicateIdentity,
    /// Another cluster answers under this name.
    OtherCluster,
    /// A newer stream of the same spoke took over.
    Displaced,
    /// The spoke does not know the rules that its assignments were made for.
    TooOld,
    /// The cluster was removed from the fleet.
    Removed,
    /// The hub is busy or going away: come back.
    Retry,
    /// The spoke belongs to another hub, or presented a fence that this hub never gave.
    ForeignFence,
}

impl Refusal {
    /// The reason, and what to do about it.
    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Self::Revoked => "the certificate was revoked; join again with a new token",
            Self::DuplicateIdentity => "duplicate identity: two spokes use this name; run `drover cluster replace`",
            Self::OtherCluster => {
                "reinstalled or cloned: another cluster answers under this name; \
                 run `drover cluster replace`"
            }
            Self::Displaced => "a newer stream of this spoke took over",
            Self::TooOld => "spoke too old for what is assigned to it; upgrade the spoke",
            Self::Removed => "the cluster was removed from the fleet",
            Self::Retry => "the hub is busy; trying again",
            Self::ForeignFence => {
                "the cluster holds what another hub gave it: go on with that hub (`drover up`: with its --dir), let \
                 the cluster leave it with `drover cluster remove`, or remove its objects and the Secrets of \
                 drover-system first"
            }
        }
    }
}

/// From a spoke to the hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToHub {
    /// First message of a stream.
    Hello(Hello),
    /// The entries that the spoke holds, and the digest of each.
    Holding(BTreeMap<String, HeldEntry>),
    /// What the spoke lacks to finish the delta under way.
    Need {
        /// Variants.
        variants: Vec<Digest>,
        /// Bodies.
        bodies: Vec<Digest>,
    },
    /// The ledger holds this fence and root durably.
    Ack {
        /// The generation.
        generation: u64,
        /// The root.
        root: Digest,
    },
    /// The delta was refused; the spoke keeps what it had.
    Nack {
        /// The generation that was refused.
        generation: u64,
        /// Why.
        message: String,
    },
    /// News of one bundle; newest wins.
    Report(Report),
    /// A certificate signing request, PEM, for a renewal.
    Renew(Vec<u8>),
    /// The answer to an ask.
    Answer(Answer),
}

/// One entry that a spoke holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldEntry {
    /// `Entry::digest`.
    pub digest: Digest,
    /// The variant that the spoke holds for the bundle, if any: the base for differences.
    pub variant: Option<Digest>,
}

/// Digest over the whole level of a spoke's reports, by bundle.
#[must_use]
pub fn level<'a>(reports: impl IntoIterator<Item = &'a Report>) -> Digest {
    let by_name: BTreeMap<&str, Digest> =
        reports.into_iter().map(|report| (report.bundle.as_str(), report.digest())).collect();
    Digest::of_parts(by_name.iter().flat_map(|(name, digest)| [name.as_bytes(), &digest.0[..]]))
}
