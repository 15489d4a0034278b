//! The spoke's decisions: a state machine that takes events and gives effects.
//!
//! Pure: no tokio, clock, file, network or randomness. Time comes in as a value.

pub mod agent;
mod claim;
pub mod contents;
pub mod diff;
pub mod health;
mod ignore;
pub mod inbox;
pub mod inventory;
pub mod ledger;
pub mod local;
mod managed;
pub mod note;
pub mod order;
pub mod owner;
pub mod pack;
pub mod port;
pub mod prune;
pub mod report;
pub mod retry;
mod rival;
mod scaler;
mod secret;
pub mod suspend;
pub mod target;
pub mod unpack;

pub use agent::{Agent, Effect, Event, Now};
