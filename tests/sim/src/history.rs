//! What every cluster's ledger said, one durable root after another, and how much of it its spoke
//! has been told. Read from the records that were stored, not from the spoke.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::assign::{self, Entry};
use proto_model::{Digest, Fence, Identity, Settings};
use spoke_core::inventory::Inventory;
use spoke_core::ledger::{Ledger, ROOT_KEY};
use spoke_core::suspend::Suspensions;

use crate::bodies::{Bodies, Expected};

/// One durable root.
#[derive(Clone, Debug)]
pub struct Root {
    /// Its fence.
    pub fence: Fence,
    /// The digest over its entries.
    pub root: Digest,
    /// Its entries.
    pub entries: BTreeMap<String, Entry>,
    /// What the hub has suspended.
    pub suspensions: Suspensions,
    /// What was suspended at the cluster.
    pub suspensions_here: Suspensions,
}

/// The ledger of one cluster as it is and was.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Durable roots, oldest first. Of long ago, only those that may still matter.
    pub roots: Vec<Root>,
    /// How many of them the spoke has been told to be durable, at least.
    pub known: usize,
    /// Inventories as they are durable.
    pub inventories: BTreeMap<String, Inventory>,
}

impl History {
    /// A record became durable, or was deleted.
    pub(crate) fn record(&mut self, key: &str, bytes: Option<&[u8]>) -> Result<(), String> {
        if let Some(bundle) = Inventory::bundle_of(key) {
            match bytes {
                Some(bytes) => {
                    let inventory = Inventory::decode(bytes, bundle).map_err(|error| error.to_string())?;
                    self.inventories.insert(bundle.to_owned(), inventory);
                }
                None => {
                    self.inventories.remove(bundle);
                }
            }
        }
        if key == ROOT_KEY
            && let Some(bytes) = bytes
        {
            let ledger = Ledger::decode(bytes).map_err(|error| error.to_string())?;
            let digests = ledger.entries.iter().map(|(name, one)| (name.clone(), one.digest()));
            let root = assign::root(&digests.collect());
            let Ledger { fence, entries, hub_suspensions: suspensions, suspensions: suspensions_here, .. } = ledger;
            self.roots.push(Root { fence, root, entries, suspensions, suspensions_here });
        }
        Ok(())
    }

    /// The spoke has been told that all of this is durable.
    pub(crate) fn told(&mut self) {
        self.known = self.roots.len();
    }

    /// Roots that the spoke may be acting on: the newest that it knows of, and those after it.
    pub fn current(&self) -> &[Root] {
        &self.roots[self.known.saturating_sub(1).min(self.roots.len())..]
    }

    /// Where the entry of a bundle came to be what it is in a root, as the place of the first root
    /// in an unbroken row that has it.
    #[must_use]
    pub fn since(&self, bundle: &str, root: &Root) -> usize {
        let is_other = |one: &Root| one.entries.get(bundle) != root.entries.get(bundle);
        let last = self.roots.iter().rposition(|one| std::ptr::eq(one, root));
        let before = self.roots.iter().take(last.unwrap_or_default()).rposition(is_other);
        before.map_or(0, |at| at + 1)
    }

    /// The newest durable root.
    #[must_use]
    pub fn last(&self) -> Option<&Root> {
        self.roots.last()
    }

    /// Whether any root that the spoke may act on gives a bundle this identity with this content.
    #[must_use]
    pub fn gives(&self, bodies: &Bodies, bundle: &str, identity: &Identity, payload: &str) -> bool {
        self.current().iter().any(|root| {
            expected(bodies, root.entries.get(bundle))
                .is_some_and(|all| all.get(identity).is_some_and(|one| one.text == payload))
        })
    }
}

/// The settings with which an entry of a ledger runs its bundle.
#[must_use]
pub(crate) fn settings(bodies: &Bodies, entry: Option<&Entry>) -> Option<Settings> {
    match entry? {
        Entry::Run(run) => bodies.settings(&run.variant),
        Entry::Remove(_) => None,
    }
}

/// What an entry of a ledger puts into the cluster.
#[must_use]
pub(crate) fn expected(bodies: &Bodies, entry: Option<&Entry>) -> Option<Arc<Expected>> {
    match entry? {
        Entry::Run(run) => bodies.expected(&run.variant, &run.variables),
        Entry::Remove(_) => None,
    }
}
