//! Answers to what the hub asks on demand: how a bundle is live against what is bound.
//!
//! Objects are compared one after another, each by a dry-run of what would be applied: nothing is changed, and values
//! of Secrets never leave the spoke.

use std::collections::VecDeque;
use std::sync::Arc;

use proto_model::ask::{Answer, BundleDiff, Change, ObjectDiff, compare};
use proto_model::assign::Entry;
use proto_model::delta::ToHub;
use proto_model::{Identity, limits, name as names};
use serde_json::Value as Json;

use super::bundle::{Bundle, Plan};
use super::done::{Errand, failure_of};
use super::{Agent, Effect};
use crate::owner;
use crate::port::{Live, Op, Outcome};

/// What a spoke answers when its hub asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AskPolicy {
    /// Nothing: every ask is refused.
    None,
    /// How a bundle is live against what is bound.
    #[default]
    Diff,
}

/// An ask that is being answered.
#[derive(Debug)]
pub(super) struct Asking {
    /// The hub's name for it.
    id: u64,
    /// Our own: late answers of the cluster find nobody.
    token: u64,
    bundle: String,
    /// When it must be answered, on the monotonic clock.
    until: u64,
    /// Objects that were not looked at.
    left: VecDeque<Identity>,
    diff: BundleDiff,
    bytes: usize,
}

/// One object that is being compared.
#[derive(Clone, Debug)]
pub(super) struct Comparison {
    token: u64,
    bundle: String,
    identity: Identity,
    /// The object as it is, once that was read.
    live: Option<Arc<Json>>,
}

impl Comparison {
    /// The bundle that was asked about.
    pub(super) fn bundle(&self) -> &str {
        &self.bundle
    }
}

impl Asking {
    fn push(&mut self, object: Identity, change: Change) {
        let mut found = ObjectDiff { object, change };
        if self.bytes + found.bytes() > limits::ASK_DIFF_BYTES_MAX
            && let Change::Fields { fields, more } = &mut found.change
        {
            *more += fields.len() as u64;
            fields.clear();
        }
        self.bytes += found.bytes();
        self.diff.objects.push(found);
    }
}

impl Agent {
    /// Begins to answer what was asked, once anything may be said.
    pub(super) fn mind_asking(&mut self) {
        let now = self.now.mono_millis;
        if self.asking.as_ref().is_some_and(|asking| now >= asking.until) {
            self.answer_asking(1);
        }
        if !self.may_speak() {
            return;
        }
        let asked = self.session.as_mut().and_then(|session| session.asked.take());
        let Some((id, bundle)) = asked else { return };
        match self.begin(id, bundle) {
            Ok(asking) => {
                self.asking = Some(asking);
                self.compare_next();
            }
            Err(why) => self.answer(Answer { id, outcome: Err(why) }),
        }
    }

    /// When an ask must be answered.
    pub(super) fn asking_wake(&self) -> Option<u64> {
        self.asking.as_ref().map(|asking| asking.until)
    }

    fn answer(&mut self, answer: Answer) {
        self.out.push(Effect::Send(ToHub::Answer(answer)));
    }

    fn begin(&mut self, id: u64, name: String) -> Result<Asking, String> {
        if self.ask_policy == AskPolicy::None {
            return Err("it was told to answer no asks; start it without `--ask none`".into());
        }
        if self.asking.is_some() {
            return Err("it is answering another ask; try again".into());
        }
        if !self.may_act() {
            return Err("it does not hold the lease of its cluster".into());
        }
        let known = self.ledger.entries.get(&name).zip(self.bundles.get(&name));
        let Some((entry, bundle)) = known else {
            return Err(format!("bundle {name} was not assigned to it yet"));
        };
        let variant = match entry {
            Entry::Run(assignment) => Some(assignment.variant),
            Entry::Remove(_) => None,
        };
        let diff = BundleDiff { generation: bundle.generation, variant, ..BundleDiff::default() };
        self.next_id += 1;
        let until = self.now.mono_millis + limits::ASK_MILLIS_MAX;
        let left = VecDeque::new();
        let mut asking = Asking { id, token: self.next_id, bundle: name, until, left, diff, bytes: 0 };
        if variant.is_some() {
            look_through(bundle, &mut asking)?;
        }
        let unwanted = bundle.slots.iter().filter(|(_, slot)| slot.target.is_none() && slot.exists());
        for (identity, _) in unwanted {
            if asking.diff.objects.len() + asking.left.len() < limits::ASK_OBJECTS_MAX {
                asking.push(identity.clone(), Change::Unwanted);
            } else {
                asking.diff.unseen += 1;
            }
        }
        Ok(asking)
    }

