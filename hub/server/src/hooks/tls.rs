//! TLS for webhooks where no proxy gives it: a certificate that others made, read again when it
//! was exchanged.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use proto_model::limits;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert, ServerConfig};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

/// Files with the chain, leaf first, and the key of its leaf, both PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// The certificate that is shown now.
#[derive(Debug)]
pub(super) struct Shown {
    files: Files,
    key: RwLock<Arc<CertifiedKey>>,
}

impl Shown {
    /// Reads it for the first time.
    pub(super) fn load(files: Files) -> anyhow::Result<Arc<Self>> {
        let key = RwLock::new(Arc::new(files.read()?));
        Ok(Arc::new(Self { files, key }))
    }

    /// What connections begin with.
    pub(super) fn config(self: &Arc<Self>) -> anyhow::Result<Arc<ServerConfig>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .context("TLS for webhooks")?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Reads it again from time to time, for as long as it is polled.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        loop {
            tokio::time::sleep(Duration::from_secs(limits::CERTIFICATE_CHECK_SECS)).await;
            let files = self.files.clone();
            match tokio::task::spawn_blocking(move || files.read()).await {
                Ok(Ok(read)) => self.exchange(read),
                // The one before is shown on: it may well be good for long.
                Ok(Err(error)) => warn!("{error:#}"),
                Err(_) => return,
            }
        }
    }

    fn exchange(&self, read: CertifiedKey) {
        let mut key = self.key.write().unwrap_or_else(PoisonError::into_inner);
        if key.cert != read.cert {
            *key = Arc::new(read);
            info!(certificate = %self.files.certificate.display(), "the certificate for webhooks was exchanged");
        }
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.key.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Files {
    fn read(&self) -> anyhow::Result<CertifiedKey> {
        let at = |path: &Path| format!("--hooks-tls {}", path.display());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect)
            .with_context(|| at(&self.certificate))?;
        if chain.is_empty() {
            return Err(anyhow!("{}: it holds no certificate", at(&self.certificate)));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).with_context(|| at(&self.key))?;
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).with_context(|| at(&self.key))
    }
}
