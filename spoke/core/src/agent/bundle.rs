//! What the machine knows of one bundle while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::variant::ServiceAccount;
use proto_model::{Digest, GroupKind, Health, HealthCheck, Identity, ObjectProblem, Report, Sync};
use serde_json::Value as Json;

use super::slot::Slot;
use crate::diff::{Sight, Verdict, Why};
use crate::health::{Assessment, Checks};
use crate::inventory::Inventory;
use crate::order::{self, Stage};
use crate::port::{Failure, Kind, Reason};
use crate::retry;

/// What was tried when something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Discover,
    Namespace,
    Look,
    Rehearse,
    /// Asking whether what it calls answers.
    Await,
    Apply,
    Delete,
}

/// Something that failed, and when to try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) attempt: Attempt,
    pub(super) reason: Option<Reason>,
    pub(super) message: String,
    pub(super) is_final: bool,
    pub(super) attempts: u32,
    pub(super) retry_at: u64,
}

impl Trouble {
    /// The next failure after `before`, at `now` of the monotonic clock.
    pub(super) fn next(before: Option<&Self>, attempt: Attempt, failure: &Failure, seed: &str, now: u64) -> Self {
        let is_final = failure.reason.is_final();
        let mut trouble = Self::stated(before, attempt, failure.message.clone(), is_final, seed, now);
        trouble.reason = Some(failure.reason);
        let asked = failure.retry_after_millis;
        trouble.retry_at = now + retry::wait_millis(trouble.attempts, is_final, asked, seed);
        trouble
    }

    /// As [`Trouble::next`], of something that no request failed with.
    pub(super) fn stated(
        before: Option<&Self>,
        attempt: Attempt,
        message: String,
        is_final: bool,
        seed: &str,
        now: u64,
    ) -> Self {
        let before = before.filter(|before| before.attempt == attempt);
        let attempts = before.map_or(0, |before| before.attempts).saturating_add(1);
        let retry_at = now + retry::wait_millis(attempts, is_final, None, seed);
        Self { attempt, reason: None, message, is_final, attempts, retry_at }
    }
}

/// What a bundle wants, worked out.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Identities of the targets, by stage.
    pub(super) order: Vec<Identity>,
    /// Kinds that the cluster did not tell the scope of, with one object of each.
    pub(super) unknown: BTreeMap<Kind, Identity>,
    /// Namespace to make before objects go into it.
    pub(super) namespace: Option<String>,
    pub(super) namespace_is_busy: bool,
    pub(super) namespace_is_there: bool,
    pub(super) namespace_trouble: Option<Trouble>,
    /// Namespaces that the bundle brings.
    pub(super) brings: BTreeSet<String>,
    /// Kinds that the bundle defines, with the definition of each.
    pub(super) defines: BTreeMap<GroupKind, Identity>,
    /// What its autoscalers scale.
    pub(super) scales: BTreeSet<Identity>,
    /// The bound objects, only while some of them are being applied.
    pub(super) bound: Option<Vec<Json>>,
}

impl Ready {
    /// The wanted objects with their slots, by stage. Within a stage they stand as in the map of
    /// slots, so that the next one is nearly always the one behind the last, and is not searched for.
    pub(super) fn in_order<'a>(
        &'a self,
        slots: &'a BTreeMap<Identity, Slot>,
    ) -> impl Iterator<Item = (&'a Identity, &'a Slot)> {
        let mut ahead = slots.range::<Identity, _>(..);
        self.order.iter().filter_map(move |identity| match ahead.next() {
            Some((next, slot)) if next == identity => Some((identity, slot)),
            _ => {
                ahead = slots.range(identity..);
                ahead.next().filter(|(next, _)| *next == identity)
            }
        })
    }
}

/// How far a bundle's wishes are known.
#[derive(Debug, Default)]
pub(super) enum Plan {
    /// To be worked out, or nothing is wanted.
    #[default]
    None,
    /// It does not bind.
    Failed(Vec<ObjectProblem>),
    /// Worked out.
    Ready(Ready),
}

/// One bundle.
#[derive(Debug, Default)]
pub(super) struct Bundle {
    /// The generation with which it got its entry, as reports tell it.
    pub(super) generation: u64,
    pub(super) installed: bool,
    /// The variant that was last begun.
    pub(super) variant: Option<Digest>,
    /// Who applies, reads and deletes; `None`: the spoke itself.
    pub(super) account: Option<ServiceAccount>,
    pub(super) slots: BTreeMap<Identity, Slot>,
    /// The health checks of its content.
    pub(super) checks: Arc<Checks>,
    pub(super) plan: Plan,
    /// Digest of variant and variables that the plan was made for.
    pub(super) order: Option<Digest>,
    /// Whether something of it was written: from there on writes are not rehearsed.
    pub(super) is_begun: bool,
    /// Since when the durable inventory is behind.
    pub(super) unsaved_since: Option<u64>,
    /// Whether objects are being removed, with the permit checked.
    pub(super) may_remove: bool,
    /// Whether objects are still to be removed.
    pub(super) is_pruning: bool,
    /// Bundles that want what this one shall let go; `None`: to be found out.
    pub(super) heirs: Option<BTreeMap<Identity, String>>,
    /// What stops it as a whole, found at the last look.
    pub(super) problems: Vec<ObjectProblem>,
    pub(super) report: Option<Report>,
    /// What others that depend on it were told: installed, sync, health, and health of what is
    /// there whatever was applied.
    pub(super) said: Option<(bool, Sync, Health, bool)>,
    /// When to look at it again.
    pub(super) next_at: Option<u64>,
}

