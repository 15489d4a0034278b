//! What is sent to change an object that is there, where that depends on the object itself: fields that are left
//! alone, replicas that something scales, fields of a former owner.
//!
//! The object is read first, and the change made from what was read.

use std::collections::{BTreeSet, VecDeque};

use proto_model::assign::Entry;
use proto_model::variant::Adopt;
use proto_model::{Identity, name as names};
use serde_json::{Value as Json, json};

use super::Agent;
use super::bundle::{Attempt, Plan, Trouble};
use super::done::{Errand, failure_of};
use crate::diff::{Seen, Why};
use crate::ignore::{self, REPLICAS};
use crate::inventory::Former;
use crate::managed;
use crate::owner::{self, Ownership};
use crate::port::{Kind, Live, Op, Outcome, Reason};
use crate::scaler;

/// What is done with a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It is asked what would come of it.
    Rehearse,
    /// It is applied.
    Apply(Why),
}

/// A change that is being drafted.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) bundle: String,
    pub(super) identity: Identity,
    pub(super) then: Then,
}

/// A draft that waits for what scales its object.
#[derive(Clone, Debug)]
pub(super) struct Scaling {
    draft: Draft,
    live: Box<Live>,
    /// Kinds that were not looked through.
    left: VecDeque<Kind>,
}

impl Scaling {
    /// The bundle that the draft is for.
    pub(super) fn bundle(&self) -> &str {
        &self.draft.bundle
    }
}

