//! Rule 9: the ledger is durable before the first apply of what it says, and never goes back to an
//! older epoch, incarnation or generation.

use proto_model::object;
use spoke_core::ledger::ROOT_KEY;
use spoke_core::port::Op;

use super::{Context, Invariant, Seen, bundle_of};
use crate::bodies::payload;

/// Compares what is applied with the ledger, and each ledger with the one before.
#[derive(Debug, Default)]
pub struct LedgerFirst;

impl Invariant for LedgerFirst {
    fn name(&self) -> &'static str {
        "ledger_first"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Issued { cluster, op: Op::Apply { manifest, manager, dry_run: false } } => {
                let Ok(identity) = object::identity(manifest) else { return Ok(()) };
                let (bundle, wanted) = (bundle_of(manager), payload(manifest));
                if context.ledger(cluster)?.gives(context.bodies, bundle, &identity, &wanted) {
                    return Ok(());
                }
                Err(format!(
                    "{cluster} applies {identity} of {bundle} as {wanted}, which its durable ledger \
                     does not say"
                ))
            }
            Seen::Durable { cluster, key, bytes: Some(_) } if *key == ROOT_KEY => {
                let roots = &context.ledger(cluster)?.roots;
                let [.., before, after] = &roots[..] else { return Ok(()) };
                let order =
                    |root: &crate::history::Root| (root.fence.epoch, root.fence.incarnation, root.fence.generation);
                // A cluster that left the fleet with nothing belongs to no hub.
                let has_left = before.entries.is_empty() && after.fence == proto_model::Fence::default();
                if before.fence.hub_id.is_empty()
                    || has_left
                    || before.fence.hub_id == after.fence.hub_id && order(before) <= order(after)
                {
                    return Ok(());
                }
                Err(format!("the ledger of {cluster} goes from {:?} to {:?}", before.fence, after.fence))
            }
            _ => Ok(()),
        }
    }
}
