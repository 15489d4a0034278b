//! Writing to the ledger: one write at a time, changes of assignments first.

use std::collections::BTreeSet;

use proto_model::Identity;
use proto_model::assign::Entry;
use proto_model::delta::ToHub;
use proto_model::limits;

use super::bundle::{Attempt, Plan, Trouble};
use super::{Agent, Effect, Phase};
use crate::inbox::Change;
use crate::inventory::Inventory;
use crate::ledger::{self, ROOT_KEY};
use crate::pack::Content;
use crate::port::{Failure, Reason, Write};
use crate::suspend::CLUSTER;

/// A change that waits to be durable.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) change: Change,
    /// The session in which it came: only there it is acknowledged.
    pub(super) session: u64,
}

#[derive(Debug)]
enum Purpose {
    Change,
    Root,
    /// Inventories, with what becomes durable by them.
    Inventories(Saved),
    /// Everything there is.
    All(Saved),
}

/// Bundles, with what of each becomes durable.
type Saved = Vec<(String, BTreeSet<Identity>)>;

/// The state of writing.
#[derive(Debug, Default)]
pub(super) struct Storing {
    token: u64,
    under_way: Option<(u64, Purpose)>,
    pub(super) pending: Option<Pending>,
    /// The root record is behind.
    pub(super) is_root_unsaved: bool,
    /// The root record is behind in what only saves work, and goes along with inventories.
    pub(super) is_root_along: bool,
    /// Somebody removed what was durable: all of it is to be written again.
    is_all_unsaved: bool,
    /// Records that nothing names.
    pub(super) garbage: Vec<String>,
    pub(super) trouble: Option<Trouble>,
    /// Bundles of which a deletion waits until the pending change is durable.
    pub(super) after_change: BTreeSet<String>,
}

impl Storing {
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.is_some()
    }

    /// Whether the durable root lacks something beside a change of assignments.
    pub(super) fn is_root_behind(&self) -> bool {
        self.is_root_unsaved || matches!(self.under_way, Some((_, Purpose::Root | Purpose::All(_))))
    }

    /// Goes on with the tokens of another.
    pub(super) fn follow(&mut self, before: &Self) {
        self.token = before.token;
        // A write that was refused is not tried again at once, whatever was read since.
        self.trouble = before.trouble.clone();
    }
}

impl Agent {
    /// Starts the next write, if one is due.
    pub(super) fn mind_store(&mut self) {
        let is_waiting = |trouble: &Trouble| trouble.retry_at > self.now.mono_millis;
        let is_held_up = self.store.trouble.as_ref().is_some_and(is_waiting);
        if self.store.is_under_way() || is_held_up || !self.has_lease || self.is_stale {
            return;
        }
        if let Some(pending) = &mut self.store.pending {
            // What came meanwhile is newer than the change.
            pending.change.ledger.carry_over(&self.ledger);
        }
        let (mut write, purpose) = if self.store.is_all_unsaved {
            self.write_all()
        } else if let Some(pending) = self.store.pending.as_ref().filter(|_| !self.is_deleting()) {
            (self.write_change(&pending.change), Purpose::Change)
        } else if self.store.is_root_unsaved {
            let puts = vec![(ROOT_KEY.to_owned(), self.ledger.encode())];
            (Write { puts, deletes: Vec::new() }, Purpose::Root)
        } else if let Some(due) = self.write_inventories() {
            due
        } else {
            self.store.trouble = None;
            return;
        };
        write.deletes.extend(self.store.garbage.iter().cloned());
        self.store.token += 1;
        let token = self.store.token;
        if matches!(purpose, Purpose::Root | Purpose::All(_)) {
            self.store.is_root_unsaved = false;
            self.suspending.write_begins();
        }
        self.store.under_way = Some((token, purpose));
        self.out.push(Effect::Store { token, write });
    }

    /// When the next write is due.
    pub(super) fn store_wake(&self) -> Option<u64> {
        if self.store.is_under_way() || !self.has_lease || self.is_stale || self.phase != Phase::Ready {
            return None;
        }
        if let Some(trouble) = &self.store.trouble {
            return Some(trouble.retry_at);
        }
        let since = self.bundles.values().filter_map(|bundle| bundle.unsaved_since);
        since.min().map(|since| since + limits::INVENTORY_WAIT_MILLIS)
    }

