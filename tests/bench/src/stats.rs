//! A handful of measurements of one thing, shown as median and extremes.

use std::fmt;
use std::time::Duration;

/// Times of one thing, in milliseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<f64>);

impl Times {
    /// One more.
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time.as_secs_f64() * 1000.0);
    }

    /// The median, in milliseconds.
    #[must_use]
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match (sorted.get(sorted.len() / 2), sorted.get(sorted.len().saturating_sub(1) / 2)) {
            (Some(above), Some(below)) => f64::midpoint(*above, *below),
            _ => f64::NAN,
        }
    }

    /// The time that 95 of 100 did not exceed, in milliseconds.
    #[must_use]
    pub(crate) fn p95(&self) -> f64 {
        let sorted = self.sorted();
        let rank = (sorted.len() * 95).div_ceil(100);
        sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        write!(f, "{:.1} ms median ({least:.1} to {most:.1}, n = {})", self.median(), self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let mut times = Times::default();
        for millis in [9, 1, 5] {
            times.push(Duration::from_millis(millis));
        }
        assert_eq!(times.median(), 5.0);
        times.push(Duration::from_millis(6));
        assert_eq!(times.median(), 5.5);
        assert_eq!(times.to_string(), "5.5 ms median (1.0 to 9.0, n = 4)");
    }

    #[test]
    fn five_of_a_hundred_are_above() {
        let mut times = Times::default();
        (1..=100).rev().for_each(|millis| times.push(Duration::from_millis(millis)));
        assert_eq!(times.p95(), 95.0);
    }
}
