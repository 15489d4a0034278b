//! Faults that tests put into a cluster.

use proto_model::{GroupKind, Identity};
use spoke_core::port::{Failure, Reason};

use crate::state::{Script, State, fail};

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Asks whether a kind exists.
    Discover,
    /// Reads an object.
    Get,
    /// Applies an object.
    Apply,
    /// Asks what an apply would do.
    DryRun,
    /// Deletes an object.
    Delete,
    /// Changes an object by a merge patch.
    Patch,
    /// Makes a namespace.
    Namespace,
    /// Looks through a namespace or the objects of a definition.
    Contents,
    /// Lists a kind.
    List,
}

/// Requests that fail. What is `None` or empty fits everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which requests.
    pub verbs: Vec<Verb>,
    /// Of objects of this kind.
    pub kind: Option<GroupKind>,
    /// Of objects in this namespace.
    pub namespace: Option<String>,
    /// Of objects of this name.
    pub name: Option<String>,
    /// How often; for ever where it is `None`.
    pub times: Option<u32>,
    /// What the request answers.
    pub failure: Failure,
}

impl Fault {
    /// A fault that fits everything; narrow it by its fields.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        Self {
            verbs: Vec::new(),
            kind: None,
            namespace: None,
            name: None,
            times: None,
            failure: fail(reason, format!("{reason:?}, as the test asked for")),
        }
    }

    fn fits(&self, verb: Verb, identity: &Identity) -> bool {
        (self.verbs.is_empty() || self.verbs.contains(&verb))
            && self.kind.as_ref().is_none_or(|kind| *kind == identity.kind)
            && self.namespace.as_ref().is_none_or(|namespace| *namespace == identity.namespace)
            && self.name.as_ref().is_none_or(|name| *name == identity.name)
    }
}

impl State {
    /// From now on, what fits fails. The first fault that fits decides.
    pub fn refuse(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Ends all faults.
    pub fn allow(&mut self) {
        self.faults.clear();
    }

    /// What becomes of a workload from its next change on; `None`: it succeeds.
    pub fn script(&mut self, identity: Identity, script: Option<Script>) {
        match script {
            Some(script) => self.scripts.insert(identity.clone(), script),
            None => self.scripts.remove(&identity),
        };
        self.timers.insert((0, identity));
    }

    /// Whether the API server answers. Watches are lost with it, and begin anew when it is back.
    pub fn set_reachable(&mut self, reachable: bool) {
        if self.reachable != reachable {
            self.reachable = reachable;
            self.reachability_changed();
        }
    }

    /// Fails a request that a fault fits.
    pub(crate) fn hinder(&mut self, verb: Verb, identity: &Identity) -> Result<(), Failure> {
        if !self.reachable {
            return Err(unreachable());
        }
        let Some(at) = self.faults.iter().position(|fault| fault.fits(verb, identity)) else {
            return Ok(());
        };
        let failure = self.faults[at].failure.clone();
        if let Some(times) = &mut self.faults[at].times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.faults.remove(at);
            }
        }
        Err(failure)
    }
}

pub(crate) fn unreachable() -> Failure {
    fail(Reason::Unreachable, "the API server does not answer: connection refused")
}
