//! What watches tell, and which kinds are watched.

use std::collections::BTreeMap;

use proto_model::{GroupKind, Health, Identity, name as names};

use super::slot::Slot;
use super::{Agent, Effect, Phase};
use crate::diff::{Seen, Sight};
use crate::health;
use crate::owner::{self, Owner, Ownership};
use crate::port::{Failure, Kind, Live, Observation, Reason};

/// The watch of one kind.
#[derive(Clone, Debug, Default)]
pub(super) struct KindWatch {
    /// Rises each time the watch begins anew.
    run: u32,
    /// Why it can't be watched now.
    pub(super) lost: Option<String>,
    /// The same, as far as it can be told.
    pub(super) lost_because: Option<Reason>,
}

impl Agent {
    pub(super) fn observed(&mut self, observation: Observation) {
        if self.phase != Phase::Ready {
            return;
        }
        match observation {
            Observation::Seen(live) => self.seen(&live),
            Observation::Gone { identity, uid } => self.gone(&identity, &uid),
            Observation::Restarted(kind) => {
                self.watches.entry(kind.kind).or_default().run += 1;
            }
            Observation::Listed(kind) => self.listed(&kind.kind),
            Observation::Lost { kind, failure } => self.lost(kind.kind, &failure),
        }
    }

    fn seen(&mut self, live: &Live) {
        let run = self.watches.get(&live.identity.kind).map_or(0, |watch| watch.run);
        let now = self.now.mono_millis;
        let mut is_newly_healthy = false;
        for (name, bundle) in &mut self.bundles {
            let Some(slot) = bundle.slots.get_mut(&live.identity) else {
                continue;
            };
            slot.seen_in = Some(run);
            let manager = names::field_manager(name);
            let seen = Seen::of(live, &manager, &slot.sight, &bundle.checks);
            if matches!(&slot.sight, Sight::Live(known)
                if known.resource_version > seen.resource_version
                    && known.resource_version > 0 && seen.resource_version > 0)
            {
                // From before what is known: an answer came faster than the watch.
                continue;
            }
            let was_healthy = slot.health().0 == Health::Healthy;
            slot.sight = Sight::Live(seen);
            // Another bundle has taken it: that is asked before anything is put right or let go of.
            let owner = Owner { hub_id: &self.ledger.fence.hub_id, bundle: name };
            let is_taken = || matches!(owner::ownership(live, owner), Ownership::OtherBundle(_));
            slot.look |= slot.tracked.uid.is_some() && is_taken();
            if slot.is_drifted() {
                slot.changed_by.clone_from(&live.changed_by);
            }
            is_newly_healthy |= !was_healthy && slot.health().0 == Health::Healthy;
            if slot.note_finish() {
                bundle.unsaved(now);
            }
            self.dirty.insert(name.clone());
        }
        self.maybe_kick(&live.identity, is_newly_healthy);
    }

    fn gone(&mut self, identity: &Identity, uid: &str) {
        self.each_slot(
            |of, slot| {
                of == identity
                    && match &slot.sight {
                        Sight::Live(seen) => seen.uid == uid,
                        Sight::Unknown => true,
                        Sight::Absent | Sight::Foreign => false,
                    }
            },
            look_now,
        );
    }

    /// What the list of a kind did not hold may be gone.
    fn listed(&mut self, kind: &GroupKind) {
        let watch = self.watches.entry(kind.clone()).or_default();
        let was_lost = watch.lost.take().is_some();
        watch.lost_because = None;
        let run = watch.run;
        self.each_slot(
            |of, slot| {
                of.kind == *kind
                    && slot.seen_in != Some(run)
                    && slot.tracked.uid.is_some()
                    && !matches!(slot.sight, Sight::Absent | Sight::Foreign)
            },
            look_now,
        );
        if was_lost {
            self.touch_kind(kind);
        }
    }

    fn lost(&mut self, kind: GroupKind, failure: &Failure) {
        let watch = self.watches.entry(kind.clone()).or_default();
        if watch.lost.as_ref() != Some(&failure.message) {
            watch.lost = Some(failure.message.clone());
            watch.lost_because = Some(failure.reason);
            self.touch_kind(&kind);
        }
        if failure.reason == Reason::NoSuchKind {
            // With a definition go all objects of its kind, and nobody tells of each.
            self.each_slot(|of, slot| of.kind == kind && matches!(slot.sight, Sight::Live(_)), look_now);
        }
    }

    /// Does something to each slot that matches, and has its bundle looked at.
    fn each_slot(&mut self, matches: impl Fn(&Identity, &Slot) -> bool, change: impl Fn(&mut Slot)) {
        for (name, bundle) in &mut self.bundles {
            for (identity, slot) in &mut bundle.slots {
                if matches(identity, slot) {
                    change(slot);
                    self.dirty.insert(name.clone());
                }
            }
        }
    }

    fn touch_kind(&mut self, kind: &GroupKind) {
        self.each_slot(|of, _| of.kind == *kind, |_| {});
    }

    /// Watches the kinds of everything that exists, at one version each.
    pub(super) fn mind_watches(&mut self) {
        if !std::mem::take(&mut self.watches_changed) {
            return;
        }
        let watched: BTreeMap<&GroupKind, &str> =
            self.watched.keys().map(|kind| (&kind.kind, kind.version.as_str())).collect();
        let mut versions: BTreeMap<&GroupKind, &str> = BTreeMap::new();
        let slots = self.bundles.values().flat_map(|bundle| &bundle.slots);
        // What is about to be made again is watched on.
        let is_ours = |slot: &Slot| slot.tracked.uid.is_some() || slot.tracked.applied.is_some();
        for (identity, slot) in slots.filter(|(_, slot)| is_ours(slot)) {
            let version = slot.tracked.version.as_str();
            let held = versions.entry(&identity.kind).or_insert(version);
            if watched.get(&identity.kind) == Some(&version) {
                // What runs already goes on.
                *held = version;
            }
        }
        let wanted: BTreeMap<Kind, _> = versions
            .into_iter()
            .map(|(kind, version)| {
                // What some bundle's check is about is watched whole for all.
                let depths = self.bundles.values().map(|bundle| bundle.checks.depth(kind));
                let depth = depths.max().unwrap_or_else(|| health::depth(kind));
                (Kind { kind: kind.clone(), version: version.to_owned() }, depth)
            })
            .collect();
        if wanted != self.watched {
            let has = |kind: &GroupKind| wanted.keys().any(|one| one.kind == *kind);
            self.watches.retain(|kind, _| has(kind));
            self.watched.clone_from(&wanted);
            self.out.push(Effect::Watch(wanted));
        }
    }
}

fn look_now(slot: &mut Slot) {
    slot.look = true;
    // What it waited for may have happened.
    if let Some(trouble) = &mut slot.trouble
        && matches!(trouble.attempt, super::bundle::Attempt::Delete)
    {
        trouble.retry_at = 0;
    }
}
