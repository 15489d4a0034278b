//! The hub's process: it reads Git, brings what is wanted into the log, and serves spokes and
//! operators. Every decision lies in `hub_core`; here are the loops around it.

pub mod args;
pub mod bodies;
mod collect;
pub mod control;
pub mod dir;
pub mod enroll;
pub mod hooks;
mod hub;
pub mod identity;
pub mod leader;
pub mod log;
pub mod metrics;
pub mod node;
pub mod rate;
pub mod source;
pub mod sync;
pub mod tls;

pub use hub::{Hub, Running, start, start_with};
