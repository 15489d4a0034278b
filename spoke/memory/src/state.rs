//! The cluster as a value: objects, counters, timers and watches.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::{GroupKind, Identity};
use serde_json::{Value as Json, json};
use spoke_core::port::{Failure, Kind, Live, OWNER_LABEL, Op, Outcome, Reason};

use crate::custom::Custom;
use crate::fault::{Fault, Verb};
use crate::patch::Patched;
use crate::resolve::{Resolved, namespace_identity};
use crate::watch::{Subscriber, Subscription};

/// How fast a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From a change of a workload to its being available or complete, in milliseconds.
    pub progress_millis: u64,
    /// From a definition to its kind being served, in milliseconds.
    pub establish_millis: u64,
    /// From the deletion of a namespace or definition to its end, in milliseconds.
    pub terminate_millis: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { progress_millis: 400, establish_millis: 50, terminate_millis: 100 }
    }
}

/// What becomes of a workload, for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// It never gets ready.
    Stall,
    /// Its controller reports failure.
    Fail,
}

/// What changed since it was last asked for, so that it can be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An object is new or changed: its body, and since when its spec is as it is (milliseconds).
    Put(Identity, Arc<[u8]>, u64),
    /// An object is gone.
    Removed(Identity),
}

/// An object as it is kept: as text, since a value takes many times the memory.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) body: Arc<[u8]>,
    pub(crate) uid: String,
    /// Whether it carries the owner label.
    pub(crate) labelled: bool,
    /// When its spec last changed, in milliseconds.
    pub(crate) since: u64,
}

impl Stored {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or(Json::Null)
    }
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct State {
    pub(crate) name: String,
    /// The last resourceVersion; uids are made from it too.
    pub(crate) revision: u64,
    pub(crate) objects: BTreeMap<Identity, Stored>,
    pub(crate) customs: BTreeMap<GroupKind, Custom>,
    /// When the controllers look at an object again, in milliseconds.
    pub(crate) timers: BTreeSet<(u64, Identity)>,
    pub(crate) subscribers: BTreeMap<Subscriber, Subscription>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) scripts: BTreeMap<Identity, Script>,
    pub(crate) reachable: bool,
    lease: Option<(String, u64)>,
    pub(crate) changes: Option<BTreeSet<Identity>>,
    /// How fast it is.
    pub settings: Settings,
}

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

