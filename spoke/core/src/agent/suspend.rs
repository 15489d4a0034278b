//! Keeping hands off: a suspended bundle is watched and reported, and nothing of it is changed.
//!
//! A suspension is in force as soon as it is heard, and confirmed once it is in the ledger. It ends
//! at its time by either clock, the one that never goes back or the one on the wall: a wall clock
//! that is set back makes it no longer, one that is set forward ends it early.
//!
//! The hub says all that it has suspended at once, and says it again in each session; that makes nothing longer.

use std::collections::BTreeMap;

use proto_model::assign::Entry;
use proto_model::suspend as told;
use proto_model::{ObjectProblem, limits, report};

use super::act::Step;
use super::bundle::{Bundle, Plan};
use super::done::Errand;
use super::slot::Slot;
use super::{Agent, Effect, Phase};
use crate::diff::{Sight, Verdict};
use crate::local::{Suspended, time};
use crate::port::{Failure, Op, Outcome, Reason};
use crate::suspend::{self, CLUSTER, Order, Origin, Suspension, Suspensions};

/// What of suspensions is not in the ledger.
#[derive(Debug, Default)]
pub(super) struct Suspending {
    /// When each ends by the clock that never goes back, in milliseconds.
    ends: BTreeMap<(Origin, String), u64>,
    /// Orders that the next write of the root confirms.
    taken: Vec<u64>,
    /// Orders that the write under way confirms.
    writing: Vec<u64>,
    /// Requests that would change something of a suspended bundle, and were not made.
    held_back: Vec<u64>,
}

impl Suspending {
    /// A write of the root begins.
    pub(super) fn write_begins(&mut self) {
        self.writing.append(&mut self.taken);
    }
}

impl Agent {
    /// Whether nothing of a bundle may be changed now.
    pub(super) fn is_suspended(&self, name: &str) -> bool {
        self.suspension(name).is_some()
    }

    /// The suspension of a bundle that lasts longest: its own or that of the whole cluster, made here or at the hub.
    pub(super) fn suspension(&self, name: &str) -> Option<(Origin, &Suspension)> {
        let all = [Origin::Cluster, Origin::Hub].into_iter();
        let of = |origin| self.suspension_by(origin, name).map(|one| (origin, one));
        all.filter_map(of).max_by_key(|(_, one)| one.until_unix_millis)
    }

    fn suspension_by(&self, origin: Origin, name: &str) -> Option<&Suspension> {
        let all = self.suspensions(origin);
        all.get(name).into_iter().chain(all.get(CLUSTER)).max_by_key(|one| one.until_unix_millis)
    }

    fn suspensions(&self, origin: Origin) -> &Suspensions {
        match origin {
            Origin::Cluster => &self.ledger.suspensions,
            Origin::Hub => &self.ledger.hub_suspensions,
        }
    }

    fn suspensions_mut(&mut self, origin: Origin) -> &mut Suspensions {
        match origin {
            Origin::Cluster => &mut self.ledger.suspensions,
            Origin::Hub => &mut self.ledger.hub_suspensions,
        }
    }

    fn all_suspensions(&self) -> impl Iterator<Item = (Origin, &String, &Suspension)> {
        let of = |origin| self.suspensions(origin).iter().map(move |(scope, one)| (origin, scope, one));
        of(Origin::Cluster).chain(of(Origin::Hub))
    }

    /// Everything that is suspended.
    pub(super) fn suspended(&self) -> Vec<Suspended> {
        let view = |(origin, scope, one): (Origin, &String, &Suspension)| Suspended {
            bundle: (scope != CLUSTER).then(|| scope.clone()),
            until_unix_millis: one.until_unix_millis,
            reason: one.reason.clone(),
            by: one.by.clone(),
            at_hub: origin == Origin::Hub,
        };
        self.all_suspensions().map(view).collect()
    }

    /// What the hub, which knows its own, is told of a bundle that was suspended here, for as long as it is.
    pub(super) fn suspended_here(&self, name: &str) -> Option<ObjectProblem> {
        self.suspension_by(Origin::Cluster, name).map(|one| problem(Origin::Cluster, one))
    }

