//! The reference: bare tonic over mutual TLS, nothing computed, nothing stored by the server. Each broadcast is the
//! bytes that a spoke of Drover was sent for a commit, in as many messages; each client appends a record as large as
//! its ledger's to a file of its own, syncs it and acks.

pub(crate) mod clients;
pub(crate) mod server;

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use std::path::Path;
use std::time::Duration;

use tests_wire::procfs;

use crate::child::Child;
use crate::stats::Times;
use crate::{Shape, folder};

/// What was measured of the reference.
pub(crate) struct Figures {
    /// From the first send to the last ack.
    pub(crate) last_ack: Times,
    /// The server's processor time for one broadcast.
    pub(crate) cpu: Times,
    /// The server's memory for one connected stream, in bytes.
    pub(crate) rss_per_stream: u64,
}

/// Takes the reference.
///
/// # Errors
/// A part of it fails.
pub(crate) fn measure(shape: Shape, delta_bytes: u64, record_bytes: u64) -> Result<Figures> {
    let (_kept, dir) = folder()?;
    make_certificates(&dir)?;
    let path = dir.to_str().context("the temporary folder is not UTF-8")?;
    let bytes = delta_bytes.to_string();
    let mut server = Child::start(&["reference-server", "--dir", path, "--bytes", &bytes])?;
    let address = server.hear()?["address"].as_str().context("no address")?.to_owned();
    let alone = procfs::rss_bytes(server.pid())?;
    let record = record_bytes.to_string();
    let mut clients = Vec::new();
    for (first, count) in shape.shares() {
        let (first, count) = (first.to_string(), count.to_string());
        clients.push(Child::start(&[
            "reference-clients",
            "--dir",
            path,
            "--address",
            &address,
            "--first",
            &first,
            "--count",
            &count,
            "--record-bytes",
            &record,
        ])?);
    }
    for client in &mut clients {
        client.hear().context("the clients of the reference do not start")?;
    }
    let connected = procfs::rss_bytes(server.pid())?;
    let mut figures = Figures {
        last_ack: Times::default(),
        cpu: Times::default(),
        rss_per_stream: connected.saturating_sub(alone) / shape.spokes.max(1) as u64,
    };
    for round in 0..=shape.rounds {
        let cpu = procfs::cpu_time(server.pid())?.own;
        let answer = server.ask("go")?;
        let micros = answer["micros"].as_u64().context("no time")?;
        // The first round warms up connections and files.
        if round > 0 {
            figures.last_ack.push(Duration::from_micros(micros));
            figures.cpu.push(procfs::cpu_time(server.pid())?.own.saturating_sub(cpu));
        }
        std::thread::sleep(Duration::from_millis(300));
    }
    Ok(figures)
}

fn make_certificates(dir: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let ca = params.self_signed(&key)?;
    let issuer = Issuer::new(params, key);
    std::fs::write(dir.join("ca.pem"), ca.pem())?;
    for (name, usage) in
        [("server", ExtendedKeyUsagePurpose::ServerAuth), ("client", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["reference".to_owned()])?;
        params.extended_key_usages = vec![usage];
        std::fs::write(dir.join(format!("{name}.pem")), params.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}
