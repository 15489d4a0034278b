//! When to renew the Lease of the cluster, and whether it is held. Pure: times are milliseconds of
//! a clock that never goes back.

/// What is known of the Lease.
#[derive(Debug)]
pub(crate) struct Lease {
    /// How long one renewal is good for.
    life_millis: u64,
    /// Until when it is held for sure; `None` while it is not.
    until: Option<u64>,
    /// When to ask next; `None` while an answer is awaited.
    ask_at: Option<u64>,
}

impl Lease {
    pub(crate) fn new(secs: u32) -> Self {
        Self { life_millis: u64::from(secs) * 1000, until: None, ask_at: Some(0) }
    }

    /// When [`Lease::due`] must be called next.
    pub(crate) fn wake_at(&self) -> Option<u64> {
        [self.ask_at, self.until].into_iter().flatten().min()
    }

    /// Whether to ask for the Lease now. The answer goes to [`Lease::answered`].
    pub(crate) fn asks(&mut self, now: u64) -> bool {
        let asks = self.ask_at.is_some_and(|at| at <= now);
        if asks {
            self.ask_at = None;
        }
        asks
    }

    /// Whether the Lease has run out, unrenewed.
    pub(crate) fn has_run_out(&mut self, now: u64) -> bool {
        let over = self.until.is_some_and(|until| until <= now);
        if over {
            self.until = None;
        }
        over
    }

    /// Takes the answer to a question of `asked_at`: `Some(true)` it is ours, `Some(false)` another
    /// holds it, `None` there was no answer. Says whether it is held, where that has changed.
    pub(crate) fn answered(&mut self, asked_at: u64, now: u64, ours: Option<bool>) -> Option<bool> {
        let was_held = self.until.is_some();
        match ours {
            Some(true) => {
                // It counts from the question: whoever else waits for it counts from no earlier.
                self.until = Some(asked_at + self.life_millis * 2 / 3);
                self.ask_at = Some(asked_at + self.life_millis / 3);
            }
            Some(false) => {
                self.until = None;
                self.ask_at = Some(now + self.life_millis / 6);
            }
            None => self.ask_at = Some(now + self.life_millis / 12),
        }
        let is_held = self.until.is_some_and(|until| until > now);
        if !is_held {
            self.until = None;
        }
        (was_held != is_held).then_some(is_held)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_renewed_every_third_of_its_life() {
        let mut lease = Lease::new(30);
        assert!(lease.asks(0) && !lease.asks(0));
        assert_eq!(lease.answered(0, 50, Some(true)), Some(true));
        assert_eq!(lease.wake_at(), Some(10_000));
        assert!(!lease.asks(9_999) && lease.asks(10_000));
        assert_eq!(lease.answered(10_000, 10_100, Some(true)), None);
        assert_eq!(lease.wake_at(), Some(20_000));
    }

    #[test]
    fn without_an_answer_it_is_lost_before_another_can_take_it() {
        let mut lease = Lease::new(30);
        assert!(lease.asks(0));
        assert_eq!(lease.answered(0, 0, Some(true)), Some(true));
        assert!(lease.asks(10_000));
        assert_eq!(lease.answered(10_000, 12_000, None), None);
        assert_eq!(lease.wake_at(), Some(14_500));
        assert!(!lease.has_run_out(19_999));
        assert!(lease.has_run_out(20_000) && !lease.is_held());
        assert!(!lease.has_run_out(20_001), "it is told once");
        // An answer that took longer than the lease is worth nothing.
        assert!(lease.asks(20_000));
        assert_eq!(lease.answered(20_000, 45_000, Some(true)), None);
        assert!(!lease.is_held());
    }

    #[test]
    fn another_holder_is_waited_for() {
        let mut lease = Lease::new(30);
        assert!(lease.asks(0));
        assert_eq!(lease.answered(0, 0, Some(false)), None);
        assert_eq!(lease.wake_at(), Some(5_000));
        assert!(lease.asks(5_000));
        assert_eq!(lease.answered(5_000, 5_000, Some(true)), Some(true));
        assert!(lease.asks(15_000));
        assert_eq!(lease.answered(15_000, 15_000, Some(false)), Some(false));
    }
}
