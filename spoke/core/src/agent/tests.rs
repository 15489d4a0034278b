//! What the machine does, as whole lists of effects, against a tiny cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod cluster;
mod fake;
mod log;

mod ask;
mod checks;
mod drift;
mod harm;
mod hostile;
mod hubless;
mod ledger;
mod local;
mod objects;
mod rehearse;
mod removal;
mod seeds;
mod session;
mod strangers;
mod suspend;
mod voice;
