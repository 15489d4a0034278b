//! The context file of an operator: where the hub is, and the certificate that opens it.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dir::write_durably;

/// What `drover` needs to talk to a hub. Stored as JSON, readable by its owner alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// Format of the file: 1.
    pub version: u32,
    /// The hub: 32 hexadecimal digits.
    pub hub_id: String,
    /// Addresses of its replicas, `HOST:PORT`.
    pub addresses: Vec<String>,
    /// The CA certificates to trust, PEM. The server is asked for by the name `drover-hub`.
    pub ca: String,
    /// The operator's certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub key: String,
}

impl Context {
    /// Writes the file, durably.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_durably(path, &text)
    }
}
