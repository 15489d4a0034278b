//! What became of requests.

use std::sync::Arc;

use proto_model::wishes::Replace;
use proto_model::{Digest, Identity, Wishes, limits, name as names};

use super::Agent;
use super::ask::Comparison;
use super::bundle::{Attempt, Trouble};
use super::draft::{Draft, Scaling};
use super::rehearse::{Question, advised};
use super::takeover::Adoption;
use crate::diff::{Seen, Sight, Verdict};
use crate::health::{self, Checks};
use crate::order;
use crate::owner::{self, Ownership};
use crate::port::{Failure, Kind, Live, Outcome, Reason};
use crate::rival;

/// What a request is for.
#[derive(Clone, Debug)]
pub(super) enum Errand {
    Discover { kind: Kind, before: Option<Trouble> },
    Namespace { bundle: String },
    Look { bundle: String, identity: Identity },
    Remove { bundle: String, identity: Identity },
    Delete { bundle: String, identity: Identity },
    Survey { bundle: String, live: Box<Live> },
    Rehearse(Question),
    Compare(Comparison),
    Apply { bundle: String, identity: Identity, bound: Digest, version: String, order: i32, wishes: Wishes },
    Draft(Draft),
    Scalers(Scaling),
    Inherit(Draft),
    Adopt(Adoption),
    Release { bundle: String, identity: Identity },
    Released { bundle: String, identity: Identity },
    Claimed { bundle: String, identity: Identity },
    Services { bundle: String, identity: Identity, place: usize },
}

impl Errand {
    /// The bundle that it is for.
    pub(super) fn bundle(&self) -> Option<&str> {
        match self {
            Self::Discover { .. } => None,
            Self::Namespace { bundle }
            | Self::Look { bundle, .. }
            | Self::Remove { bundle, .. }
            | Self::Delete { bundle, .. }
            | Self::Survey { bundle, .. }
            | Self::Apply { bundle, .. }
            | Self::Release { bundle, .. }
            | Self::Released { bundle, .. }
            | Self::Claimed { bundle, .. }
            | Self::Services { bundle, .. } => Some(bundle),
            Self::Rehearse(question) => Some(&question.bundle),
            Self::Compare(comparison) => Some(comparison.bundle()),
            Self::Draft(draft) | Self::Inherit(draft) => Some(&draft.bundle),
            Self::Scalers(scaling) => Some(scaling.bundle()),
            Self::Adopt(adoption) => Some(&adoption.bundle),
        }
    }
}

// After this many answers that a kind does not exist, its objects do not either.
const NO_SUCH_KIND_MIN: u32 = 5;

impl Agent {
    pub(super) fn done(&mut self, id: u64, outcome: Outcome) {
        // Answers to requests made before the ledger was read again are no longer ours.
        let Some(errand) = self.errands.remove(&id) else {
            return;
        };
        // An ask of the hub changes nothing of the bundle.
        if let Some(bundle) = errand.bundle().filter(|_| !matches!(errand, Errand::Compare(_))) {
            self.dirty.insert(bundle.to_owned());
        }
        match errand {
            Errand::Discover { kind, before } => self.discovered(&kind, before, outcome),
            Errand::Namespace { bundle } => self.namespace_ensured(&bundle, outcome),
            Errand::Look { bundle, identity } => {
                self.looked(&bundle, &identity, outcome);
            }
            Errand::Remove { bundle, identity } => {
                if let Some(live) = self.looked(&bundle, &identity, outcome) {
                    self.remove(&bundle, &identity, Some(&live), None);
                }
            }
            Errand::Delete { bundle, identity } => {
                self.count_deleted(&bundle, &identity, &outcome);
                self.deleted(&bundle, &identity, outcome);
            }
            Errand::Survey { bundle, live } => self.surveyed(&bundle, &live, outcome),
            Errand::Compare(comparison) => self.compared(comparison, outcome),
            Errand::Rehearse(question) => self.rehearsed(question, outcome),
            Errand::Apply { bundle, identity, bound, version, order, wishes } => {
                let order = Applied { bound, version, order, wishes };
                self.applied(&bundle, &identity, order, outcome);
                self.tell_corrected(&bundle, &identity);
            }
            Errand::Draft(draft) => self.drafted(draft, outcome),
            Errand::Scalers(scaling) => self.scalers_listed(scaling, outcome),
            Errand::Inherit(draft) => self.inherited(draft, outcome),
            Errand::Adopt(adoption) => self.adopting(adoption, outcome),
            Errand::Release { bundle, identity } => {
                if let Some(live) = self.looked(&bundle, &identity, outcome) {
                    self.take_marks_off(&bundle, &live);
                }
            }
            Errand::Released { bundle, identity } => self.released(&bundle, &identity, outcome),
            Errand::Claimed { bundle, identity } => self.claimed(&bundle, &identity, outcome),
            Errand::Services { bundle, identity, place } => self.services_listed(&bundle, &identity, place, outcome),
        }
    }

