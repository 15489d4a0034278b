//! Taking objects away: those that a variant no longer names, those of a bundle that goes, and
//! those that must be made anew. Every deletion passes `prune::judge`.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::assign::Entry;
use proto_model::wishes::{Prune, Replace};
use proto_model::{Identity, ObjectProblem, Permit};

use super::Agent;
use super::act::Step;
use super::bundle::{Attempt, Bundle, Plan, Trouble};
use super::done::{Errand, failure_of};
use super::slot::Slot;
use crate::contents::Contents;
use crate::diff::Sight;
use crate::order;
use crate::port::{Live, Op, Outcome};
use crate::prune::{self, Others, Request, Verdict, Warrant};

impl Agent {
    /// Takes a whole bundle away.
    pub(super) fn advance_removal(&mut self, name: &str, permit: &Permit) {
        let Some(bundle) = self.bundles.get_mut(name) else {
            return;
        };
        bundle.plan = Plan::None;
        bundle.problems.clear();
        bundle.may_remove = false;
        bundle.is_pruning = !bundle.slots.is_empty();
        let mut is_changed = false;
        for slot in bundle.slots.values_mut() {
            is_changed |= slot.target.take().is_some();
            slot.recreate = false;
        }
        if is_changed {
            let shared = bundle.slots.keys().filter(|identity| identity.kind.is_shared());
            self.claims_changed.extend(shared.cloned());
            self.forget_heirs();
        }
        let steps = self.decide_removal(name, permit, Which::All);
        self.perform(name, steps);
        self.summarize(name);
    }

    /// What to do about the objects that shall go: first all of them are resolved, then the permit
    /// is asked once for all, then they go stage by stage, in reverse. What stays only loses our marks, and what
    /// another bundle wants waits for it.
    pub(super) fn decide_removal(&mut self, name: &str, permit: &Permit, which: Which) -> Vec<Step> {
        self.release_claimed(name);
        self.find_heirs(name);
        let (now, steps_max) = (self.now.mono_millis, self.steps_max());
        let Some(bundle) = self.bundles.get_mut(name) else {
            return Vec::new();
        };
        // Also of a bundle that was to leave all it had, and came back before this cluster heard of that.
        let is_orphan = permit.orphan;
        bundle.is_pruning = bundle.slots.values().any(|slot| slot.target.is_none());
        let mut wake = None;
        let mut steps = Vec::new();
        let mut are_resolved = true;
        let mut stage = None;
        let heirs = bundle.heirs.take().unwrap_or_default();
        for (identity, slot) in bundle.slots.iter_mut().filter(|(_, slot)| which.is_about(slot)) {
            // What the durable inventory does not have is not touched.
            let is_known = matches!(slot.sight, Sight::Live(_)) && slot.tracked.uid.is_some() && slot.is_durable;
            let fate = Fate::of(slot, heirs.get(identity), is_orphan);
            if fate == Fate::Delete {
                are_resolved &= is_known;
                stage = stage.max(Some(slot.removal_stage(identity)));
            }
            if let Fate::HandOver(heir) = &fate {
                await_heir(slot, identity, heir, now);
            }
            if slot.is_busy || !slot.is_durable || steps.len() >= steps_max {
                continue;
            }
            if fate == Fate::Keep && is_known && slot.is_hands_off() {
                // Its watch tells when that ends.
                slot.trouble = Some(Trouble::stated(None, Attempt::Delete, prune::HANDS_OFF.into(), false, "", now));
                continue;
            }
            if fate == Fate::Keep {
                slot.trouble = slot.trouble.take().filter(|trouble| trouble.message != prune::HANDS_OFF);
            }
            match slot.trouble.as_ref().filter(|trouble| trouble.retry_at > now) {
                Some(_) if slot.look && matches!(fate, Fate::HandOver(_)) => steps.push(Step::Look(identity.clone())),
                Some(trouble) => {
                    wake = Some(wake.map_or(trouble.retry_at, |at: u64| at.min(trouble.retry_at)));
                }
                None if fate == Fate::Keep => steps.push(Step::Release(identity.clone())),
                None if slot.look || !is_known => steps.push(Step::Look(identity.clone())),
                None => {}
            }
        }
        if let Some(at) = wake {
            bundle.wake_at(at);
        }
        if are_resolved && stage.is_some() {
            match allowed(bundle, permit, which, &heirs, is_orphan) {
                Ok(()) => {
                    bundle.may_remove = true;
                    let is_turn = |identity: &Identity, slot: &Slot| {
                        which.is_about(slot)
                            && Fate::of(slot, heirs.get(identity), is_orphan) == Fate::Delete
                            && Some(slot.removal_stage(identity)) == stage
                    };
                    deletions(bundle, is_turn, now, steps_max, &mut steps);
                }
                // Looking is no deletion: what is gone already counts no more.
                Err(message) => bundle.problems.push(ObjectProblem { object: None, is_final: true, message }),
            }
        }
        bundle.heirs = Some(heirs);
        steps
    }

