//! Who this spoke is: its key, its certificates, and the hub that gave them.

use std::time::{Duration, SystemTime};

use proto_model::token::JoinToken;
use proto_model::{Digest, name};
use rand::Rng as _;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde::{Deserialize, Serialize};

use crate::dir::{Dir, DirError};

const KEY_FILE: &str = "key.pem";
const ENROLMENT_FILE: &str = "enrolment.json";
const HOLDER_FILE: &str = "holder";

/// What joining gave. One file, so that it is there whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Enrolment {
    /// The name of the cluster.
    pub(crate) cluster: String,
    /// The hub.
    pub(crate) hub_id: String,
    /// Which cluster of that name this is.
    pub(crate) incarnation: u64,
    /// Where replicas listen.
    pub(crate) addresses: Vec<String>,
    /// PEM, leaf first.
    pub(crate) certificates: String,
    /// A renewed chain that no stream has stood on yet, PEM.
    pub(crate) next: Option<String>,
    /// The CAs to trust, PEM.
    pub(crate) roots: String,
    /// Id of the token by which it joined.
    pub(crate) token_id: String,
}

/// The spoke's key and, once it has joined, its enrolment.
#[derive(Debug)]
pub(crate) struct Identity {
    dir: Dir,
    cluster: String,
    key: KeyPair,
    enrolment: Option<Enrolment>,
}

impl Identity {
    /// Reads what the directory holds. A key is made, and durable, before anything is asked of a
    /// hub: a crash while joining leaves the key with which to ask again.
    pub(crate) fn open(dir: Dir, cluster: &str, token: Option<&JoinToken>) -> Result<Self, DirError> {
        let key = match dir.read(KEY_FILE)? {
            Some(pem) => String::from_utf8(pem)
                .ok()
                .and_then(|pem| KeyPair::from_pem(&pem).ok())
                .ok_or_else(|| dir.damaged(KEY_FILE, "it holds no private key"))?,
            None => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
                dir.write(KEY_FILE, key.serialize_pem().as_bytes())?;
                key
            }
        };
        let enrolment = match dir.read(ENROLMENT_FILE)? {
            Some(bytes) => Some(
                serde_json::from_slice::<Enrolment>(&bytes)
                    .map_err(|error| dir.damaged(ENROLMENT_FILE, error.to_string()))?,
            ),
            None => None,
        };
        let mut identity = Self { dir, cluster: cluster.to_owned(), key, enrolment };
        identity.take_token(token)?;
        Ok(identity)
    }

    // A token of the same hub brings its present addresses.
    fn take_token(&mut self, token: Option<&JoinToken>) -> Result<(), DirError> {
        let dir = || self.dir.path().to_owned();
        let Some(mut enrolment) = self.enrolment.clone() else {
            return if token.is_some() { Ok(()) } else { Err(DirError::NoToken(dir())) };
        };
        if enrolment.cluster != self.cluster {
            let (found, wanted) = (enrolment.cluster, self.cluster.clone());
            return Err(DirError::OtherCluster { dir: dir(), found, wanted });
        }
        let Some(token) = token else { return Ok(()) };
        if !certificates(&enrolment.roots).iter().any(|root| Digest::of(root) == token.ca) {
            return Err(DirError::OtherHub(dir()));
        }
        if enrolment.addresses != token.addresses {
            enrolment.addresses.clone_from(&token.addresses);
            self.save(enrolment)?;
        }
        Ok(())
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn enrolment(&self) -> Option<&Enrolment> {
        self.enrolment.as_ref()
    }

    /// Makes an enrolment durable, instead of any before.
    pub(crate) fn save(&mut self, enrolment: Enrolment) -> Result<(), DirError> {
        let bytes = serde_json::to_vec_pretty(&enrolment)
            .map_err(|error| self.dir.damaged(ENROLMENT_FILE, error.to_string()))?;
        self.dir.write(ENROLMENT_FILE, &bytes)?;
        self.enrolment = Some(enrolment);
        Ok(())
    }

    /// Keeps a renewed chain beside the present one, until a stream has stood on it.
    pub(crate) fn keep_next(&mut self, chain: String) -> Result<(), DirError> {
        match self.enrolment.clone() {
            Some(enrolment) => self.save(Enrolment { next: Some(chain), ..enrolment }),
            None => Ok(()),
        }
    }

    /// A stream stood on the renewed chain: the one before is of no more use.
    pub(crate) fn promote(&mut self) -> Result<(), DirError> {
        match self.enrolment.clone() {
            Some(Enrolment { next: Some(certificates), .. }) => {
                let Some(enrolment) = self.enrolment.clone() else { return Ok(()) };
                self.save(Enrolment { certificates, next: None, ..enrolment })
            }
            _ => Ok(()),
        }
    }

    /// The private key, PKCS#8 DER.
    pub(crate) fn key_der(&self) -> Vec<u8> {
        self.key.serialize_der()
    }

    /// A certificate signing request, PEM.
    pub(crate) fn request(&self) -> Result<String, rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.cluster.as_str());
        params.serialize_request(&self.key)?.pem()
    }

    /// Whether a chain is for this spoke's own key.
    pub(crate) fn owns(&self, chain: &str) -> bool {
        certificates(chain).first().is_some_and(|leaf| {
            x509_parser::parse_x509_certificate(leaf)
                .is_ok_and(|(_, leaf)| leaf.public_key().raw == self.key.subject_public_key_info().as_slice())
        })
    }

    /// The name under which this spoke holds the Lease of its cluster: the same after a restart,
    /// another one for another directory.
    pub(crate) fn holder(&self) -> Result<String, DirError> {
        if let Some(bytes) = self.dir.read(HOLDER_FILE)? {
            return String::from_utf8(bytes)
                .ok()
                .filter(|text| name::check_label("holder", text, 80).is_ok())
                .ok_or_else(|| self.dir.damaged(HOLDER_FILE, "it holds no name"));
        }
        let holder = format!("{}-{:016x}", self.cluster, rand::rng().random::<u64>());
        self.dir.write(HOLDER_FILE, holder.as_bytes())?;
        Ok(holder)
    }
}

