//! Objects that are not ours yet: taken over from another bundle of this cluster that wants them no more, or adopted
//! from whoever made them, as far as the bundle lets.

use std::collections::{BTreeSet, VecDeque};

use proto_model::ask::{Change, compare};
use proto_model::assign::Entry;
use proto_model::variant::Adopt;
use proto_model::{Identity, name as names};
use serde_json::Value as Json;

use super::Agent;
use super::bundle::{Attempt, Plan, Trouble};
use super::done::{Errand, failure_of};
use super::draft::shown;
use crate::claim::{self, Claim};
use crate::diff::{Seen, Sight};
use crate::inventory::Former;
use crate::owner::{self, Ownership};
use crate::port::{Live, Op, Outcome, Reason};

/// An adoption under way: nothing is changed by it.
#[derive(Clone, Debug)]
pub(super) struct Adoption {
    pub(super) bundle: String,
    pub(super) identity: Identity,
    live: Box<Live>,
    /// Marks of others that were not looked into.
    claims: VecDeque<Claim>,
    /// The one that is being looked into.
    asked: Option<String>,
}

impl Agent {
    /// What becomes of an object that is not ours: whether it is left, taken over, or asked about. Where not, it is
    /// said why.
    pub(super) fn meet(&mut self, name: &str, identity: &Identity, live: &Live, ownership: &Ownership) {
        let adopt = self.contents.get(name).map(|content| content.variant().settings.adopt);
        let slot = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity));
        let is_made_once = slot.is_some_and(|slot| slot.wishes().create_only);
        if let Some(other) = self.taken_by_another(name, identity, &live.uid) {
            let message = owner::objection(&Ownership::OtherBundle(other), identity).unwrap_or_default();
            self.stand_back(name, identity, message);
            return;
        }
        match ownership {
            Ownership::OtherBundle(other) if self.gives_up(other, name, identity) => {
                self.inherit_object(name, identity, live, Former::Bundle(other.clone()));
            }
            Ownership::Unmarked if is_made_once => {
                if let Some(slot) = self.slot_mut(name, identity) {
                    slot.is_left = true;
                    slot.trouble = None;
                }
            }
            Ownership::Unmarked if adopt != Some(Adopt::Never) && !live.deleting && live.object.is_some() => {
                let claims = live.object.as_deref().map(claim::claims).unwrap_or_default();
                let adoption = Adoption {
                    bundle: name.to_owned(),
                    identity: identity.clone(),
                    live: Box::new(live.clone()),
                    claims: claims.into(),
                    asked: None,
                };
                self.adopt(adoption);
            }
            _ => {
                let message = owner::objection(ownership, identity).unwrap_or_default();
                self.stand_back(name, identity, message);
            }
        }
    }

    fn stand_back(&mut self, name: &str, identity: &Identity, message: String) {
        let now = self.now.mono_millis;
        if let Some(slot) = self.slot_mut(name, identity) {
            slot.stand_back(message, &format!("{name}{identity}"), now);
        }
    }

    /// Another bundle that wants an object and has taken it, or is about to: of several that could, the first one does.
    fn taken_by_another(&self, name: &str, identity: &Identity, uid: &str) -> Option<String> {
        let has_it = |(other, bundle): &(&String, &super::bundle::Bundle)| {
            let slot = bundle.slots.get(identity).filter(|slot| slot.target.is_some());
            *other != name
                && matches!(self.ledger.entries.get(*other), Some(Entry::Run(_)))
                && slot.is_some_and(|slot| slot.tracked.uid.as_deref() == Some(uid))
        };
        let found = self.bundles.iter().filter(|_| !identity.kind.is_shared()).find(has_it);
        found.map(|(other, _)| other.clone())
    }

    /// Whether a bundle wants an object no more that another one does: it is known to, or it is one that the other
    /// replaces and that is not assigned here.
    pub(super) fn gives_up(&self, other: &str, name: &str, identity: &Identity) -> bool {
        let replaces = || {
            let settings = self.contents.get(name).map(|content| &content.variant().settings);
            settings.is_some_and(|settings| settings.replaces.iter().any(|one| one == other))
        };
        let Some(bundle) = self.bundles.get(other) else {
            return replaces();
        };
        // Whoever suspended it wants what it has left alone.
        if self.is_suspended(other) {
            return false;
        }
        match self.ledger.entries.get(other) {
            Some(Entry::Remove(_)) => true,
            Some(Entry::Run(_)) => match &bundle.plan {
                Plan::Ready(ready) => {
                    ready.unknown.is_empty() && bundle.slots.get(identity).is_none_or(|slot| slot.target.is_none())
                }
                Plan::None | Plan::Failed(_) => false,
            },
            // The hub knows nothing of it: it may come back, unless this one was put in its place.
            None => replaces(),
        }
    }

    /// Whether a bundle is taking over an object that its owner gives up.
    pub(super) fn is_taking(&self, other: &str, name: &str, identity: &Identity) -> bool {
        let slot = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity));
        let former = slot.and_then(|slot| slot.tracked.former.as_ref());
        matches!(former, Some(Former::Bundle(former)) if former == other) && self.gives_up(other, name, identity)
    }

    /// A bundle that wants an object which `name` shall let go.
    pub(super) fn heir<'a>(&'a self, name: &str, identity: &Identity) -> Option<&'a str> {
        if identity.kind.is_shared() {
            return None;
        }
        let wants = |(other, bundle): &(&String, &super::bundle::Bundle)| {
            let is_wanted = bundle.slots.get(identity).is_some_and(|slot| slot.target.is_some());
            // As long as it does not bind, what it wants is not known.
            let may_replace = !matches!(&bundle.plan, Plan::Ready(ready) if ready.unknown.is_empty())
                && self
                    .contents
                    .get(*other)
                    .is_some_and(|content| content.variant().settings.replaces.iter().any(|replaced| replaced == name));
            *other != name
                && matches!(self.ledger.entries.get(*other), Some(Entry::Run(_)))
                && (is_wanted || may_replace)
        };
        self.bundles.iter().find(wants).map(|(other, _)| other.as_str())
    }

    /// An object was applied: others of this cluster that had it let go of it.
    pub(super) fn tell_former_owners(&mut self, name: &str, identity: &Identity) {
        for (other, bundle) in &mut self.bundles {
            let slot = bundle.slots.get_mut(identity).filter(|slot| other != name && slot.target.is_none());
            if let Some(slot) = slot {
                slot.look = true;
                slot.trouble = None;
                self.dirty.insert(other.clone());
            }
        }
    }

    /// From now on the object counts as the bundle's; its first apply makes it so. Written down before that.
    fn inherit_object(&mut self, name: &str, identity: &Identity, live: &Live, former: Former) {
        let (manager, now) = (names::field_manager(name), self.now.mono_millis);
        let checks = self.checks(name);
        let Some(bundle) = self.bundles.get_mut(name) else { return };
        let Some(slot) = bundle.slots.get_mut(identity) else { return };
        slot.look = false;
        slot.trouble = None;
        slot.sight = Sight::Live(Seen::of(live, &manager, &slot.sight, &checks));
        slot.tracked.uid = Some(live.uid.clone());
        slot.tracked.former = Some(former);
        slot.tracked.applied = None;
        slot.is_durable = false;
        bundle.unsaved(now);
        self.watches_changed = true;
        self.dirty.insert(name.to_owned());
    }

    /// Looks into the marks of others, then whether there is a difference; then the object is taken over.
    fn adopt(&mut self, mut adoption: Adoption) {
        if !self.may_act() {
            return;
        }
        let Adoption { bundle: name, identity, .. } = &adoption;
        let (name, identity) = (name.clone(), identity.clone());
        let op = if let Some(claim) = adoption.claims.pop_front() {
            adoption.asked = Some(claim.owner);
            Op::List { kind: claim.kind, namespace: claim.namespace, name: claim.name, labels: claim.labels }
        } else {
            adoption.asked = None;
            let settings = self.contents.get(&name).map(|content| content.variant().settings.adopt);
            let manifest = self.marked_manifest(&name, &identity);
            match (settings, manifest) {
                (Some(Adopt::Always), _) => {
                    self.inherit_object(&name, &identity, &adoption.live, Former::People);
                    return;
                }
                (_, Some(manifest)) => Op::Apply { manifest, manager: names::field_manager(&name), dry_run: true },
                (_, None) => return,
            }
        };
        if let Some(slot) = self.slot_mut(&name, &identity) {
            slot.is_busy = true;
            // Until it is taken over it is not ours, whatever becomes of the question.
            slot.sight = Sight::Foreign;
        }
        self.start_now(Errand::Adopt(adoption), op);
    }

    pub(super) fn adopting(&mut self, adoption: Adoption, outcome: Outcome) {
        let (name, identity) = (adoption.bundle.clone(), adoption.identity.clone());
        let Some(slot) = self.free_slot(&name, &identity) else { return };
        if slot.target.is_none() {
            slot.look = true;
            return;
        }
        match (&adoption.asked, outcome) {
            (Some(owner), Outcome::Listed(found)) if !found.is_empty() => {
                let message = format!(
                    "exists, not ours: {identity} belongs to {owner}, which is still there; remove that without its \
                     objects, and it is taken over"
                );
                self.stand_back(&name, &identity, message);
            }
            (Some(_), Outcome::Listed(_)) => self.adopt(adoption),
            (Some(owner), other) => {
                let failure = failure_of(other);
                if failure.reason == Reason::NoSuchKind {
                    self.adopt(adoption);
                    return;
                }
                let message = format!(
                    "exists, not ours: {identity} has the mark of {owner}, and whether that is still there can't be \
                     told: {failure}"
                );
                self.stand_back(&name, &identity, message);
            }
            (None, Outcome::Applied(would)) => self.compared_for_adoption(&adoption, &would),
            (None, other) => {
                let (failure, now) = (failure_of(other), self.now.mono_millis);
                let seed = format!("{name}{identity}");
                if let Some(slot) = self.slot_mut(&name, &identity) {
                    let before = slot.trouble.take();
                    slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Look, &failure, &seed, now));
                }
            }
        }
    }

    fn compared_for_adoption(&mut self, adoption: &Adoption, would: &Live) {
        let Adoption { bundle: name, identity, live, .. } = adoption;
        let pointers = match (&live.object, &would.object) {
            (Some(live), Some(would)) => differences(live, would),
            _ => return,
        };
        if pointers.is_empty() {
            self.inherit_object(name, identity, live, Former::People);
            return;
        }
        let message = format!(
            "exists, not ours: {identity} differs at {}; make them alike, delete it, or let the bundle take it over \
             with `adopt: always`",
            shown(&pointers)
        );
        self.stand_back(name, identity, message);
    }
}

/// Where two objects differ, metadata and status aside.
fn differences(live: &Json, would: &Json) -> BTreeSet<String> {
    let bare = |object: &Json| {
        let mut object = object.clone();
        if let Some(map) = object.as_object_mut() {
            map.remove("metadata");
            map.remove("status");
        }
        object
    };
    match compare(&bare(live), &bare(would)) {
        Change::Fields { fields, .. } => fields.into_iter().map(|field| field.pointer).collect(),
        _ => BTreeSet::new(),
    }
}
