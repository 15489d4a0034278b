//! A ledger that was lost is rebuilt from the marks on objects: what an inventory does not know would stay for ever.
//!
//! The search goes on beside everything else. Until it is over nothing is missing but what a lost inventory would
//! have removed.

use std::collections::BTreeMap;

use proto_model::assign::Entry;
use proto_model::{limits, name as names};

use super::slot::Slot;
use super::{Agent, Effect};
use crate::inventory::Tracked;
use crate::port::{Failure, Kind, Live, Marked};
use crate::retry;

/// How far the search is.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    is_under_way: bool,
    /// Whether a search came to its end in this process.
    has_ended: bool,
    attempts: u32,
    /// When to search again, after a failure.
    retry_at: u64,
    /// Kinds that could not be listed, and why: all that is still to be searched.
    unlisted: BTreeMap<Kind, Failure>,
}

impl Agent {
    /// Searches for marked objects, where a ledger may have been lost.
    pub(super) fn mind_recovery(&mut self) {
        // Whose marks to look for is known once a hub was heard.
        let is_due = !self.ledger.is_whole && !self.ledger.fence.hub_id.is_empty();
        let is_waiting = self.recovery.is_under_way || self.recovery.retry_at > self.now.mono_millis;
        if is_due && !is_waiting && self.may_act() {
            self.recovery.is_under_way = true;
            self.out.push(Effect::Recover { only: self.recovery.unlisted.keys().cloned().collect() });
        }
    }

    /// Whether bundles may own more here than is known, since nothing was searched yet.
    pub(super) fn is_to_be_searched(&self) -> bool {
        !self.ledger.is_whole && !self.recovery.has_ended && !self.ledger.fence.hub_id.is_empty()
    }

    /// When to search again.
    pub(super) fn recovery_wake(&self) -> Option<u64> {
        let waits = !self.recovery.is_under_way && self.recovery.attempts > 0 && !self.ledger.is_whole;
        waits.then_some(self.recovery.retry_at)
    }

    /// Why the search is not over, for people; empty where it is, or nothing came of it yet.
    pub(super) fn search_trouble(&self) -> String {
        let unlisted = &self.recovery.unlisted;
        let Some(first) = unlisted.values().next() else { return String::new() };
        let named = unlisted.keys().take(limits::SEARCH_KINDS_NAMED_MAX).map(|kind| kind.kind.to_string());
        let more = match unlisted.len().saturating_sub(limits::SEARCH_KINDS_NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let kinds = named.collect::<Vec<_>>().join(", ");
        format!(
            "what is here and in no inventory is not all known, and may stay when Git drops it: {kinds}{more} can't be \
             listed ({first})"
        )
    }

    /// The cluster was searched for marked objects, or could not be.
    pub(super) fn recovered(&mut self, result: Result<Marked, Failure>) {
        if !std::mem::take(&mut self.recovery.is_under_way) || self.ledger.is_whole {
            return;
        }
        let Marked { found, unlisted } = match result {
            Ok(marked) => marked,
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
        if !std::mem::replace(&mut self.recovery.has_ended, true) {
            self.dirty.extend(self.bundles.keys().cloned());
        }
        if unlisted.is_empty() {
            self.ledger.is_whole = true;
            // Not worth a write of its own: it goes along with the next one.
            self.store.is_root_along = true;
        } else {
            self.search_again(&unlisted);
        }
        if self.recovery.unlisted != unlisted {
            self.recovery.unlisted = unlisted;
            self.voice.status_changed(self.now.mono_millis);
        }
        self.forget_heirs();
        self.watches_changed = true;
    }

    /// Says when to search what could not be listed: rights are seldom granted, other trouble passes.
    fn search_again(&mut self, unlisted: &BTreeMap<Kind, Failure>) {
        let is_refused = unlisted.values().all(|failure| failure.reason.is_final());
        let wait = if is_refused { limits::SEARCH_AGAIN_MILLIS } else { limits::SEARCH_AGAIN_MILLIS_MIN };
        let asked = unlisted.values().filter_map(|failure| failure.retry_after_millis).max().unwrap_or(0);
        self.recovery.attempts += 1;
        self.recovery.retry_at = self.now.mono_millis + wait.max(asked.min(limits::RETRY_AFTER_MILLIS_MAX));
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
    entries.into_iter().any(|(name, _)| !has_inventory(name))
}
