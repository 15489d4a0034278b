//! What a namespace holds, or what is of a defined kind.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto_model::{GroupKind, Identity};
use spoke_core::contents::{Member, Survey};
use spoke_core::port::{Failure, Kind, Outcome};

use crate::fault::Verb;
use crate::state::State;

impl State {
    /// Looks through a namespace, or through the objects of a definition, as an API server would be
    /// asked: a kind at a time.
    pub(crate) fn contents(&mut self, of: &Identity, inventoried: &Arc<BTreeSet<String>>) -> Result<Outcome, Failure> {
        self.hinder(Verb::Contents, of)?;
        let is_namespace = of.kind.is("", "Namespace");
        let defined =
            self.customs.values().find(|custom| format!("{}.{}", custom.plural, custom.kind.group) == of.name);
        let defined = defined.map(|custom| custom.kind.clone());
        let kinds: Vec<GroupKind> = if is_namespace {
            let namespaced = |kind: &Kind| self.resolve(kind).is_ok_and(|resolved| resolved.namespaced);
            self.kinds().into_iter().filter(namespaced).map(|kind| kind.kind).collect()
        } else {
            defined.into_iter().collect()
        };
        let mut survey = Survey::new(inventoried.clone());
        for kind in kinds {
            let namespace = if is_namespace { of.name.clone() } else { String::new() };
            let all = Identity { kind: kind.clone(), namespace: namespace.clone(), name: String::new() };
            if let Err(failure) = self.hinder(Verb::List, &all) {
                survey.cannot_list(kind, failure.message);
                continue;
            }
            let inside = self.of_kind(&kind).filter(|(one, _)| !is_namespace || one.namespace == namespace);
            inside.for_each(|(_, stored)| survey.see(Member::read(&kind, &stored.json()["metadata"])));
            if survey.is_decided() {
                break;
            }
        }
        Ok(Outcome::Contents(survey.finish()))
    }
}
