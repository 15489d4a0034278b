//! The replicated log of the hub: `propose` an entry, `watch` what has been applied.
//!
//! The crate is generic over a [`Machine`], so it knows bytes and no Fleet. What it promises:
//! an answer to [`Raft::propose`] means that the entry is on disk and applied; a restart brings
//! back everything that was answered; an entry that cannot be decoded stops the replica and is
//! never skipped. openraft and redb stay behind these types: neither shows in the interface, and
//! what lies on disk is in formats of our own ([`format`](self) bytes carry a version first).
//!
//! One voter for now. The shape (ids, founding, membership records, a network type) is that of
//! three, so that a real network joins without a change of format.

mod disk;
mod error;
mod format;
mod log;
mod machine;
mod network;
mod options;
mod raft;
mod snapshot;
mod state;
mod types;
mod writer;

pub use disk::init;
pub use error::{DiskError, InitError, OpenError, ProposeError};
pub use machine::{Applied, Machine, Stop};
pub use options::{Options, Timeouts};
pub use raft::{Leader, Proposed, Raft};
