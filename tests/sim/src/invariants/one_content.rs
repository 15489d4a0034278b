//! Rule 5: one (epoch, incarnation, generation) means one content for ever. Looked at in Fleet, in
//! deltas on their way, and in ledgers.

use std::collections::BTreeMap;

use hub_core::command::Pair;
use hub_core::fleet::Fleet;
use proto_model::delta::ToSpoke;
use proto_model::{Digest, Fence, Permit};

use super::{Context, Invariant, Seen};

type Place = (String, (u64, u64, u64));
/// By bundle: what is assigned, what may be removed, and whether it is on its way out.
type Content = BTreeMap<String, (Option<Pair>, Permit, bool)>;

/// Remembers what every fence meant.
#[derive(Debug, Default)]
pub struct OneContent {
    assigned: BTreeMap<Place, Content>,
    roots: BTreeMap<Place, Digest>,
}

impl OneContent {
    fn fleet(&mut self, fleet: &Fleet) -> Result<(), String> {
        for (name, cluster) in &fleet.clusters {
            let mut content = Content::new();
            for (bundle, known) in &fleet.bundles {
                let pair = fleet.assigned(known, cluster.number);
                let is_removed = known.removing.contains(cluster.number);
                if pair.is_some() || is_removed {
                    let permit = known.permit(cluster.number);
                    content.insert(bundle.clone(), (pair, permit, is_removed));
                }
            }
            let fence = fleet.fence(cluster);
            let before = self.assigned.entry(place(name, &fence)).or_insert_with(|| content.clone());
            if *before != content {
                return Err(format!(
                    "generation {} of {name} (incarnation {}) was {before:?} and is {content:?}",
                    fence.generation, fence.incarnation
                ));
            }
        }
        Ok(())
    }

    fn root(&mut self, cluster: &str, fence: &Fence, root: Digest, whose: &str) -> Result<(), String> {
        if fence.hub_id.is_empty() {
            return Ok(());
        }
        let before = *self.roots.entry(place(cluster, fence)).or_insert(root);
        if before == root {
            return Ok(());
        }
        Err(format!("{whose} of {cluster}: {fence:?} meant root {before:?} and now means {root:?}"))
    }
}

fn place(cluster: &str, fence: &Fence) -> Place {
    (cluster.to_owned(), (fence.epoch, fence.incarnation, fence.generation))
}

impl Invariant for OneContent {
    fn name(&self) -> &'static str {
        "one_content"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Applied { after, .. } => self.fleet(after),
            Seen::Told { cluster, message: ToSpoke::Delta(delta), .. } => {
                self.root(cluster, &delta.fence, delta.root, "a delta")
            }
            Seen::Durable { cluster, key, bytes: Some(_) } if *key == spoke_core::ledger::ROOT_KEY => {
                let Some(last) = context.ledger(cluster)?.last() else { return Ok(()) };
                self.root(cluster, &last.fence, last.root, "the ledger")
            }
            _ => Ok(()),
        }
    }
}
