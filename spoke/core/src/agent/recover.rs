//! A ledger that was lost is rebuilt from the marks on objects: what an inventory does not know would stay for ever.
//!
//! The search goes on beside everything else. Until it is over nothing is missing but what a lost inventory would
//! have removed.

use proto_model::assign::Entry;
use proto_model::name as names;

use super::slot::Slot;
use super::{Agent, Effect};
use crate::inventory::Tracked;
use crate::port::{Failure, Live};
use crate::retry;

/// How far the search is.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    is_under_way: bool,
    attempts: u32,
    /// When to search again, after a failure.
    retry_at: u64,
}

impl Agent {
    /// Searches for marked objects, where a ledger may have been lost.
    pub(super) fn mind_recovery(&mut self) {
        // Whose marks to look for is known once a hub was heard.
        let is_due = !self.ledger.is_whole && !self.ledger.fence.hub_id.is_empty();
        let is_waiting = self.recovery.is_under_way || self.recovery.retry_at > self.now.mono_millis;
        if is_due && !is_waiting && self.may_act() {
            self.recovery.is_under_way = true;
            self.out.push(Effect::Recover);
        }
    }

    /// When to search again.
    pub(super) fn recovery_wake(&self) -> Option<u64> {
        let waits = !self.recovery.is_under_way && self.recovery.attempts > 0 && !self.ledger.is_whole;
        waits.then_some(self.recovery.retry_at)
    }

    /// All marked objects of the cluster were listed, or could not be.
    pub(super) fn recovered(&mut self, result: Result<Vec<Live>, Failure>) {
        if !std::mem::take(&mut self.recovery.is_under_way) || self.ledger.is_whole {
            return;
        }
        let found = match result {
            Ok(found) => found,
            Err(failure) => {
                self.recovery.attempts += 1;
                let asked = failure.retry_after_millis;
                let wait = retry::wait_millis(self.recovery.attempts, false, asked, &self.cluster_uid);
                self.recovery.retry_at = self.now.mono_millis + wait;
                return;
            }
        };
        for live in &found {
            let ours = live.owners.iter().filter(|mark| mark.hub == self.ledger.fence.hub_id);
            // Whoever copies an object copies its marks: it is ours only if we applied it.
            let is_applied = |name: &String| live.managed.contains_key(&names::field_manager(name));
            let names: Vec<String> = ours.map(|mark| mark.bundle.clone()).filter(is_applied).collect();
            for name in names {
                self.track(&name, live);
            }
        }
        self.ledger.is_whole = true;
        // Not worth a write of its own: it goes along with the next one.
        self.store.is_root_along = true;
        self.forget_heirs();
        self.watches_changed = true;
    }

    /// Puts an object that bears a bundle's mark into that bundle's inventory, unless it has it.
    fn track(&mut self, name: &str, live: &Live) {
        let now = self.now.mono_millis;
        let bundle = self.bundles.entry(name.to_owned()).or_default();
        if bundle.slots.contains_key(&live.identity) {
            return;
        }
        let tracked = Tracked { version: live.version.clone(), uid: Some(live.uid.clone()), ..Tracked::default() };
        bundle.slots.insert(live.identity.clone(), Slot::of(tracked, false));
        bundle.unsaved(now);
        self.dirty.insert(name.to_owned());
        if live.identity.kind.is_shared() {
            self.claims_changed.insert(live.identity.clone());
        }
    }
}

/// Whether some bundle of a ledger may have owned what no inventory has.
pub(super) fn lacks_inventory<'a>(
    entries: impl IntoIterator<Item = (&'a String, &'a Entry)>,
    has_inventory: impl Fn(&str) -> bool,
) -> bool {
    entries.into_iter().any(|(name, entry)| matches!(entry, Entry::Run(_)) && !has_inventory(name))
}
