//! Custom resources whose controller writes a status: until one appears nothing is known of them.

use proto_model::limits;

use super::bundle::Bundle;
use super::slot::Slot;
use crate::diff::Sight;
use crate::port::Live;

impl Slot {
    /// Notes whether a status is to come, after an apply. `is_new`: the content or the object is.
    pub(super) fn expect_status(&mut self, live: &Live, is_new: bool, now: u64) {
        if !live.has_status || !self.lacks_status() {
            self.tracked.awaits_status = false;
        } else if is_new {
            self.tracked.awaits_status = true;
            self.status_until = Some(now + limits::STATUS_WAIT_MILLIS);
        }
    }

    /// Whether a status is waited for.
    pub(super) fn awaits_status(&self) -> bool {
        self.tracked.awaits_status && self.lacks_status()
    }

    fn lacks_status(&self) -> bool {
        matches!(&self.sight, Sight::Live(seen) if seen.assessment.lacks_status)
    }
}

impl Bundle {
    /// Ends the waits for a status that has come, or that takes too long: not every controller
    /// writes one. After a restart the wait begins anew.
    pub(super) fn mind_statuses(&mut self, now: u64) {
        let (mut is_changed, mut wake) = (false, None);
        for slot in self.slots.values_mut().filter(|slot| slot.tracked.awaits_status) {
            let until = *slot.status_until.get_or_insert(now + limits::STATUS_WAIT_MILLIS);
            let has_come = matches!(slot.sight, Sight::Live(_)) && !slot.lacks_status();
            if has_come || now >= until {
                slot.tracked.awaits_status = false;
                slot.status_until = None;
                is_changed = true;
            } else {
                wake = Some(wake.map_or(until, |before: u64| before.min(until)));
            }
        }
        if let Some(at) = wake {
            self.wake_at(at);
        }
        if is_changed {
            self.unsaved(now);
        }
    }
}