    /// Finds the bundles that want what this one shall let go, unless that is known.
    fn find_heirs(&mut self, name: &str) {
        let Some(bundle) = self.bundles.get(name).filter(|bundle| bundle.heirs.is_none()) else {
            return;
        };
        let going = bundle.slots.iter().filter(|(_, slot)| slot.target.is_none());
        let heirs = going.filter_map(|(identity, _)| Some((identity.clone(), self.heir(name, identity)?.to_owned())));
        let heirs = heirs.collect();
        if let Some(bundle) = self.bundles.get_mut(name) {
            bundle.heirs = Some(heirs);
        }
    }

    /// What bundles want has changed: who wants what others let go is found anew, and who stood back looks again.
    pub(super) fn forget_heirs(&mut self) {
        let now = self.now.mono_millis;
        for (name, bundle) in &mut self.bundles {
            bundle.heirs = None;
            let stood_back = bundle.slots.values_mut().filter(|slot| slot.stands_back());
            for trouble in stood_back.filter_map(|slot| slot.trouble.as_mut()) {
                trouble.retry_at = now;
                self.dirty.insert(name.clone());
            }
        }
    }

    /// Shared objects that others claim leave the inventory and stay in the cluster.
    fn release_claimed(&mut self, name: &str) {
        let Some(bundle) = self.bundles.get(name) else {
            return;
        };
        let claimed: Vec<Identity> = bundle
            .slots
            .iter()
            .filter(|(identity, slot)| slot.target.is_none() && identity.kind.is_shared())
            .filter(|(identity, slot)| !slot.is_busy && self.other_claimant(name, identity).is_some())
            .map(|(identity, _)| identity.clone())
            .collect();
        for identity in claimed {
            self.drop_slot(name, &identity);
        }
    }

    fn other_claimant<'a>(&'a self, name: &str, identity: &'a Identity) -> Option<&'a str> {
        self.claimants(identity).find(|other| *other != name)
    }

    /// A bundle that still needs an object, and whether it claims the object itself.
    fn needed_by(&self, name: &str, identity: &Identity) -> Option<(&str, bool)> {
        if !identity.kind.is_shared() {
            return None;
        }
        let claims = |(other, bundle): (&String, &Bundle)| other != name && bundle.slots.contains_key(identity);
        if let Some((other, _)) = self.bundles.iter().find(|pair| claims(*pair)) {
            return Some((other, true));
        }
        let group = identity.name.split_once('.').map_or("", |(_, group)| group);
        let lives_in_it = |inner: &Identity| {
            if order::is_definition(&identity.kind) {
                inner.kind.group == group
            } else {
                inner.namespace == identity.name
            }
        };
        // What lives in it and is wanted would be made anew, empty; what others still have would go.
        let holds = |(other, bundle): (&String, &Bundle)| {
            let is_held = |slot: &Slot| slot.target.is_some() || (other != name && slot.exists());
            bundle.slots.iter().any(|(inner, slot)| lives_in_it(inner) && is_held(slot))
        };
        self.bundles.iter().find(|pair| holds(*pair)).map(|(other, _)| (other.as_str(), false))
    }

    /// Whether deletions of a bundle wait: a change that is complete and not yet durable may name again
    /// what would go, and so may what was lost from the ledger and comes with the next change.
    pub(super) fn removals_wait(&mut self, name: &str) -> bool {
        if self.store.pending.is_none() && self.ledger.lost.is_empty() {
            return false;
        }
        self.store.after_change.insert(name.to_owned());
        true
    }

    /// Whether the answer to a deletion is still to come. Until then no change becomes durable, so
    /// that nothing goes that the durable ledger names.
    pub(super) fn is_deleting(&self) -> bool {
        self.errands.values().any(|errand| matches!(errand, Errand::Delete { .. }))
    }

