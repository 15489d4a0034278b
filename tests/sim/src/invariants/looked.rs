//! When spokes last looked at objects: what somebody made or changed since then they cannot know of yet.

use std::collections::BTreeMap;

use proto_model::{Identity, limits};
use spoke_core::port::Op;

use super::{Context, Seen};

/// Longer than it takes from a look to the request that follows from it, in milliseconds.
const REQUEST_MILLIS: u64 = 5_000;

/// By cluster and object: when it was last looked at, in milliseconds of the simulation.
#[derive(Debug, Default)]
pub(super) struct Looked {
    at: BTreeMap<(String, Identity), u64>,
}

impl Looked {
    /// Takes note of a look.
    pub(super) fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) {
        if let Seen::Happened { cluster, op: Op::Get { identity, .. }, .. } = seen {
            self.at.insert(((*cluster).to_owned(), identity.clone()), context.now_millis);
        }
    }

    /// Whether what somebody did to an object at a time may be unknown to a spoke that acts now: it has not looked
    /// since, and need not have.
    pub(super) fn may_be_unknown(
        &self,
        cluster: &str,
        identity: &Identity,
        foreign_since: Option<u64>,
        context: &Context<'_>,
    ) -> bool {
        let looked = self.at.get(&(cluster.to_owned(), identity.clone())).copied().unwrap_or_default();
        let is_new = foreign_since.is_some_and(|at| at >= looked);
        is_new && context.now_millis < looked + limits::ABSENT_MILLIS + REQUEST_MILLIS
    }
}