    /// The hub says what it has suspended: in force now, and durable with the next write of the root.
    pub(super) fn heed(&mut self, all: told::Suspensions) {
        let now = self.now;
        let before = std::mem::take(&mut self.ledger.hub_suspensions);
        let over: Vec<&String> = before.keys().filter(|scope| !all.contains_key(*scope)).collect();
        for scope in over {
            self.suspending.ends.remove(&(Origin::Hub, scope.clone()));
            self.store.is_root_unsaved = true;
            self.suspension_changed(scope, "Resumed", "resumed at the hub: kept as assigned again");
        }
        for (scope, told::Suspension { id, left_millis, reason, by }) in all {
            let left = left_millis.min(limits::SUSPENSION_SECS_MAX * 1_000);
            // What was said before goes on as it is: it ends here at the time that was heard first.
            if let Some(known) = before.get(&scope).filter(|known| known.id == id) {
                self.ledger.hub_suspensions.insert(scope, known.clone());
                continue;
            }
            let until_unix_millis = now.unix_millis.saturating_add(left);
            self.suspending.ends.insert((Origin::Hub, scope.clone()), now.mono_millis + left);
            let words = format!("suspended at the hub until {}{}", time::utc(until_unix_millis), because(&reason, &by));
            let suspension = Suspension { until_unix_millis, span_millis: left, reason, by, id };
            self.ledger.hub_suspensions.insert(scope.clone(), suspension);
            self.store.is_root_unsaved = true;
            self.suspension_changed(&scope, "Suspended", &words);
        }
    }

    /// Takes an order; it is confirmed once it is durable, and refused at once.
    pub(super) fn ordered(&mut self, id: u64, order: Order) {
        let taken = match order {
            _ if !self.has_lease || self.is_stale || self.phase != Phase::Ready => Err(
                "this spoke does not hold the lease of its cluster now, so it changes nothing there and can't write \
                 that down; see `drover-spoke status` for why"
                    .into(),
            ),
            Order::Suspend { bundle, span_millis, reason, by } => self.suspend(bundle, span_millis, reason, by),
            Order::Resume { bundle } => self.resume(bundle),
        };
        match taken {
            Ok(()) => {
                self.suspending.taken.push(id);
                self.store.is_root_unsaved = true;
            }
            Err(why) => self.out.push(Effect::Obeyed { id, result: Err(why) }),
        }
    }

    fn suspend(&mut self, bundle: Option<String>, span_millis: u64, reason: String, by: String) -> Result<(), String> {
        suspend::check(span_millis, &reason, &by)?;
        let scope = match bundle {
            Some(name) => self.named(&name)?,
            None => CLUSTER.to_owned(),
        };
        let until_unix_millis = self.now.unix_millis.saturating_add(span_millis);
        let words = format!("suspended until {}{}", time::utc(until_unix_millis), because(&reason, &by));
        self.suspending.ends.insert((Origin::Cluster, scope.clone()), self.now.mono_millis + span_millis);
        let suspension = Suspension { until_unix_millis, span_millis, reason, by, id: 0 };
        self.ledger.suspensions.insert(scope.clone(), suspension);
        self.suspension_changed(&scope, "Suspended", &words);
        Ok(())
    }

    fn resume(&mut self, bundle: Option<String>) -> Result<(), String> {
        let scope = match bundle {
            // What is no bundle any more may still be suspended.
            Some(name) if self.ledger.suspensions.contains_key(&name) => name,
            Some(name) => self.named(&name)?,
            None => CLUSTER.to_owned(),
        };
        if self.ledger.suspensions.remove(&scope).is_none() {
            let what = if scope == CLUSTER { "the cluster as a whole" } else { &scope };
            if let Some(one) = self.ledger.hub_suspensions.get(&scope) {
                return Err(format!(
                    "{what} was suspended at the hub, until {}: end it there with `drover resume`",
                    time::utc(one.until_unix_millis)
                ));
            }
            let others: Vec<&str> =
                self.ledger.suspensions.keys().map(|one| if one == CLUSTER { "the cluster" } else { one }).collect();
            let others = if others.is_empty() { "nothing".into() } else { others.join(", ") };
            return Err(format!("{what} is not suspended; suspended is: {others}"));
        }
        self.suspending.ends.remove(&(Origin::Cluster, scope.clone()));
        let words = match self.ledger.hub_suspensions.get(&scope) {
            Some(one) => format!("resumed here; suspended at the hub until {}", time::utc(one.until_unix_millis)),
            None => "resumed: kept as assigned again".to_owned(),
        };
        self.suspension_changed(&scope, "Resumed", &words);
        Ok(())
    }

