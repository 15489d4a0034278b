//! Log entries: what changes the replicated [`Fleet`](crate::fleet::Fleet).
//!
//! An entry is stored as a format byte and CBOR with field names; unknown fields and commands are
//! refused, so that a replica which can't read an entry stops instead of skipping a part of it.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::{Digest, Health, Permit, Sync, time};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::catalog::Guard;

/// The format that this version writes.
pub const FORMAT: u8 = 1;

/// One log entry: commands that take effect together, or not at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The revision of Fleet that the commands were made from; another one refuses the entry.
    pub parent: u64,
    /// The leader's wall clock, milliseconds since 1970. Fleet never lets it run backwards.
    pub at_unix_millis: u64,
    /// The commands, in order.
    pub commands: Vec<Command>,
}

/// An entry that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum BadEntry {
    /// Written by a later version.
    #[error("log entry of format {0}, this version reads up to {FORMAT}: upgrade this replica")]
    Format(u8),
    /// Not an entry.
    #[error("log entry can't be decoded: {0}")]
    Decode(String),
}

impl Entry {
    /// The bytes of the log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORMAT];
        // Writing plain data to memory has no way to fail; a cut entry would not decode.
        let _ = ciborium::into_writer(self, &mut out);
        out
    }

    /// Reads the bytes of the log.
    ///
    /// # Errors
    /// Written by a later version, or damaged: the replica must stop.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadEntry> {
        match bytes.split_first() {
            Some((&FORMAT, rest)) => ciborium::from_reader(rest).map_err(|error| BadEntry::Decode(error.to_string())),
            Some((&other, _)) => Err(BadEntry::Format(other)),
            None => Err(BadEntry::Decode("it is empty".into())),
        }
    }
}

/// What one cluster runs, or should run, of one bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Digest of the variant.
    #[serde(rename = "v")]
    pub variant: Digest,
    /// Digest of the table of variables.
    #[serde(rename = "w")]
    pub variables: Digest,
}

/// One change of Fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Command {
    /// What a source is; a change of URL, ref or path forgets its head.
    Source {
        /// Name of the source.
        source: String,
        /// Where it is read from.
        url: String,
        /// Branch, tag or commit that is followed.
        reference: String,
        /// Folder within the repository; empty for its root.
        path: String,
        /// Whether its heads must be signed, so that a start without keys cannot drop that in silence.
        #[serde(default)]
        verified: bool,
    },
    /// A source is no longer declared, and nothing of it runs anywhere.
    Forget {
        /// Name of the source.
        source: String,
    },
    /// A commit was read and found to be a rewind: held until approved. The accepted head itself
    /// ends what was held.
    Rewind {
        /// Name of the source.
        source: String,
        /// The commit that is not a descendant of the accepted head.
        commit: String,
    },
    /// What a source says of clusters. Goals name clusters by number, so this comes before them.
    Declare {
        /// Name of the source.
        source: String,
        /// Clusters that are new or have other labels.
        declared: BTreeMap<String, BTreeMap<String, String>>,
        /// Clusters whose declaration disappeared.
        undeclared: BTreeSet<String>,
    },
    /// Results of renderings, by the digest of their inputs.
    Rendered {
        /// Input digest and variant digest.
        renderings: Vec<(Digest, Digest)>,
    },
    /// Renderings that nothing needs any more, by the digest of their inputs.
    Collect {
        /// Input digests.
        renderings: Vec<Digest>,
    },
    /// A part of a publish: bundles of which its end does not have room to speak.
    Heads(HeadsPart),
    /// A part of a publish: the goal of one bundle, or a part of it.
    Goal(GoalPart),
    /// The end of a publish: its parts take effect.
    Publish(Publish),
    /// A token that clusters may join with.
    Token(Token),
    /// A cluster joined with a token, or came back with the key it enrolled.
    Enrol {
        /// Name of the cluster.
        cluster: String,
        /// Token that admitted it.
        token: String,
        /// SHA-256 of its public key.
        key: Digest,
    },
    /// A stream of a cluster was accepted.
    Attach {
        /// Name of the cluster.
        cluster: String,
        /// Counter of the session, one more than the last.
        session: u64,
        /// Counter of the session whose token the spoke presented: it has that one, so an older
        /// one is a clone's. 0: none.
        presented: u64,
        /// uid of the cluster's kube-system.
        uid: String,
    },
    /// An identity must not be served until an operator replaced it.
    Quarantine {
        /// Name of the cluster.
        cluster: String,
        /// Why.
        reason: Quarantine,
    },
    /// What spokes reported, as far as Fleet keeps it.
    Observe(Observations),
    /// Assignments change.
    Move(BundleMoves),
    /// An operator's act.
    Operator(Act),
    /// Suspensions whose time has come are over, by the leader's clocks.
    Lapse(Vec<Lapsed>),
    /// A cluster that leaves has let go of everything, and its spoke said that it holds nothing: it is forgotten.
    Left {
        /// Name of the cluster.
        cluster: String,
    },
}

