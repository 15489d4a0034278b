//! What an operator suspended at the hub is not moved there, and not touched in its cluster once the spoke has stored it:
//! until it ends, or the hub says something else. What was suspended at the cluster is not touched there either.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::command::Command;
use proto_model::Identity;
use proto_model::delta::ToSpoke;
use proto_model::suspend::CLUSTER;
use spoke_core::ledger::ROOT_KEY;
use spoke_core::local::Suspended as AtCluster;
use spoke_core::port::Op;
use spoke_core::suspend::{Suspension, Suspensions};

use super::{Context, Invariant, Seen, bundle_of};
use crate::world::BEGINNING_UNIX_MILLIS;

/// What was said last, and not stored yet.
#[derive(Debug, Default)]
pub struct Suspended {
    /// Names of the suspensions, by cluster and scope.
    told: BTreeMap<String, BTreeMap<String, u64>>,
    /// Clusters whose spoke may have heard something else than what it has stored.
    unsure: BTreeSet<String>,
    /// Clusters where somebody ended a suspension that their ledger may still have.
    resumed: BTreeSet<String>,
}

impl Suspended {
    /// Whether a bundle is suspended for sure.
    fn is_suspended(&self, cluster: &str, bundle: &str, context: &Context<'_>) -> bool {
        let Some(ledger) = context.ledgers.get(cluster) else { return false };
        let now = BEGINNING_UNIX_MILLIS + context.now_millis;
        let lasts = |one: &Suspension| one.until_unix_millis > now;
        let has = |all: &Suspensions| [bundle, CLUSTER].iter().any(|scope| all.get(*scope).is_some_and(lasts));
        let is_at_hub = !self.unsure.contains(cluster) && ledger.last().is_some_and(|root| has(&root.suspensions));
        let current = ledger.current();
        let is_here = !self.resumed.contains(cluster)
            && !current.is_empty()
            && current.iter().all(|root| has(&root.suspensions_here));
        is_at_hub || is_here
    }

    fn issued(&self, cluster: &str, op: &Op, context: &Context<'_>) -> Result<(), String> {
        let owners = |identity: &Identity| -> Vec<String> {
            let inventories = context.ledgers.get(cluster).map(|ledger| &ledger.inventories);
            let all = inventories.into_iter().flatten();
            all.filter(|(_, one)| one.objects.contains_key(identity)).map(|(bundle, _)| bundle.clone()).collect()
        };
        let bundles = match op {
            Op::Apply { manager, dry_run: false, .. } => vec![bundle_of(manager).to_owned()],
            Op::Delete { identity, .. } | Op::Patch { identity, .. } => owners(identity),
            _ => return Ok(()),
        };
        if !bundles.is_empty() && bundles.iter().all(|bundle| self.is_suspended(cluster, bundle, context)) {
            return Err(format!("{cluster} asks for {op:?}, though {bundles:?} is suspended"));
        }
        Ok(())
    }
}

impl Invariant for Suspended {
    fn name(&self) -> &'static str {
        "suspended"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Applied { entry, before, .. } => {
                for command in &entry.commands {
                    let Command::Move(moves) = command else { continue };
                    for number in &moves.clusters.0 {
                        let name = before.by_number(number).map(|(name, _)| name).unwrap_or_default();
                        if before.suspension(name, &moves.bundle).is_some() {
                            return Err(format!("{} moves in {name}, where it is suspended", moves.bundle));
                        }
                    }
                }
            }
            Seen::Told { cluster, message: ToSpoke::Suspensions(all), .. } => {
                let names = all.iter().map(|(scope, one)| (scope.clone(), one.id)).collect();
                self.told.insert((*cluster).to_owned(), names);
                self.unsure.insert((*cluster).to_owned());
            }
            Seen::Durable { cluster, key, .. } if *key == ROOT_KEY => {
                let last = context.ledgers.get(*cluster).and_then(|ledger| ledger.last());
                let stored: BTreeMap<String, u64> = last
                    .into_iter()
                    .flat_map(|root| &root.suspensions)
                    .map(|(name, one)| (name.clone(), one.id))
                    .collect();
                if self.told.get(*cluster).is_some_and(|told| *told == stored) {
                    self.unsure.remove(*cluster);
                }
                if last.is_some_and(|root| root.suspensions_here.is_empty()) {
                    self.resumed.remove(*cluster);
                }
            }
            Seen::Resumed { cluster } => {
                self.resumed.insert((*cluster).to_owned());
            }
            Seen::Obeyed { cluster, suspended } => {
                let last = context.ledgers.get(*cluster).and_then(|ledger| ledger.last());
                let scope = |one: &AtCluster| one.bundle.clone().unwrap_or_else(|| CLUSTER.to_owned());
                let here: Vec<String> = suspended.iter().filter(|one| !one.at_hub).map(scope).collect();
                let is_stored = |scope: &String| last.is_some_and(|root| root.suspensions_here.contains_key(scope));
                if let Some(scope) = here.iter().find(|scope| !is_stored(scope)) {
                    return Err(format!("{cluster} confirms that {scope} is suspended, which its ledger does not say"));
                }
            }
            Seen::Issued { cluster, op } => return self.issued(cluster, op, context),
            _ => {}
        }
        Ok(())
    }
}
