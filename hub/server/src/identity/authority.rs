//! The hub's own CA: it signs spokes, operators and the hub's server certificate, all with P-256.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proto_model::{Digest, limits};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::spiffe::Name;
use super::{Error, Peer};

/// The name that every server certificate of a hub carries, whatever its addresses: clients ask
/// for this one, so that an address may change.
pub const SERVER_NAME: &str = "drover-hub";

/// The CA with its key.
pub struct Authority {
    hub_id: String,
    issuer: Issuer<'static, KeyPair>,
    roots_pem: String,
    roots: Vec<CertificateDer<'static>>,
}

/// A server certificate with its key, and when to make the next.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    /// For rustls.
    pub key: Arc<CertifiedKey>,
    /// When it ends.
    pub not_after: SystemTime,
}

impl Authority {
    /// Makes a new CA. Also returns its private key, PEM, for sealing.
    ///
    /// # Errors
    /// The system gave no key.
    pub fn create(hub_id: &str, now: SystemTime) -> Result<(Self, Zeroizing<String>), Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let key_pem = Zeroizing::new(key.serialize_pem());
        let mut params = params(&format!("Drover hub {hub_id}"), now, limits::AUTHORITY_CERTIFICATE_SECS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let authority = Self {
            hub_id: hub_id.to_owned(),
            roots_pem: certificate.pem(),
            roots: vec![certificate.der().clone()],
            issuer: Issuer::new(params, key),
        };
        Ok((authority, key_pem))
    }

    /// Loads a CA. `roots_pem` may hold several certificates, of which the first is the one that
    /// signs.
    ///
    /// # Errors
    /// The PEM texts are not what [`Authority::create`] made.
    pub fn load(hub_id: &str, roots_pem: String, key_pem: &str) -> Result<Self, Error> {
        let roots = CertificateDer::pem_slice_iter(roots_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::BadPem("the CA's certificates", error.to_string()))?;
        let first = roots.first().ok_or_else(|| Error::BadPem("the CA's certificates", "there is none".into()))?;
        let issuer = Issuer::from_ca_cert_der(first, KeyPair::from_pem(key_pem)?)?;
        Ok(Self { hub_id: hub_id.to_owned(), issuer, roots_pem, roots })
    }

    /// The hub's id.
    #[must_use]
    pub fn hub_id(&self) -> &str {
        &self.hub_id
    }

