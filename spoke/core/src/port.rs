//! The port between the spoke's decisions and the cluster that it keeps.
//!
//! Shells implement [`Cluster`]: `spoke/kube` for a real API server, `spoke/memory` for an
//! in-memory one. Both pass one conformance suite.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use proto_model::variant::ServiceAccount;
use proto_model::{Digest, GroupKind, Identity, wishes};
use serde_json::Value as Json;

pub use crate::contents::Contents;
pub use crate::note::{About, Note};
use crate::{rival, scaler};

/// Label on every object that Drover owns: a hash of hub id, source and bundle, 16 hexadecimal
/// digits.
pub const OWNER_LABEL: &str = "drover.dev/owner";
/// Annotation on every object that Drover owns: JSON of a list of [`OwnerMark`].
pub const OWNER_ANNOTATION: &str = "drover.dev/owned-by";
/// Namespace of the spoke's own things.
pub const SYSTEM_NAMESPACE: &str = "drover-system";

/// Name of the ConfigMap in [`SYSTEM_NAMESPACE`] that says how the cluster stands.
pub const STATUS_NAME: &str = "drover-status";

/// A future in a box, so that [`Cluster`] can be a trait object.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A kind at one API version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// Group and kind.
    pub kind: GroupKind,
    /// Version within the group, such as `v1`.
    pub version: String,
}

/// One request to the API server.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Whether a kind exists, and its scope.
    Discover(Kind),
    /// Reads one object. [`Reason::NoSuchKind`] says that its kind is served at no version at all, and so that it is
    /// not there.
    Get {
        /// Which object.
        identity: Identity,
        /// API version to read it at; where the server no longer has that, it is read at any other.
        version: String,
    },
    /// Server-side apply, with force.
    Apply {
        /// The whole bound manifest, with owner marks.
        manifest: Json,
        /// Field manager.
        manager: String,
        /// Only ask; change nothing.
        dry_run: bool,
    },
    /// Deletes one object, in the background, if it still is the one that was judged, unchanged: whose it is
    /// may have changed since.
    Delete {
        /// Which object.
        identity: Identity,
        /// API version to delete it at.
        version: String,
        /// Precondition: nothing is deleted where the live uid differs.
        uid: String,
        /// Precondition: nothing is deleted where the live resourceVersion differs.
        resource_version: String,
        /// Whether what the object owns stays.
        orphan: bool,
    },
    /// Changes one object by a JSON merge patch (RFC 7386), if it still is the one that was looked at, unchanged.
    Patch {
        /// Which object.
        identity: Identity,
        /// API version to patch it at.
        version: String,
        /// Precondition: nothing is changed where the live uid differs.
        uid: String,
        /// Precondition: nothing is changed where the live resourceVersion differs.
        resource_version: String,
        /// The patch, without the preconditions.
        patch: Json,
    },
    /// Lists whole objects of a kind, [`proto_model::limits::LIST_OBJECTS_MAX`] at most.
    List {
        /// Kind and version.
        kind: Kind,
        /// In this namespace; empty: in all.
        namespace: String,
        /// Of this name; empty: any.
        name: String,
        /// With these labels.
        labels: BTreeMap<String, String>,
    },
    /// The same as a service account of the cluster, with its rights.
    As(ServiceAccount, Box<Self>),
    /// Makes a namespace where it is missing; an existing one is left as it is.
    EnsureNamespace(String),
    /// Looks for what would go along with a namespace or a definition and is nobody's here to
    /// delete: lists every kind that can be deleted, or the one that is defined, by metadata alone.
    /// It ends at the first page with a foreign object.
    Contents {
        /// A Namespace or a CustomResourceDefinition.
        of: Identity,
        /// uids of all objects in inventories: they and what they own do not count.
        inventoried: Arc<BTreeSet<String>>,
    },
}

/// What came of an [`Op`].
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The kind exists.
    Discovered {
        /// Whether its objects live in namespaces.
        namespaced: bool,
    },
    /// The object as it is; `None` where there is none.
    Got(Option<Live>),
    /// The object after the apply (or as it would be, for a dry-run).
    Applied(Live),
    /// The deletion was taken, or there was nothing to delete (any more).
    Deleted,
    /// The object after the patch.
    Patched(Live),
    /// The objects of a list.
    Listed(Vec<Arc<Json>>),
    /// The namespace is there.
    NamespaceReady,
    /// What is in the way of deleting a namespace or a definition.
    Contents(Contents),
    /// It failed.
    Failed(Failure),
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub reason: Reason,
    /// In words, with the verb, resource and account for Forbidden. Never object content.
    pub message: String,
    /// What the API server asked to wait (Retry-After), in milliseconds.
    pub retry_after_millis: Option<u64>,
}

