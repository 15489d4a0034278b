//! The shell of a spoke: joins a hub, keeps a stream to it, and drives the state machine of
//! `spoke_core` over a cluster.
//!
//! Two tasks for each spoke. The *link* ([`link`]) joins, connects, renews and reconnects, and
//! hands what the hub says to the *loop* ([`run`]), which steps the machine and carries out its
//! effects. Neither decides anything about the cluster; what the loop holds without a hub goes on.
//! Beside them, the *door* ([`door`]) hands on what people at the cluster ask.

mod channel;
mod clock;
mod dir;
pub mod door;
mod enrol;
mod enrolment;
mod intake;
mod lease;
mod link;
mod outbox;
mod pace;
mod run;
mod session;
mod tls;
pub mod verdict;
mod voice;

pub use dir::DirError;
pub use run::{Config, RunError, run};
