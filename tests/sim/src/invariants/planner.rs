//! The planner takes what is dirty, not the whole fleet. When it has nothing to propose, planning
//! every bundle anew proposes nothing either.

use super::{Context, Invariant, Seen};

/// Compares the incremental plan with the full one.
#[derive(Debug, Default)]
pub struct Planner;

impl Invariant for Planner {
    fn name(&self) -> &'static str {
        "planner"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Idle { everything } if !everything.groups.is_empty() => {
                Err(format!("nothing was proposed, and a plan of everything gives {:?}", everything.groups))
            }
            _ => Ok(()),
        }
    }
}