    pub(super) fn stored(&mut self, token: u64, result: Result<(), Failure>) {
        let Some((_, purpose)) = self.store.under_way.take_if(|(waiting, _)| *waiting == token) else {
            return;
        };
        match result {
            Ok(()) => {
                self.store.trouble = None;
                self.store.garbage.clear();
                match purpose {
                    Purpose::Change => self.take_over(),
                    Purpose::Root => self.root_written(true),
                    Purpose::Inventories(saved) => self.inventories_saved(saved),
                    Purpose::All(saved) => {
                        self.store.is_all_unsaved = false;
                        self.root_written(true);
                        self.inventories_saved(saved);
                        let words = "the ledger was removed by somebody; all of it was written again";
                        self.tell_status("LedgerRewritten", true, CLUSTER, words);
                    }
                }
                self.speak();
            }
            Err(failure) => {
                self.store_failed(&purpose, &failure);
                // Another spoke wrote: this one was held up for longer than its Lease.
                self.is_stale |= failure.reason == Reason::Conflict;
                // Nobody else did: what it held is still known here.
                if failure.reason == Reason::Gone {
                    self.store.is_all_unsaved = true;
                    self.store.trouble = None;
                }
            }
        }
        if self.has_lease && self.is_stale {
            self.load();
        }
    }

    fn store_failed(&mut self, purpose: &Purpose, failure: &Failure) {
        let before = self.store.trouble.take();
        let now = self.now.mono_millis;
        let trouble = Trouble::next(before.as_ref(), Attempt::Apply, failure, &self.cluster_uid, now);
        self.store.trouble = Some(trouble);
        match purpose {
            Purpose::Change => {}
            Purpose::Root => self.root_not_written(),
            Purpose::Inventories(saved) => self.inventories_not_saved(saved, now),
            Purpose::All(saved) => {
                self.root_not_written();
                self.inventories_not_saved(saved, now);
            }
        }
    }

    fn root_not_written(&mut self) {
        self.store.is_root_unsaved = true;
        self.root_written(false);
    }

    fn inventories_not_saved(&mut self, saved: &Saved, now: u64) {
        for (name, _) in saved {
            if let Some(bundle) = self.bundles.get_mut(name) {
                bundle.unsaved(now);
                self.dirty.insert(name.clone());
            }
        }
    }

    fn inventories_saved(&mut self, saved: Saved) {
        for (name, identities) in saved {
            let Some(bundle) = self.bundles.get_mut(&name) else {
                continue;
            };
            for identity in identities {
                if let Some(slot) = bundle.slots.get_mut(&identity) {
                    slot.is_durable = true;
                }
            }
            self.dirty.insert(name);
        }
    }

    /// Packs first, then the root that names them, then the removal of what it no longer names.
    fn write_change(&self, change: &Change) -> Write {
        let mut puts: Vec<(String, Vec<u8>)> = change
            .fresh
            .iter()
            .map(|(name, content)| (Content::key(name, &content.digest()), content.encode(name)))
            .collect();
        puts.push((ROOT_KEY.to_owned(), change.ledger.encode()));
        let kept: BTreeSet<String> = change.ledger.pack_keys().collect();
        let old = self.ledger.pack_keys().filter(|key| !kept.contains(key));
        let forgotten = change.forget.iter().filter(|name| !self.owns_objects(name));
        let inventories = forgotten.map(|name| Inventory::key(name));
        Write { puts, deletes: old.chain(inventories).collect() }
    }

    fn owns_objects(&self, name: &str) -> bool {
        self.bundles.get(name).is_some_and(|bundle| !bundle.slots.is_empty())
    }

