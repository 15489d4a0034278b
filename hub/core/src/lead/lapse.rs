//! When suspensions end: at their time by either clock, the one that never goes back or the one on the wall. A wall clock
//! that is set back makes none longer; one that is set forward ends it early. A new leader counts what is left anew, and
//! never more than the span.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::limits;

use crate::command::Lapsed;
use crate::fleet::Fleet;

/// What the leader remembers of suspensions.
#[derive(Debug, Default)]
pub(super) struct Lapses {
    /// When each ends by the clock that never goes back, in milliseconds.
    ends: BTreeMap<Lapsed, u64>,
    /// Those that are over, and not out of Fleet yet.
    over: BTreeSet<Lapsed>,
}

impl Lapses {
    /// Looks which are over, and says in how many milliseconds the next one is.
    pub(super) fn look(&mut self, fleet: &Fleet, now_unix_millis: u64, now_mono_millis: u64) -> Option<u64> {
        let before = std::mem::take(&mut self.ends);
        self.over.clear();
        let mut next = None::<u64>;
        for (cluster, all) in &fleet.suspensions {
            for (scope, one) in all {
                let key = Lapsed { cluster: cluster.clone(), scope: scope.clone(), id: one.id };
                let span = one.until_unix_millis.saturating_sub(one.at_unix_millis);
                let by_wall = one.until_unix_millis.saturating_sub(now_unix_millis).min(span);
                let end = before.get(&key).copied().unwrap_or(now_mono_millis + by_wall);
                let left = end.saturating_sub(now_mono_millis).min(by_wall);
                if left == 0 {
                    self.over.insert(key.clone());
                } else {
                    next = Some(next.map_or(left, |next| next.min(left)));
                }
                self.ends.insert(key, end);
            }
        }
        next
    }

    /// Whether none is over.
    pub(super) fn is_empty(&self) -> bool {
        self.over.is_empty()
    }

    /// Those that are over and still in Fleet, as many as fit into an entry with other things.
    pub(super) fn take(&mut self, fleet: &Fleet) -> Vec<Lapsed> {
        let is_there = |one: &Lapsed| {
            let all = fleet.suspensions.get(&one.cluster);
            all.and_then(|all| all.get(&one.scope)).is_some_and(|known| known.id == one.id)
        };
        let over = std::mem::take(&mut self.over);
        over.into_iter().filter(is_there).take(limits::LAPSES_PER_ENTRY_MAX).collect()
    }
}
