//! Working out what a bundle wants: binding, identities, marks, claims.

use std::collections::BTreeMap;

use proto_model::assign::Entry;
use proto_model::{Digest, Identity};
use serde_json::Value as Json;

use super::Agent;
use super::bundle::{Bundle, Plan, Ready};
use super::slot::Slot;
use crate::inventory::Tracked;
use crate::owner::{self, Owner};
use crate::target::{self, Wanted};

impl Agent {
    /// Works out what the bundles to look at want, before any of them acts: bundles that share an
    /// object must know of each other first.
    pub(super) fn plan_dirty(&mut self) {
        let names: Vec<String> = self.dirty.iter().cloned().collect();
        for name in names {
            self.plan(&name);
        }
        self.settle_claims();
    }

    fn plan(&mut self, name: &str) {
        if self.is_to_be_planned(name) {
            self.forget_heirs();
            self.make_plan(name);
        }
    }

    fn is_to_be_planned(&self, name: &str) -> bool {
        matches!(self.ledger.entries.get(name), Some(Entry::Run(_)))
            && self.contents.contains_key(name)
            && self.bundles.get(name).is_some_and(|bundle| matches!(bundle.plan, Plan::None))
    }

    fn make_plan(&mut self, name: &str) {
        let Some(Entry::Run(assignment)) = self.ledger.entries.get(name) else {
            return;
        };
        let Some(content) = self.contents.get(name) else {
            return;
        };
        let Some(bundle) = self.bundles.get_mut(name) else {
            return;
        };
        let settings = &content.variant().settings;
        self.watches_changed |= bundle.take_checks(&settings.health);
        if bundle.account != settings.service_account {
            bundle.account.clone_from(&settings.service_account);
            bundle.unsaved(self.now.mono_millis);
        }
        let namespace = settings.namespace.as_deref();
        let planned = target::bind_all(content, &assignment.variables, &self.scopes)
            .and_then(|bound| target::wanted(&bound, namespace, &self.scopes).map(|wanted| (bound, wanted)));
        match planned {
            Err(problems) => bundle.plan = Plan::Failed(problems),
            Ok((bound, wanted)) => {
                let variables = assignment.variables.digest();
                bundle.take_up(Digest::of_parts([&content.digest().0[..], &variables.0[..]]));
                // Worth a write of its own only once all kinds are known.
                let is_begun = bundle.variant.replace(content.digest()) != Some(content.digest());
                if is_begun && wanted.unknown.is_empty() {
                    bundle.unsaved(self.now.mono_millis);
                }
                let identities: Vec<Identity> = wanted.targets.keys().cloned().collect();
                let shared = bundle.slots.keys().chain(&identities);
                self.claims_changed.extend(shared.filter(|one| one.kind.is_shared()).cloned());
                want(bundle, wanted, bound, self.now.mono_millis);
                self.set_bounds(name, &identities);
            }
        }
    }

    /// Works out the digest of what is wanted, marks included.
    fn set_bounds(&mut self, name: &str, identities: &[Identity]) {
        for identity in identities {
            let marks = self.marks(name, identity);
            let left_alone = self.left_alone(name, identity);
            let Some(slot) = self.bundles.get_mut(name).and_then(|bundle| bundle.slots.get_mut(identity)) else {
                continue;
            };
            let Some(target) = &slot.target else { continue };
            // What is made only once is the same whatever it says.
            let content = if target.wishes.create_only { Digest::default() } else { target.content };
            let left_alone = left_alone.filter(|_| !target.wishes.create_only);
            let parts = [&content.0[..], marks.0.as_bytes(), marks.1.as_bytes()];
            let bound = Digest::of_parts(parts.into_iter().chain(left_alone.as_deref()));
            if bound != slot.bound {
                slot.bound = bound;
                slot.trouble = None;
                slot.recreate = false;
                slot.is_scaled = None;
                slot.is_rehearsed = false;
                slot.is_left = false;
                slot.is_answered = false;
                slot.corrections = 0;
                self.dirty.insert(name.to_owned());
            }
        }
    }

    /// The rules by which fields of an object are left alone, as bytes: what is left alone no more is applied again.
    /// `None` where there are none.
    fn left_alone(&self, name: &str, identity: &Identity) -> Option<Vec<u8>> {
        let rules = &self.contents.get(name)?.variant().settings.ignore;
        let about_it: Vec<_> = rules.iter().filter(|rule| rule.may_select(identity)).collect();
        // Writing plain structs to memory has no way to fail.
        (!about_it.is_empty()).then(|| serde_json::to_vec(&about_it).unwrap_or_default())
    }