    fn suspension_changed(&mut self, scope: &str, reason: &'static str, words: &str) {
        // Who takes what over from whom may have changed; and somebody may have put back by hand what was not there.
        self.forget_heirs();
        for (_, bundle) in self.bundles.iter_mut().filter(|(name, _)| scope == CLUSTER || *name == scope) {
            bundle.slots.values_mut().filter(|slot| slot.sight == Sight::Absent).for_each(|slot| slot.look = true);
        }
        if scope == CLUSTER {
            self.dirty.extend(self.bundles.keys().cloned());
            self.tell_status(reason, false, scope, &format!("all bundles: {words}"));
        } else {
            self.dirty.insert(scope.to_owned());
            self.tell_status(reason, false, scope, &format!("{scope}: {words}"));
        }
        self.voice.status_changed(self.now.mono_millis);
    }

    /// Ends what is over, and holds the time on the wall to the clock that never goes back.
    pub(super) fn mind_suspensions(&mut self) {
        for origin in [Origin::Cluster, Origin::Hub] {
            self.mind_suspensions_of(origin);
        }
    }

    fn mind_suspensions_of(&mut self, origin: Origin) {
        let (now, mut over) = (self.now, Vec::new());
        let mut all = std::mem::take(self.suspensions_mut(origin));
        for (scope, one) in &mut all {
            let left = one.left_millis(now.unix_millis);
            let end = *self.suspending.ends.entry((origin, scope.clone())).or_insert(now.mono_millis + left);
            if left == 0 || end <= now.mono_millis {
                over.push(scope.clone());
                continue;
            }
            let until = now.unix_millis + (end - now.mono_millis);
            if one.until_unix_millis > until + limits::CLOCK_SKEW_SECS * 1_000 {
                // The clock was set back: a restart must not begin the span anew.
                one.until_unix_millis = until;
                self.store.is_root_unsaved = true;
            }
        }
        over.iter().for_each(|scope| drop(all.remove(scope)));
        *self.suspensions_mut(origin) = all;
        for scope in over {
            self.suspending.ends.remove(&(origin, scope.clone()));
            self.store.is_root_unsaved = true;
            self.suspension_changed(&scope, "Resumed", "the suspension is over: kept as assigned again");
        }
    }

    /// When the next one ends.
    pub(super) fn suspensions_wake(&self) -> Option<u64> {
        let now = self.now;
        let end = |(origin, scope, one): (Origin, &String, &Suspension)| {
            let by_wall = now.mono_millis + one.left_millis(now.unix_millis);
            self.suspending.ends.get(&(origin, scope.clone())).map_or(by_wall, |end| by_wall.min(*end))
        };
        self.all_suspensions().map(end).min()
    }

    /// The root was written, or not: then it will be tried again.
    pub(super) fn root_written(&mut self, is_durable: bool) {
        if !is_durable {
            self.suspending.taken.append(&mut self.suspending.writing);
            return;
        }
        for id in std::mem::take(&mut self.suspending.writing) {
            self.out.push(Effect::Obeyed { id, result: Ok(self.suspended()) });
        }
    }

    /// Another spoke may write to the ledger from now on: nothing more is confirmed.
    pub(super) fn give_up_orders(&mut self) {
        let mut ids = std::mem::take(&mut self.suspending.taken);
        ids.append(&mut self.suspending.writing);
        for id in ids {
            let why = "the lease of the cluster was lost before it was written down: it may not hold; see \
                       `drover-spoke status`, and ask again";
            self.out.push(Effect::Obeyed { id, result: Err(why.into()) });
        }
    }