impl Bundle {
    pub(super) fn of(inventory: Inventory) -> Self {
        let slots = inventory.objects.into_iter();
        Self {
            installed: inventory.installed,
            variant: inventory.variant,
            account: inventory.account,
            slots: slots.map(|(identity, tracked)| (identity, Slot::of(tracked, true))).collect(),
            ..Self::default()
        }
    }

    /// What must be durable of it.
    pub(super) fn inventory(&self) -> Inventory {
        let line = |(identity, slot): (&Identity, &Slot)| (identity.clone(), slot.tracked.clone());
        Inventory {
            installed: self.installed,
            variant: self.variant,
            account: self.account.clone(),
            objects: self.slots.iter().map(line).collect(),
        }
    }

    /// The hub knows nothing of it any more: what it owns stays, and nothing is done about it.
    pub(super) fn forgotten(&mut self) {
        let slots = std::mem::take(&mut self.slots);
        let slots = slots.into_iter().map(|(identity, slot)| (identity, Slot { target: None, ..slot }));
        *self = Self {
            installed: self.installed,
            variant: self.variant,
            account: self.account.clone(),
            slots: slots.collect(),
            unsaved_since: self.unsaved_since,
            ..Self::default()
        };
    }

    /// Notes that the durable inventory is behind.
    pub(super) fn unsaved(&mut self, now: u64) {
        self.unsaved_since.get_or_insert(now);
    }

    /// An object is about to get other content, and so are others of its stage: what was applied to them is vouched
    /// for no more. All at once, since they wait until that is written down. A Job that came to its end is noted
    /// alone, lest it runs again where what it ran is wanted again before its turn came.
    pub(super) fn disown(&mut self, first: &Identity, stage: Stage) {
        for (identity, slot) in &mut self.slots {
            let goes_along = slot.target.as_ref().is_some_and(|target| target.stage == stage)
                && slot.is_durable
                && slot.tracked.finished.is_none()
                && slot.verdict() == Verdict::Apply(Why::Content);
            if slot.is_replaced() && (identity == first || goes_along) {
                slot.tracked.applied = None;
                slot.is_durable = false;
            }
        }
    }

    /// Takes up an order; another one than before is rehearsed before its first write.
    pub(super) fn take_up(&mut self, order: Digest) {
        if self.order.replace(order) != Some(order) {
            self.is_begun = false;
        }
    }

    /// Takes up the health checks of its content; whether they are others than before. What they are or were about
    /// is looked at again, and nothing of it is Healthy until then.
    pub(super) fn take_checks(&mut self, written: &[HealthCheck]) -> bool {
        if self.checks.written() == written {
            return false;
        }
        let before = std::mem::replace(&mut self.checks, Arc::new(Checks::of(written)));
        for (identity, slot) in &mut self.slots {
            if let Sight::Live(seen) = &mut slot.sight
                && (before.concern(&identity.kind) || self.checks.concern(&identity.kind))
            {
                seen.assessment = Assessment::progressing("its health checks changed, and it was not looked at since");
                slot.look = true;
            }
        }
        true
    }

    /// Asks to be looked at again at a time.
    pub(super) fn wake_at(&mut self, at: u64) {
        self.next_at = Some(self.next_at.map_or(at, |before| before.min(at)));
    }

    pub(super) fn is_busy(&self) -> bool {
        self.slots.values().any(|slot| slot.is_busy)
    }

    /// Wanted objects by stage.
    pub(super) fn targets(&self) -> impl Iterator<Item = (&Identity, &Slot)> {
        self.slots.iter().filter(|(_, slot)| slot.target.is_some())
    }

    /// Whether everything that is wanted is known and applied.
    pub(super) fn is_applied(&self) -> bool {
        match &self.plan {
            Plan::Ready(ready) => ready.unknown.is_empty() && self.targets().all(|(_, slot)| slot.is_applied()),
            _ => false,
        }
    }

    /// Whether all objects that it wants are applied and Healthy.
    pub(super) fn is_healthy(&self) -> bool {
        self.is_applied() && self.targets().all(|(_, slot)| slot.health().0 == Health::Healthy)
    }

    /// Whether all that it wants is Healthy as it is now, of this content or the one before. What is of a
    /// kind that does not exist is not.
    pub(super) fn is_healthy_now(&self) -> bool {
        let are_kinds_known = !matches!(&self.plan, Plan::Ready(ready) if !ready.unknown.is_empty());
        are_kinds_known && self.targets().all(|(_, slot)| slot.health().0 == Health::Healthy)
    }

    /// Forgets troubles of objects that are as they should be without our doing.
    pub(super) fn forget_mended(&mut self) {
        for slot in self.slots.values_mut().filter(|slot| slot.target.is_some()) {
            if slot.trouble.is_some() && slot.verdict() == Verdict::Settled {
                slot.trouble = None;
            }
        }
    }

    /// Ends the waits of what failed for this reason; whether there were any.
    pub(super) fn kick(&mut self, reason: Reason, now: u64) -> bool {
        let mut is_kicked = false;
        let ready = match &mut self.plan {
            Plan::Ready(ready) => ready.namespace_trouble.as_mut(),
            _ => None,
        };
        let troubles = self.slots.values_mut().filter_map(|slot| slot.trouble.as_mut());
        for trouble in troubles.chain(ready) {
            if trouble.reason == Some(reason) {
                trouble.retry_at = now;
                is_kicked = true;
            }
        }
        is_kicked
    }
}

/// Whether the next stage must wait for this object although it is applied.
pub(super) fn holds_up(identity: &Identity, slot: &Slot) -> bool {
    (order::is_definition(&identity.kind) || order::is_api_service(&identity.kind))
        && slot.health().0 != Health::Healthy
}