/// The certificates of a PEM text; none where it does not read.
pub(crate) fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap_or_default()
}

/// From when to when a chain's leaf is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
}

impl Validity {
    /// Reads it; `None` where the chain does not read.
    pub(crate) fn of(chain: &str) -> Option<Self> {
        let leaf = certificates(chain).into_iter().next()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&leaf).ok()?;
        let time = |secs: i64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(secs).ok()?));
        Some(Self {
            not_before: time(parsed.validity().not_before.timestamp())?,
            not_after: time(parsed.validity().not_after.timestamp())?,
        })
    }

    pub(crate) fn has_ended(&self, now: SystemTime) -> bool {
        now >= self.not_after
    }

    /// When to renew: two thirds into the life. `dice` from 0 to 1 spreads a fleet that joined at
    /// once over a tenth of it.
    pub(crate) fn renew_at(&self, dice: f64) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or_default();
        self.not_before + life.mul_f64(0.6 + dice.clamp(0.0, 1.0) / 10.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use std::path::Path;

    use super::*;

    fn token(ca: Digest) -> JoinToken {
        JoinToken { addresses: vec!["hub:1".into()], ca, id: "t1".into(), secret: "s".into() }
    }

    fn open(path: &Path, cluster: &str, token: Option<&JoinToken>) -> Result<Identity, DirError> {
        Identity::open(Dir::open(path)?, cluster, token)
    }

    fn root() -> (String, Digest) {
        let key = KeyPair::generate().unwrap();
        let root = CertificateParams::default().self_signed(&key).unwrap();
        (root.pem(), Digest::of(root.der()))
    }

    fn enrolment(roots: String) -> Enrolment {
        Enrolment {
            cluster: "edge-1".into(),
            hub_id: "h".into(),
            incarnation: 1,
            addresses: vec!["hub:1".into()],
            certificates: "old".into(),
            next: None,
            roots,
            token_id: "t1".into(),
        }
    }

    #[test]
    fn the_key_is_there_before_joining_and_stays() {
        let root = tempfile::tempdir().unwrap();
        let token = token(Digest::of(b"ca"));
        let first = open(root.path(), "edge-1", Some(&token)).unwrap();
        let (key, holder) = (first.key_der(), first.holder().unwrap());
        drop(first);
        let again = open(root.path(), "edge-1", Some(&token)).unwrap();
        assert_eq!((again.key_der(), again.holder().unwrap()), (key, holder));
        assert!(again.enrolment().is_none());
        drop(again);
        assert!(matches!(open(root.path(), "edge-1", None), Err(DirError::NoToken(_))));
    }

    #[test]
    fn a_renewed_chain_stands_beside_the_old_one_until_it_is_proven() {
        let root_dir = tempfile::tempdir().unwrap();
        let (roots, ca) = root();
        let mut identity = open(root_dir.path(), "edge-1", Some(&token(ca))).unwrap();
        identity.save(enrolment(roots)).unwrap();
        identity.promote().unwrap();
        assert_eq!(identity.enrolment().unwrap().certificates, "old");
        identity.keep_next("new".into()).unwrap();
        drop(identity);
        let mut identity = open(root_dir.path(), "edge-1", None).unwrap();
        let kept = identity.enrolment().unwrap();
        assert_eq!((kept.certificates.as_str(), kept.next.as_deref()), ("old", Some("new")));
        identity.promote().unwrap();
        let kept = identity.enrolment().unwrap();
        assert_eq!((kept.certificates.as_str(), kept.next.as_deref()), ("new", None));
    }

    #[test]
    fn a_token_of_the_same_hub_brings_addresses_and_another_is_refused() {
        let root_dir = tempfile::tempdir().unwrap();
        let (roots, ca) = root();
        let mut identity = open(root_dir.path(), "edge-1", Some(&token(ca))).unwrap();
        identity.save(enrolment(roots)).unwrap();
        drop(identity);
        let moved = JoinToken { addresses: vec!["hub:2".into()], ..token(ca) };
        let identity = open(root_dir.path(), "edge-1", Some(&moved)).unwrap();
        assert_eq!(identity.enrolment().unwrap().addresses, ["hub:2"]);
        drop(identity);
        let other = token(Digest::of(b"other"));
        assert!(matches!(open(root_dir.path(), "edge-1", Some(&other)), Err(DirError::OtherHub(_))));
        assert!(matches!(open(root_dir.path(), "edge-2", None), Err(DirError::OtherCluster { .. })));
    }

    #[test]
    fn renewal_comes_two_thirds_into_a_life() {
        let second = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
        let validity = Validity { not_before: second(1000), not_after: second(2000) };
        for dice in [0.0, 0.5, 1.0, 7.0] {
            let at = validity.renew_at(dice);
            assert!(at >= second(1590) && at <= second(1710), "{dice}");
        }
        assert!(validity.has_ended(second(2000)) && !validity.has_ended(second(1999)));
    }

    #[test]
    fn a_chain_belongs_to_its_key() {
        let root_dir = tempfile::tempdir().unwrap();
        let identity = open(root_dir.path(), "a", Some(&token(Digest::of(b"")))).unwrap();
        let own = CertificateParams::default().self_signed(&identity.key).unwrap();
        assert!(identity.owns(&own.pem()));
        assert!(!identity.owns(&root().0));
        assert!(!identity.owns("nonsense"));
        assert!(Validity::of(&own.pem()).is_some());
        assert!(identity.request().unwrap().contains("BEGIN CERTIFICATE REQUEST"));
    }
}
