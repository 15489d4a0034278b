//! A bucket of permits that refills with time, and jitter.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets through at most so many events a second, with a burst of one second's worth.
#[derive(Debug)]
pub struct Rate {
    per_sec: f64,
    state: Mutex<(f64, Instant)>,
}

impl Rate {
    /// A full bucket.
    #[must_use]
    pub fn new(per_sec: u32, now: Instant) -> Self {
        Self { per_sec: f64::from(per_sec), state: Mutex::new((f64::from(per_sec), now)) }
    }

    /// Takes one permit, if there is one now.
    pub fn take(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (level, at) = &mut *state;
        let passed = now.saturating_duration_since(*at);
        *level = (*level + passed.as_secs_f64() * self.per_sec).min(self.per_sec);
        *at = now.max(*at);
        if *level < 1.0 {
            return false;
        }
        *level -= 1.0;
        true
    }
}

/// A random number of milliseconds below `max`; zero where the system gives none.
#[must_use]
pub fn jitter_millis(max: u64) -> u64 {
    let mut bytes = [0; 8];
    if max == 0 || aws_lc_rs::rand::fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_le_bytes(bytes) % max
}

/// A wait between a half and one and a half times as long.
#[must_use]
pub fn jittered(wait: Duration) -> Duration {
    let millis = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis / 2 + jitter_millis(millis.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_refills_the_bucket_and_no_more() {
        let start = Instant::now();
        let rate = Rate::new(3, start);
        let taken = |at| (0..10).filter(|_| rate.take(at)).count();
        assert_eq!(taken(start), 3);
        assert_eq!(taken(start + Duration::from_millis(400)), 1);
        assert_eq!(taken(start + Duration::from_secs(60)), 3);
        // Time that runs backwards gives nothing.
        assert_eq!(taken(start), 0);
    }
}