/// Kinds of failure. `is_final` tells which of them trying again can't mend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// 400 or 422: the object itself is refused, an immutable field among them.
    Invalid,
    /// 403 of RBAC or of an admission policy.
    Forbidden,
    /// 403 of a quota.
    Quota,
    /// The kind does not exist (yet).
    NoSuchKind,
    /// The namespace does not exist (yet).
    NoSuchNamespace,
    /// The namespace is terminating.
    Terminating,
    /// 409: a conflict, or a uid precondition that does not hold.
    Conflict,
    /// What is to be written over was there, and somebody removed it.
    Gone,
    /// 401.
    Unauthorized,
    /// A webhook that can't be reached.
    Webhook,
    /// 429.
    Throttled,
    /// 5xx.
    Server,
    /// No answer: connection refused, closed or timed out.
    Unreachable,
}

impl Reason {
    /// Whether trying again can't help.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Invalid | Self::Forbidden)
    }
}

/// Who owns an object, as its annotation says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct OwnerMark {
    /// The hub.
    pub hub: String,
    /// Full name of the bundle.
    pub bundle: String,
    /// Incarnation of the cluster.
    pub incarnation: u64,
}

/// A live object, as far as the spoke looks at it.
#[derive(Clone, Debug, PartialEq)]
pub struct Live {
    /// Which object.
    pub identity: Identity,
    /// API version at which it was read.
    pub version: String,
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion.
    pub resource_version: String,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Its finalizers.
    pub finalizers: Vec<String>,
    /// The owners' marks, as the annotation has them; empty where there is none that reads.
    pub owners: Vec<OwnerMark>,
    /// For each field manager whose name begins with `drover/`: a digest of the set of fields that
    /// it owns (managedFields of operation Apply). A manager that owns none is absent.
    pub managed: BTreeMap<String, Digest>,
    /// Whether somebody asked, on the object, that hands are kept off it.
    pub hands_off: bool,
    /// Whether something that scales set its replicas.
    pub scaled: bool,
    /// The field manager, other than ours, that wrote last, as managedFields tell it.
    pub changed_by: Option<String>,
    /// Whether its kind has a status subresource, which a controller writes. Told by answers to
    /// Get and Apply; `false` from watches and lists.
    pub has_status: bool,
    /// The whole object, where it was read or watched whole; `None` from a metadata watch.
    pub object: Option<Arc<Json>>,
}

impl Live {
    /// Reads a live object as an API server returns it. `kind` is whose object it is (a metadata
    /// watch does not say), `metadata` its metadata, `object` the whole of it where that was read.
    #[must_use]
    pub fn read(kind: &Kind, metadata: &Json, object: Option<Arc<Json>>) -> Self {
        let text = |key: &str| metadata.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let marks = metadata.get("annotations").and_then(|a| a.get(OWNER_ANNOTATION));
        Self {
            identity: Identity { kind: kind.kind.clone(), namespace: text("namespace"), name: text("name") },
            version: kind.version.clone(),
            uid: text("uid"),
            resource_version: text("resourceVersion"),
            deleting: metadata.get("deletionTimestamp").is_some_and(|time| !time.is_null()),
            finalizers: items(metadata, "finalizers").filter_map(|name| name.as_str().map(Into::into)).collect(),
            owners: marks.and_then(Json::as_str).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
            managed: managed(metadata),
            hands_off: wishes::is_hands_off(metadata),
            scaled: scaler::has_set(metadata),
            changed_by: rival::last_writer(metadata),
            has_status: false,
            object,
        }
    }

    /// The same, of a kind with or without a status subresource.
    #[must_use]
    pub fn with_status(self, has_status: bool) -> Self {
        Self { has_status, ..self }
    }
}

fn items<'a>(metadata: &'a Json, key: &str) -> impl Iterator<Item = &'a Json> {
    metadata.get(key).and_then(Json::as_array).into_iter().flatten()
}

/// A digest of the fields of each of our managers. A manager has an entry per API version for a
/// moment after its version changed: they count together.
fn managed(metadata: &Json) -> BTreeMap<String, Digest> {
    let mut sets: BTreeMap<String, BTreeSet<Digest>> = BTreeMap::new();
    for entry in items(metadata, "managedFields") {
        let text = |key: &str| entry.get(key).and_then(Json::as_str).unwrap_or_default();
        let fields = entry.get("fieldsV1").filter(|f| f.as_object().is_some_and(|f| !f.is_empty()));
        let manager = text("manager");
        let ours = manager.starts_with("drover/") && text("operation") == "Apply";
        if let (true, Some(fields)) = (ours, fields) {
            sets.entry(manager.into()).or_default().insert(Digest::of_json(fields));
        }
    }
    let fold = |digests: BTreeSet<Digest>| match digests.first() {
        Some(only) if digests.len() == 1 => *only,
        _ => Digest::of_parts(digests.iter().map(|digest| &digest.0[..])),
    };
    sets.into_iter().map(|(manager, digests)| (manager, fold(digests))).collect()
}

