//! The numbers that the hub counts, as Prometheus would read them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// One reading: value by name, without the prefix of the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reading(BTreeMap<String, f64>);

impl Reading {
    /// Reads all numbers at an address.
    ///
    /// # Errors
    /// Nobody answers there.
    pub(crate) fn take(address: SocketAddr) -> Result<Self> {
        let mut socket = TcpStream::connect(address).context("no metrics are served")?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text).context("metrics cannot be read")?;
        Ok(Self(text.lines().filter_map(number).collect()))
    }

    /// A number; 0 where it is not counted.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).map_or(0, |value| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts are small and whole")]
            let whole = *value as u64;
            whole
        })
    }
}

fn number(line: &str) -> Option<(String, f64)> {
    let (name, value) = line.strip_prefix("drover_hub_")?.split_once(' ')?;
    Some((name.to_owned(), value.trim().parse().ok()?))
}
