//! What is asked about the fleet: how it stands and why.

pub mod diff;
pub mod explain;
pub mod get;
pub mod records;
pub mod status;
pub mod suspend;

use crate::output::table::Tone;

/// The tone of a sync or health word.
#[must_use]
pub fn tone(word: &str) -> Tone {
    match word {
        "Applied" | "Healthy" => Tone::Good,
        "Failed" | "Degraded" => Tone::Bad,
        _ => Tone::Busy,
    }
}

/// A commit id or digest as people read it.
#[must_use]
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}
