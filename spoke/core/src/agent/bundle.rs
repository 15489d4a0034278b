//! What the machine knows of one bundle while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::variant::ServiceAccount;
use proto_model::wishes::Prune;
use proto_model::{Digest, GroupKind, Health, HealthCheck, Identity, ObjectProblem, Report, Sync, Wishes, limits};
use serde_json::Value as Json;

use crate::diff::{self, Sight, Verdict, Why};
use crate::health::{Assessment, Checks};
use crate::inventory::{Inventory, Tracked};
use crate::order::{self, Stage};
use crate::port::{Failure, Kind, Reason};
use crate::retry;
use crate::target::Target;

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

/// One object of a bundle's inventory, with what is wanted and known of it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What the bundle wants; `None`: it shall go.
    pub(super) target: Option<Target>,
    /// Digest of what is wanted, marks included.
    pub(super) bound: Digest,
    /// Its line of the inventory.
    pub(super) tracked: Tracked,
    /// Whether the durable inventory has that line.
    pub(super) is_durable: bool,
    pub(super) sight: Sight,
    /// When it was last looked for and not there, on the monotonic clock.
    pub(super) absent_at: u64,
    /// The run of its kind's watch in which the watch last told of it.
    pub(super) seen_in: Option<u32>,
    /// Something happened that only a look can tell.
    pub(super) look: bool,
    /// Whether a dry-run of what is wanted found nothing against it, or could not tell.
    pub(super) is_rehearsed: bool,
    /// When to look at it without a reason, where it may not be watched.
    pub(super) look_at: Option<u64>,
    /// Until when a status is waited for, on the monotonic clock.
    pub(super) status_until: Option<u64>,
    /// Whether a request about it is under way.
    pub(super) is_busy: bool,
    pub(super) trouble: Option<Trouble>,
    /// A field can't be changed: delete and apply anew.
    pub(super) recreate: bool,
    /// Somebody else's, to be made only where there is none: it is left as it was found.
    pub(super) is_left: bool,
    /// Whether an autoscaler that no bundle brings scales it, once that was looked up.
    pub(super) is_scaled: Option<bool>,
    /// Whether the services that it calls were seen to answer.
    pub(super) is_answered: bool,
    /// When it was last put right, and how often in a row.
    pub(super) corrected_at: u64,
    pub(super) corrections: u32,
    /// When it was looked for and not there.
    pub(super) absent_at: u64,
    /// Who changed it, while it is drifted, and what is being put right.
    pub(super) changed_by: Option<String>,
    pub(super) mending: Option<Why>,
    /// Who keeps changing it back, in words, once that was looked up.
    pub(super) contest: Option<String>,
}

impl Slot {
    pub(super) fn of(tracked: Tracked, is_durable: bool) -> Self {
        Self { tracked, is_durable, ..Self::default() }
    }

    /// Whether what is wanted was applied, or is made only once and there.
    pub(super) fn is_applied(&self) -> bool {
        self.tracked.applied == Some(self.bound) || self.is_kept_as_made() || self.is_finished_as_wanted()
    }

    /// Whether it came to its end as it is wanted and is gone, whatever marks it bore.
    fn is_finished_as_wanted(&self) -> bool {
        let wanted = self.target.as_ref().map(|target| target.content);
        self.sight == Sight::Absent
            && self.tracked.finished.is_some()
            && wanted.is_some()
            && self.tracked.finished_content == wanted
    }

    /// Notes that it came to its end, and what did.
    pub(super) fn finish(&mut self, has_succeeded: bool) {
        self.tracked.finished = Some(has_succeeded);
        self.tracked.finished_content = self.target.as_ref().map(|target| target.content);
    }

    /// Whether it is there and, made once, is changed no more.
    fn is_kept_as_made(&self) -> bool {
        self.is_made_once()
            && self.tracked.former.is_none()
            && (self.is_left || (matches!(self.sight, Sight::Live(_)) && self.tracked.uid.is_some()))
    }