    /// Whether a request would change something of a suspended bundle, or of a cluster whose Lease was lost: one that
    /// follows from the answer to what was begun before. It is not made, and answered as one that failed.
    pub(super) fn holds_back(&mut self, id: u64, errand: &Errand, op: &Op) -> bool {
        let changes = match op {
            Op::Apply { .. } | Op::Delete { .. } | Op::Patch { .. } | Op::EnsureNamespace(_) | Op::As(..) => true,
            Op::Discover(_) | Op::Get { .. } | Op::List { .. } | Op::Contents { .. } => false,
        };
        // What somebody asks to compare changes nothing.
        let is_asked = matches!(errand, Errand::Compare(_));
        let is_suspended = || errand.bundle().is_some_and(|name| self.is_suspended(name));
        let is_held_back = changes && !is_asked && (!self.may_act() || is_suspended());
        if is_held_back {
            self.suspending.held_back.push(id);
        }
        is_held_back
    }

    /// Answers what was held back, and what follows from that.
    pub(super) fn answer_held_back(&mut self) {
        while let Some(id) = self.suspending.held_back.pop() {
            let message = "nothing may be changed now: it was not carried on with".to_owned();
            let failure = Failure { reason: Reason::Server, message, retry_after_millis: None };
            self.done(id, Outcome::Failed(failure));
        }
    }

    /// Looks at what must be looked at, and changes nothing.
    pub(super) fn advance_suspended(&mut self, name: &str) {
        let runs = matches!(self.ledger.entries.get(name), Some(Entry::Run(_)));
        let (now, steps_max) = (self.now.mono_millis, self.steps_max());
        let problem = self.suspension(name).map(|(origin, one)| problem(origin, one));
        self.mind_unwatched(name);
        let Some(bundle) = self.bundles.get_mut(name) else {
            return;
        };
        bundle.may_remove = false;
        bundle.forget_mended();
        bundle.mind_statuses(now);
        bundle.is_pruning = bundle.slots.values().any(|slot| slot.target.is_none());
        let is_held_back = if runs { !bundle.is_applied() || bundle.is_pruning } else { !bundle.slots.is_empty() };
        let mut problems: Vec<ObjectProblem> = problem.filter(|_| is_held_back).into_iter().collect();
        if let Plan::Failed(found) = &bundle.plan {
            problems.extend(found.iter().cloned());
        }
        bundle.problems = problems;
        let steps = looks(bundle, now, steps_max, |slot| slot.verdict() == Verdict::Look);
        self.perform(name, steps);
        self.save_memory(name);
        self.summarize(name);
    }
}

/// Looks at the objects of a bundle of which nothing is changed: at those that need it, as far as requests allow.
pub(super) fn looks(bundle: &mut Bundle, now: u64, steps_max: usize, needs: impl Fn(&Slot) -> bool) -> Vec<Step> {
    let (mut steps, mut wake) = (Vec::new(), None::<u64>);
    for (identity, slot) in &bundle.slots {
        let is_ours = slot.is_durable && slot.tracked.uid.is_some() && slot.sight != Sight::Foreign;
        if !is_ours || slot.is_busy || !needs(slot) {
            continue;
        }
        match slot.trouble.as_ref().filter(|trouble| trouble.retry_at > now) {
            Some(trouble) => wake = Some(wake.map_or(trouble.retry_at, |at| at.min(trouble.retry_at))),
            None if steps.len() < steps_max => steps.push(Step::Look(identity.clone())),
            None => break,
        }
    }
    if let Some(at) = wake {
        bundle.wake_at(at);
    }
    steps
}

/// Why nothing of a bundle is changed; the hub tells by these words where it was said.
fn problem(origin: Origin, one: &Suspension) -> ObjectProblem {
    let place = match origin {
        Origin::Cluster => told::WORDS_HERE,
        Origin::Hub => told::WORDS_HUB,
    };
    let words = format!("{place}{}{}", time::utc(one.until_unix_millis), because(&one.reason, &one.by));
    ObjectProblem { object: None, is_final: false, message: report::cut(&words) }
}

fn because(reason: &str, by: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
    if reason.is_empty() { by } else { format!("{by}: {reason}") }
}
