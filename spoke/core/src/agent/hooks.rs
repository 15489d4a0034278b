//! Hooks that ran and ask to be cleaned away: how they ended is written down first, so that they do not run again.

use super::bundle::Bundle;
use super::slot::Slot;
use crate::diff::Sight;

impl Slot {
    /// Whether it came to its end, and asks to be deleted then.
    pub(super) fn is_to_be_cleaned(&self) -> bool {
        let wishes = self.wishes();
        let asks = match self.tracked.finished {
            Some(true) => wishes.delete_succeeded,
            Some(false) => wishes.delete_failed,
            None => false,
        };
        asks && self.target.is_some() && self.is_applied() && matches!(self.sight, Sight::Live(_))
    }
}

impl Bundle {
    /// What is no Job has done its part once the bundle is Healthy.
    pub(super) fn mind_hooks(&mut self, now: u64) {
        if !self.slots.values().any(|slot| slot.wishes().delete_succeeded) || !self.is_healthy() {
            return;
        }
        let mut is_changed = false;
        for slot in self.slots.values_mut() {
            if slot.wishes().delete_succeeded && slot.exists() && slot.tracked.finished.is_none() {
                slot.finish(true);
                slot.is_durable = false;
                is_changed = true;
            }
        }
        if is_changed {
            self.unsaved(now);
        }
    }
}
