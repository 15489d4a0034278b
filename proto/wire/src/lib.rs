//! What travels between hub, spokes and operators: generated messages and services, their
//! conversion to and from the domain's words, and the cutting of large things into small messages.
//!
//! Domain words are not wire words: everything outside this crate speaks `proto_model`. A message
//! that does not say everything, or says something that this version does not know, is an error
//! that names the field, never a guess.

pub mod chunk;
pub mod compress;
pub mod convert;
pub mod to_hub;
pub mod to_spoke;

pub use chunk::{Encoded, Messages};
pub use convert::WireError;

/// The version of the sync protocol that this build speaks, as `Hello` names it.
pub const PROTOCOL: u32 = 1;

/// The name that every hub's certificate carries, whatever its addresses: spokes and operators ask
/// for this one, so that an address may change.
pub const SERVER_NAME: &str = "drover-hub";

/// The descriptors of every service, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! generated {
    ($(#[$doc:meta])* $name:ident, $package:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            unreachable_pub,
            unused_qualifications,
            clippy::all,
            clippy::unwrap_used,
            clippy::expect_used,
            clippy::large_futures,
            reason = "generated code"
        )]
        pub mod $name {
            tonic::include_proto!($package);
        }
    };
}

generated!(
    /// Messages and service of the stream between a spoke and the hub.
    sync,
    "drover.sync.v1"
);
generated!(
    /// Messages and service by which a spoke joins.
    enroll,
    "drover.enroll.v1"
);
generated!(
    /// Messages and service for operators.
    control,
    "drover.control.v1"
);
