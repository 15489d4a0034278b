//! The ledger: what the hub has assigned, durable in the cluster before anything acts on it.
//!
//! Records: `ledger` is the root, [`pack`](crate::pack)s are `bundle/<name>/<short digest>`,
//! [inventories](crate::inventory) are `inventory/<name>`. The root is the commit point: it is
//! written after the packs that it names, and packs that it no longer names are deleted afterwards.

use std::collections::BTreeMap;

use proto_model::assign::{self, Entry};
use proto_model::delta::HeldEntry;
use proto_model::{Digest, Fence};
use serde::{Deserialize, Serialize};

use crate::pack::Content;
use crate::suspend::Suspensions;

/// Key of the root record.
pub const ROOT_KEY: &str = "ledger";

const VERSION: u32 = 1;

/// A record that this version can't read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

impl Unreadable {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    fn of_root(why: impl std::fmt::Display) -> Self {
        Self(format!(
            "the ledger of this cluster can't be read ({why}); run the version of the spoke that \
             wrote it, or restore the records in namespace drover-system"
        ))
    }
}

/// What the root record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The fence of what is held.
    pub fence: Fence,
    /// The hub's MAC over it.
    pub fence_mac: Vec<u8>,
    /// The last session token.
    pub session_token: Vec<u8>,
    /// The cluster that it was written in; empty before the first.
    pub cluster_uid: String,
    /// What is held, by full bundle name.
    pub entries: BTreeMap<String, Entry>,
    /// Entries whose pack was lost. They are recorded as before, so that one fence never means two
    /// contents, and not acted on; the hub may bring them back under the same fence.
    pub lost: BTreeMap<String, Entry>,
    /// What is to be left alone for a while, whatever is assigned.
    pub suspensions: Suspensions,
    /// What the hub wants to be left alone for a while.
    pub hub_suspensions: Suspensions,
    /// Whether every object that bears a mark of ours is in an inventory, as far as is known: a
    /// ledger that was lost is not whole until the cluster was searched.
    pub is_whole: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Root {
    version: u32,
    fence: Fence,
    #[serde(with = "hex::serde")]
    fence_mac: Vec<u8>,
    #[serde(with = "hex::serde")]
    session_token: Vec<u8>,
    cluster_uid: String,
    entries: BTreeMap<String, Entry>,
    // A version of the spoke that does not know of it must not read what it would not heed.
    #[serde(default, skip_serializing_if = "Suspensions::is_empty")]
    suspensions: Suspensions,
    #[serde(default, skip_serializing_if = "Suspensions::is_empty")]
    hub_suspensions: Suspensions,
    #[serde(default, skip_serializing_if = "is_not")]
    is_whole: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_not(flag: &bool) -> bool {
    !*flag
}

#[derive(Deserialize)]
struct Format {
    version: u32,
}

impl Ledger {
    /// The bytes of the root record.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let root = Root {
            version: VERSION,
            fence: self.fence.clone(),
            fence_mac: self.fence_mac.clone(),
            session_token: self.session_token.clone(),
            cluster_uid: self.cluster_uid.clone(),
            entries: self.recorded(),
            suspensions: self.suspensions.clone(),
            hub_suspensions: self.hub_suspensions.clone(),
            is_whole: self.is_whole,
        };
        // Writing plain structs to memory has no way to fail; an empty record would not decode.
        serde_json::to_vec(&root).unwrap_or_default()
    }

    /// Reads what [`Ledger::encode`] wrote.
    ///
    /// # Errors
    /// A newer format, or bytes that are not what was written.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let format: Format = serde_json::from_slice(bytes).map_err(Unreadable::of_root)?;
        if format.version != VERSION {
            return Err(Unreadable::of_root(format!("format {}", format.version)));
        }
        let root: Root = serde_json::from_slice(bytes).map_err(Unreadable::of_root)?;
        Ok(Self {
            fence: root.fence,
            fence_mac: root.fence_mac,
            session_token: root.session_token,
            cluster_uid: root.cluster_uid,
            entries: root.entries,
            lost: BTreeMap::new(),
            suspensions: root.suspensions,
            hub_suspensions: root.hub_suspensions,
            is_whole: root.is_whole,
        })
    }

    /// Takes over what does not come with a change of assignments.
    pub fn carry_over(&mut self, from: &Self) {
        self.session_token.clone_from(&from.session_token);
        self.cluster_uid.clone_from(&from.cluster_uid);
        self.suspensions.clone_from(&from.suspensions);
        self.hub_suspensions.clone_from(&from.hub_suspensions);
        self.is_whole = from.is_whole;
    }

    /// The digest over all that is held.
    #[must_use]
    pub fn root(&self) -> Digest {
        root(&self.entries)
    }

    /// Leaves out entries whose content is not held, so that the hub sends them again.
    pub fn drop_lost(&mut self, is_held: impl Fn(&str, &Digest) -> bool) {
        let is_lost = |name: &String, entry: &mut Entry| variant(entry).is_some_and(|digest| !is_held(name, &digest));
        self.lost = self.entries.extract_if(.., is_lost).collect();
    }

    /// The digest over all that is recorded, where a part of it is lost.
    #[must_use]
    pub fn root_with_lost(&self) -> Option<Digest> {
        (!self.lost.is_empty()).then(|| root(&self.recorded()))
    }

    fn recorded(&self) -> BTreeMap<String, Entry> {
        let lost = self.lost.iter().map(|(name, entry)| (name.clone(), entry.clone()));
        self.entries.clone().into_iter().chain(lost).collect()
    }

    /// Each entry as the hub asks for it.
    #[must_use]
    pub fn holding(&self) -> BTreeMap<String, HeldEntry> {
        let held = |entry: &Entry| HeldEntry { digest: entry.digest(), variant: variant(entry) };
        self.entries.iter().map(|(name, entry)| (name.clone(), held(entry))).collect()
    }

    /// The keys of the packs that the root names, lost ones among them.
    pub fn pack_keys(&self) -> impl Iterator<Item = String> + '_ {
        self.entries
            .iter()
            .chain(&self.lost)
            .filter_map(|(name, entry)| variant(entry).map(|digest| Content::key(name, &digest)))
    }
}