    fn write_inventories(&mut self) -> Option<(Write, Purpose)> {
        let now = self.now.mono_millis;
        let mut write = Write::default();
        let mut saved = Vec::new();
        for (name, bundle) in &mut self.bundles {
            let Some(since) = bundle.unsaved_since else {
                continue;
            };
            let new = bundle.slots.iter().filter(|(_, slot)| !slot.is_durable);
            let new: BTreeSet<Identity> = new.map(|(identity, _)| identity.clone()).collect();
            // Where more is being looked at, more will have to be written before it is made again.
            let is_looking = bundle.slots.values().any(|slot| slot.look && slot.is_durable && slot.target.is_some());
            let may_wait = if new.is_empty() { bundle.is_busy() } else { is_looking };
            let is_due = !may_wait || now >= since + limits::INVENTORY_WAIT_MILLIS;
            if !is_due {
                continue;
            }
            bundle.unsaved_since = None;
            let runs = matches!(self.ledger.entries.get(name), Some(Entry::Run(_)));
            if bundle.slots.is_empty() && !runs {
                write.deletes.push(Inventory::key(name));
            } else {
                write.puts.push((Inventory::key(name), bundle.inventory().encode(name)));
            }
            saved.push((name.clone(), new));
        }
        if !saved.is_empty() && std::mem::take(&mut self.store.is_root_along) {
            write.puts.push((ROOT_KEY.to_owned(), self.ledger.encode()));
        }
        (!saved.is_empty()).then_some((write, Purpose::Inventories(saved)))
    }

    /// Everything that is known here, the root last.
    fn write_all(&mut self) -> (Write, Purpose) {
        let packs =
            self.contents.iter().map(|(name, content)| (Content::key(name, &content.digest()), content.encode(name)));
        let mut puts: Vec<(String, Vec<u8>)> = packs.collect();
        let mut saved = Vec::new();
        for (name, bundle) in &mut self.bundles {
            let new = bundle.slots.iter().filter(|(_, slot)| !slot.is_durable);
            saved.push((name.clone(), new.map(|(identity, _)| identity.clone()).collect()));
            bundle.unsaved_since = None;
            puts.push((Inventory::key(name), bundle.inventory().encode(name)));
        }
        puts.push((ROOT_KEY.to_owned(), self.ledger.encode()));
        (Write { puts, deletes: Vec::new() }, Purpose::All(saved))
    }

    /// Makes a durable change the one that is acted on, and acknowledges it.
    fn take_over(&mut self) {
        let Some(Pending { change, session }) = self.store.pending.take() else {
            return;
        };
        let before = std::mem::replace(&mut self.ledger, change.ledger);
        // What came meanwhile is newer than what was written.
        self.ledger.carry_over(&before);
        let fence = &self.ledger.fence;
        let (generation, root) = (fence.generation, self.ledger.root());
        let has_other_marks = before.fence.hub_id != fence.hub_id || before.fence.incarnation != fence.incarnation;
        let is_next =
            before.fence.generation + 1 == generation && before.fence.epoch == fence.epoch && !has_other_marks;
        for name in &change.forget {
            match self.bundles.get_mut(name) {
                // The hub forgets what it was told is gone; what it never knew of (the cluster left
                // the fleet and came back) is kept as it is.
                Some(bundle) if !bundle.slots.is_empty() => bundle.forgotten(),
                _ => {
                    self.bundles.remove(name);
                }
            }
            self.contents.remove(name);
            self.hungry.remove(name);
            if let Some(session) = &mut self.session {
                session.sent.remove(name);
            }
        }
        self.contents.extend(change.fresh);
        let entries = &self.ledger.entries;
        self.contents.retain(|name, _| entries.get(name).is_some_and(|e| ledger::variant(e).is_some()));
        for name in entries.keys() {
            let is_set = change.set.contains(name);
            let bundle = self.bundles.entry(name.clone()).or_default();
            // Where generations were skipped, an entry may have changed and changed back, and a new
            // incarnation was never heard of: the hub must hear that it was seen.
            if is_set || !is_next {
                bundle.generation = generation;
            }
            if is_set || has_other_marks {
                bundle.plan = Plan::None;
                bundle.may_remove = false;
            }
            if is_set {
                for slot in bundle.slots.values_mut() {
                    slot.trouble = None;
                }
            }
            if is_set || has_other_marks || !is_next {
                self.dirty.insert(name.clone());
            }
        }
        self.dirty.append(&mut self.store.after_change);
        if self.session.as_ref().is_some_and(|current| current.id == session) {
            self.out.push(Effect::Send(ToHub::Ack { generation, root }));
        }
        self.hear_waiting();
    }
}