    /// The CA certificates to trust, PEM.
    #[must_use]
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    /// The CA certificates to trust.
    #[must_use]
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// SHA-256 of the CA certificate that signs, for join tokens.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.roots.first().map_or(Digest::of(b""), |root| Digest::of(root))
    }

    /// Signs a spoke's or an operator's key. Of the request only the key is taken.
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn sign(&self, request: &Request, name: &Name, now: SystemTime) -> Result<String, Error> {
        Ok(self.client_params(name, now)?.signed_by(&request.params.public_key, &self.issuer)?.pem())
    }

    /// Makes a key and certificate for a new operator: certificate PEM, key PEM.
    ///
    /// # Errors
    /// The name cannot stand in a certificate, or the system gave no key.
    pub fn issue(&self, name: &Name, now: SystemTime) -> Result<(String, Zeroizing<String>), Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = self.client_params(name, now)?.signed_by(&key, &self.issuer)?;
        Ok((certificate.pem(), Zeroizing::new(key.serialize_pem())))
    }

    /// Makes a server certificate for these hosts (names or addresses) and [`SERVER_NAME`].
    ///
    /// # Errors
    /// A host is neither a name nor an address.
    pub fn server(&self, hosts: &[String], now: SystemTime) -> Result<ServerCertificate, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params(SERVER_NAME, now, limits::SERVER_CERTIFICATE_SECS);
        let names = [SERVER_NAME.to_owned(), "localhost".to_owned()];
        for host in names.iter().chain(hosts) {
            let name = match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(host.as_str().try_into().map_err(|_| Error::BadHost(host.clone()))?),
            };
            if !params.subject_alt_names.contains(&name) {
                params.subject_alt_names.push(name);
            }
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(ServerCertificate {
            key: certified(&certificate, self.roots.first(), &key)?,
            not_after: now + Duration::from_secs(limits::SERVER_CERTIFICATE_SECS),
        })
    }

    /// Reads a certificate that this CA signed, whether or not it has ended.
    ///
    /// # Errors
    /// It is no certificate, of another CA, or names nobody of this hub.
    pub fn read(&self, pem: &[u8]) -> Result<Peer, Error> {
        let bad = |reason: String| Error::BadPem("the certificate", reason);
        let der = CertificateDer::from_pem_slice(pem).map_err(|error| bad(error.to_string()))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|error| bad(error.to_string()))?;
        let signed = self.roots.iter().any(|root| {
            x509_parser::parse_x509_certificate(root)
                .is_ok_and(|(_, root)| certificate.verify_signature(Some(root.public_key())).is_ok())
        });
        if !signed {
            return Err(bad("another CA signed it".into()));
        }
        Peer::of(&[der], &self.hub_id).ok_or_else(|| bad("it names nobody of this hub".into()))
    }

    fn client_params(&self, name: &Name, now: SystemTime) -> Result<CertificateParams, Error> {
        let (common_name, secs) = match name {
            Name::Cluster(name) => (name, limits::CERTIFICATE_SECS),
            Name::Operator { name, .. } => (name, limits::OPERATOR_CERTIFICATE_SECS),
        };
        if !super::spiffe::is_plain(common_name) {
            return Err(Error::BadName(common_name.clone()));
        }
        let mut params = params(common_name, now, secs);
        let uri = name.uri(&self.hub_id);
        params.subject_alt_names =
            vec![SanType::URI(uri.as_str().try_into().map_err(|_| Error::BadName(common_name.clone()))?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// A certificate signing request whose signature was checked: its sender has the key.
pub struct Request {
    params: CertificateSigningRequestParams,
    key: Digest,
}

impl Request {
    /// Reads a request and checks that it is signed by the P-256 key that it names.
    ///
    /// # Errors
    /// It is not, or not PEM.
    pub fn parse(pem: &[u8]) -> Result<Self, Error> {
        let der = CertificateSigningRequestDer::from_pem_slice(pem)
            .map_err(|error| Error::BadPem("the signing request", error.to_string()))?;
        let params = CertificateSigningRequestParams::from_der(&der)?;
        if params.public_key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(Error::BadKey);
        }
        use x509_parser::prelude::FromDer as _;
        let (_, parsed) = x509_parser::certification_request::X509CertificationRequest::from_der(&der)
            .map_err(|error| Error::BadPem("the signing request", error.to_string()))?;
        let key = Digest::of(parsed.certification_request_info.subject_pki.raw);
        Ok(Self { params, key })
    }

    /// SHA-256 of the public key (its SubjectPublicKeyInfo): which key this is.
    #[must_use]
    pub fn key(&self) -> Digest {
        self.key
    }
}

fn params(common_name: &str, now: SystemTime, secs: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    // Clocks differ: a certificate is valid a little before it was made.
    params.not_before = OffsetDateTime::from(now - Duration::from_secs(limits::CLOCK_SKEW_SECS));
    params.not_after = OffsetDateTime::from(now + Duration::from_secs(secs));
    params
}

// With the CA beside it: a spoke that joins knows the CA by its digest alone.
fn certified(
    certificate: &Certificate,
    root: Option<&CertificateDer<'static>>,
    key: &KeyPair,
) -> Result<Arc<CertifiedKey>, Error> {
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signer = any_supported_type(&der).map_err(|error| Error::Tls(error.to_string()))?;
    let chain = std::iter::once(certificate.der()).chain(root).cloned().collect();
    Ok(Arc::new(CertifiedKey::new(chain, signer)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    fn request(key: &KeyPair) -> Request {
        let pem = CertificateParams::default().serialize_request(key).unwrap().pem().unwrap();
        Request::parse(pem.as_bytes()).unwrap()
    }

    #[test]
    fn a_signed_certificate_names_the_cluster_and_holds_the_key_of_the_request() {
        let now = SystemTime::now();
        let (authority, key_pem) = Authority::create("ab12", now).unwrap();
        let loaded = Authority::load("ab12", authority.roots_pem().to_owned(), &key_pem).unwrap();
        assert_eq!(loaded.digest(), authority.digest());
        let key = KeyPair::generate().unwrap();
        let request = request(&key);
        let pem = loaded.sign(&request, &Name::Cluster("edge-1".into()), now).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
        let peer = Peer::of(&chain, "ab12").unwrap();
        assert_eq!(peer.name, Name::Cluster("edge-1".into()));
        assert_eq!(peer.key, request.key());
        assert!(peer.is_valid_at(now));
        let end = now + Duration::from_secs(limits::CERTIFICATE_SECS + 1);
        assert!(!peer.is_valid_at(end));
        assert!(Peer::of(&chain, "ab13").is_none());
        // It is known again after its end, but not by another CA.
        assert_eq!(authority.read(pem.as_bytes()).unwrap(), peer);
        let (other, _) = Authority::create("ab12", now).unwrap();
        assert!(matches!(other.read(pem.as_bytes()), Err(Error::BadPem(..))));
    }

    #[test]
    fn a_request_must_be_signed_by_its_own_key() {
        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        let mut der = request.der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der)).is_err());
        assert!(matches!(Request::parse(b"nonsense"), Err(Error::BadPem(..))));
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let pem = CertificateParams::default().serialize_request(&other).unwrap().pem().unwrap();
        assert!(matches!(Request::parse(pem.as_bytes()), Err(Error::BadKey)));
    }

    #[test]
    fn hosts_are_names_or_addresses() {
        let now = SystemTime::now();
        let (authority, _) = Authority::create("ab12", now).unwrap();
        let hosts = ["127.0.0.1".to_owned(), "hub.example.com".to_owned()];
        assert!(authority.server(&hosts, now).unwrap().not_after > now);
        assert!(matches!(authority.server(&["hüb".to_owned()], now), Err(Error::BadHost(_))));
    }
}
