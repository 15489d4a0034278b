//! Rule 19: when faults stop, every reachable spoke reaches its generation and everything settles;
//! afterwards nobody writes anything any more.

use std::collections::BTreeSet;

use proto_model::delta::ToHub;
use proto_model::{Health, Identity, Sync};
use spoke_core::port::Op;

use super::{Context, Invariant, Seen, owners};
use crate::bodies::payload;
use crate::world::World;

/// Nothing is written while everything rests.
#[derive(Debug, Default)]
pub struct Rest {
    is_rest: bool,
}

impl Invariant for Rest {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &Context<'_>) -> Result<(), String> {
        let broken = |what: String| Err(format!("everything had settled, and then {what}"));
        match seen {
            Seen::Rest => self.is_rest = true,
            Seen::RestOver => self.is_rest = false,
            _ if !self.is_rest => {}
            Seen::Applied { entry, .. } => {
                return broken(format!("the log got an entry: {:?}", entry.commands));
            }
            Seen::Issued {
                cluster,
                op: op @ (Op::Apply { .. } | Op::Delete { .. } | Op::Patch { .. } | Op::EnsureNamespace(_)),
            } => {
                return broken(format!("{cluster} asked for {op:?}"));
            }
            Seen::Durable { cluster, key, .. } => {
                return broken(format!("{cluster} wrote {key} to its ledger"));
            }
            Seen::Said { cluster, message: ToHub::Report(report) } => {
                return broken(format!("{cluster} reported {report:?}"));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Why a world is not settled: for each thing that is not as it should be, a sentence.
#[must_use]
pub fn unsettled(world: &World) -> Vec<String> {
    let mut out = Vec::new();
    let Some(fleet) = world.fleet() else { return vec!["the hub is down".into()] };
    for (cluster, all) in &fleet.suspensions {
        out.push(format!("{cluster} is suspended: {all:?}"));
    }
    for (name, bundle) in &fleet.bundles {
        if !bundle.is_at_goal() {
            out.push(format!("{name} is not at its goal: held {:?}", bundle.held));
        }
        if !bundle.removing.0.is_empty() {
            out.push(format!("{name} is still being removed from {:?}", bundle.removing.0));
        }
        for number in bundle.assigned.keys() {
            let (sync, health) = (bundle.sync(*number), bundle.health(*number));
            if !bundle.is_settled(*number) || (sync, health) != (Sync::Applied, Health::Healthy) {
                let unseen = bundle.unseen.get(number);
                out.push(format!(
                    "{name} in cluster {number} is {sync} and {health}, unseen {unseen:?}: {:?}",
                    world.problems(*number, name)
                ));
            }
            if bundle.drifted.contains(*number) {
                out.push(format!("{name} in cluster {number} is drifted"));
            }
        }
    }
    for (name, known) in &fleet.clusters {
        if known.leaving.is_some() {
            out.push(format!("{name} is still leaving"));
        }
        if !world.is_current(name) {
            out.push(format!("{name} did not reach its generation"));
        }
        out.extend(differences(world, name));
    }
    out
}

/// How a cluster differs from what its durable ledger says.
#[must_use]
pub fn differences(world: &World, cluster: &str) -> Vec<String> {
    let mut out = Vec::new();
    let Some(state) = world.state(cluster) else { return out };
    let Some(last) = world.ledger(cluster).and_then(|ledger| ledger.last()) else {
        return out;
    };
    let mut wanted: BTreeSet<(String, Identity)> = BTreeSet::new();
    for (bundle, entry) in &last.entries {
        let Some(all) = crate::history::expected(world.bodies(), Some(entry)) else { continue };
        for (identity, one) in &*all {
            wanted.insert((bundle.clone(), identity.clone()));
            match state.object(identity) {
                // A Job that came to its end may vanish.
                None if identity.kind.is("batch", "Job") => {}
                // What bears no mark is looked at once in a long while.
                None if one.is_made_once && world.is_unmarked(cluster, identity) => {}
                None => out.push(format!("{cluster} lacks {identity} of {bundle}")),
                // However it was made, and by whomever.
                Some(_) if one.is_made_once => {}
                Some(live) if payload(&live) != one.text => {
                    let (is, text) = (payload(&live), &one.text);
                    out.push(format!("{cluster} has {identity} of {bundle} as {is}, not as {text}"));
                }
                Some(live) if one.data.as_ref().is_some_and(|data| live.get("data") != Some(data)) => {
                    out.push(format!("{cluster} has other data in {identity} of {bundle}"));
                }
                Some(live) if !owners(&live).contains(bundle) => {
                    out.push(format!("{identity} of {bundle} in {cluster} lacks its mark"));
                }
                Some(_) => {}
            }
        }
    }
    for identity in state.identities() {
        let Some(live) = state.object(identity) else { continue };
        let is_wanted = |bundle: &String| wanted.contains(&(bundle.clone(), identity.clone()));
        let marked = owners(&live);
        if !marked.is_empty() && !marked.iter().any(is_wanted) && !world.is_copy(cluster, identity) {
            out.push(format!("{cluster} still has {identity} of {marked:?}"));
        }
    }
    out
}