    /// Whether it is to be made where there is none, and never changed.
    pub(super) fn is_made_once(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.wishes.create_only)
    }

    /// Whether it is there, was another bundle's and is changed in nothing but whose it is.
    pub(super) fn is_taken_as_made(&self) -> bool {
        self.is_made_once() && self.tracked.former.is_some() && matches!(self.sight, Sight::Live(_))
    }

    /// Whether somebody asked, on the live object, that hands are kept off it.
    pub(super) fn is_hands_off(&self) -> bool {
        matches!(&self.sight, Sight::Live(seen) if seen.hands_off)
    }

    /// What its annotations ask for, as it is wanted; as it was applied where it is wanted no more.
    pub(super) fn wishes(&self) -> &Wishes {
        self.target.as_ref().map_or(&self.tracked.wishes, |target| &target.wishes)
    }

    /// Whether other content than what is wanted is known to be there.
    pub(super) fn is_replaced(&self) -> bool {
        self.tracked.applied.is_some_and(|applied| applied != self.bound)
    }

    /// Whether it is to be deleted to be made anew.
    pub(super) fn is_to_be_made_anew(&self) -> bool {
        self.recreate && self.target.is_some()
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.judged(self.look)
    }

    fn judged(&self, look: bool) -> Verdict {
        match diff::verdict(self.bound, &self.tracked, &self.sight, look) {
            Verdict::Look if self.is_left && !look => Verdict::Settled,
            Verdict::Apply(Why::Content) if self.is_finished_as_wanted() => Verdict::Settled,
            Verdict::Apply(Why::Content | Why::Drifted) if self.is_kept_as_made() => Verdict::Settled,
            verdict => verdict,
        }
    }

    /// Whether somebody changed or removed the object and it was not put right.
    pub(super) fn is_drifted(&self) -> bool {
        matches!(self.judged(false), Verdict::Apply(Why::Drifted | Why::Missing))
    }

    /// The health that it shows, whatever was applied.
    pub(super) fn health(&self) -> (Health, &str) {
        match &self.sight {
            _ if self.is_left => (Health::Healthy, ""),
            Sight::Unknown => (Health::Unknown, "was not seen since the spoke started"),
            Sight::Foreign => (Health::Degraded, ""),
            Sight::Live(_) if self.awaits_status() => {
                (Health::Progressing, "waits for its controller to write a status")
            }
            Sight::Live(seen) => (seen.assessment.health, &seen.assessment.message),
            Sight::Absent => match self.tracked.finished {
                Some(true) => (Health::Healthy, ""),
                Some(false) => (Health::Degraded, "failed, and was cleaned away; change it in Git to run it again"),
                None => (Health::Progressing, "is missing"),
            },
        }
    }

    /// The object is somebody else's, as the message says: it is looked at again after a while.
    pub(super) fn stand_back(&mut self, message: String, seed: &str, now: u64) {
        self.sight = Sight::Foreign;
        let before = self.trouble.take();
        self.trouble = Some(Trouble::stated(before.as_ref(), Attempt::Look, message, true, seed, now));
    }

    /// Whether it waits because the object is somebody else's; its watch may have told of that object since.
    pub(super) fn stands_back(&self) -> bool {
        let is_refused = self.trouble.as_ref().is_some_and(|trouble| trouble.attempt == Attempt::Look);
        is_refused && self.target.is_some() && self.tracked.uid.is_none()
    }

    /// Whether it is so long ago that nothing was there that somebody else may have made it since: no watch tells of
    /// what does not bear our marks.
    pub(super) fn is_absence_old(&self, now: u64) -> bool {
        self.sight == Sight::Absent && now.saturating_sub(self.absent_at) > limits::ABSENCE_MILLIS
    }

    /// Whether the object counts among those that the bundle owns.
    pub(super) fn exists(&self) -> bool {
        self.tracked.uid.is_some() && !matches!(self.sight, Sight::Absent | Sight::Foreign)
    }

    /// Whether it is still the very object that the bundle made, as far as was seen: another in its place may be
    /// another bundle's.
    pub(super) fn is_there_as_made(&self) -> bool {
        let is_another = matches!(&self.sight, Sight::Live(seen) if Some(&seen.uid) != self.tracked.uid.as_ref());
        self.exists() && !is_another
    }

    /// When the next correction may happen; a fight is slowed down and then stopped for a while.
    pub(super) fn correct_at(&self, why: Why, seed: &str) -> u64 {
        let wait = match (self.corrections, why) {
            (0, _) => return 0,
            (limits::CORRECTIONS_MAX.., Why::Drifted) => limits::CONTEST_MILLIS,
            (count, _) => retry::wait_millis(count, false, None, seed),
        };
        self.corrected_at + wait
    }

    /// Whether somebody keeps changing the object back.
    pub(super) fn is_contested(&self) -> bool {
        self.corrections >= limits::CORRECTIONS_MAX && self.verdict() == Verdict::Apply(Why::Drifted)
    }

    /// Counts a correction that begins now.
    pub(super) fn count_correction(&mut self, now: u64) {
        if now.saturating_sub(self.corrected_at) >= limits::CONTEST_MILLIS {
            self.corrections = 0;
        }
        self.corrections += 1;
        self.corrected_at = now;
        self.contest = None;
        // What scales it may have come or gone since.
        self.is_scaled = None;
        self.mending = Some(if self.sight == Sight::Absent { Why::Missing } else { Why::Drifted });
    }

    /// Whether it was not there when it was looked for, and that is a while ago.
    pub(super) fn is_long_absent(&self, now: u64) -> bool {
        self.sight == Sight::Absent && now.saturating_sub(self.absent_at) >= limits::ABSENT_MILLIS
    }

    /// Whether it goes before the new objects come.
    pub(super) fn goes_first(&self) -> bool {
        self.target.is_none() && self.tracked.wishes.prune == Prune::First
    }

    /// Whether something that it calls must answer before it is made.
    pub(super) fn waits_for_services(&self) -> bool {
        let calls = self.target.as_ref().is_some_and(|target| !target.calls.is_empty());
        calls && !self.is_answered && !self.exists()
    }

    /// The stage in which it goes, in reverse.
    pub(super) fn removal_stage(&self, identity: &Identity) -> Stage {
        Stage::of(&identity.kind, self.tracked.order)
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
