//! The hub's decisions, as pure functions of values: what Git declares, what every cluster should
//! run, how the fleet moves there, and what people see of it.
//!
//! No tokio, clock, file, network or randomness; time comes in as a value.

pub mod access;
pub mod catalog;
pub mod check;
pub mod command;
pub mod facts;
pub mod fleet;
pub mod lead;
pub mod plan;
pub mod publish;
pub mod release;
pub mod select;
pub mod session;
pub mod snapshot;
pub mod view;
pub mod yaml;
