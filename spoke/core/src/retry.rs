//! How long to wait before something that failed is tried again.

use proto_model::{Digest, limits};

/// Milliseconds to wait after the `attempts`-th failure in a row (1 is the first).
///
/// The wait doubles from [`limits::RETRY_MILLIS_MIN`] to [`limits::RETRY_MILLIS_MAX`]; a failure
/// that trying again can't mend waits longest from the start. What the server asked for
/// (`retry_after_millis`) is honoured up to [`limits::RETRY_AFTER_MILLIS_MAX`]. Up to a quarter is
/// added, chosen by `seed` and the attempt, so that many objects and clusters spread out.
#[must_use]
pub fn wait_millis(attempts: u32, is_final: bool, retry_after_millis: Option<u64>, seed: &str) -> u64 {
    let doubled = limits::RETRY_MILLIS_MIN << attempts.saturating_sub(1).min(16);
    let wait = if is_final { limits::RETRY_MILLIS_MAX } else { doubled };
    let asked = retry_after_millis.unwrap_or(0).min(limits::RETRY_AFTER_MILLIS_MAX);
    let wait = wait.min(limits::RETRY_MILLIS_MAX).max(asked);
    let hash = Digest::of_parts([seed.as_bytes(), &attempts.to_be_bytes()[..]]);
    wait + wait * u64::from(hash.0[0]) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_spread() {
        let waits: Vec<u64> = (1..12).map(|n| wait_millis(n, false, None, "a")).collect();
        assert!(waits[0] >= limits::RETRY_MILLIS_MIN && waits[0] < 2 * limits::RETRY_MILLIS_MIN);
        assert!(waits[3] > 3 * waits[0]);
        assert!(waits.iter().all(|wait| *wait <= limits::RETRY_MILLIS_MAX * 5 / 4));
        assert_eq!(wait_millis(3, false, None, "a"), wait_millis(3, false, None, "a"));
        assert_ne!(wait_millis(3, false, None, "a"), wait_millis(3, false, None, "b"));
    }

    #[test]
    fn final_failures_and_what_the_server_asks_for_wait_longer() {
        assert!(wait_millis(1, true, None, "a") >= limits::RETRY_MILLIS_MAX);
        assert!(wait_millis(1, false, Some(9_000), "a") >= 9_000);
        let asked_too_much = wait_millis(1, false, Some(u64::MAX), "a");
        assert!(asked_too_much <= limits::RETRY_AFTER_MILLIS_MAX * 5 / 4);
    }
}
