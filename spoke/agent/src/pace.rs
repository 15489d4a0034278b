//! When to try again, and where. Pure: randomness comes in as a number from 0 to 1.

use std::collections::VecDeque;
use std::time::Duration;

use proto_model::limits;

/// Waits between tries to reach the hub: full jitter under a limit that doubles.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// How long to wait before the next try.
    pub(crate) fn next(&mut self, dice: f64) -> Duration {
        let most =
            limits::RECONNECT_MILLIS_MIN.saturating_mul(1 << self.tries.min(16)).min(limits::RECONNECT_MILLIS_MAX);
        self.tries = self.tries.saturating_add(1);
        Duration::from_millis(most).mul_f64(dice.clamp(0.0, 1.0))
    }

    /// How long to wait where trying again soon cannot help.
    pub(crate) fn slow(&mut self, dice: f64) -> Duration {
        self.tries = 16;
        Duration::from_millis(limits::RECONNECT_MILLIS_MAX).mul_f64(0.5 + dice.clamp(0.0, 1.0) / 2.0)
    }

    /// It worked: the next wait is short again.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// Whether this is the first try in a row.
    pub(crate) fn is_first(&self) -> bool {
        self.tries == 0
    }
}

/// The addresses of a hub, one after another.
#[derive(Debug)]
pub(crate) struct Addresses {
    known: VecDeque<String>,
    preferred: VecDeque<String>,
}

impl Addresses {
    /// Begins at a random one, so that a fleet spreads over its replicas.
    pub(crate) fn new(known: &[String], dice: f64) -> Self {
        let mut known: VecDeque<String> = known.iter().cloned().collect();
        if !known.is_empty() {
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a handful of addresses"
            )]
            let start = (known.len() as f64 * dice.clamp(0.0, 0.999)) as usize;
            known.rotate_left(start);
        }
        Self { known, preferred: VecDeque::new() }
    }

    /// Where to try next; empty where nothing is known.
    pub(crate) fn next(&mut self) -> String {
        if let Some(address) = self.preferred.pop_front() {
            return address;
        }
        let next = self.known.front().cloned().unwrap_or_default();
        if !self.known.is_empty() {
            self.known.rotate_left(1);
        }
        next
    }

    /// Stay with the address of the last `next`: it worked.
    pub(crate) fn stay(&mut self, address: &str) {
        if let Some(at) = self.known.iter().position(|one| one == address) {
            self.known.rotate_left(at);
        }
    }

    /// The hub asks to go to one of these; to any other than the present one where there is none.
    pub(crate) fn prefer(&mut self, addresses: Vec<String>, present: &str) {
        if addresses.is_empty() && self.known.front().is_some_and(|one| one == present) {
            self.known.rotate_left(1);
        }
        self.preferred = addresses
            .into_iter()
            .filter(|text| proto_model::token::is_address(text))
            .take(limits::HUB_ADDRESSES_MAX)
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew() {
        let mut backoff = Backoff::default();
        let max = Duration::from_millis(limits::RECONNECT_MILLIS_MAX);
        let first = backoff.next(1.0);
        assert_eq!(first, Duration::from_millis(limits::RECONNECT_MILLIS_MIN));
        assert_eq!(backoff.next(1.0), first * 2);
        assert_eq!(backoff.next(0.0), Duration::ZERO);
        for _ in 0..40 {
            backoff.next(0.5);
        }
        assert_eq!(backoff.next(1.0), max);
        backoff.reset();
        assert_eq!(backoff.next(1.0), first);
        assert!(backoff.slow(0.0) >= max / 2 && backoff.slow(1.0) <= max);
    }

    #[test]
    fn addresses_are_tried_in_turn() {
        let known = ["a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned()];
        let mut addresses = Addresses::new(&known, 0.5);
        assert_eq!(addresses.next(), "b:1");
        assert_eq!(addresses.next(), "c:1");
        assert_eq!(addresses.next(), "a:1");
        addresses.stay("a:1");
        assert_eq!(addresses.next(), "a:1");
        assert_eq!(Addresses::new(&[], 0.5).next(), "");
    }

    #[test]
    fn a_move_goes_where_it_says_or_elsewhere() {
        let known = ["a:1".to_owned(), "b:1".to_owned()];
        let mut addresses = Addresses::new(&known, 0.0);
        addresses.prefer(vec!["c:1".into(), "no address".into()], "a:1");
        assert_eq!(addresses.next(), "c:1");
        assert_eq!(addresses.next(), "a:1");
        addresses.stay("a:1");
        addresses.prefer(vec![], "a:1");
        assert_eq!(addresses.next(), "b:1");
    }
}
