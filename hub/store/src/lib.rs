//! The bodies of the hub, by digest: objects, secrets, variants, variables and catalogs.
//!
//! The log carries digests; what they stand for lies here. A body that was put is on disk before
//! [`Store::put`] returns, and what [`Store::get`] returns has the digest that was asked for.
//! Bodies of kind [`Kind::Secret`] are sealed with a key from a file of its own.
//!
//! All calls block: call them from `spawn_blocking`.

mod error;
mod key;
mod record;
mod store;

pub use error::{KeyError, StoreError};
pub use key::{SealError, SealingKey};
pub use record::Kind;
pub use store::Store;