    /// Whether a bundle has an object in its inventory as its own.
    pub(super) fn tracks(&self, bundle: &str, identity: &Identity, uid: &str) -> bool {
        let slot = self.bundles.get(bundle).and_then(|bundle| bundle.slots.get(identity));
        slot.is_some_and(|slot| slot.tracked.uid.as_deref() == Some(uid))
    }

    fn discovered(&mut self, kind: &Kind, before: Option<Trouble>, outcome: Outcome) {
        match outcome {
            Outcome::Discovered { namespaced } => {
                self.asked.remove(kind);
                self.scopes.insert(kind.clone(), namespaced);
            }
            other => {
                let failure = failure_of(other);
                let mut trouble = Trouble::next(
                    before.as_ref(),
                    Attempt::Discover,
                    &failure,
                    &kind.kind.to_string(),
                    self.now.mono_millis,
                );
                if failure.reason == Reason::NoSuchKind {
                    trouble.message = match health::is_built_in(&kind.kind.group) {
                        true => format!(
                            "this Kubernetes has no {}/{}: it was removed, or is not there yet; write it in a version \
                             that the cluster has",
                            kind.kind, kind.version
                        ),
                        false => format!("waits for kind {}/{} to exist", kind.kind, kind.version),
                    };
                }
                self.asked.insert(kind.clone(), Some(trouble));
            }
        }
        for name in self.bundles_that_lack(kind) {
            // Bound once for all its kinds, not once for each.
            let is_open = self.ready_mut(&name).is_some_and(|ready| ready.unknown.contains_key(kind));
            let still_asked = self.ready_mut(&name).map(|ready| ready.unknown.clone());
            let is_pending = still_asked.is_some_and(|kinds| kinds.keys().any(|kind| self.is_to_be_asked(kind)));
            if is_open && !is_pending && self.knows_more(&name) {
                self.replan(&name);
            }
            self.dirty.insert(name);
        }
    }

    /// Whether an answer about a kind is still to come.
    fn is_to_be_asked(&self, kind: &Kind) -> bool {
        !self.scopes.contains_key(kind) && !matches!(self.asked.get(kind), Some(Some(_)))
    }

    fn knows_more(&mut self, name: &str) -> bool {
        let Some(unknown) = self.ready_mut(name).map(|ready| ready.unknown.clone()) else {
            return false;
        };
        unknown.keys().any(|kind| self.scopes.contains_key(kind))
    }

    fn bundles_that_lack(&self, kind: &Kind) -> Vec<String> {
        let lacks = |bundle: &super::Bundle| match &bundle.plan {
            super::bundle::Plan::Ready(ready) => ready.unknown.contains_key(kind),
            _ => false,
        };
        let names = self.bundles.iter().filter(|(_, bundle)| lacks(bundle));
        names.map(|(name, _)| name.clone()).collect()
    }

    fn namespace_ensured(&mut self, name: &str, outcome: Outcome) {
        let now = self.now.mono_millis;
        self.dirty.insert(name.to_owned());
        let Some(ready) = self.ready_mut(name) else {
            return;
        };
        ready.namespace_is_busy = false;
        if outcome == Outcome::NamespaceReady {
            ready.namespace_is_there = true;
            ready.namespace_trouble = None;
            self.kick(Reason::NoSuchNamespace);
            return;
        }
        let before = ready.namespace_trouble.take();
        let failure = failure_of(outcome);
        ready.namespace_trouble = Some(Trouble::next(before.as_ref(), Attempt::Namespace, &failure, name, now));
    }

