//! nginx before another server: it lets in who has a client certificate of its CA, and nobody else.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;

use crate::cluster::free_port;
use crate::process::{Listening, Process};

const START_MAX: Duration = Duration::from_secs(20);
/// Ports are taken by others between being found and being used.
const TRIES: usize = 5;

/// A running nginx; it ends when dropped.
#[derive(Debug)]
pub struct Nginx {
    // Ends before its folder does.
    _process: Process,
    _dir: TempDir,
    port: u16,
    ca: String,
    client: (String, String),
}

impl Nginx {
    /// Starts one before the server at `origin`, `https://HOST:PORT`, whose certificate it does not check.
    ///
    /// # Errors
    /// nginx is missing or does not start.
    pub fn before(origin: &str) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a directory for nginx")?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Equal names would make each certificate look like its own issuer.
        params.distinguished_name.push(DnType::CommonName, "the CA");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let (certificate, key) = issued(&issuer, ExtendedKeyUsagePurpose::ServerAuth)?;
        for (name, text) in [("server.pem", certificate), ("server.key", key), ("ca.pem", issuer.pem())] {
            fs::write(dir.path().join(name), text)?;
        }
        let client = issued(&issuer, ExtendedKeyUsagePurpose::ClientAuth)?;
        for _ in 0..TRIES {
            let port = free_port()?;
            fs::write(dir.path().join("nginx.conf"), config(port, origin))?;
            let mut process = Process::start("nginx", command(dir.path()), &dir.path().join("nginx.log"))?;
            if let Listening::PortTaken = process.wait_listening(port, START_MAX)? {
                continue;
            }
            return Ok(Self { _process: process, _dir: dir, port, ca: issuer.pem(), client });
        }
        bail!("other programs took each port that was found free, {TRIES} times")
    }

    /// Where it listens, as `https://HOST:PORT`.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// The CA of its certificate, in PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// A certificate that it lets in, and its key, in PEM.
    #[must_use]
    pub fn client(&self) -> (&str, &str) {
        (&self.client.0, &self.client.1)
    }
}

fn issued(issuer: &CertifiedIssuer<'_, KeyPair>, usage: ExtendedKeyUsagePurpose) -> Result<(String, String)> {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    params.extended_key_usages = vec![usage];
    params.distinguished_name.push(DnType::CommonName, "not the CA");
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

fn command(dir: &Path) -> Command {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
    command
}

/// One process without a master, so that ending it ends all of it.
fn config(port: u16, origin: &str) -> String {
    format!(
        "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr info;\nevents {{}}\n\
         http {{\n  access_log off;\n  client_max_body_size 64m;\n  client_body_temp_path body;\n  \
         proxy_temp_path proxy;\n  fastcgi_temp_path fastcgi;\n  uwsgi_temp_path uwsgi;\n  scgi_temp_path scgi;\n  \
         server {{\n    listen 127.0.0.1:{port} ssl;\n    ssl_certificate server.pem;\n    \
         ssl_certificate_key server.key;\n    ssl_client_certificate ca.pem;\n    ssl_verify_client on;\n    \
         location / {{ proxy_pass {origin}; proxy_ssl_verify off; }}\n  }}\n}}\n"
    )
}
