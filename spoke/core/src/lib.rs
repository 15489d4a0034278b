//! The spoke's decisions: a state machine that takes events and gives effects.
//!
//! Pure: no tokio, clock, file, network or randomness. Time comes in as a value.

pub mod agent;
pub mod port;

pub use agent::{Agent, Effect, Event, Now};
