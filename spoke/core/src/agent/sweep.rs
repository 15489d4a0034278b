//! Looks without a reason: a watch that lost something without a word would never be noticed.
//!
//! Every object is looked at once in [`limits::SWEEP_MILLIS`], one after the other, spread evenly and begun at a time of
//! each cluster's own. What may not be watched (a right is missing) is looked at more often, since nothing else tells of it.

use std::ops::Bound;

use proto_model::{Digest, Health, Identity, limits};

use super::Agent;
use super::slot::Slot;
use crate::port::Reason;

/// How far the round is.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// The object that was looked at last.
    last: Option<(String, Identity)>,
    /// When to look at the next one; `None`: the round was not begun.
    next_at: Option<u64>,
}

impl Agent {
    /// Looks at the next object, when it is time.
    pub(super) fn mind_sweep(&mut self) {
        let now = self.now.mono_millis;
        let Some(next_at) = self.sweep.next_at else {
            // Ten thousand clusters that start together do not look together.
            let hash = Digest::of(self.cluster_uid.as_bytes());
            let share = u64::from(u16::from_be_bytes([hash.0[0], hash.0[1]]));
            self.sweep.next_at = Some(now + self.sweep_pace() * share / u64::from(u16::MAX));
            return;
        };
        if next_at > now || !self.may_act() {
            return;
        }
        self.sweep.next_at = Some(now + self.sweep_pace());
        let next = self.after(self.sweep.last.as_ref()).or_else(|| self.after(None));
        if let Some((name, identity)) = &next
            && let Some(slot) = self.slot_mut(name, identity)
        {
            slot.look = true;
            self.dirty.insert(name.clone());
        }
        self.sweep.last = next;
    }

    /// When the next object is looked at.
    pub(super) fn sweep_wake(&self) -> Option<u64> {
        self.sweep.next_at.filter(|_| self.may_act())
    }

    /// Time from one look to the next.
    fn sweep_pace(&self) -> u64 {
        let objects = self.bundles.values().map(|bundle| bundle.slots.len() as u64).sum::<u64>();
        limits::SWEEP_MILLIS / objects.max(1)
    }

    /// The first object to look at behind another one.
    fn after(&self, last: Option<&(String, Identity)>) -> Option<(String, Identity)> {
        let from = last.map_or(Bound::Unbounded, |(name, _)| Bound::Included(name.clone()));
        self.bundles.range((from, Bound::Unbounded)).find_map(|(name, bundle)| {
            let behind = match last {
                Some((of, identity)) if of == name => Bound::Excluded(identity),
                _ => Bound::Unbounded,
            };
            let mut slots = bundle.slots.range::<Identity, _>((behind, Bound::Unbounded));
            let found = slots.find(|(_, slot)| is_swept(slot))?;
            Some((name.clone(), found.0.clone()))
        })
    }

    /// Kinds that may not be watched.
    pub(super) fn is_unwatched(&self, identity: &Identity) -> bool {
        self.watches.get(&identity.kind).is_some_and(|watch| watch.lost_because == Some(Reason::Forbidden))
    }

    /// Has objects of kinds that may not be watched looked at.
    pub(super) fn mind_unwatched(&mut self, name: &str) {
        let now = self.now.mono_millis;
        let is_any = self.watches.values().any(|watch| watch.lost_because == Some(Reason::Forbidden));
        let Some(mut bundle) = self.bundles.get_mut(name).filter(|_| is_any).map(std::mem::take) else {
            return;
        };
        for (identity, slot) in &mut bundle.slots {
            if is_swept(slot) && self.is_unwatched(identity) {
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
    let due = *slot.look_at.get_or_insert(now);
    if due > now {
        return due;
    }
    slot.look = true;
    let is_healthy = slot.health().0 == Health::Healthy && slot.is_applied();
    let wait = if is_healthy { limits::UNWATCHED_MILLIS } else { limits::UNWATCHED_MILLIS_MIN };
    slot.look_at = Some(now + wait);
    now + wait
}

fn is_swept(slot: &Slot) -> bool {
    // Nor does a watch tell of what was left as somebody else made it.
    slot.target.is_some() && (slot.exists() || slot.is_left) && !slot.is_busy && slot.trouble.is_none()
}
