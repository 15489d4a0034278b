//! Rule 10: losing the hub changes nothing in a cluster. With the hub gone for good, what was
//! changed or deleted by hand comes back, no ledger changes, and after a restart a spoke goes on
//! from its ledger alone.

use std::collections::BTreeMap;

use proto_model::Digest;

use super::liveness::differences;
use crate::world::World;

/// What the ledgers say, by cluster: the generation, and the digest over what is assigned.
pub type Ledgers = BTreeMap<String, Option<(u64, Digest)>>;

/// What the ledgers of these clusters say now.
#[must_use]
pub fn ledgers(world: &World, clusters: &[String]) -> Ledgers {
    let last = |name: &String| {
        let ledger = world.ledger(name)?;
        Some((name.clone(), ledger.last().map(|root| (root.fence.generation, root.root))))
    };
    clusters.iter().filter_map(last).collect()
}

/// Compares the clusters with their ledgers, and those with what they were.
///
/// # Errors
/// What is different.
pub fn check(world: &World, before: &Ledgers) -> Result<(), String> {
    let clusters: Vec<String> = before.keys().cloned().collect();
    let after = ledgers(world, &clusters);
    if after != *before {
        return Err(format!("without a hub, ledgers went from {before:?} to {after:?}"));
    }
    let different: Vec<String> = clusters.iter().flat_map(|name| differences(world, name)).collect();
    if different.is_empty() { Ok(()) } else { Err(format!("without a hub, {}", different.join("; "))) }
}
