//! What requests were about, for the counters.

use proto_model::{object, wishes};
use serde_json::Value as Json;
use spoke_core::port::{Failure, OWNER_LABEL, Op, Outcome, Reason};

use super::World;
use crate::counts::Event;
use crate::invariants::owners;

impl World {
    /// Counts a request that was carried out on an object as it was before.
    pub(super) fn tally(&mut self, cluster: &str, op: &Op, live: Option<&Json>, outcome: &Outcome) {
        if matches!(outcome, Outcome::Failed(Failure { reason: Reason::Quota, .. })) {
            self.counts.event(Event::OutOfQuota);
        }
        let (Some(live), false) = (live, matches!(outcome, Outcome::Failed(_))) else { return };
        match op {
            Op::Delete { identity, orphan, .. } => {
                let is_named = self.names(cluster, identity);
                self.counts.event(if is_named { Event::Recreated } else { Event::Pruned });
                match object::annotation(live, wishes::PRUNE) {
                    Some("confirm") if !is_named => self.counts.event(Event::Confirmed),
                    Some("first") if !is_named => self.counts.event(Event::WentFirst),
                    _ => {}
                }
                if *orphan {
                    self.counts.event(Event::ReplacedAlone);
                }
            }
            Op::Patch { patch, .. } => {
                let marks = patch.pointer("/metadata/labels").and_then(|labels| labels.get(OWNER_LABEL));
                let is_kept = object::annotation(live, wishes::PRUNE) == Some("keep");
                self.counts.event(match marks {
                    Some(Json::Null) if is_kept => Event::Kept,
                    Some(Json::Null) => Event::LeftBehind,
                    Some(_) => Event::Claimed,
                    None if owners(live).is_empty() => Event::Adopted,
                    None => Event::HandedOver,
                });
            }
            _ => {}
        }
    }
}
