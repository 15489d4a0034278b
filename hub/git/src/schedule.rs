//! When to look at a source again. Pure: times are milliseconds of any one clock, and the dice are
//! thrown by the caller.

use proto_model::limits;

/// Failures of a local source are cheap to retry, and somebody is probably watching: the longest
/// wait is this many times its poll.
const LOCAL_BACKOFF_POLLS: u64 = 10;
/// First wait after a failure of a remote source, in milliseconds; it doubles each time.
const REMOTE_BACKOFF_MILLIS_MIN: u64 = 5_000;
/// A wait is stretched or shortened by up to this share, so that hubs do not poll in step.
const JITTER: f64 = 0.2;

/// Where a source lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On this machine: its ref is read every [`limits::POLL_LOCAL_SECS`].
    Local,
    /// On a server: it is asked every [`limits::POLL_REMOTE_SECS`], give or take.
    Remote,
}

/// What failed last, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why, for people.
    pub reason: String,
    /// When the first of the failures in a row was, in milliseconds.
    pub since_millis: u64,
    /// How many there were in a row.
    pub count: u32,
}

/// The times of one source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    place: Place,
    /// Time between polls, in milliseconds, where the source says one.
    poll_millis: Option<u64>,
    next_millis: u64,
    /// When it was last looked at, in milliseconds.
    looked_millis: Option<u64>,
    failure: Option<Failure>,
}

impl Schedule {
    /// A source that is due at once.
    #[must_use]
    pub fn new(place: Place) -> Self {
        Self { place, poll_millis: None, next_millis: 0, looked_millis: None, failure: None }
    }

    /// The same source, polled so often; within [`limits::POLL_SECS_MIN`] and
    /// [`limits::POLL_SECS_MAX`].
    #[must_use]
    pub fn polled_every(self, millis: u64) -> Self {
        let millis = millis.clamp(limits::POLL_SECS_MIN * 1000, limits::POLL_SECS_MAX * 1000);
        Self { poll_millis: Some(millis), ..self }
    }

    /// Whether to look now.
    #[must_use]
    pub fn due(&self, now_millis: u64) -> bool {
        self.next_millis <= now_millis
    }

    /// When it is due, in milliseconds.
    #[must_use]
    pub fn next_millis(&self) -> u64 {
        self.next_millis
    }

    /// The failure that lasts; `None` after a success.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// It is due at once: somebody asked.
    pub fn poke(&mut self) {
        self.next_millis = 0;
    }

    /// A webhook came: it is due at once, or, where it was looked at just before, as soon as
    /// [`limits::HOOK_FETCH_MILLIS_MIN`] have passed. However many come, it is one look.
    pub fn hooked(&mut self) {
        let soonest = self.looked_millis.map_or(0, |at| at.saturating_add(limits::HOOK_FETCH_MILLIS_MIN));
        self.next_millis = self.next_millis.min(soonest);
    }

    /// It was fetched. `dice` is a random number from 0 to 1.
    pub fn succeeded(&mut self, now_millis: u64, dice: f64) {
        self.failure = None;
        self.looked_millis = Some(now_millis);
        let wait = match (self.place, self.poll_millis) {
            (_, Some(millis)) => jittered(millis, dice),
            (Place::Local, None) => limits::POLL_LOCAL_SECS * 1000,
            (Place::Remote, None) => jittered(limits::POLL_REMOTE_SECS * 1000, dice),
        };
        self.next_millis = now_millis.saturating_add(wait);
    }

    /// It could not be fetched. `dice` is a random number from 0 to 1.
    pub fn failed(&mut self, now_millis: u64, reason: &str, dice: f64) {
        self.looked_millis = Some(now_millis);
        let failure = self.failure.take();
        let since_millis = failure.as_ref().map_or(now_millis, |failure| failure.since_millis);
        let count = failure.map_or(0, |failure| failure.count).saturating_add(1);
        let (first, longest) = match self.place {
            Place::Local => (limits::POLL_LOCAL_SECS * 1000, LOCAL_BACKOFF_POLLS * limits::POLL_LOCAL_SECS * 1000),
            Place::Remote => (REMOTE_BACKOFF_MILLIS_MIN, limits::POLL_BACKOFF_SECS_MAX * 1000),
        };
        let doubled = first.saturating_mul(1 << (count - 1).min(20));
        self.next_millis = now_millis.saturating_add(jittered(doubled.min(longest), dice));
        self.failure = Some(Failure { reason: reason.to_owned(), since_millis, count });
    }
}

