//! Pairs of (variant digest, variables digest) as small numbers.

use std::collections::BTreeSet;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::command::Pair;

/// Numbers for pairs. A number means one pair until it is swept, and is never used again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interner {
    by_number: OrdMap<u32, Pair>,
    by_pair: OrdMap<Pair, u32>,
    next: u32,
    swept_at: u32,
}

impl Interner {
    /// The number of a pair, a new one where it has none.
    pub fn intern(&mut self, pair: Pair) -> u32 {
        if let Some(number) = self.by_pair.get(&pair) {
            return *number;
        }
        let number = self.next;
        self.next += 1;
        self.by_number.insert(number, pair);
        self.by_pair.insert(pair, number);
        number
    }

    /// The pair behind a number.
    #[must_use]
    pub fn pair(&self, number: u32) -> Option<Pair> {
        self.by_number.get(&number).copied()
    }

    /// All pairs in use.
    pub fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.by_pair.keys()
    }

    /// Whether enough numbers were given since the last sweep to make one worth its cost.
    #[must_use]
    pub fn wants_sweep(&self) -> bool {
        let live = self.by_number.len() as u32;
        self.next.saturating_sub(self.swept_at) > 1_000 + live / 2
    }

    /// Forgets every pair that is not in use.
    pub fn sweep(&mut self, used: &BTreeSet<u32>) {
        let kept = self.by_number.iter().filter(|(number, _)| used.contains(number));
        self.by_number = kept.map(|(number, pair)| (*number, *pair)).collect();
        self.by_pair = self.by_number.iter().map(|(number, pair)| (*pair, *number)).collect();
        self.swept_at = self.next;
    }
}