/// A suspension that is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lapsed {
    /// Name of the cluster.
    pub cluster: String,
    /// Full name of the bundle, or `*` for the whole cluster.
    pub scope: String,
    /// Which: another one in its place goes on.
    pub id: u64,
}

/// A part of the goal of one bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoalPart {
    /// Which publish: parts of another one are dropped.
    pub publish: Digest,
    /// Full name of the bundle.
    pub bundle: String,
    /// What clusters should run.
    pub pairs: Vec<Pair>,
    /// Clusters, by number, and the index of their pair.
    pub clusters: Vec<(u32, u32)>,
}

/// A part of what a publish says about bundles beside their goals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeadsPart {
    /// Which publish: parts of another one are dropped.
    pub publish: Digest,
    /// As in [`Publish::bundles`].
    pub bundles: Vec<BundleHead>,
    /// As in [`Publish::gone`].
    pub gone: Vec<String>,
}

/// The end of a publish.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Which publish.
    pub publish: Digest,
    /// Name of the source.
    pub source: String,
    /// The commit that it comes from.
    pub commit: String,
    /// Digest of the catalog's body.
    pub catalog: Digest,
    /// Digest of the body with the defects.
    pub defects: Digest,
    /// Bundles whose goal changed, beside those of [`HeadsPart`]s: their parts came before.
    pub bundles: Vec<BundleHead>,
    /// Bundles of the source that are no longer declared, beside those of [`HeadsPart`]s.
    pub gone: Vec<String>,
    /// Parts that came before. Where one is missing the publish is refused: a goal that is not
    /// whole would read as a removal.
    pub parts: u32,
}

/// What a publish says about one bundle beside its goal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleHead {
    /// Full name.
    pub bundle: String,
    /// Address of the release.
    pub release: Digest,
    /// Folder that it is read from.
    pub path: String,
    /// The guard that the release brings; it is in force once the release is everywhere.
    pub guard: Guard,
}

/// A join token, as far as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Public name of the token.
    pub id: String,
    /// SHA-256 of its secret.
    pub secret: Digest,
    /// Globs of the cluster names that it admits.
    pub names: Vec<String>,
    /// Labels of the clusters that join with it.
    pub labels: BTreeMap<String, String>,
    /// How often it may be used.
    pub uses: u32,
    /// End of its life, milliseconds since 1970.
    pub expires_unix_millis: u64,
}

/// Why an identity is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Quarantine {
    /// Two spokes use it.
    DuplicateIdentity,
    /// Another cluster answers under it.
    OtherCluster,
    /// It presented a fence that this hub never gave.
    ForeignFence,
}

/// Reports of many clusters, folded into one command.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observations {
    /// Full names of the bundles spoken of.
    pub bundles: Vec<String>,
    /// One for each cluster and bundle.
    pub items: Vec<Observation>,
}

/// What one cluster reported of one bundle. The leader has checked that it is about what is
/// assigned now; the entry's parent keeps that true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observation {
    /// Cluster, by number.
    #[serde(rename = "c")]
    pub cluster: u32,
    /// Index into `Observations::bundles`.
    #[serde(rename = "b")]
    pub bundle: u32,
    /// The generation that the report was about.
    #[serde(rename = "g")]
    pub generation: u64,
    /// What was seen; `None` when the bundle is gone from the cluster.
    #[serde(rename = "s")]
    pub seen: Option<Seen>,
}

/// The facts that Fleet keeps of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen(
    /// Sync.
    pub Sync,
    /// Health.
    pub Health,
    /// Flags: 1 drifted, 2 suspended, 4 installed.
    pub u8,
);