    /// Where the claimants of a shared object changed, all of them apply it with the same marks.
    fn settle_claims(&mut self) {
        for identity in std::mem::take(&mut self.claims_changed) {
            let claimants: Vec<String> = self.claimants(&identity).map(str::to_owned).collect();
            for name in claimants {
                self.set_bounds(&name, std::slice::from_ref(&identity));
            }
        }
    }

    /// Bundles that want an object, or may want it as far as is known.
    pub(super) fn claimants<'a>(&'a self, identity: &'a Identity) -> impl Iterator<Item = &'a str> + 'a {
        let claims = |(name, bundle): (&'a String, &'a Bundle)| {
            let slot = bundle.slots.get(identity)?;
            let runs = matches!(self.ledger.entries.get(name), Some(Entry::Run(_)));
            let is_unknown = match &bundle.plan {
                Plan::Ready(ready) => !ready.unknown.is_empty(),
                Plan::None | Plan::Failed(_) => true,
            };
            // A bundle without an entry is unknown to the hub: what it holds stays its own.
            let has_entry = self.ledger.entries.contains_key(name);
            (slot.target.is_some() || (runs && is_unknown) || !has_entry).then_some(name.as_str())
        };
        self.bundles.iter().filter_map(claims)
    }

    /// Label and annotation of a bundle's object.
    pub(super) fn marks(&self, name: &str, identity: &Identity) -> (String, String) {
        let fence = &self.ledger.fence;
        let label = owner::label(self.owner(name), identity);
        let annotation = if identity.kind.is_shared() {
            owner::annotation(&fence.hub_id, fence.incarnation, self.claimants(identity))
        } else {
            owner::annotation(&fence.hub_id, fence.incarnation, [name])
        };
        (label, annotation)
    }

    pub(super) fn owner<'a>(&'a self, name: &'a str) -> Owner<'a> {
        Owner { hub_id: &self.ledger.fence.hub_id, bundle: name }
    }

    /// The bound object as it is applied, marks included. The bound objects of the bundle are kept
    /// until it has nothing more to apply.
    pub(super) fn manifest(&self, name: &str, bundle: &mut Bundle, identity: &Identity) -> Option<Json> {
        let index = bundle.slots.get(identity)?.target.as_ref()?.index;
        let Plan::Ready(ready) = &mut bundle.plan else {
            return None;
        };
        if ready.bound.is_none() {
            let Some(Entry::Run(assignment)) = self.ledger.entries.get(name) else {
                return None;
            };
            let content = self.contents.get(name)?;
            ready.bound = target::bind_all(content, &assignment.variables, &self.scopes).ok();
        }
        ready.bound.as_ref()?.get(index).cloned()
    }

    /// Makes the bundle's wishes be worked out anew.
    pub(super) fn replan(&mut self, name: &str) {
        if let Some(bundle) = self.bundles.get_mut(name) {
            bundle.plan = Plan::None;
            bundle.may_remove = false;
            self.dirty.insert(name.to_owned());
        }
    }
}

/// Takes over what a bundle wants into its slots.
fn want(bundle: &mut Bundle, wanted: Wanted, bound: Vec<Json>, now: u64) {
    let mut order: Vec<Identity> = wanted.targets.keys().cloned().collect();
    let stages: BTreeMap<&Identity, _> =
        wanted.targets.iter().map(|(identity, target)| (identity, target.stage)).collect();
    order.sort_by_key(|identity| stages.get(identity).copied());
    for slot in bundle.slots.values_mut() {
        slot.target = None;
    }
    let mut is_new = false;
    for (identity, target) in wanted.targets {
        let slot = bundle.slots.entry(identity).or_insert_with(|| {
            is_new = true;
            let version = target.version.clone();
            let tracked = Tracked { version, order: target.order, ..Tracked::default() };
            Slot::of(tracked, false)
        });
        slot.target = Some(target);
    }
    bundle.slots.values_mut().filter(|slot| slot.target.is_none()).for_each(|slot| slot.recreate = false);
    if is_new {
        bundle.unsaved(now);
    }
    bundle.plan = Plan::Ready(Ready {
        order,
        unknown: wanted.unknown,
        namespace: wanted.namespace,
        brings: wanted.brings,
        defines: wanted.defines,
        scales: wanted.scales,
        bound: Some(bound),
        ..Ready::default()
    });
}
