//! What can go wrong, for people: what, where, and what to do next.

use std::path::PathBuf;

use proto_model::Digest;

/// The file of the sealing key cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// From the system.
    #[error("the sealing key {path}: {source}", path = .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Other users of the machine may read it.
    #[error("the sealing key {path} may be read by others (mode {mode:o}): run `chmod 600` on it", path = .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not what `SealingKey::create` writes.
    #[error("{path} is no sealing key: restore the file that `drover hub init` made", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// A store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The bodies were sealed with another key.
    #[error("{path} was sealed with another key: start the hub with the key file that lay beside it", path = .path.display())]
    WrongKey {
        /// The database's file.
        path: PathBuf,
    },
    /// Written by a later version.
    #[error("{path} is of version {found}, and this program knows version {known}: start a later version", path = .path.display())]
    Version {
        /// The database's file.
        path: PathBuf,
        /// Its version.
        found: u8,
        /// The newest version that this program reads.
        known: u8,
    },
    /// Another process has it.
    #[error("{path} is in use: another drover-hub runs on this directory", path = .path.display())]
    InUse {
        /// The database's file.
        path: PathBuf,
    },
    /// The file cannot be opened or read. The next call tries again.
    #[error("{path} cannot be read: {source}", path = .path.display())]
    Read {
        /// The database's file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// Nothing of the call was stored; reading goes on.
    #[error("{path} cannot be written: {source}; free some space or repair the disk, it is tried again by itself", path = .path.display())]
    Write {
        /// The database's file.
        path: PathBuf,
        /// What the database said.
        source: Box<redb::Error>,
    },
    /// Nothing of the call was stored: bytes that are not what their digest says.
    #[error("body {digest} was given with other bytes")]
    Mismatch {
        /// The digest that was named.
        digest: Digest,
    },
    /// Nothing of the call was stored: a body is larger than a body may be.
    #[error("body {digest} of {bytes} bytes is larger than {max}")]
    TooLarge {
        /// Its digest.
        digest: Digest,
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// What lies on disk is not the body. Putting it again repairs it.
    #[error("body {digest} in {path} is damaged ({why}): it has to be fetched or rendered again", path = .path.display())]
    Damaged {
        /// The digest that was asked for.
        digest: Digest,
        /// The database's file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}
