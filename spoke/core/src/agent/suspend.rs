//! Keeping hands off: a suspended bundle is watched and reported, and nothing of it is changed.
//!
//! A suspension is in force as soon as it is heard, and confirmed once it is in the ledger. It ends
//! at its time by either clock, the one that never goes back or the one on the wall: a wall clock
//! that is set back makes it no longer, one that is set forward ends it early.

use std::collections::BTreeMap;

use proto_model::assign::Entry;
use proto_model::{ObjectProblem, limits, report};

use super::act::Step;
use super::bundle::{Bundle, Plan};
use super::done::Errand;
use super::{Agent, Effect, Phase};
use crate::diff::{Sight, Verdict};
use crate::local::{Suspended, time};
use crate::port::{Failure, Op, Outcome, Reason};
use crate::suspend::{self, CLUSTER, Order, Suspension};

/// What of suspensions is not in the ledger.
#[derive(Debug, Default)]
pub(super) struct Suspending {
    /// When each ends by the clock that never goes back, in milliseconds.
    ends: BTreeMap<String, u64>,
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
        !self.ledger.suspensions.is_empty() && self.suspension(name).is_some()
    }

    /// The suspension of a bundle: its own, or else that of the whole cluster.
    pub(super) fn suspension(&self, name: &str) -> Option<&Suspension> {
        let all = &self.ledger.suspensions;
        all.get(name).into_iter().chain(all.get(CLUSTER)).max_by_key(|one| one.until_unix_millis)
    }

    /// Everything that is suspended.
    pub(super) fn suspended(&self) -> Vec<Suspended> {
        let view = |(scope, one): (&String, &Suspension)| Suspended {
            bundle: (scope != CLUSTER).then(|| scope.clone()),
            until_unix_millis: one.until_unix_millis,
            reason: one.reason.clone(),
            by: one.by.clone(),
        };
        self.ledger.suspensions.iter().map(view).collect()
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
        self.suspending.ends.insert(scope.clone(), self.now.mono_millis + span_millis);
        let suspension = Suspension { until_unix_millis, span_millis, reason, by };
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
            let others: Vec<&str> =
                self.ledger.suspensions.keys().map(|one| if one == CLUSTER { "the cluster" } else { one }).collect();
            let others = if others.is_empty() { "nothing".into() } else { others.join(", ") };
            return Err(format!("{what} is not suspended; suspended is: {others}"));
        }
        self.suspending.ends.remove(&scope);
        self.suspension_changed(&scope, "Resumed", "resumed: kept as assigned again");
        Ok(())
    }

    fn suspension_changed(&mut self, scope: &str, reason: &'static str, words: &str) {
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
        let now = self.now;
        let mut over = Vec::new();
        for (scope, one) in &mut self.ledger.suspensions {
            let left = one.left_millis(now.unix_millis);
            let end = *self.suspending.ends.entry(scope.clone()).or_insert(now.mono_millis + left);
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
        for scope in over {
            self.ledger.suspensions.remove(&scope);
            self.suspending.ends.remove(&scope);
            self.store.is_root_unsaved = true;
            self.suspension_changed(&scope, "Resumed", "the suspension is over: kept as assigned again");
        }
    }

    /// When the next one ends.
    pub(super) fn suspensions_wake(&self) -> Option<u64> {
        let now = self.now;
        let end = |(scope, one): (&String, &Suspension)| {
            let by_wall = now.mono_millis + one.left_millis(now.unix_millis);
            self.suspending.ends.get(scope).map_or(by_wall, |end| by_wall.min(*end))
        };
        self.ledger.suspensions.iter().map(end).min()
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

    /// Whether a request would change something of a suspended bundle: one that follows from the answer to
    /// what was begun before. It is not made, and answered as one that failed.
    pub(super) fn holds_back(&mut self, id: u64, errand: &Errand, op: &Op) -> bool {
        let changes = match op {
            Op::Apply { .. } | Op::Delete { .. } | Op::Patch { .. } | Op::EnsureNamespace(_) | Op::As(..) => true,
            Op::Discover(_) | Op::Get { .. } | Op::List { .. } | Op::Contents { .. } => false,
        };
        // What somebody asks to compare changes nothing.
        let is_asked = matches!(errand, Errand::Compare(_));
        let is_held_back = changes && !is_asked && errand.bundle().is_some_and(|name| self.is_suspended(name));
        if is_held_back {
            self.suspending.held_back.push(id);
        }
        is_held_back
    }

    /// Answers what was held back, and what follows from that.
    pub(super) fn answer_held_back(&mut self) {
        while let Some(id) = self.suspending.held_back.pop() {
            let message = "is suspended: it was not carried on with".to_owned();
            let failure = Failure { reason: Reason::Server, message, retry_after_millis: None };
            self.done(id, Outcome::Failed(failure));
        }
    }

    /// Looks at what must be looked at, and changes nothing.
    pub(super) fn advance_suspended(&mut self, name: &str) {
        let runs = matches!(self.ledger.entries.get(name), Some(Entry::Run(_)));
        let (now, steps_max) = (self.now.mono_millis, self.steps_max());
        let problem = self.suspension(name).map(|one| ObjectProblem {
            object: None,
            is_final: false,
            message: report::cut(&format!(
                "is suspended until {}{}",
                time::utc(one.until_unix_millis),
                because(&one.reason, &one.by)
            )),
        });
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
        let steps = looks(bundle, now, steps_max);
        self.perform(name, steps);
        self.save_memory(name);
        self.summarize(name);
    }
}

/// Looks at objects that were seen to change in a way which only a look can tell.
fn looks(bundle: &mut Bundle, now: u64, steps_max: usize) -> Vec<Step> {
    let (mut steps, mut wake) = (Vec::new(), None::<u64>);
    for (identity, slot) in &bundle.slots {
        let is_ours = slot.is_durable && slot.tracked.uid.is_some() && slot.sight != Sight::Foreign;
        if !is_ours || slot.is_busy || slot.verdict() != Verdict::Look {
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

fn because(reason: &str, by: &str) -> String {
    let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
    if reason.is_empty() { by } else { format!("{by}: {reason}") }
}
