//! Rule 15: a spoke acts only while it holds the Lease of its cluster.

use std::collections::BTreeSet;

use super::{Context, Invariant, Seen};

/// Remembers who holds a Lease.
#[derive(Debug, Default)]
pub struct Lease {
    held: BTreeSet<String>,
}

impl Invariant for Lease {
    fn name(&self) -> &'static str {
        "lease"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Lease { cluster, is_held: true } => {
                self.held.insert((*cluster).to_owned());
            }
            Seen::Lease { cluster, is_held: false } => {
                self.held.remove(*cluster);
            }
            Seen::Issued { cluster, op } if !self.held.contains(*cluster) => {
                return Err(format!("{cluster} asks for {op:?} without the Lease"));
            }
            _ => {}
        }
        Ok(())
    }
}