    /// Takes in what a look saw; gives the live object where it is the one that is tracked.
    pub(super) fn looked(&mut self, name: &str, identity: &Identity, outcome: Outcome) -> Option<Live> {
        let live = match outcome {
            Outcome::Got(live) => live,
            other => {
                self.look_failed(name, identity, failure_of(other));
                return None;
            }
        };
        let (manager, now) = (names::field_manager(name), self.now.mono_millis);
        let Some(live) = live else {
            self.seen_absent(name, identity);
            return None;
        };
        let ownership = owner::ownership(&live, self.owner(name));
        let checks = self.checks(name);
        // One that was taken over, and is wanted back before this bundle has looked, is asked for as any other of its
        // new owner's; so is one that this bundle was taking over and its owner wants again.
        let is_taken = matches!(&ownership, Ownership::OtherBundle(other)
            if self.tracks(other, identity, &live.uid) && !self.is_taking(other, name, identity));
        let slot = self.free_slot(name, identity)?;
        let is_tracked = slot.tracked.uid.as_ref() == Some(&live.uid) && !is_taken;
        slot.is_left = false;
        // What another bundle took over in the meantime is let go.
        let is_handed_over = slot.target.is_none() && matches!(ownership, Ownership::OtherBundle(_));
        if (!is_tracked && ownership != Ownership::Ours) || is_handed_over {
            slot.look = false;
            if slot.target.is_none() {
                self.drop_slot(name, identity);
            } else {
                self.meet(name, identity, &live, &ownership);
            }
            return None;
        }
        slot.look = false;
        slot.take_sight(Seen::of(&live, &manager, &slot.sight, &checks));
        let before = slot.trouble.take();
        // Why something is still there is known until it is judged anew.
        let awaited = if slot.target.is_some() { Attempt::Apply } else { Attempt::Delete };
        slot.trouble = finalizers(&live, before.as_ref(), name, now).or(before.filter(|one| one.attempt == awaited));
        let was_resolved = slot.tracked.uid.is_some();
        if !was_resolved {
            slot.tracked.uid = Some(live.uid.clone());
        }
        // What was found again by its marks asks for what it says itself.
        if slot.target.is_none()
            && slot.tracked.applied.is_none()
            && let Some(object) = &live.object
        {
            slot.tracked.wishes = Wishes::read_live(object);
        }
        let is_contested = slot.is_contested();
        if !was_resolved && let Some(bundle) = self.bundles.get_mut(name) {
            bundle.unsaved(now);
            self.watches_changed = true;
        }
        if is_contested {
            self.name_rival(name, identity, &live);
        }
        Some(live)
    }

    fn seen_absent(&mut self, name: &str, identity: &Identity) {
        let now = self.now.mono_millis;
        // Who was to let it go and does not look, since it waits for others, stands in nobody's way.
        let is_over = |slot: &super::slot::Slot| slot.target.is_none() && !slot.is_busy && slot.is_durable;
        let others = self
            .bundles
            .iter()
            .filter(|(other, bundle)| *other != name && bundle.slots.get(identity).is_some_and(is_over));
        for other in others.map(|(other, _)| other.clone()).collect::<Vec<_>>() {
            self.drop_slot(&other, identity);
        }
        let Some(slot) = self.free_slot(name, identity) else { return };
        slot.look = false;
        slot.is_left = false;
        slot.sight = Sight::Absent;
        slot.absent_at = now;
        slot.trouble = slot.trouble.take().filter(|one| one.attempt == Attempt::Apply);
        if slot.target.is_none() {
            self.drop_slot(name, identity);
        } else if slot.verdict() != Verdict::Settled && slot.tracked.uid.take().is_some() {
            // What is made in its place has another uid. Should the answer to that be lost,
            // the owner mark must tell that it is ours: the old uid leaves the ledger first.
            slot.is_durable = false;
            if let Some(bundle) = self.bundles.get_mut(name) {
                bundle.unsaved(now);
            }
        }
    }