fn jittered(millis: u64, dice: f64) -> u64 {
    let share = 1.0 + JITTER * (2.0 * dice.clamp(0.0, 1.0) - 1.0);
    // Waits are minutes: far below where a float loses milliseconds.
    (millis as f64 * share) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_source_is_polled_about_every_minute() {
        let mut schedule = Schedule::new(Place::Remote);
        assert!(schedule.due(0));
        for (dice, wait) in [(0.0, 48_000), (0.5, 60_000), (1.0, 72_000), (7.0, 72_000)] {
            schedule.succeeded(1_000, dice);
            assert_eq!(schedule.next_millis(), 1_000 + wait);
        }
        assert!(!schedule.due(72_999) && schedule.due(73_000));
        schedule.poke();
        assert!(schedule.due(0));
    }

    #[test]
    fn a_local_source_is_polled_every_second() {
        let mut schedule = Schedule::new(Place::Local);
        schedule.succeeded(5_000, 1.0);
        assert_eq!(schedule.next_millis(), 6_000);
    }

    #[test]
    fn a_source_may_say_how_often() {
        let mut schedule = Schedule::new(Place::Remote).polled_every(300_000);
        for (dice, wait) in [(0.0, 240_000), (0.5, 300_000), (1.0, 360_000)] {
            schedule.succeeded(1_000, dice);
            assert_eq!(schedule.next_millis(), 1_000 + wait);
        }
        let mut schedule = Schedule::new(Place::Remote).polled_every(1);
        schedule.succeeded(0, 0.5);
        assert_eq!(schedule.next_millis(), limits::POLL_SECS_MIN * 1000);
    }

    #[test]
    fn webhooks_are_one_look_and_not_more_often_than_their_limit() {
        let mut schedule = Schedule::new(Place::Remote);
        schedule.hooked();
        assert!(schedule.due(0));
        schedule.succeeded(10_000, 0.5);
        schedule.hooked();
        schedule.hooked();
        assert_eq!(schedule.next_millis(), 10_000 + limits::HOOK_FETCH_MILLIS_MIN);
        // It never comes later for being asked for, and a failure may be over.
        for _ in 0..9 {
            schedule.failed(20_000, "down", 0.5);
        }
        schedule.hooked();
        assert_eq!(schedule.next_millis(), 20_000 + limits::HOOK_FETCH_MILLIS_MIN);
        schedule.poke();
        schedule.hooked();
        assert!(schedule.due(0));
    }

    #[test]
    fn failures_back_off_and_keep_their_reason_and_beginning() {
        let mut schedule = Schedule::new(Place::Remote);
        let mut now = 10_000;
        let mut waits = Vec::new();
        for n in 0..10 {
            schedule.failed(now, &format!("reason {n}"), 0.5);
            waits.push((schedule.next_millis() - now) / 1000);
            now = schedule.next_millis();
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]);
        let expected = Failure { reason: "reason 9".to_owned(), since_millis: 10_000, count: 10 };
        assert_eq!(schedule.failure(), Some(&expected));
        schedule.succeeded(now, 0.5);
        assert_eq!(schedule.failure(), None);
        schedule.failed(now, "again", 0.5);
        assert_eq!(schedule.next_millis() - now, 5_000);
    }

    #[test]
    fn a_local_source_is_soon_looked_at_again() {
        let mut schedule = Schedule::new(Place::Local);
        for _ in 0..100 {
            schedule.failed(0, "no such path", 0.5);
        }
        assert_eq!(schedule.next_millis(), 10_000);
    }
}