/// The digest over entries, `assign::root`.
#[must_use]
pub fn root(entries: &BTreeMap<String, Entry>) -> Digest {
    let digests = entries.iter().map(|(name, entry)| (name.clone(), entry.digest())).collect();
    assign::root(&digests)
}

/// The variant that an entry asks for.
#[must_use]
pub fn variant(entry: &Entry) -> Option<Digest> {
    match entry {
        Entry::Run(assignment) => Some(assignment.variant),
        Entry::Remove(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proto_model::Permit;
    use proto_model::assign::{Assignment, RULES};
    use proto_model::variable::{Value, Variables};

    use super::*;
    use crate::suspend::Suspension;

    fn ledger() -> Ledger {
        let assignment = Assignment {
            variant: Digest::of(b"v"),
            variables: Variables::from_iter([("a".to_owned(), Value::Number("1.50".into()))]),
            permit: Permit::default(),
            rules: RULES,
        };
        Ledger {
            fence: Fence { hub_id: "h".into(), epoch: 1, incarnation: 1, generation: 7 },
            fence_mac: vec![1, 2],
            session_token: vec![3],
            cluster_uid: "u".into(),
            entries: BTreeMap::from([
                ("main/web".into(), Entry::Run(assignment)),
                ("main/old".into(), Entry::Remove(Permit::default())),
            ]),
            lost: BTreeMap::new(),
            suspensions: Suspensions::new(),
            hub_suspensions: Suspensions::new(),
            is_whole: true,
        }
    }

    #[test]
    fn round_trip() {
        assert_eq!(Ledger::decode(&ledger().encode()).unwrap(), ledger());
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused() {
        let text = String::from_utf8(ledger().encode()).unwrap();
        let newer = text.replace("{\"version\":1,", "{\"version\":2,\"more\":true,");
        let refused = Ledger::decode(newer.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("format 2"), "{refused}");
        let unknown = text.replace("{\"version\":1,", "{\"version\":1,\"more\":true,");
        assert!(Ledger::decode(unknown.as_bytes()).is_err());
    }

    #[test]
    fn suspensions_are_kept_and_older_ledgers_have_none() {
        let mut suspended = ledger();
        assert!(!String::from_utf8(suspended.encode()).unwrap().contains("suspensions"));
        let (reason, by) = ("night".to_owned(), "hub".to_owned());
        let one = Suspension { until_unix_millis: 2, span_millis: 1, reason, by, id: 0 };
        suspended.hub_suspensions.insert("main/db".into(), Suspension { id: 7, ..one.clone() });
        suspended.suspensions.insert("main/web".into(), one);
        assert_eq!(Ledger::decode(&suspended.encode()).unwrap(), suspended);
    }

    #[test]
    fn what_is_lost_is_recorded_as_before() {
        let mut lossy = ledger();
        lossy.drop_lost(|_, _| false);
        assert_eq!(lossy.root_with_lost(), Some(ledger().root()));
        assert!(!lossy.entries.contains_key("main/web"));
        assert_eq!(lossy.encode(), ledger().encode());
        // What there is of it, somebody must remove once it is no longer recorded.
        assert!(lossy.pack_keys().eq(ledger().pack_keys()));
        assert_eq!(ledger().root_with_lost(), None);
    }

    #[test]
    fn only_what_runs_has_a_pack() {
        let keys: Vec<String> = ledger().pack_keys().collect();
        assert_eq!(keys, [format!("bundle/main/web/{}", Digest::of(b"v").short())]);
    }
}
