//! Beginning: the Lease and the ledger.

use std::collections::BTreeMap;

use proto_model::{Digest, Identity};

use super::bundle::Bundle;
use super::slot::Slot;
use super::{Agent, Effect, Phase, recover};
use crate::inbox::Contents;
use crate::inventory::Inventory;
use crate::ledger::{self, Ledger, ROOT_KEY, Unreadable};
use crate::pack::Content;
use crate::port::Kind;
use crate::target::Scopes;

/// What the records of a ledger say.
struct Loaded {
    ledger: Ledger,
    contents: Contents,
    inventories: BTreeMap<String, Inventory>,
    garbage: Vec<String>,
}

impl Agent {
    pub(super) fn lease(&mut self, held: bool) {
        if !held {
            // Another spoke may write to the ledger now.
            self.is_stale |= self.has_lease && self.phase != Phase::Idle;
            self.has_lease = false;
            // The hub must not show what nobody looks after as if it were looked after.
            if self.session.is_some() {
                self.end_session("this spoke does not hold the Lease of its cluster now");
            }
            self.give_up_orders();
            return;
        }
        self.has_lease = true;
        // What is being written when the Lease comes back must come to its end first.
        if self.phase == Phase::Idle || (self.is_stale && !self.store.is_under_way()) {
            self.load();
        }
    }

    pub(super) fn load(&mut self) {
        if self.session.is_some() {
            self.end_session("the Lease was lost for a while; the ledger is read anew");
        }
        if !self.watched.is_empty() {
            self.watched.clear();
            self.out.push(Effect::Watch(BTreeMap::new()));
        }
        self.phase = Phase::Loading;
        self.is_stale = false;
        self.load_id += 1;
        self.out.push(Effect::Load { id: self.load_id });
    }

    pub(super) fn started(&mut self, id: u64, records: BTreeMap<String, Vec<u8>>, cluster_uid: String) {
        // An answer to an earlier question may be from before another spoke wrote; and it may never come.
        if self.phase != Phase::Loading || self.load_id != id {
            return;
        }
        let loaded = match read(&records) {
            Ok(loaded) => loaded,
            Err(unreadable) => {
                self.phase = Phase::Halted;
                self.out.push(Effect::Halt { why: unreadable.to_string() });
                return;
            }
        };
        let mut fresh = Self::new(std::mem::take(&mut self.version));
        fresh.now = self.now;
        fresh.out = std::mem::take(&mut self.out);
        fresh.wake = self.wake;
        fresh.phase = Phase::Ready;
        fresh.ask_policy = self.ask_policy;
        fresh.has_lease = self.has_lease;
        fresh.is_stale = self.is_stale;
        fresh.is_connected = self.is_connected;
        // Ids and tokens go on, so that late answers find nobody.
        fresh.next_id = self.next_id;
        fresh.load_id = self.load_id;
        fresh.store.follow(&self.store);
        fresh.voice = std::mem::take(&mut self.voice);
        fresh.is_estranged = !loaded.ledger.cluster_uid.is_empty() && loaded.ledger.cluster_uid != cluster_uid;
        fresh.cluster_uid = cluster_uid;
        let generation = loaded.ledger.fence.generation;
        fresh.ledger = loaded.ledger;
        let has_inventory = |name: &str| loaded.inventories.contains_key(name);
        if recover::lacks_inventory(&fresh.ledger.entries, has_inventory) {
            fresh.ledger.is_whole = false;
        }
        fresh.contents = loaded.contents;
        fresh.store.garbage = loaded.garbage;
        fresh.bundles = loaded.inventories.into_iter().map(|(name, one)| (name, Bundle::of(one))).collect();
        for name in fresh.ledger.entries.keys() {
            let bundle = fresh.bundles.entry(name.clone()).or_default();
            bundle.generation = generation;
        }
        fresh.scopes = known_scopes(&fresh.bundles);
        fresh.dirty = fresh.bundles.keys().cloned().collect();
        fresh.watches_changed = true;
        *self = fresh;
    }
}

/// Scopes of kinds as inventories show them: nothing need be asked again after a restart.
fn known_scopes(bundles: &BTreeMap<String, Bundle>) -> Scopes {
    let slots = bundles.values().flat_map(|bundle| &bundle.slots);
    let scope = |(identity, slot): (&Identity, &Slot)| {
        let kind = Kind { kind: identity.kind.clone(), version: slot.tracked.version.clone() };
        (kind, !identity.namespace.is_empty())
    };
    slots.map(scope).collect()
}

/// Reads all records. A pack that is lost or damaged takes its entry along, to be sent again; a
/// root or an inventory that can't be read stops everything: the fence and what may be deleted
/// depend on them.
fn read(records: &BTreeMap<String, Vec<u8>>) -> Result<Loaded, Unreadable> {
    let mut ledger = match records.get(ROOT_KEY) {
        Some(bytes) => Ledger::decode(bytes)?,
        None => Ledger::default(),
    };
    let mut contents = Contents::new();
    for (name, entry) in &ledger.entries {
        let Some(variant) = ledger::variant(entry) else {
            continue;
        };
        let bytes = records.get(&Content::key(name, &variant));
        let content = bytes.and_then(|bytes| Content::decode(bytes, name).ok());
        if let Some(content) = content.filter(|content| content.digest() == variant) {
            contents.insert(name.clone(), content);
        }
    }
    let is_held = |name: &str, digest: &Digest| contents.get(name).is_some_and(|content| content.digest() == *digest);
    ledger.drop_lost(is_held);
    let mut inventories = BTreeMap::new();
    for (key, bytes) in records {
        if let Some(bundle) = Inventory::bundle_of(key) {
            inventories.insert(bundle.to_owned(), Inventory::decode(bytes, bundle)?);
        }
    }
    let named: Vec<String> = ledger.pack_keys().collect();
    let is_garbage = |key: &&String| key.starts_with("bundle/") && !named.contains(*key);
    let garbage = records.keys().filter(is_garbage).cloned().collect();
    Ok(Loaded { ledger, contents, inventories, garbage })
}
