//! The hub's own certificate, exchanged while connections stand, and the rustls configuration.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use proto_model::limits;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tracing::{error, info};

use crate::identity::{Authority, Error};

/// The server certificate of this process: it lives in memory alone, and is made anew in time.
#[derive(Debug)]
pub struct Certificate {
    key: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Makes the first one, and when to make the next.
    ///
    /// # Errors
    /// A host cannot stand in a certificate.
    pub fn make(authority: &Authority, hosts: &[String], now: SystemTime) -> Result<(Arc<Self>, SystemTime), Error> {
        let made = authority.server(hosts, now)?;
        let renew_at = renew_at(now, made.not_after);
        Ok((Arc::new(Self { key: RwLock::new(made.key) }), renew_at))
    }

    /// Makes a new one for the connections to come, and says when to make the next.
    ///
    /// # Errors
    /// As [`Certificate::make`].
    pub fn renew(&self, authority: &Authority, hosts: &[String], now: SystemTime) -> Result<SystemTime, Error> {
        let made = authority.server(hosts, now)?;
        *self.key.write().unwrap_or_else(PoisonError::into_inner) = made.key;
        Ok(renew_at(now, made.not_after))
    }

    /// Renews for as long as it is polled.
    pub async fn keep_fresh(self: Arc<Self>, authority: Arc<Authority>, hosts: Vec<String>, mut renew_at: SystemTime) {
        loop {
            // A short sleep each time: a timer over days would miss a machine that slept.
            tokio::time::sleep(Duration::from_secs(limits::CERTIFICATE_CHECK_SECS)).await;
            let now = SystemTime::now();
            if now < renew_at {
                continue;
            }
            match self.renew(&authority, &hosts, now) {
                Ok(next) => {
                    renew_at = next;
                    info!("renewed the server certificate");
                }
                Err(error) => error!(%error, "the server certificate could not be renewed"),
            }
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// The configuration of the port: TLS 1.3, HTTP/2, client certificates of this hub's CA optional.
/// Who needs one is decided for each call: joining needs none.
///
/// # Errors
/// The CA's certificates cannot be trusted.
pub fn config(authority: &Authority, certificate: Arc<Certificate>) -> Result<Arc<ServerConfig>, Error> {
    let tls = |error: String| Error::Tls(error);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in authority.roots() {
        roots.add(root.clone()).map_err(|error| tls(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| tls(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| tls(error.to_string()))?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed handshake costs half of a full one: what a fleet pays when it comes back.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| tls(error.to_string()))?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

fn renew_at(now: SystemTime, not_after: SystemTime) -> SystemTime {
    now + not_after.duration_since(now).unwrap_or_default() * 2 / 3
}
