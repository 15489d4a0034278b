//! What no watch tells of is looked at now and then: what may not be watched since a right is missing, and what was
//! left as somebody else made it, which does not bear our marks.

use proto_model::{Health, Identity, limits};

use super::Agent;
use super::bundle::Bundle;
use super::slot::Slot;
use crate::port::Reason;

impl Agent {
    /// Kinds that may not be watched.
    pub(super) fn is_unwatched(&self, identity: &Identity) -> bool {
        self.watches.get(&identity.kind).is_some_and(|watch| watch.lost_because == Some(Reason::Forbidden))
    }

    /// Has objects that no watch tells of looked at.
    pub(super) fn mind_unwatched(&mut self, name: &str) {
        let now = self.now.mono_millis;
        let is_any = self.watches.values().any(|watch| watch.lost_because == Some(Reason::Forbidden));
        let is_due = |bundle: &&mut Bundle| is_any || bundle.slots.values().any(|slot| slot.is_left);
        let Some(mut bundle) = self.bundles.get_mut(name).filter(is_due).map(std::mem::take) else {
            return;
        };
        for (identity, slot) in &mut bundle.slots {
            if is_looked_at(slot) && (slot.is_left || self.is_unwatched(identity)) {
                bundle.next_at = sooner(bundle.next_at, look_again(slot, now));
            }
        }
        self.bundles.insert(name.to_owned(), bundle);
    }
}

fn sooner(one: Option<u64>, other: u64) -> Option<u64> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// Looks now, if it is time, and says when it is time again.
fn look_again(slot: &mut Slot, now: u64) -> u64 {
    let is_healthy = slot.health().0 == Health::Healthy && slot.is_applied();
    let wait = match () {
        // Nobody waits for it: it is made again whenever it is noticed to be gone.
        () if slot.is_left => limits::WATCH_AGE_MILLIS_MAX,
        () if is_healthy => limits::UNWATCHED_MILLIS,
        () => limits::UNWATCHED_MILLIS_MIN,
    };
    // What was left was looked at just now.
    let first = if slot.is_left { now + wait } else { now };
    let due = *slot.look_at.get_or_insert(first);
    if due > now {
        return due;
    }
    slot.look = true;
    slot.look_at = Some(now + wait);
    now + wait
}

fn is_looked_at(slot: &Slot) -> bool {
    slot.target.is_some() && (slot.exists() || slot.is_left) && !slot.is_busy && slot.trouble.is_none()
}
