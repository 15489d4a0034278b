//! Whom the spoke trusts: the hub's CA, and while it joins the one CA whose digest its token has.

use std::sync::Arc;

use proto_model::Digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{
    ClientConfig, WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor, verify_server_name,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

use crate::enrolment::certificates;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn finish(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// For joining: trusts exactly the CA of this digest, which the server presents.
///
/// # Errors
/// TLS 1.3 is not to be had.
pub(crate) fn joining(ca: Digest) -> Result<Arc<ClientConfig>, Error> {
    let provider = provider();
    let verifier = Arc::new(Pinned { ca, provider: Arc::clone(&provider) });
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(finish(config))
}

/// For an enrolled spoke: trusts the CAs in `roots`, PEM. Presents `chain`, PEM, with its key
/// (PKCS#8 DER), or nothing where there is none.
///
/// # Errors
/// A certificate or the key does not read.
pub(crate) fn enrolled(roots: &str, own: Option<(&str, Vec<u8>)>) -> Result<Arc<ClientConfig>, Error> {
    let mut store = RootCertStore::empty();
    for root in certificates(roots) {
        store.add(root)?;
    }
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(store.into(), Arc::clone(&provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier);
    Ok(finish(match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
            builder.with_client_auth_cert(certificates(chain), key)?
        }
    }))
}

/// Accepts a server whose chain holds the CA of one digest, and is signed by it.
#[derive(Debug)]
struct Pinned {
    ca: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let ca = others
            .iter()
            .find(|one| Digest::of(one) == self.ca)
            .ok_or(Error::InvalidCertificate(CertificateError::UnknownIssuer))?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone().into_owned())?;
        let leaf = ParsedCertificate::try_from(leaf)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&leaf, &roots, others, now, algorithms)?;
        verify_server_name(&leaf, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _leaf: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken here".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proto_wire::SERVER_NAME;
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

    use super::*;

    struct Hub {
        ca: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    fn hub() -> Hub {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca = params.self_signed(&key).unwrap().der().clone();
        Hub { ca, issuer: Issuer::new(params, key) }
    }

    fn leaf(hub: &Hub, name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        params.signed_by(&key, &hub.issuer).unwrap().der().clone()
    }

    fn verify(
        pinned: &CertificateDer<'_>,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
    ) -> Result<(), Error> {
        let verifier = Pinned { ca: Digest::of(pinned), provider: provider() };
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        verifier.verify_server_cert(leaf, others, &name, &[], UnixTime::now()).map(|_| ())
    }

    #[test]
    fn only_the_ca_of_the_token_is_trusted() {
        let (ours, other) = (hub(), hub());
        let server = ExtendedKeyUsagePurpose::ServerAuth;
        let good = leaf(&ours, SERVER_NAME, server.clone());
        assert!(verify(&ours.ca, &good, std::slice::from_ref(&ours.ca)).is_ok());
        // The CA must be shown, must have signed, and must be the token's.
        assert!(verify(&ours.ca, &good, &[]).is_err());
        let foreign = leaf(&other, SERVER_NAME, server.clone());
        assert!(verify(&ours.ca, &foreign, &[ours.ca.clone(), other.ca.clone()]).is_err());
        assert!(verify(&ours.ca, &foreign, std::slice::from_ref(&other.ca)).is_err());
        // A spoke of the same hub is no hub.
        let spoke = leaf(&ours, SERVER_NAME, ExtendedKeyUsagePurpose::ClientAuth);
        assert!(verify(&ours.ca, &spoke, std::slice::from_ref(&ours.ca)).is_err());
        let named = leaf(&ours, "elsewhere", server);
        assert!(verify(&ours.ca, &named, std::slice::from_ref(&ours.ca)).is_err());
    }
}