    /// Judges the deletion of an object that was just looked at, and starts it.
    pub(super) fn remove(&mut self, name: &str, identity: &Identity, live: Option<&Live>, contents: Option<&Contents>) {
        if self.is_suspended(name) || self.removals_wait(name) {
            return;
        }
        let verdict = self.judge(name, identity, live, contents);
        let now = self.now.mono_millis;
        match verdict {
            None => {}
            Some(Verdict::Survey) => self.survey(name, live),
            Some(Verdict::Delete { uid, resource_version }) => {
                if !self.may_act() {
                    return;
                }
                let Some(slot) = self.slot_mut(name, identity) else {
                    return;
                };
                slot.is_busy = true;
                slot.trouble = None;
                let version = slot.tracked.version.clone();
                // What it owns stays for its successor, where there is one and it asks for that.
                let orphan = slot.is_to_be_made_anew() && slot.wishes().replacing(&identity.kind) == Replace::Orphan;
                let op = Op::Delete { identity: identity.clone(), version, uid, resource_version, orphan };
                let errand = Errand::Delete { bundle: name.to_owned(), identity: identity.clone() };
                self.start_now(errand, op);
            }
            Some(Verdict::Gone | Verdict::Release) => {
                let Some(slot) = self.slot_mut(name, identity) else {
                    return;
                };
                // Taken over and not applied yet: it must bear our mark before it may be made anew.
                let is_unclaimed = slot.is_to_be_made_anew() && slot.tracked.former.is_some();
                if let Some(live) = live.filter(|_| is_unclaimed) {
                    self.put_marks_on(name, live);
                    return;
                }
                if slot.target.is_none() {
                    self.drop_slot(name, identity);
                } else {
                    // To be made anew: a look says whether it is gone or somebody else's.
                    slot.look = true;
                    slot.recreate = false;
                }
            }
            Some(Verdict::Keep) => {
                if let Some(live) = live {
                    self.take_marks_off(name, live);
                }
            }
            Some(Verdict::Wait(message)) => self.refuse(name, identity, message, false, now),
            Some(Verdict::Refuse(message)) => self.refuse(name, identity, message, true, now),
        }
    }

    /// Asks what would go along with a namespace or a definition.
    fn survey(&mut self, name: &str, live: Option<&Live>) {
        let Some(live) = live.filter(|_| self.may_act()) else {
            return;
        };
        let slots = self.bundles.values().flat_map(|bundle| bundle.slots.values());
        let inventoried = slots.filter_map(|slot| slot.tracked.uid.clone()).collect();
        let Some(slot) = self.slot_mut(name, &live.identity) else {
            return;
        };
        slot.is_busy = true;
        let op = Op::Contents { of: live.identity.clone(), inventoried: Arc::new(inventoried) };
        let live = Box::new(live.clone());
        self.start_now(Errand::Survey { bundle: name.to_owned(), live }, op);
    }

    pub(super) fn surveyed(&mut self, name: &str, live: &Live, outcome: Outcome) {
        let (identity, now) = (&live.identity, self.now.mono_millis);
        let Some(slot) = self.free_slot(name, identity) else {
            return;
        };
        match outcome {
            Outcome::Contents(contents) => self.remove(name, identity, Some(live), Some(&contents)),
            other => {
                let before = slot.trouble.take();
                let seed = format!("{name}{identity}");
                slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Delete, &failure_of(other), &seed, now));
            }
        }
    }

    fn judge(
        &self,
        name: &str,
        identity: &Identity,
        live: Option<&Live>,
        contents: Option<&Contents>,
    ) -> Option<Verdict> {
        let bundle = self.bundles.get(name)?;
        let slot = bundle.slots.get(identity)?;
        let warrant = match self.ledger.entries.get(name)? {
            Entry::Run(_) if slot.is_to_be_made_anew() => Warrant::Recreate,
            Entry::Run(_) if slot.is_to_be_cleaned() => Warrant::Finished,
            // Between the question and the answer a change may have come.
            _ if !bundle.may_remove => return None,
            Entry::Run(assignment) => Warrant::Complete { is_named: slot.target.is_some(), permit: &assignment.permit },
            Entry::Remove(permit) => Warrant::Tombstone { permit },
        };
        let needed = self.needed_by(name, identity);
        let heir = if slot.target.is_none() { self.heir(name, identity) } else { None };
        let others = Others {
            needed_by: needed.map(|(bundle, _)| bundle),
            is_claimed: needed.is_some_and(|(_, is_claimed)| is_claimed),
            heir,
        };
        Some(prune::judge(&Request {
            owner: self.owner(name),
            identity,
            tracked: Some(&slot.tracked),
            live,
            warrant,
            wishes: *slot.wishes(),
            others,
            contents,
        }))
    }

    pub(super) fn refuse(&mut self, name: &str, identity: &Identity, message: String, is_final: bool, now: u64) {
        if let Some(slot) = self.slot_mut(name, identity) {
            let before = slot.trouble.take();
            let seed = format!("{name}{identity}");
            slot.trouble = Some(Trouble::stated(before.as_ref(), Attempt::Delete, message, is_final, &seed, now));
        }
    }

    /// Takes an object out of the inventory.
    pub(super) fn drop_slot(&mut self, name: &str, identity: &Identity) {
        let now = self.now.mono_millis;
        let Some(bundle) = self.bundles.get_mut(name) else {
            return;
        };
        if bundle.slots.remove(identity).is_some() {
            bundle.unsaved(now);
            self.dirty.insert(name.to_owned());
            self.watches_changed = true;
            if identity.kind.is_shared() {
                self.claims_changed.insert(identity.clone());
            }
            // Others may have waited for it to go.
            self.wake_removals();
            self.wake_successors(identity);
        }
    }

    /// Bundles that want an object which another one of this cluster had look at it again.
    fn wake_successors(&mut self, identity: &Identity) {
        let now = self.now.mono_millis;
        for (name, bundle) in &mut self.bundles {
            let slot = bundle.slots.get_mut(identity).filter(|slot| slot.stands_back());
            if let Some(trouble) = slot.and_then(|slot| slot.trouble.as_mut()) {
                trouble.retry_at = now;
                self.dirty.insert(name.clone());
            }
        }
    }

    /// Objects of other bundles that waited for this one's are tried again.
    fn wake_removals(&mut self) {
        let now = self.now.mono_millis;
        for (name, bundle) in &mut self.bundles {
            for (identity, slot) in &mut bundle.slots {
                let trouble = slot.trouble.as_mut();
                if let Some(trouble) = trouble.filter(|one| one.attempt == Attempt::Delete)
                    && identity.kind.is_shared()
                    && !trouble.is_final
                {
                    trouble.retry_at = now;
                    self.dirty.insert(name.clone());
                }
            }
        }
    }
}