    /// Finds out who keeps changing an object back.
    fn name_rival(&mut self, name: &str, identity: &Identity, live: &Live) {
        let manager = names::field_manager(name);
        let wanted = self.marked_manifest(name, identity).unwrap_or_default();
        let found = live.object.as_ref().and_then(|object| rival::rival(object, &manager, &wanted));
        let who = found.map_or_else(|| "another field manager".to_owned(), |found| format!("field manager {found}"));
        if let Some(slot) = self.slot_mut(name, identity) {
            slot.contest = Some(format!(
                "is contested: {who} keeps taking back what {manager} sets; correction pauses for {} min",
                limits::CONTEST_MILLIS / 60_000
            ));
        }
        self.tell_contested(name, identity);
    }

    fn look_failed(&mut self, name: &str, identity: &Identity, failure: Failure) {
        let now = self.now.mono_millis;
        let seed = format!("{name}{identity}");
        let Some(slot) = self.free_slot(name, identity) else {
            return;
        };
        // Only answers of this kind are counted for it.
        let is_lost = failure.reason == Reason::NoSuchKind;
        let before = slot.trouble.take().filter(|one| !is_lost || one.reason == Some(Reason::NoSuchKind));
        let trouble = Trouble::next(before.as_ref(), Attempt::Look, &failure, &seed, now);
        let is_gone = slot.target.is_none() && is_lost && trouble.attempts >= NO_SUCH_KIND_MIN;
        slot.trouble = Some(trouble);
        if is_gone {
            self.drop_slot(name, identity);
        }
    }

