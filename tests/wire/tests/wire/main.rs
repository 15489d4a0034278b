//! What must hold on the wire, with real TLS, tonic and processes: who is let in, what is fenced off, what a slow or
//! broken peer costs, and what a killed program leaves behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod certificates;
mod checkout;
mod fences;
mod git;
mod handshake;
mod hooks;
mod joining;
mod messages;
mod parting;
mod rendering;
mod restart;
mod services;
mod signed;
mod slow;
mod sources;
mod up;