impl State {
    /// A new cluster. Clusters of different names have different uids.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let mut state = Self::bare(name);
        for namespace in NAMESPACES {
            state.make_namespace(namespace, "kube-apiserver", 0);
        }
        state
    }

    fn bare(name: &str) -> Self {
        Self {
            name: name.into(),
            revision: 0,
            objects: BTreeMap::new(),
            customs: BTreeMap::new(),
            timers: BTreeSet::new(),
            subscribers: BTreeMap::new(),
            faults: Vec::new(),
            scripts: BTreeMap::new(),
            reachable: true,
            lease: None,
            changes: None,
            settings: Settings::default(),
        }
    }

    /// A cluster as its changes, in their order, left it; `revision` is where it stood.
    #[must_use]
    pub fn replay(name: &str, revision: u64, changes: Vec<Change>, now_millis: u64) -> Self {
        let mut state = Self::bare(name);
        state.revision = revision;
        for change in changes {
            match change {
                Change::Put(identity, body, since) => {
                    let json: Json = serde_json::from_slice(&body).unwrap_or(Json::Null);
                    state.objects.insert(identity, stored(&json, body, since));
                }
                Change::Removed(identity) => {
                    state.objects.remove(&identity);
                }
            }
        }
        let all: Vec<Identity> = state.objects.keys().cloned().collect();
        for identity in all {
            state.learn(&identity);
            state.timers.insert((now_millis, identity));
        }
        state
    }

    /// uid of the namespace `kube-system`.
    #[must_use]
    pub fn uid(&self) -> String {
        self.objects.get(&namespace_identity("kube-system")).map(|s| s.uid.clone()).unwrap_or_default()
    }

    /// The last resourceVersion.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Carries out one request. `now_millis` is the time since 1970.
    pub fn execute(&mut self, op: &Op, now_millis: u64) -> Outcome {
        let done = match op {
            Op::Discover(kind) => self.discover(kind),
            Op::Get { identity, version } => self.read(identity, version),
            Op::Apply { manifest, manager, dry_run } => {
                self.apply(manifest, manager, *dry_run, now_millis).map(Outcome::Applied)
            }
            // Nothing is owned by anything here, so that nothing goes along.
            Op::Delete { identity, version, uid, resource_version, orphan: _ } => {
                self.delete(identity, version, uid, resource_version, now_millis)
            }
            Op::Patch { identity, version, uid, resource_version, patch } => {
                self.patch(&Patched { identity, version, uid, resource_version }, patch, now_millis)
            }
            Op::List { kind, namespace, name, labels } => self.list(kind, namespace, name, labels),
            Op::EnsureNamespace(name) => self.ensure_namespace(name, now_millis),
            Op::Contents { of, inventoried } => self.contents(of, inventoried),
            // No rights are kept here: whoever asks may.
            Op::As(_, op) => return self.execute(op, now_millis),
        };
        done.unwrap_or_else(Outcome::Failed)
    }

    fn discover(&mut self, kind: &Kind) -> Result<Outcome, Failure> {
        self.hinder(
            Verb::Discover,
            &Identity { kind: kind.kind.clone(), namespace: String::new(), name: String::new() },
        )?;
        Ok(Outcome::Discovered { namespaced: self.resolve(kind)?.namespaced })
    }

    fn read(&mut self, identity: &Identity, version: &str) -> Result<Outcome, Failure> {
        let kind = Kind { kind: identity.kind.clone(), version: version.into() };
        self.hinder(Verb::Get, identity)?;
        let resolved = self.resolve(&kind).or_else(|failure| self.any_version(&identity.kind, failure))?;
        let identity = resolved.scoped(identity)?;
        Ok(Outcome::Got(
            self.objects.get(&identity).map(|stored| live(&resolved.kind, stored, true).with_status(resolved.status)),
        ))
    }

    fn delete(
        &mut self,
        identity: &Identity,
        version: &str,
        uid: &str,
        resource_version: &str,
        now: u64,
    ) -> Result<Outcome, Failure> {
        self.hinder(Verb::Delete, identity)?;
        let kind = Kind { kind: identity.kind.clone(), version: version.into() };
        let resolved = match self.resolve(&kind).or_else(|failure| self.any_version(&identity.kind, failure)) {
            Ok(resolved) => resolved,
            // Where the kind does not exist, no object of it does.
            Err(failure) if failure.reason == Reason::NoSuchKind => return Ok(Outcome::Deleted),
            Err(failure) => return Err(failure),
        };
        let identity = resolved.scoped(identity)?;
        let Some(stored) = self.objects.get(&identity) else {
            return Ok(Outcome::Deleted);
        };
        let object = stored.json();
        let present = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        for (what, wanted, found) in [("UID", uid, &*stored.uid), ("ResourceVersion", resource_version, present)] {
            if wanted != found {
                let message = format!(
                    "Operation cannot be fulfilled on {} {:?}: the {what} in the precondition ({wanted}) does not match the {what} in record ({found})",
                    resolved.named(),
                    identity.name,
                );
                return Err(fail(Reason::Conflict, message));
            }
        }
        if identity.kind.is("", "Namespace") && NAMESPACES[..].contains(&identity.name.as_str()) {
            let message = format!("namespaces {:?} is forbidden: this namespace may not be deleted", identity.name);
            return Err(fail(Reason::Forbidden, message));
        }
        self.mark_deleted(&identity, now);
        Ok(Outcome::Deleted)
    }

    pub(crate) fn ensure_namespace(&mut self, name: &str, now: u64) -> Result<Outcome, Failure> {
        let identity = namespace_identity(name);
        self.hinder(Verb::Namespace, &identity)?;
        if let Some(stored) = self.objects.get(&identity) {
            return if is_deleting(&stored.json()) { Err(terminating(name)) } else { Ok(Outcome::NamespaceReady) };
        }
        crate::validate::object(&identity.kind, &json!({"metadata": {"name": name}}))
            .map_err(|why| fail(Reason::Invalid, format!("Namespace {name:?} is invalid: {why}")))?;
        self.make_namespace(name, "drover-spoke", now);
        Ok(Outcome::NamespaceReady)
    }

    fn make_namespace(&mut self, name: &str, manager: &str, now: u64) {
        let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        if let Err(failure) = self.create(&manifest, manager, now) {
            // Only a name could be refused, and both callers checked it.
            debug_assert!(false, "{failure}");
        }
    }

    /// Takes or renews the lease; see [`spoke_core::port::Cluster::lease`].
    pub fn lease(&mut self, holder: &str, secs: u32, now_millis: u64) -> bool {
        match &self.lease {
            Some((other, until)) if other != holder && *until > now_millis => false,
            _ if secs == 0 => {
                self.lease = None;
                true
            }
            _ => {
                self.lease = Some((holder.into(), now_millis + u64::from(secs) * 1000));
                true
            }
        }
    }

    /// From now on, changes are kept for [`State::take_changes`].
    pub fn track_changes(&mut self) {
        self.changes.get_or_insert_with(BTreeSet::new);
    }

    /// What changed since the last call, once tracking was asked for.
    pub fn take_changes(&mut self) -> Vec<Change> {
        let changed = self.changes.as_mut().map(std::mem::take).unwrap_or_default();
        changed
            .into_iter()
            .map(|identity| match self.objects.get(&identity) {
                Some(stored) => Change::Put(identity, stored.body.clone(), stored.since),
                None => Change::Removed(identity),
            })
            .collect()
    }

    /// Everything that is there, as changes.
    #[must_use]
    pub fn all(&self) -> Vec<Change> {
        let put =
            |(identity, stored): (&Identity, &Stored)| Change::Put(identity.clone(), stored.body.clone(), stored.since);
        self.objects.iter().map(put).collect()
    }

    /// Refuses where the namespace of an object that is to be made is missing or going.
    pub(crate) fn namespace_takes(&self, resolved: &Resolved, identity: &Identity) -> Result<(), Failure> {
        if identity.namespace.is_empty() {
            return Ok(());
        }
        match self.objects.get(&namespace_identity(&identity.namespace)) {
            None => Err(fail(Reason::NoSuchNamespace, format!("namespaces {:?} not found", identity.namespace))),
            Some(stored) if is_deleting(&stored.json()) => Err(fail(
                Reason::Terminating,
                format!(
                    "{} {:?} is forbidden: unable to create new content in namespace {} because it is being terminated",
                    resolved.named(),
                    identity.name,
                    identity.namespace
                ),
            )),
            Some(_) => Ok(()),
        }
    }
}