    /// Reads the next object, or answers where there is none.
    fn compare_next(&mut self) {
        let may_act = self.may_act();
        loop {
            let Some(asking) = &mut self.asking else { return };
            let next = if may_act { asking.left.pop_front() } else { None };
            let (token, name) = (asking.token, asking.bundle.clone());
            let Some(identity) = next else {
                self.answer_asking(0);
                return;
            };
            let slot = self.bundles.get(&name).and_then(|bundle| bundle.slots.get(&identity));
            let Some(target) = slot.and_then(|slot| slot.target.as_ref()) else {
                continue;
            };
            let version = target.version.clone();
            let comparison = Comparison { token, bundle: name, identity: identity.clone(), live: None };
            self.start_now(Errand::Compare(comparison), Op::Get { identity, version });
            return;
        }
    }

    /// Answers with what is known. `under_way`: objects that were begun and not finished.
    fn answer_asking(&mut self, under_way: u64) {
        let Some(Asking { id, left, mut diff, .. }) = self.asking.take() else { return };
        diff.unseen += left.len() as u64 + under_way;
        self.answer(Answer { id, outcome: Ok(diff) });
    }

    pub(super) fn compared(&mut self, comparison: Comparison, outcome: Outcome) {
        let Comparison { token, identity, live, .. } = comparison;
        let Some(asking) = self.asking.as_mut().filter(|asking| asking.token == token) else {
            return;
        };
        let name = asking.bundle.clone();
        match (live, outcome) {
            (None, Outcome::Got(None)) => asking.push(identity, Change::Missing),
            (None, Outcome::Got(Some(live))) => match self.rehearse_ours(&name, &identity, &live) {
                Ok(Some(manifest)) => {
                    let comparison = Comparison { token, bundle: name.clone(), identity, live: live.object };
                    let op = Op::Apply { manifest, manager: names::field_manager(&name), dry_run: true };
                    self.start_now(Errand::Compare(comparison), op);
                    return;
                }
                Ok(None) => {}
                Err(why) => self.note(identity, Change::Unknown(why)),
            },
            (Some(live), Outcome::Applied(Live { object: Some(would), .. })) => match compare(&live, &would) {
                Change::Fields { fields, .. } if fields.is_empty() => asking.diff.same += 1,
                change => asking.push(identity, change),
            },
            (_, other) => asking.push(identity, Change::Unknown(failure_of(other).message)),
        }
        self.compare_next();
    }

    fn note(&mut self, identity: Identity, change: Change) {
        if let Some(asking) = &mut self.asking {
            asking.push(identity, change);
        }
    }

    /// What would be applied to a live object; why it would not be touched.
    fn rehearse_ours(&mut self, name: &str, identity: &Identity, live: &Live) -> Result<Option<Json>, String> {
        let slot = self.bundles.get(name).and_then(|bundle| bundle.slots.get(identity));
        let is_tracked = slot.is_some_and(|slot| slot.tracked.uid.as_ref() == Some(&live.uid));
        let ownership = owner::ownership(live, self.owner(name));
        match owner::objection(&ownership, identity).filter(|_| !is_tracked) {
            Some(why) => Err(why),
            None => Ok(self.sent(name, identity, live)),
        }
    }
}

/// Notes which objects are to be compared.
fn look_through(bundle: &Bundle, asking: &mut Asking) -> Result<(), String> {
    let ready = match &bundle.plan {
        Plan::Ready(ready) => ready,
        Plan::None => return Err("what it should run is being worked out; try again".into()),
        Plan::Failed(problems) => {
            let why = problems.first().map_or("it does not bind", |problem| &problem.message);
            return Err(format!("what it should run can't be worked out: {why}"));
        }
    };
    for identity in ready.unknown.values() {
        asking.push(identity.clone(), Change::Unknown("its kind is not known in this cluster".into()));
    }
    let mut targets = ready.order.iter();
    let room = limits::ASK_OBJECTS_MAX.saturating_sub(asking.diff.objects.len());
    asking.left.extend(targets.by_ref().take(room).cloned());
    asking.diff.unseen += targets.count() as u64;
    Ok(())
}
