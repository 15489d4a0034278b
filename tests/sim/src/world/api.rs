//! Requests at the API server.

use proto_model::Identity;
use spoke_core::Event;
use spoke_core::port::{Failure, Op, Outcome, Reason};

use super::{Happening, World};
use crate::counts::{Fault, REASONS};
use crate::invariants::{Seen, aimed_at};

impl World {
    pub(super) fn arrives(&mut self, cluster: &str, boot: u64, id: u64, op: Op) {
        let Some(site) = self.sites.get(cluster) else { return };
        if site.boot != boot {
            // Its spoke has died: a request under way may arrive nevertheless.
            if self.rng.chance(500) {
                return;
            }
            self.counts.fault(Fault::RequestOfTheDead);
        }
        self.race(cluster, &op);
        let op = self.disguise_request(cluster, op);
        let outcome = match self.refusal() {
            Some(failure) => Outcome::Failed(failure),
            None => self.execute(cluster, &op),
        };
        self.see(&Seen::Happened { cluster, op: &op, outcome: &outcome });
        let outcome = if self.is_rough && self.rng.chance(8) {
            self.counts.fault(Fault::AnswerLost);
            Outcome::Failed(failure(Reason::Unreachable))
        } else {
            self.disguise_outcome(cluster, outcome)
        };
        let outcome = Box::new(outcome);
        let answer = Happening::Answers { cluster: cluster.to_owned(), boot, id, outcome };
        self.soon(1, 15, answer);
    }

    pub(super) fn answers(&mut self, cluster: &str, boot: u64, id: u64, outcome: Outcome) {
        self.step(cluster, boot, Event::Done { id, outcome });
    }

    /// What an API server in trouble answers.
    fn refusal(&mut self) -> Option<Failure> {
        if !self.is_rough || !self.rng.chance(self.odds().refusal) {
            return None;
        }
        let reason = *self.rng.pick(&REASONS)?;
        self.counts.refusal(reason);
        Some(failure(reason))
    }

    fn execute(&mut self, cluster: &str, op: &Op) -> Outcome {
        let now = self.unix_millis();
        let Some(site) = self.sites.get_mut(cluster) else {
            return Outcome::Failed(failure(Reason::Unreachable));
        };
        site.state.advance(now);
        let identity = aimed_at(op);
        let live = identity.as_ref().and_then(|identity| site.state.object(identity));
        let foreign_since = identity.as_ref().and_then(|one| self.meddled_at(cluster, one));
        self.see(&Seen::Reached { cluster, op, live: live.as_ref(), foreign_since });
        let Some(site) = self.sites.get_mut(cluster) else {
            return Outcome::Failed(failure(Reason::Unreachable));
        };
        let outcome = site.state.execute(op, now);
        self.tally(cluster, op, live.as_ref(), &outcome);
        self.after_change(cluster);
        outcome
    }

    /// Whether anything that the newest ledger says names an object.
    pub(super) fn names(&self, cluster: &str, identity: &Identity) -> bool {
        let last = self.histories.get(cluster).and_then(|history| history.last());
        last.is_some_and(|root| {
            root.entries.values().any(|entry| {
                crate::history::expected(&self.bodies, Some(entry)).is_some_and(|all| all.contains_key(identity))
            })
        })
    }
}

fn failure(reason: Reason) -> Failure {
    let retry_after_millis = (reason == Reason::Throttled).then_some(1_000);
    Failure { reason, message: format!("{reason:?}, as the simulation asked for"), retry_after_millis }
}