/// Moves of one bundle: clusters that take its goal now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleMoves {
    /// Full name.
    pub bundle: String,
    /// Clusters, by number, that are assigned their goal (or, without one, the removal).
    pub clusters: Bits,
    /// What they may remove, and how many objects of it the guard counts; clusters that are not
    /// listed remove nothing.
    pub permits: Vec<(u32, Permit, u64)>,
    /// Moves that the guard holds, by the number of objects that would go. Replaces the list
    /// before.
    pub held: Vec<(u64, Bits)>,
    /// Clusters of these that lose the bundle and keep some of its objects, or hand them over to another one: they are
    /// not emptied.
    #[serde(default, skip_serializing_if = "Bits::is_empty")]
    pub stays: Bits,
    /// Clusters of these in which objects go over to another bundle.
    #[serde(default, skip_serializing_if = "Bits::is_empty")]
    pub hands: Bits,
}

/// A set of cluster numbers, stored as roaring's own portable bytes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bits(pub RoaringBitmap);

impl Serialize for Bits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.0.serialized_size());
        self.0.serialize_into(&mut bytes).map_err(serde::ser::Error::custom)?;
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Bits;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a roaring bitmap")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bits, E> {
                RoaringBitmap::deserialize_from(bytes).map(Bits).map_err(E::custom)
            }
        }
        // Not `deserialize_bytes`: ciborium gives no more than 4 KiB that way.
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// What an operator did, recorded with who and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// The client's request id: a repetition returns the first result.
    pub request: String,
    /// Who: the name in the operator's certificate.
    pub who: String,
    /// Why, in the operator's words.
    pub why: String,
    /// What.
    pub deed: Deed,
}

/// What operators can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Deed {
    /// A join token was made.
    CreateToken(Token),
    /// A cluster is forgotten at once; what runs there stays, with our marks on it.
    RemoveCluster(String),
    /// A cluster leaves the fleet: it lets go of what it runs, and then it is forgotten.
    Leave {
        /// Name of the cluster.
        cluster: String,
        /// Whether its objects are deleted, as far as the guard lets them go; else they stay without our marks.
        deletes_objects: bool,
    },
    /// A bundle in a cluster, or the whole cluster, is left alone for a while.
    Suspend {
        /// Name of the cluster.
        cluster: String,
        /// Full name of the bundle; `None`: the whole cluster.
        bundle: Option<String>,
        /// For how long, in milliseconds.
        span_millis: u64,
    },
    /// A suspension ends before its time.
    Resume {
        /// Name of the cluster.
        cluster: String,
        /// Full name of the bundle; `None`: the whole cluster.
        bundle: Option<String>,
    },
    /// The cluster behind a name is another one from now on.
    ReplaceCluster(String),
    /// The certificate of a cluster is worth nothing any more.
    RevokeCluster(String),
    /// A rewind of a source is meant.
    ApproveRewind {
        /// Name of the source.
        source: String,
        /// The commit that may become its head.
        commit: String,
    },
    /// Deletions that the guard holds may go.
    ApproveDeletions {
        /// Full name of the bundle.
        bundle: String,
        /// Names what was shown, `check::held_digest`; anything else is not approved.
        shown: Digest,
    },
}

impl Deed {
    /// The deed in words, for the audit trail.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::CreateToken(token) => {
                format!("made join token {} for {}", token.id, token.names.join(", "))
            }
            Self::RemoveCluster(cluster) => format!("removed cluster {cluster}"),
            Self::Leave { cluster, deletes_objects: false } => format!("let cluster {cluster} leave"),
            Self::Leave { cluster, deletes_objects: true } => {
                format!("let cluster {cluster} leave, and its objects be deleted")
            }
            Self::Suspend { cluster, bundle, span_millis } => {
                format!("suspended {} for {}", part(cluster, bundle.as_deref()), time::span(span_millis / 1_000))
            }
            Self::Resume { cluster, bundle } => format!("resumed {}", part(cluster, bundle.as_deref())),
            Self::ReplaceCluster(cluster) => format!("replaced cluster {cluster}"),
            Self::RevokeCluster(cluster) => format!("revoked cluster {cluster}"),
            Self::ApproveRewind { source, commit } => {
                format!("approved the rewind of {source} to {commit}")
            }
            Self::ApproveDeletions { bundle, .. } => format!("approved deletions of {bundle}"),
        }
    }
}

/// A cluster, or a bundle in it.
fn part(cluster: &str, bundle: Option<&str>) -> String {
    bundle.map_or_else(|| format!("cluster {cluster}"), |bundle| format!("{bundle} in cluster {cluster}"))
}
