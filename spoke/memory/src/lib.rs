//! A Kubernetes cluster in memory: the default of a first run, the world of simulations, and the
//! load of scale tests.
//!
//! [`State`] is pure and synchronous: time comes in as a value, and the same calls give the same
//! answers. [`Memory`] puts it behind [`spoke_core::port::Cluster`] and keeps it in a directory.
//! It is only as good as the conformance suite that it shares with a real API server
//! (`tests/cluster`): where the two differ, the real server is right.

mod access;
mod apply;
mod contents;
mod controllers;
mod custom;
mod defaults;
mod fault;
mod fields;
mod journal;
mod kinds;
mod managed;
mod memory;
mod merge;
mod patch;
mod resolve;
mod schema;
mod state;
mod status;
mod store;
mod validate;
mod voice;
mod watch;

pub use fault::{Fault, Verb};
pub use journal::JournalError;
pub use memory::Memory;
pub use state::{Change, Script, Settings, State};
pub use watch::Subscriber;
