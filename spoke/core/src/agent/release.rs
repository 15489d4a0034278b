//! Objects that stay when their bundle lets go of them: our marks are taken off, and nobody owns their fields.

use proto_model::{Identity, name as names};
use serde_json::json;

use super::Agent;
use super::bundle::{Attempt, Trouble};
use super::done::{Errand, failure_of};
use crate::diff::Seen;
use crate::managed;
use crate::owner::{self, Ownership};
use crate::port::{Live, OWNER_ANNOTATION, OWNER_LABEL, Op, Outcome};
use crate::prune;

impl Agent {
    /// Looks at an object that shall stay, to take our marks off it.
    pub(super) fn release(&mut self, name: &str, identity: &Identity) -> bool {
        let Some(slot) = self.slot_mut(name, identity) else {
            return true;
        };
        let version = slot.tracked.version.clone();
        let errand = Errand::Release { bundle: name.to_owned(), identity: identity.clone() };
        let is_started = self.start(name, errand, Op::Get { identity: identity.clone(), version });
        self.mark_busy(name, identity, is_started)
    }

    /// Takes our marks off an object that was just looked at.
    pub(super) fn take_marks_off(&mut self, name: &str, live: &Live) {
        let identity = &live.identity;
        let Some(object) = live.object.as_ref().filter(|_| self.may_act()) else { return };
        if live.hands_off {
            let now = self.now.mono_millis;
            self.refuse(name, identity, prune::HANDS_OFF.into(), false, now);
            return;
        }
        let is_ours = owner::ownership(live, self.owner(name)) == Ownership::Ours;
        let Some(slot) = self.slot_mut(name, identity).filter(|slot| slot.target.is_none()) else { return };
        let is_recorded = slot.tracked.uid.as_ref().is_none_or(|uid| *uid == live.uid);
        if !is_ours || !is_recorded {
            self.drop_slot(name, identity);
            return;
        }
        slot.is_busy = true;
        let patch = json!({"metadata": {
            "labels": {OWNER_LABEL: null},
            "annotations": {OWNER_ANNOTATION: null},
            "managedFields": managed::released(object, &names::field_manager(name)),
        }});
        let Live { uid, resource_version, version, .. } = live.clone();
        let op = Op::Patch { identity: identity.clone(), version, uid, resource_version, patch };
        self.start_now(Errand::Released { bundle: name.to_owned(), identity: identity.clone() }, op);
    }

    /// Puts our marks on an object that was taken over, as it was just looked at.
    pub(super) fn put_marks_on(&mut self, name: &str, live: &Live) {
        let identity = &live.identity;
        let (label, annotation) = self.marks(name, identity);
        let may_act = self.may_act();
        let is_wanted_back = match owner::ownership(live, self.owner(name)) {
            Ownership::OtherBundle(other) => !self.is_taking(&other, name, identity),
            _ => false,
        };
        let Some(slot) = self.slot_mut(name, identity).filter(|_| may_act) else { return };
        if slot.tracked.uid.as_ref() != Some(&live.uid) || is_wanted_back {
            slot.look = true;
            slot.recreate = false;
            return;
        }
        slot.is_busy = true;
        let patch =
            json!({"metadata": {"labels": {OWNER_LABEL: label}, "annotations": {OWNER_ANNOTATION: annotation}}});
        let Live { uid, resource_version, version, .. } = live.clone();
        let op = Op::Patch { identity: identity.clone(), version, uid, resource_version, patch };
        self.start_now(Errand::Claimed { bundle: name.to_owned(), identity: identity.clone() }, op);
    }

    pub(super) fn claimed(&mut self, name: &str, identity: &Identity, outcome: Outcome) {
        let (now, seed) = (self.now.mono_millis, format!("{name}{identity}"));
        let (manager, checks) = (names::field_manager(name), self.checks(name));
        let Some(slot) = self.free_slot(name, identity) else { return };
        let live = match outcome {
            Outcome::Patched(live) => live,
            other => {
                slot.look = true;
                let before = slot.trouble.take();
                slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Delete, &failure_of(other), &seed, now));
                return;
            }
        };
        if !slot.is_taken_as_made() {
            return;
        }
        // With the marks it is ours as it is: nothing else of it is changed.
        slot.tracked.former = None;
        slot.tracked.applied = Some(slot.bound);
        slot.tracked.managed = live.managed.get(&manager).copied();
        slot.take_sight(Seen::of(&live, &manager, &slot.sight, &checks));
        slot.trouble = None;
        if let Some(target) = &slot.target {
            slot.tracked.wishes = target.wishes;
            slot.tracked.order = target.order;
            slot.tracked.version.clone_from(&target.version);
        }
        if let Some(bundle) = self.bundles.get_mut(name) {
            bundle.unsaved(now);
        }
        self.tell_former_owners(name, identity);
    }

    pub(super) fn released(&mut self, name: &str, identity: &Identity, outcome: Outcome) {
        let now = self.now.mono_millis;
        let Some(slot) = self.free_slot(name, identity) else { return };
        if matches!(outcome, Outcome::Patched(_)) {
            // Wanted again meanwhile: it is met as any other object of nobody's.
            if slot.target.is_some() {
                slot.tracked.uid = None;
                slot.tracked.applied = None;
                slot.is_durable = false;
                slot.look = true;
                if let Some(bundle) = self.bundles.get_mut(name) {
                    bundle.unsaved(now);
                }
            } else {
                self.drop_slot(name, identity);
            }
            return;
        }
        slot.look = true;
        let before = slot.trouble.take();
        let seed = format!("{name}{identity}");
        slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Delete, &failure_of(outcome), &seed, now));
    }
}
