//! Rule 11: an identity has one owning bundle per cluster. No bundle applies over an object that
//! bears the mark of another bundle which still wants it, or over one that bears none: what it takes
//! over is in its durable inventory first.

use proto_model::assign::Entry;
use spoke_core::inventory::Former;
use spoke_core::port::Op;

use crate::history;

use super::{Context, Invariant, Seen, bundle_of, owners, written};

/// Between the look at an object and the request that follows, somebody else may be faster: no
/// request of Kubernetes can rule that out for an apply. Milliseconds.
const RACE_MILLIS: u64 = 5_000;

/// Looks at whose every object is that is about to be applied.
#[derive(Debug, Default)]
pub struct OneOwner;

impl Invariant for OneOwner {
    fn name(&self) -> &'static str {
        "one_owner"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        let Seen::Reached { cluster, op, live: Some(live), foreign_since } = seen else {
            return Ok(());
        };
        let Op::Apply { manager, dry_run: false, .. } = op else { return Ok(()) };
        let Some(identity) = written(op).filter(|identity| !identity.kind.is_shared()) else {
            return Ok(());
        };
        let (bundle, marked) = (bundle_of(manager), owners(live));
        if marked.iter().any(|one| one == bundle) {
            return Ok(());
        }
        let ledger = context.ledger(cluster)?;
        if let Some(other) = marked.first() {
            let tracked = ledger.inventories.get(bundle).and_then(|all| all.objects.get(&identity));
            let uid = live.pointer("/metadata/uid").and_then(|uid| uid.as_str());
            let is_taken_over = tracked.is_some_and(|one| {
                one.uid.as_deref() == uid && one.former == Some(Former::Bundle((*other).to_owned()))
            });
            let is_given_up = ledger.current().iter().any(|root| match root.entries.get(other.as_str()) {
                Some(Entry::Remove(_)) => true,
                entry => history::expected(context.bodies, entry).is_some_and(|all| !all.contains_key(&identity)),
            });
            return match is_taken_over && is_given_up {
                true => Ok(()),
                false => Err(format!("{bundle} takes {identity} of {cluster} from {other}")),
            };
        }
        // Its marks were taken off, but it is the object that the bundle made.
        let uid = live.pointer("/metadata/uid").and_then(|uid| uid.as_str());
        let tracked = ledger.inventories.get(bundle).and_then(|all| all.objects.get(&identity));
        let is_made_by_us =
            tracked.is_some_and(|one| one.uid.is_some() && one.uid.as_deref() == uid) || manages(live, manager);
        let is_race = foreign_since.is_some_and(|at| context.now_millis < at + RACE_MILLIS);
        if is_made_by_us || is_race {
            return Ok(());
        }
        Err(format!("{bundle} applies over {identity} of {cluster}, which is nobody's"))
    }
}

fn manages(live: &serde_json::Value, manager: &str) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(|all| all.as_array());
    let is_it = |entry: &serde_json::Value| entry.get("manager").is_some_and(|one| one == manager);
    entries.is_some_and(|all| all.iter().any(is_it))
}