/// What a watch saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// An object is there, new or changed.
    Seen(Live),
    /// An object with our label is gone, or lost our label: look before you act.
    Gone {
        /// Which object.
        identity: Identity,
        /// Its last known uid.
        uid: String,
    },
    /// Everything that existed of a kind when its watch (re)started was told. What was not seen
    /// since the last `Restarted` of that kind does not exist.
    Listed(Kind),
    /// The watch of a kind began anew; `Listed` follows after its objects.
    Restarted(Kind),
    /// The kind can't be watched now; the shell keeps trying.
    Lost {
        /// Which kind.
        kind: Kind,
        /// Why.
        failure: Failure,
    },
}

/// What of a kind is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Depth {
    /// Metadata alone: enough for drift.
    Metadata,
    /// Whole objects: for kinds whose health is read from their status.
    Whole,
}

/// A change of what is stored durably in the cluster. Puts are carried out in order, each durable
/// before the next, then the deletions; a failure in between leaves a prefix done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Write {
    /// Records to put, key and bytes. Keys are lower-case letters, digits, `-`, `.` and `/`.
    pub puts: Vec<(String, Vec<u8>)>,
    /// Records to delete; a missing one is no error.
    pub deletes: Vec<String>,
}

/// Where a shell puts what its watches see. Never blocks.
pub type Sink = Arc<dyn Fn(Observation) + Send + Sync>;

/// A cluster, real or in memory. Watches carry only objects with [`OWNER_LABEL`].
pub trait Cluster: Send + Sync + 'static {
    /// uid of the namespace `kube-system`.
    fn uid(&self) -> Answer<'_, Result<String, Failure>>;

    /// Carries out one request.
    fn execute(&self, op: Op) -> Answer<'_, Outcome>;

    /// From now on these kinds, and no others, are watched; what runs already goes on. Everything
    /// seen goes to `sink` (the same one at each call).
    fn watch(&self, kinds: BTreeMap<Kind, Depth>, sink: Sink);

    /// Reads all records of the ledger.
    fn load(&self) -> Answer<'_, Result<BTreeMap<String, Vec<u8>>, Failure>>;

    /// Writes records of the ledger, durably. A record that somebody else wrote or removed since it was read or written
    /// through this cluster is left as it is: [`Reason::Conflict`], and the ledger must be read anew. Where records that
    /// were there are gone and nobody wrote others, it is [`Reason::Gone`]: all of them must be written again.
    fn store(&self, write: Write) -> Answer<'_, Result<(), Failure>>;

    /// Takes or renews the Lease in [`SYSTEM_NAMESPACE`] for `holder`; `Ok(false)` while another
    /// holder has a lease that has not run out. `secs` is how long it is good for; 0 gives it back,
    /// where it is `holder`'s: whoever asks next takes it at once.
    fn lease(&self, holder: String, secs: u32) -> Answer<'_, Result<bool, Failure>>;

    /// Kinds that can be listed in this cluster; used to find marked objects when the ledger is lost.
    fn kinds(&self) -> Answer<'_, Result<BTreeSet<Kind>, Failure>>;

    /// All live objects of a kind that carry [`OWNER_LABEL`], by their metadata alone.
    fn owned(&self, kind: Kind) -> Answer<'_, Result<Vec<Live>, Failure>>;

    /// Makes an Event of a note, best effort.
    fn tell(&self, note: Note) -> Answer<'_, Result<(), Failure>> {
        drop(note);
        Box::pin(async { Ok(()) })
    }

    /// Writes the ConfigMap [`STATUS_NAME`], best effort.
    fn publish(&self, data: BTreeMap<String, String>) -> Answer<'_, Result<(), Failure>> {
        drop(data);
        Box::pin(async { Ok(()) })
    }
}

/// What a search for marked objects came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Marked {
    /// Live objects that carry [`OWNER_LABEL`], by their metadata alone.
    pub found: Vec<Live>,
    /// Kinds that could not be listed, and why: whether there is any of them nobody knows.
    pub unlisted: BTreeMap<Kind, Failure>,
}

/// Searches the cluster for live objects that carry [`OWNER_LABEL`]: `only` these kinds, where there are any, else all.
///
/// # Errors
/// Which kinds there are can't be told now.
pub async fn marked(cluster: &dyn Cluster, only: BTreeSet<Kind>) -> Result<Marked, Failure> {
    let kinds = if only.is_empty() { cluster.kinds().await? } else { only };
    let mut marked = Marked::default();
    for kind in kinds {
        match cluster.owned(kind.clone()).await {
            Ok(some) => marked.found.extend(some),
            Err(failure) if failure.reason == Reason::NoSuchKind => {}
            Err(failure) => drop(marked.unlisted.insert(kind, failure)),
        }
    }
    Ok(marked)
}
