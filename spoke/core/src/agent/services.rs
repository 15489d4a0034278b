//! Webhook configurations wait until what they call answers: before that they would refuse what they are asked about.

use std::collections::BTreeMap;

use proto_model::{GroupKind, Identity};

use super::Agent;
use super::bundle::{Attempt, Trouble};
use super::done::{Errand, failure_of};
use crate::order;
use crate::port::{Kind, Op, Outcome};

impl Agent {
    /// Asks whether the services that an object calls have endpoints, one after the other.
    pub(super) fn ask_services(&mut self, name: &str, identity: &Identity, place: usize) -> bool {
        let Some(slot) = self.slot_mut(name, identity) else {
            return true;
        };
        let service = slot.target.as_ref().and_then(|target| target.calls.get(place).cloned());
        let Some((namespace, service)) = service else {
            slot.is_answered = true;
            slot.trouble = None;
            self.dirty.insert(name.to_owned());
            return true;
        };
        let kind = Kind { kind: GroupKind::of("discovery.k8s.io/v1", "EndpointSlice"), version: "v1".into() };
        let labels = BTreeMap::from([("kubernetes.io/service-name".to_owned(), service)]);
        let op = Op::List { kind, namespace, name: String::new(), labels };
        let errand = Errand::Services { bundle: name.to_owned(), identity: identity.clone(), place };
        let is_started = self.start(name, errand, op);
        self.mark_busy(name, identity, is_started)
    }

    pub(super) fn services_listed(&mut self, name: &str, identity: &Identity, place: usize, outcome: Outcome) {
        let now = self.now.mono_millis;
        let seed = format!("{name}{identity}");
        let Some(slot) = self.free_slot(name, identity) else { return };
        let called = slot.target.as_ref().and_then(|target| target.calls.get(place).cloned());
        let Some((namespace, service)) = called else { return };
        match outcome {
            Outcome::Listed(slices) if slices.iter().any(|slice| order::is_answered(slice)) => {
                self.ask_services(name, identity, place + 1);
            }
            Outcome::Listed(_) => {
                let before = slot.trouble.take();
                let message = format!("waits for an endpoint of Service {namespace}/{service}, which it calls");
                slot.trouble = Some(Trouble::stated(before.as_ref(), Attempt::Await, message, false, &seed, now));
            }
            other => {
                let before = slot.trouble.take();
                slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Await, &failure_of(other), &seed, now));
            }
        }
    }
}