impl Agent {
    /// Whether a change of an object depends on what is there.
    pub(super) fn is_drafted(&self, name: &str, identity: &Identity) -> bool {
        let Some(slot) = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity)) else {
            return false;
        };
        let is_scaled = || {
            let is_seen = matches!(&slot.sight, crate::diff::Sight::Live(seen) if seen.scaled);
            is_seen && slot.is_scaled != Some(false)
        };
        let rules = self.contents.get(name).map(|content| &content.variant().settings.ignore);
        slot.tracked.uid.is_some()
            && (slot.tracked.former.is_some()
                || rules.is_some_and(|rules| rules.iter().any(|rule| rule.may_select(identity)))
                || self.is_scaled_by_a_bundle(identity)
                || is_scaled())
    }

    /// Whether an autoscaler of some bundle of this cluster scales an object.
    fn is_scaled_by_a_bundle(&self, identity: &Identity) -> bool {
        self.bundles.values().any(|bundle| match &bundle.plan {
            Plan::Ready(ready) => ready.scales.contains(identity),
            _ => false,
        })
    }

    /// Begins a draft.
    pub(super) fn draft(&mut self, draft: Draft) {
        let Some(slot) = self.slot_mut(&draft.bundle, &draft.identity) else { return };
        let Some(target) = &slot.target else { return };
        let op = Op::Get { identity: draft.identity.clone(), version: target.version.clone() };
        slot.is_busy = true;
        self.start_now(Errand::Draft(draft), op);
    }

    /// The object was read.
    pub(super) fn drafted(&mut self, draft: Draft, outcome: Outcome) {
        let Draft { bundle: name, identity, .. } = &draft;
        let tracked = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity));
        let uid = tracked.and_then(|slot| slot.tracked.uid.clone());
        let live = match outcome {
            Outcome::Got(Some(live)) if Some(&live.uid) == uid.as_ref() && !live.deleting => live,
            other => {
                self.looked(name, identity, other);
                return;
            }
        };
        if self.is_taken_by_a_third(name, identity, &live) {
            self.looked(name, identity, Outcome::Got(Some(live)));
            return;
        }
        let (manager, checks) = (names::field_manager(name), self.checks(name));
        let Some(slot) = self.free_slot(name, identity) else { return };
        slot.take_sight(Seen::of(&live, &manager, &slot.sight, &checks));
        let is_open = live.scaled && slot.is_scaled.is_none();
        if slot.is_hands_off() || !self.may_act() {
            return;
        }
        if is_open && !self.is_scaled_by_a_bundle(identity) {
            let left = scaler::kinds().into();
            self.ask_scalers(Scaling { draft, live: Box::new(live), left });
        } else {
            self.inherit(draft, live);
        }
    }

    /// Whether an object that is being taken over from one bundle was meanwhile taken by another one: then it is that
    /// one's fields which go over.
    fn is_taken_by_a_third(&self, name: &str, identity: &Identity, live: &Live) -> bool {
        let slot = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity));
        let Some(Former::Bundle(former)) = slot.and_then(|slot| slot.tracked.former.as_ref()) else { return false };
        matches!(owner::ownership(live, self.owner(name)), Ownership::OtherBundle(other)
            if other != *former && self.tracks(&other, identity, &live.uid))
    }

    /// Looks for what scales an object, one kind after the other.
    fn ask_scalers(&mut self, mut scaling: Scaling) {
        let Draft { bundle: name, identity, .. } = &scaling.draft;
        let next = scaling.left.pop_front();
        let Some(slot) = self.slot_mut(name, identity) else { return };
        let Some(kind) = next else {
            slot.is_scaled = Some(false);
            self.inherit(scaling.draft, *scaling.live);
            return;
        };
        slot.is_busy = true;
        let namespace = identity.namespace.clone();
        let op = Op::List { kind, namespace, name: String::new(), labels: Default::default() };
        self.start_now(Errand::Scalers(scaling), op);
    }

    pub(super) fn scalers_listed(&mut self, scaling: Scaling, outcome: Outcome) {
        let Draft { bundle: name, identity, .. } = &scaling.draft;
        let Some(slot) = self.free_slot(name, identity) else { return };
        let scales = |object: &Json| {
            let scaler = proto_model::object::identity(object).ok();
            scaler.and_then(|scaler| scaler::target(&scaler, object)).as_ref() == Some(identity)
        };
        match outcome {
            Outcome::Listed(all) if all.iter().any(|one| scales(one)) => {
                slot.is_scaled = Some(true);
                self.inherit(scaling.draft, *scaling.live);
            }
            Outcome::Listed(_) => self.ask_scalers(scaling),
            other => {
                let failure = failure_of(other);
                if failure.reason == Reason::NoSuchKind {
                    self.ask_scalers(scaling);
                    return;
                }
                // Who counts the replicas can't be told: nothing is changed.
                self.draft_failed(&scaling.draft, &failure);
            }
        }
    }

    fn draft_failed(&mut self, draft: &Draft, failure: &crate::port::Failure) {
        let now = self.now.mono_millis;
        let (name, identity) = (&draft.bundle, &draft.identity);
        let attempt = if draft.then == Then::Rehearse { Attempt::Rehearse } else { Attempt::Apply };
        if let Some(slot) = self.slot_mut(name, identity) {
            let before = slot.trouble.take();
            let seed = format!("{name}{identity}");
            slot.trouble = Some(Trouble::next(before.as_ref(), attempt, failure, &seed, now));
        }
    }

    /// Before the first apply of an object that was another's, that one's fields become ours: what our manifest does
    /// not have then goes with the apply.
    fn inherit(&mut self, draft: Draft, live: Live) {
        let (name, identity) = (&draft.bundle, &draft.identity);
        let manager = names::field_manager(name);
        let slot = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity));
        let former = slot.and_then(|slot| slot.tracked.former.clone());
        // What people set and Git never had is theirs, unless the bundle is to win.
        let takes_all = self.contents.get(name).is_none_or(|one| one.variant().settings.adopt == Adopt::Always);
        let leaves_rest = former == Some(Former::People) && !takes_all;
        let own = if leaves_rest { self.marked_manifest(name, identity) } else { None };
        let identity = &draft.identity;
        if self.is_wanted_back(&draft) {
            return;
        }
        let moved = match (former, &live.object, draft.then) {
            (Some(former), Some(object), Then::Apply(_)) => {
                let before = match &former {
                    Former::Bundle(bundle) => Some(names::field_manager(bundle)),
                    Former::People => None,
                };
                let is_former = |entry: managed::Entry<'_>| match &before {
                    Some(before) => entry.is_of(before),
                    None => managed::is_of_people(entry.manager()),
                };
                managed::taken_over(object, &manager, &api_version(identity, &live.version), own.as_ref(), is_former)
            }
            _ => None,
        };
        let Some(managed) = moved else {
            self.carry_out_draft(&draft, &live);
            return;
        };
        let Live { uid, resource_version, version, .. } = live;
        let patch = json!({"metadata": {"managedFields": managed}});
        let op = Op::Patch { identity: identity.clone(), version, uid, resource_version, patch };
        if let Some(slot) = self.slot_mut(&draft.bundle, &draft.identity) {
            slot.is_busy = true;
        }
        self.start_now(Errand::Inherit(draft), op);
    }

    /// Whether the former owner of what is to be applied wants it again: then it is asked for anew.
    fn is_wanted_back(&mut self, draft: &Draft) -> bool {
        let (name, identity) = (&draft.bundle, &draft.identity);
        let slot = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity));
        let Some(Former::Bundle(other)) = slot.and_then(|slot| slot.tracked.former.clone()) else { return false };
        if !matches!(draft.then, Then::Apply(_)) || self.gives_up(&other, name, identity) {
            return false;
        }
        if let Some(slot) = self.slot_mut(name, identity) {
            slot.look = true;
        }
        true
    }

    pub(super) fn inherited(&mut self, draft: Draft, outcome: Outcome) {
        if self.free_slot(&draft.bundle, &draft.identity).is_none() {
            return;
        }
        match outcome {
            Outcome::Patched(_) if self.is_wanted_back(&draft) => {}
            Outcome::Patched(live) if self.may_act() => self.carry_out_draft(&draft, &live),
            Outcome::Patched(_) => {}
            other => {
                let failure = failure_of(other);
                self.draft_failed(&draft, &failure);
                if failure.reason == Reason::Conflict
                    && let Some(slot) = self.slot_mut(&draft.bundle, &draft.identity)
                {
                    slot.look = true;
                }
            }
        }
    }

    fn carry_out_draft(&mut self, draft: &Draft, live: &Live) {
        let (name, identity) = (&draft.bundle, &draft.identity);
        let Some(sent) = self.sent(name, identity, live) else { return };
        let Then::Apply(why) = draft.then else {
            self.rehearse_manifest(name, identity, sent);
            return;
        };
        // Newer content may have come meanwhile, and is not written down yet.
        let is_still = |slot: &super::slot::Slot| slot.is_durable && (why != Why::Content || !slot.is_replaced());
        if !self.slot_mut(name, identity).is_some_and(|slot| is_still(slot)) {
            return;
        }
        if self.slot_mut(name, identity).is_some_and(|slot| slot.is_taken_as_made()) {
            self.put_marks_on(name, live);
            return;
        }
        if why == Why::Drifted && self.is_only_left_alone(name, live, &sent) {
            self.accept(name, identity, live);
            return;
        }
        self.send(name, identity, sent, why);
    }

    /// What is applied to a live object: the bound manifest with marks, less what is left alone.
    pub(super) fn sent(&mut self, name: &str, identity: &Identity, live: &Live) -> Option<Json> {
        let manifest = self.marked_manifest(name, identity)?;
        let Some(object) = &live.object else { return Some(manifest) };
        let content = self.contents.get(name)?;
        let mut pointers = ignore::pointers(&content.variant().settings.ignore, identity, &manifest);
        let slot = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity));
        if slot.is_some_and(|slot| slot.is_scaled == Some(true)) || self.is_scaled_by_a_bundle(identity) {
            pointers.insert(REPLICAS);
        }
        if pointers.is_empty() {
            return Some(manifest);
        }
        Some(ignore::for_update(&manifest, object, &names::field_manager(name), &pointers))
    }

    /// Whether all that our manager lost is what it leaves alone.
    fn is_only_left_alone(&self, name: &str, live: &Live, sent: &Json) -> bool {
        let manager = names::field_manager(name);
        let Some(object) = &live.object else { return false };
        let ours = managed::entries(object).find(|entry| entry.is_of(&manager));
        ours.and_then(managed::Entry::fields).is_some_and(|fields| managed::covers(fields, sent))
    }

    /// What is there is taken for what was applied.
    fn accept(&mut self, name: &str, identity: &Identity, live: &Live) {
        let (manager, now) = (names::field_manager(name), self.now.mono_millis);
        if let Some(slot) = self.slot_mut(name, identity) {
            slot.tracked.managed = live.managed.get(&manager).copied();
        }
        if let Some(bundle) = self.bundles.get_mut(name) {
            bundle.unsaved(now);
        }
    }

    /// Applies a manifest.
    pub(super) fn send(&mut self, name: &str, identity: &Identity, manifest: Json, why: Why) {
        let now = self.now.mono_millis;
        if !matches!(self.ledger.entries.get(name), Some(Entry::Run(_))) {
            return;
        }
        let Some(bundle) = self.bundles.get_mut(name) else { return };
        let Some(slot) = bundle.slots.get_mut(identity) else { return };
        let Some(target) = &slot.target else { return };
        let errand = Errand::Apply {
            bundle: name.to_owned(),
            identity: identity.clone(),
            bound: slot.bound,
            version: target.version.clone(),
            order: target.order,
            wishes: target.wishes,
        };
        if why == Why::Content {
            bundle.is_begun = true;
        } else {
            slot.count_correction(now);
        }
        let manager = names::field_manager(name);
        self.start_now(errand, Op::Apply { manifest, manager, dry_run: false });
        if let Some(slot) = self.slot_mut(name, identity) {
            slot.is_busy = true;
        }
    }
}

/// Group and version in one, as manifests write them.
fn api_version(identity: &Identity, version: &str) -> String {
    match identity.kind.group.as_str() {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    }
}

/// Pointers of a set, for messages.
pub(super) fn shown(pointers: &BTreeSet<String>) -> String {
    const SHOWN: usize = 3;
    let mut text = pointers.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if pointers.len() > SHOWN {
        text.push_str(&format!(" and {} more", pointers.len() - SHOWN));
    }
    text
}