/// Which of the objects that shall go are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    All,
    /// Those that go before the new ones come.
    First,
}

impl Which {
    fn is_about(self, slot: &Slot) -> bool {
        match self {
            Self::All => slot.target.is_none(),
            Self::First => slot.goes_first(),
        }
    }
}

/// What becomes of an object that its bundle wants no more.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Delete,
    /// Our marks are taken off it, and it stays.
    Keep,
    /// This bundle takes it.
    HandOver(String),
}

impl Fate {
    fn of(slot: &Slot, heir: Option<&String>, is_orphan: bool) -> Self {
        match heir {
            Some(heir) => Self::HandOver(heir.clone()),
            None if is_orphan || slot.tracked.wishes.prune == Prune::Keep => Self::Keep,
            None => Self::Delete,
        }
    }
}

/// The heir tells when it has it; it is only looked at once in a while.
fn await_heir(slot: &mut Slot, identity: &Identity, heir: &str, now: u64) {
    if slot.look || slot.trouble.as_ref().is_some_and(|trouble| trouble.retry_at > now) {
        return;
    }
    let message = format!("goes over to bundle {heir}, which has not taken it yet");
    slot.look = slot.trouble.is_some();
    let trouble = Trouble::stated(None, Attempt::Delete, message, true, &identity.name, now);
    slot.trouble = Some(Trouble { is_final: false, ..trouble });
}

/// The deletions whose turn it is.
fn deletions(
    bundle: &Bundle,
    is_turn: impl Fn(&Identity, &Slot) -> bool,
    now: u64,
    steps_max: usize,
    steps: &mut Vec<Step>,
) {
    for (identity, slot) in &bundle.slots {
        let is_waiting = slot.trouble.as_ref().is_some_and(|trouble| trouble.retry_at > now);
        if steps.len() >= steps_max || slot.is_busy || is_waiting || slot.look || !is_turn(identity, slot) {
            continue;
        }
        let is_going = matches!(&slot.sight, Sight::Live(seen) if seen.deleting.is_some());
        // What is going is only looked at; its watch tells when it is gone.
        let step = if is_going { Step::Look } else { Step::Remove };
        steps.push(step(identity.clone()));
    }
}

/// Whether the permit lets everything go that is to be deleted and not on its way already.
fn allowed(
    bundle: &Bundle,
    permit: &Permit,
    which: Which,
    heirs: &BTreeMap<Identity, String>,
    is_orphan: bool,
) -> Result<(), String> {
    let is_deleted =
        |(identity, slot): &(&Identity, &Slot)| Fate::of(slot, heirs.get(*identity), is_orphan) == Fate::Delete;
    let going = bundle.slots.iter().filter(|(_, slot)| which.is_about(slot)).filter(is_deleted);
    prune::allow(permit, going.map(|(identity, _)| identity))
}
