//! Hands off for a while: what people told the spoke, or its hub, to leave alone, kept in the ledger's root.
//!
//! What was said at the cluster and what the hub says are kept apart: neither ends the other.

use std::collections::BTreeMap;

use proto_model::limits;
pub use proto_model::suspend::CLUSTER;
use serde::{Deserialize, Serialize};

/// What is suspended, by scope: a full bundle name or [`CLUSTER`].
pub type Suspensions = BTreeMap<String, Suspension>;

/// One suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspension {
    /// When it ends, in milliseconds since 1970 of the machine's clock.
    pub until_unix_millis: u64,
    /// How long it was meant to last, in milliseconds: no clock that is set back makes it longer.
    pub span_millis: u64,
    /// Why, in the words of who asked for it.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// The hub's name for it, so that what it says again is not taken for another one; 0: made at the cluster.
    #[serde(default, skip_serializing_if = "is_local")]
    pub id: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_local(id: &u64) -> bool {
    *id == 0
}

/// Where a suspension was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// At the cluster.
    Cluster,
    /// At the hub.
    Hub,
}

impl Suspension {
    /// What is left of it, in milliseconds. Where the clock is from before it began, all of its span.
    #[must_use]
    pub fn left_millis(&self, unix_millis: u64) -> u64 {
        self.until_unix_millis.saturating_sub(unix_millis).min(self.span_millis)
    }
}

/// What somebody wants done about suspensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Begin one, or put another in its place.
    Suspend {
        /// The bundle; `None`: the whole cluster.
        bundle: Option<String>,
        /// For how long, in milliseconds, at most `limits::SUSPENSION_SECS_MAX`.
        span_millis: u64,
        /// Why, at most `limits::REASON_BYTES_MAX` bytes.
        reason: String,
        /// Who asks.
        by: String,
    },
    /// End one before its time.
    Resume {
        /// The bundle; `None`: the whole cluster.
        bundle: Option<String>,
    },
}

/// Why a suspension is not one.
///
/// # Errors
/// The span is nothing or too long, or the texts are.
pub(crate) fn check(span_millis: u64, reason: &str, by: &str) -> Result<(), String> {
    let days = limits::SUSPENSION_SECS_MAX / 86_400;
    if span_millis == 0 || span_millis > limits::SUSPENSION_SECS_MAX * 1_000 {
        return Err(format!("a suspension lasts more than nothing and at most {days} days; ask again before it ends"));
    }
    if reason.len() > limits::REASON_BYTES_MAX || by.len() > limits::REASON_BYTES_MAX {
        return Err(format!("the reason is longer than {} bytes", limits::REASON_BYTES_MAX));
    }
    if reason.chars().chain(by.chars()).any(char::is_control) {
        return Err("the reason has control characters in it; write it on one line".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_makes_it_longer_than_its_span() {
        let suspension = Suspension {
            until_unix_millis: 5_000,
            span_millis: 1_000,
            reason: String::new(),
            by: String::new(),
            id: 0,
        };
        let left: Vec<u64> = [0, 4_000, 4_400, 5_000, 9_000].map(|now| suspension.left_millis(now)).into();
        assert_eq!(left, [1_000, 1_000, 600, 0, 0]);
    }

    #[test]
    fn spans_and_texts_have_limits() {
        let max = limits::SUSPENSION_SECS_MAX * 1_000;
        assert!(check(1, "", "").is_ok() && check(max, "why", "who").is_ok());
        assert!(check(0, "", "").is_err() && check(max + 1, "", "").is_err());
        assert!(check(1, &"x".repeat(limits::REASON_BYTES_MAX + 1), "").is_err());
        assert!(check(1, "two\nlines", "").is_err() && check(1, "", "\u{1b}[2J").is_err());
    }
}
