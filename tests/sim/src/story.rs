//! What happened, in words: the last of it is printed with a broken invariant.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// Lines that are kept, where `DROVER_SIM_LINES` does not say how many.
const KEPT: usize = 400;

/// The story of a run. Words cost time, so a run is told only where somebody listens: the first run
/// of a seed is silent, and the same seed is run again to hear what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Story {
    is_told: bool,
    kept: usize,
    lines: VecDeque<String>,
}

impl Story {
    pub(crate) fn new(is_told: bool) -> Self {
        let said = std::env::var("DROVER_SIM_LINES").ok();
        let kept = said.and_then(|said| said.parse().ok()).unwrap_or(KEPT);
        Self { is_told, kept, lines: VecDeque::new() }
    }

    pub(crate) fn tell(&mut self, now_millis: u64, line: impl FnOnce() -> String) {
        if !self.is_told {
            return;
        }
        if self.lines.len() >= self.kept {
            self.lines.pop_front();
        }
        let (secs, millis) = (now_millis / 1000, now_millis % 1000);
        self.lines.push_back(format!("{secs:5}.{millis:03} {}", line()));
    }

    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    /// The last lines.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            // Writing to a text has no way to fail.
            let _ = writeln!(out, "{line}");
        }
        out
    }
}
