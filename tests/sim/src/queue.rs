//! The one queue of events, ordered by virtual time and, within a millisecond, by when they were
//! put in.

use std::collections::BTreeMap;

/// What is still to happen.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    events: BTreeMap<(u64, u64), T>,
    next: u64,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self { events: BTreeMap::new(), next: 0 }
    }

    /// Something happens at a time, in milliseconds.
    pub(crate) fn put(&mut self, at_millis: u64, event: T) {
        self.events.insert((at_millis, self.next), event);
        self.next += 1;
    }

    /// What happens next, and when, if it is before a time.
    pub(crate) fn pop_before(&mut self, end_millis: u64) -> Option<(u64, T)> {
        let entry = self.events.first_entry().filter(|entry| entry.key().0 < end_millis)?;
        let ((at, _), event) = entry.remove_entry();
        Some((at, event))
    }
}