pub(crate) fn stored(object: &Json, body: Arc<[u8]>, since: u64) -> Stored {
    let metadata = &object["metadata"];
    Stored {
        body,
        uid: metadata["uid"].as_str().unwrap_or_default().into(),
        labelled: metadata["labels"].get(OWNER_LABEL).is_some(),
        since,
    }
}

/// The object as the spoke sees it.
pub(crate) fn live(kind: &Kind, stored: &Stored, whole: bool) -> Live {
    let mut object = stored.json();
    object["apiVersion"] = api_version(kind).into();
    if whole {
        let object = Arc::new(object);
        Live::read(kind, &object["metadata"], Some(object.clone()))
    } else {
        Live::read(kind, &object["metadata"], None)
    }
}

/// `apiVersion` of a kind.
pub(crate) fn api_version(kind: &Kind) -> String {
    if kind.kind.group.is_empty() { kind.version.clone() } else { format!("{}/{}", kind.kind.group, kind.version) }
}

pub(crate) fn is_deleting(object: &Json) -> bool {
    object["metadata"].get("deletionTimestamp").is_some()
}

pub(crate) fn fail(reason: Reason, message: impl Into<String>) -> Failure {
    Failure { reason, message: message.into(), retry_after_millis: None }
}

fn terminating(name: &str) -> Failure {
    fail(Reason::Terminating, format!("namespace {name:?} is being terminated; it can be made again once it is gone"))
}

/// A time as the API writes it, to the second.
pub(crate) fn time(millis: u64) -> String {
    let secs = i64::try_from(millis / 1000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(secs).map(|t| t.to_string()).unwrap_or_default()
}