    fn deleted(&mut self, name: &str, identity: &Identity, outcome: Outcome) {
        let now = self.now.mono_millis;
        let seed = format!("{name}{identity}");
        let Some(slot) = self.free_slot(name, identity) else {
            return;
        };
        // Taken is not gone; and where it failed, the object may have changed since.
        slot.look = true;
        if outcome != Outcome::Deleted {
            let before = slot.trouble.take();
            let failure = failure_of(outcome);
            slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Delete, &failure, &seed, now));
        }
    }

    fn applied(&mut self, name: &str, identity: &Identity, order: Applied, outcome: Outcome) {
        let (manager, now) = (names::field_manager(name), self.now.mono_millis);
        let live = match outcome {
            Outcome::Applied(live) => live,
            other => {
                self.apply_failed(name, identity, failure_of(other));
                return;
            }
        };
        let checks = self.checks(name);
        let Some(slot) = self.free_slot(name, identity) else {
            return;
        };
        let was_healthy = slot.health().0 == proto_model::Health::Healthy;
        let before = slot.tracked.clone();
        let is_new = slot.tracked.applied != Some(order.bound) || slot.tracked.uid.as_ref() != Some(&live.uid);
        if slot.tracked.applied != Some(order.bound) {
            slot.tracked.finished = None;
            slot.tracked.finished_content = None;
        }
        let is_new_to_watches = slot.tracked.uid.is_none() || slot.tracked.version != order.version;
        slot.tracked.version = order.version;
        slot.tracked.order = order.order;
        slot.tracked.wishes = order.wishes;
        let was_another_s = slot.tracked.former.take().is_some();
        slot.tracked.applied = Some(order.bound);
        slot.tracked.managed = live.managed.get(&manager).copied();
        slot.tracked.uid = Some(live.uid.clone());
        if slot.sight == Sight::Foreign {
            slot.sight = Sight::Unknown;
        }
        slot.take_sight(Seen::of(&live, &manager, &slot.sight, &checks));
        slot.note_finish();
        slot.expect_status(&live, is_new, now);
        slot.look = false;
        slot.trouble = None;
        slot.recreate = false;
        let is_healthy = slot.health().0 == proto_model::Health::Healthy;
        // What was only put right is in the inventory as it is.
        let is_unsaved = slot.tracked != before;
        if let Some(bundle) = self.bundles.get_mut(name).filter(|_| is_unsaved) {
            bundle.unsaved(now);
        }
        self.watches_changed |= is_new_to_watches;
        self.maybe_kick(identity, !was_healthy && is_healthy);
        if was_another_s {
            self.tell_former_owners(name, identity);
        }
    }

    fn apply_failed(&mut self, name: &str, identity: &Identity, failure: Failure) {
        let now = self.now.mono_millis;
        let seed = format!("{name}{identity}");
        if failure.reason == Reason::NoSuchNamespace
            && let Some(ready) = self.ready_mut(name)
            && ready.namespace.as_ref() == Some(&identity.namespace)
        {
            ready.namespace_is_there = false;
        }
        let Some(slot) = self.free_slot(name, identity) else {
            return;
        };
        let is_update = matches!(slot.sight, Sight::Live(_) | Sight::Unknown);
        // What was taken before can't be a field that may not change: somebody's policy refuses it.
        let may_be_unchangeable = failure.reason == Reason::Invalid
            && is_update
            && slot.tracked.uid.is_some()
            && (slot.tracked.applied != Some(slot.bound) || !slot.is_there_as_made())
            && !slot.recreate
            && slot.wishes().replacing(&identity.kind) != Replace::Never;
        let failure = Failure { message: advised(&failure), ..failure };
        if may_be_unchangeable && self.ask_whether_anew(name, identity, &failure.message) {
            return;
        }
        let Some(slot) = self.slot_mut(name, identity) else { return };
        let before = slot.trouble.take();
        slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Apply, &failure, &seed, now));
        // Where it was not there, somebody may have made one until it is tried again.
        slot.look |= failure.reason == Reason::Conflict || slot.sight == Sight::Absent;
    }

    pub(super) fn checks(&self, name: &str) -> Arc<Checks> {
        self.bundles.get(name).map(|bundle| Arc::clone(&bundle.checks)).unwrap_or_default()
    }

    /// The slot that a request was about, free again.
    pub(super) fn free_slot(&mut self, name: &str, identity: &Identity) -> Option<&mut super::slot::Slot> {
        let slot = self.slot_mut(name, identity)?;
        slot.is_busy = false;
        Some(slot)
    }

    /// A definition or namespace came to be: what waited for it is tried again.
    pub(super) fn maybe_kick(&mut self, identity: &Identity, is_newly_healthy: bool) {
        if is_newly_healthy && order::is_definition(&identity.kind) {
            self.kick(Reason::NoSuchKind);
        } else if is_newly_healthy && identity.kind.is_shared() {
            self.kick(Reason::NoSuchNamespace);
        }
    }

    /// Tries again at once what failed for this reason.
    fn kick(&mut self, reason: Reason) {
        let now = self.now.mono_millis;
        let asked = self.asked.values_mut().flatten();
        for trouble in asked.filter(|trouble| trouble.reason == Some(reason)) {
            trouble.retry_at = now;
        }
        for (name, bundle) in &mut self.bundles {
            let lacks = match &bundle.plan {
                super::bundle::Plan::Ready(ready) => !ready.unknown.is_empty(),
                _ => false,
            };
            if bundle.kick(reason, now) || (lacks && reason == Reason::NoSuchKind) {
                self.dirty.insert(name.clone());
            }
        }
    }
}

/// What was applied.
struct Applied {
    bound: Digest,
    version: String,
    order: i32,
    wishes: Wishes,
}

/// What holds up an object that is being deleted.
fn finalizers(live: &Live, before: Option<&Trouble>, seed: &str, now: u64) -> Option<Trouble> {
    if !live.deleting {
        return None;
    }
    let message = if live.finalizers.is_empty() {
        "is being deleted".to_owned()
    } else {
        format!("is being deleted and waits for finalizer {}", live.finalizers.join(", "))
    };
    Some(Trouble::stated(before, Attempt::Delete, message, false, seed, now))
}

pub(super) fn failure_of(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        _ => Failure {
            reason: Reason::Server,
            message: format!(
                "the cluster answered another question than was asked; trying again within {} s",
                limits::RETRY_MILLIS_MAX / 1000
            ),
            retry_after_millis: None,
        },
    }
}
