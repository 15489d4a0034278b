//! Carries what the machine says to its cluster, best effort: what fails is logged once for each reason.

use std::collections::BTreeSet;

use proto_model::limits;
use spoke_core::port::{Failure, Reason};
use tracing::{debug, warn};

/// What was said and how it went.
#[derive(Debug, Default)]
pub(crate) struct Voice {
    under_way: usize,
    /// What was complained about: kind of request and reason.
    complaints: BTreeSet<(&'static str, Reason)>,
}

impl Voice {
    /// Whether one more Event may be made now; the rest are left out.
    pub(crate) fn begins(&mut self) -> bool {
        let may = self.under_way < limits::NOTES_UNDER_WAY_MAX;
        if may {
            self.under_way += 1;
        } else {
            debug!("an Event is left out: {} are on their way", self.under_way);
        }
        may
    }

    /// An Event was made, or not.
    pub(crate) fn told(&mut self, result: &Result<(), Failure>) {
        self.under_way = self.under_way.saturating_sub(1);
        self.note("Events", result);
    }

    /// Notes how something went.
    pub(crate) fn note(&mut self, what: &'static str, result: &Result<(), Failure>) {
        match result {
            Ok(()) => self.complaints.retain(|(about, _)| *about != what),
            Err(failure) if self.complaints.insert((what, failure.reason)) => {
                warn!(%failure, "{what} can't be written; nothing waits for that");
            }
            Err(failure) => debug!(%failure, "{what} can't be written"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_under_way_and_each_reason_is_told_once() {
        let mut voice = Voice::default();
        let begun = (0..limits::NOTES_UNDER_WAY_MAX * 2).filter(|_| voice.begins()).count();
        assert_eq!(begun, limits::NOTES_UNDER_WAY_MAX);
        let failure = Failure { reason: Reason::Forbidden, message: "no".into(), retry_after_millis: None };
        voice.told(&Err(failure.clone()));
        voice.told(&Err(failure));
        assert_eq!(voice.complaints.len(), 1);
        assert!(voice.begins());
        voice.told(&Ok(()));
        assert!(voice.complaints.is_empty());
    }
}
