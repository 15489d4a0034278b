//! Rule 6: a cluster counts as settled only on a report that its spoke made about *this*
//! assignment, at or above the generation that brought it. Older health never counts.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::command::Pair;
use hub_core::fleet::Fleet;
use proto_model::delta::ToHub;
use proto_model::{Health, Sync};

use super::{Context, Invariant, Seen};

type Pairing = (String, String);

/// Remembers what was assigned when, and who said that it is Applied and Healthy.
#[derive(Debug, Default)]
pub struct OlderHealth {
    /// By cluster and bundle: what is assigned, by which incarnation and generation.
    assigned: BTreeMap<Pairing, (Pair, u64, u64)>,
    settled: BTreeSet<Pairing>,
    /// By cluster and bundle: what was said to be Applied and Healthy, at which generation.
    said: BTreeMap<Pairing, BTreeSet<(Pair, u64)>>,
}

impl OlderHealth {
    fn fleet(&mut self, fleet: &Fleet) -> Result<(), String> {
        let mut settled = BTreeSet::new();
        for (bundle, known) in &fleet.bundles {
            for number in known.assigned.keys() {
                let Some((cluster, state)) = fleet.by_number(*number) else { continue };
                let Some(pair) = fleet.assigned(known, *number) else { continue };
                let pairing = (cluster.to_owned(), bundle.clone());
                let fresh = (pair, state.incarnation, state.generation);
                let held = self.assigned.entry(pairing.clone()).or_insert(fresh);
                if (held.0, held.1) != (pair, state.incarnation) {
                    *held = fresh;
                }
                if !known.is_settled(*number) {
                    continue;
                }
                let since = held.2;
                let said = self.said.get(&pairing);
                let is_true =
                    said.is_some_and(|all| all.iter().any(|(one, generation)| *one == pair && *generation >= since));
                if !is_true && !self.settled.contains(&pairing) {
                    return Err(format!(
                        "{bundle} counts as settled in {cluster}, assigned with generation {since}; \
                         its spoke only said so of {said:?}"
                    ));
                }
                settled.insert(pairing);
            }
        }
        let gone = |pairing: &Pairing| {
            let number = fleet.clusters.get(&pairing.0).map(|cluster| cluster.number);
            let bundle = fleet.bundles.get(&pairing.1);
            !number.is_some_and(|n| bundle.is_some_and(|b| b.assigned.contains_key(&n)))
        };
        self.assigned.retain(|pairing, _| !gone(pairing));
        self.settled = settled;
        Ok(())
    }
}

impl Invariant for OlderHealth {
    fn name(&self) -> &'static str {
        "older_health"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Applied { after, .. } => self.fleet(after),
            Seen::Said { cluster, message: ToHub::Report(report) }
                if report.sync == Sync::Applied && report.health == Health::Healthy =>
            {
                if let Some(variant) = report.variant {
                    let pairing = ((*cluster).to_owned(), report.bundle.clone());
                    let pair = Pair { variant, variables: report.variables };
                    self.said.entry(pairing).or_default().insert((pair, report.generation));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
