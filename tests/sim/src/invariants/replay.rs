//! Rule 3: Fleet depends only on the log. A hub that begins again, from a snapshot or from the
//! first entry, has the same Fleet as before.

use super::{Context, Invariant, Seen};

/// Compares the Fleet before and after a restart.
#[derive(Debug, Default)]
pub struct Replay;

impl Invariant for Replay {
    fn name(&self) -> &'static str {
        "replay"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Replayed { before, after } if before != after => {
                Err(format!("the log gives another Fleet: revision {} was {}", after.revision, before.revision))
            }
            _ => Ok(()),
        }
    }
}
