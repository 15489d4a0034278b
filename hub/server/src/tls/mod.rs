//! TLS of the one port: our own acceptor, certificates that reload, and who the peer is.

mod acceptor;
mod certificate;

pub use acceptor::{Acceptor, Limits, Remote};
pub use certificate::{Certificate, config};
