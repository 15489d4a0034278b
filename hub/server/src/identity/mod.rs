//! Who the hub is: its id, its CA, its keys, and the directory in which they lie.

pub mod authority;
pub mod context;
mod init;
pub mod mac;
pub mod peer;
pub mod spiffe;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use hub_store::SealingKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

pub use authority::Authority;
pub use context::Context;
pub use init::{Init, init, operator};
pub use mac::Mac;
pub use peer::Peer;
pub use spiffe::{Name, Role};

use crate::dir::{Dir, State};

/// What the CA's key is sealed for.
const AUTHORITY_KEY: &[u8] = b"drover ca key";
/// What the key of the MACs is sealed for.
const MAC_KEY: &[u8] = b"drover mac key";
/// The version of the directory that this build writes.
pub const DIR_VERSION: u32 = 1;

/// What went wrong with keys, certificates or the directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `init` was not run.
    #[error("{0} is not the directory of a hub: run `drover-hub init --dir {0} --advertise HOST:PORT`")]
    NotInitialised(PathBuf),
    /// `init` was run before.
    #[error("{0} already holds a hub: run `drover-hub run --dir {0}`, or choose another directory")]
    AlreadyInitialised(PathBuf),
    /// `init` was interrupted.
    #[error("{0} is half-made: an `init` was interrupted there; remove the directory and run it again")]
    HalfMade(PathBuf),
    /// The directory holds other things.
    #[error("{0} is not empty and holds no hub: choose an empty directory")]
    Foreign(PathBuf),
    /// Made by a later version.
    #[error("{dir} was made by a later version (format {found}, this version reads {DIR_VERSION}): upgrade drover-hub")]
    TooNew {
        /// The directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file was changed by another hand.
    #[error("{path} is damaged ({reason}): restore it from a backup")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Not PEM, or not of the right kind.
    #[error("{0} cannot be read: {1}")]
    BadPem(&'static str, String),
    /// The key of a signing request is of another kind.
    #[error("the signing request must carry a P-256 key")]
    BadKey,
    /// An advertised address is wrong.
    #[error("`{0}` is no host: --advertise takes HOST:PORT, with a name or an IP address")]
    BadHost(String),
    /// A name cannot stand in a certificate.
    #[error("`{0}` is no plain name: use letters, digits, `-`, `.` and `_`")]
    BadName(String),
    /// The certificate library refused.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library refused.
    #[error("TLS: {0}")]
    Tls(String),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
    /// The sealing key cannot be made or used.
    #[error(transparent)]
    SealingKey(#[from] hub_store::KeyError),
    /// The log could not be made.
    #[error(transparent)]
    Log(#[from] hub_raft::InitError),
    /// The sealing key does not work.
    #[error(transparent)]
    Seal(#[from] hub_store::SealError),
}

/// The description of a hub, in `hub.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubFile {
    /// Format of the directory.
    pub version: u32,
    /// 32 hexadecimal digits.
    pub hub_id: String,
    /// Where spokes and operators reach it, `HOST:PORT`.
    pub advertise: Vec<String>,
}

/// Everything that a running hub knows of itself.
pub struct Identity {
    /// The description.
    pub hub: HubFile,
    /// The CA.
    pub authority: Arc<Authority>,
    /// The MACs.
    pub mac: Mac,
}

impl Identity {
    /// Loads what `init` made.
    ///
    /// # Errors
    /// The directory was not initialised, only in part, by a later version, or is damaged.
    pub fn load(dir: &Dir, sealing: &SealingKey) -> Result<Self, Error> {
        let hub = HubFile::load(dir)?;
        let roots = text(dir.authority_certificate())?;
        let key = opened(dir.authority_key(), sealing, AUTHORITY_KEY)?;
        let key = std::str::from_utf8(&key).map_err(|error| damaged(dir.authority_key(), error.to_string()))?;
        let authority = Arc::new(Authority::load(&hub.hub_id, roots, key)?);
        let mac = Mac::new(&opened(dir.mac_key(), sealing, MAC_KEY)?);
        Ok(Self { hub, authority, mac })
    }
}

impl HubFile {
    /// Reads `hub.json`, or says what is missing.
    ///
    /// # Errors
    /// As [`Identity::load`].
    pub fn load(dir: &Dir) -> Result<Self, Error> {
        let root = dir.root().to_path_buf();
        match dir.state().map_err(|source| file(&root, source))? {
            State::Ready => {}
            State::HalfMade => return Err(Error::HalfMade(root)),
            State::Empty | State::Foreign => return Err(Error::NotInitialised(root)),
        }
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let content = text(dir.hub_file())?;
        let bad = |error: serde_json::Error| damaged(dir.hub_file(), error.to_string());
        // The version first: a later format may have fields that this one would refuse.
        let Version { version } = serde_json::from_str(&content).map_err(bad)?;
        if version > DIR_VERSION {
            return Err(Error::TooNew { dir: root, found: version });
        }
        serde_json::from_str(&content).map_err(bad)
    }
}

/// The hosts of advertised addresses.
///
/// # Errors
/// One is not `HOST:PORT`.
pub fn hosts(addresses: &[String]) -> Result<Vec<String>, Error> {
    addresses
        .iter()
        .map(|address| {
            let bad = || Error::BadHost(address.clone());
            let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
            port.parse::<u16>().map_err(|_| bad())?;
            let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
            if host.is_empty() { Err(bad()) } else { Ok(host.to_owned()) }
        })
        .collect()
}

/// Random bytes from the system, as hexadecimal digits: two for each byte.
///
/// # Errors
/// The system gives none.
pub fn random_hex(bytes: usize) -> Result<String, Error> {
    Ok(hex(&random(bytes)?))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a text has no way to fail.
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Random bytes from the system.
///
/// # Errors
/// The system gives none.
pub fn random(bytes: usize) -> Result<Zeroizing<Vec<u8>>, Error> {
    let mut out = Zeroizing::new(vec![0; bytes]);
    aws_lc_rs::rand::fill(&mut out).map_err(|_| Error::Random)?;
    Ok(out)
}

fn text(path: PathBuf) -> Result<String, Error> {
    fs::read_to_string(&path).map_err(|source| file(&path, source))
}

fn opened(path: PathBuf, sealing: &SealingKey, purpose: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let sealed = fs::read(&path).map_err(|source| file(&path, source))?;
    sealing.open(purpose, &sealed).map_err(|error| damaged(path, error.to_string()))
}

fn file(path: &std::path::Path, source: io::Error) -> Error {
    Error::File { path: path.to_path_buf(), source }
}

fn damaged(path: PathBuf, reason: String) -> Error {
    Error::Damaged { path, reason }
}
