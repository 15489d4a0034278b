//! Rules 5 and 9: what a Hello names is what the durable ledger holds: its fence and its root, never
//! something that is not stored yet.

use proto_model::delta::ToHub;

use super::{Context, Invariant, Seen};

/// Compares each Hello with the ledger.
#[derive(Debug, Default)]
pub struct Hello;

impl Invariant for Hello {
    fn name(&self) -> &'static str {
        "hello"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        let Seen::Said { cluster, message: ToHub::Hello(hello) } = seen else { return Ok(()) };
        // A spoke that holds nothing, or lost a part of it, says so with an empty fence.
        if hello.fence.hub_id.is_empty() {
            return Ok(());
        }
        let ledger = context.ledger(cluster)?;
        let is_held = |root: &crate::history::Root| root.fence == hello.fence && root.root == hello.root;
        if ledger.current().iter().any(is_held) {
            return Ok(());
        }
        Err(format!(
            "{cluster} says that it holds {:?} with root {:?}, and its ledger says {:?}",
            hello.fence,
            hello.root,
            ledger.last().map(|root| (&root.fence, root.root))
        ))
    }
}
