//! Whom the certificate on the other end of a connection names.

use std::time::{Duration, SystemTime};

use proto_model::Digest;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::spiffe::Name;

/// A peer with a certificate of this hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whom the certificate names.
    pub name: Name,
    /// SHA-256 of the peer's public key.
    pub key: Digest,
    /// From when the certificate counts.
    pub not_before: SystemTime,
    /// When it ends. A resumed TLS session restores the chain without a look at it, so whoever
    /// acts on a name looks again.
    pub not_after: SystemTime,
}

impl Peer {
    /// Reads a verified chain, leaf first. `None`: it names nobody of this hub.
    #[must_use]
    pub fn of(chain: &[CertificateDer<'_>], hub_id: &str) -> Option<Self> {
        let (_, leaf) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        let names = leaf.subject_alternative_name().ok()??;
        let mut uris = names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        let name = Name::parse(uris.next()?, hub_id)?;
        if uris.next().is_some() {
            return None;
        }
        Some(Self {
            name,
            key: Digest::of(leaf.tbs_certificate.subject_pki.raw),
            not_before: time_of(leaf.validity().not_before.timestamp()),
            not_after: time_of(leaf.validity().not_after.timestamp()),
        })
    }

    /// Whether the certificate counts at a moment.
    #[must_use]
    pub fn is_valid_at(&self, now: SystemTime) -> bool {
        self.not_before <= now && now <= self.not_after
    }
}

fn time_of(unix_secs: i64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(unix_secs).unwrap_or(0))
}
