//! The clock in which waits and the Lease count: it never goes back, and goes on while the machine sleeps. Another
//! spoke waits for the Lease on a machine that may not.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::Monotonic;

/// Time since it was made.
pub(crate) struct Clock {
    read: Box<dyn Fn() -> Duration + Send + Sync>,
    start: Duration,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self::of(|| {
            let now = clock_gettime(CLOCK);
            let (secs, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
            Duration::new(secs.unwrap_or(0), nanos.unwrap_or(0))
        })
    }

    /// One that reads another; for tests.
    pub(crate) fn of(read: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { start: read(), read: Box::new(read) }
    }

    /// Milliseconds since it was made.
    pub(crate) fn millis(&self) -> u64 {
        u64::try_from((self.read)().saturating_sub(self.start).as_millis()).unwrap_or(u64::MAX)
    }
}
