//! OpenPGP signatures, as Git makes them with gpg.
//!
//! The crate checks signatures; what a key may do, and for how long, is worked out here from the
//! signatures that its owner made on it.

use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};
use proto_model::limits;

use crate::error::Distrust;

pub(super) type Key = SignedPublicKey;

/// The keys of an armored block.
pub(super) fn parse(block: &str) -> Result<Vec<Key>, String> {
    let wrong = |error: pgp::errors::Error| format!("this OpenPGP key: {error}");
    let (keys, _) = SignedPublicKey::from_armor_many(block.as_bytes()).map_err(wrong)?;
    let keys = keys.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
    if keys.is_empty() { Err("this block holds no OpenPGP key".to_owned()) } else { Ok(keys) }
}

/// Whether one of the keys signed `payload`, and may still sign at `now`, in seconds since 1970.
pub(super) fn verify(keys: &[Key], signature: &str, payload: &[u8], now: i64) -> Result<(), Distrust> {
    let bad = |error: pgp::errors::Error| Distrust::Bad(error.to_string());
    let (signature, _) = DetachedSignature::from_armor_single(signature.as_bytes()).map_err(bad)?;
    let signature = signature.signature;
    if !matches!(signature.typ(), Some(SignatureType::Binary | SignatureType::Text)) {
        return Err(Distrust::Bad("it is no signature of a document".to_owned()));
    }
    if !signature.hash_alg().is_some_and(is_strong) {
        return Err(Distrust::Unsupported("its hash is weaker than SHA-256".to_owned()));
    }
    let mut judged = Vec::new();
    for key in keys {
        let subkeys = key.public_subkeys.iter().filter(|subkey| is_named(&signature, &subkey.key));
        for subkey in subkeys {
            let good = signature.verify(&subkey.key, payload).map_err(bad);
            judged.push(good.and_then(|()| judge(key, keys, Some(subkey), &signature, now)));
        }
        if is_named(&signature, &key.primary_key) {
            let good = signature.verify(&key.primary_key, payload).map_err(bad);
            judged.push(good.and_then(|()| judge(key, keys, None, &signature, now)));
        }
    }
    verdict(judged, || issuer(&signature))
}

/// A key may stand there more than once, as it was before and as it is now: where one copy says that
/// it was revoked, it was; else one that is good is enough.
fn verdict(judged: Vec<Result<(), Distrust>>, issuer: impl FnOnce() -> String) -> Result<(), Distrust> {
    let is_revoked = |one: &Result<(), Distrust>| matches!(one, Err(Distrust::Revoked(_)));
    let decides = judged.iter().position(is_revoked).or_else(|| judged.iter().position(Result::is_ok)).unwrap_or(0);
    judged.into_iter().nth(decides).unwrap_or_else(|| Err(Distrust::UnknownKey(issuer())))
}

fn is_strong(hash: HashAlgorithm) -> bool {
    matches!(
        hash,
        HashAlgorithm::Sha256
            | HashAlgorithm::Sha384
            | HashAlgorithm::Sha512
            | HashAlgorithm::Sha3_256
            | HashAlgorithm::Sha3_512
    )
}

/// Whether a signature says that it was made with this key.
fn is_named(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if fingerprints.is_empty() {
        return signature.issuer_key_id().into_iter().any(|id| *id == key.legacy_key_id());
    }
    fingerprints.into_iter().any(|fingerprint| *fingerprint == key.fingerprint())
}

/// Who a signature says that made it.
fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(ToString::to_string);
    let id = || signature.issuer_key_id().first().map(ToString::to_string);
    fingerprint.or_else(id).unwrap_or_else(|| "without a name".to_owned())
}

/// Whether the key that made a good signature may sign. `all` may hold other copies of it.
fn judge(
    key: &Key,
    all: &[Key],
    subkey: Option<&SignedPublicSubKey>,
    signature: &Signature,
    now: i64,
) -> Result<(), Distrust> {
    let primary = &key.primary_key;
    let name = || subkey.map_or_else(|| primary.fingerprint(), |subkey| subkey.key.fingerprint()).to_string();
    let copies = all.iter().filter(|copy| copy.primary_key.fingerprint() == primary.fingerprint());
    let mut revocations = copies.flat_map(|copy| &copy.details.revocation_signatures);
    if revocations.any(|revocation| revocation.verify_key(primary).is_ok()) {
        return Err(Distrust::Revoked(name()));
    }
    let about = about(key).ok_or_else(|| Distrust::Bad("its key says nothing about itself".to_owned()))?;
    if has_ended(about, secs(primary.created_at()), now) {
        return Err(Distrust::Expired(name()));
    }
    let (may_sign, born) = match subkey {
        // A key that says nothing of its uses may be used for all.
        None => (about.key_flags().sign() || about.key_flags() == KeyFlags::default(), primary.created_at()),
        Some(subkey) => {
            let good = |binding: &&Signature| binding.verify_subkey_binding(primary, &subkey.key).is_ok();
            let of = |kind| subkey.signatures.iter().filter(move |found| found.typ() == Some(kind)).filter(good);
            if of(SignatureType::SubkeyRevocation).next().is_some() {
                return Err(Distrust::Revoked(name()));
            }
            let binding = of(SignatureType::SubkeyBinding).max_by_key(|binding| created(binding));
            let binding = binding.ok_or_else(|| Distrust::Bad("its subkey is not bound to its key".to_owned()))?;
            if has_ended(binding, secs(subkey.key.created_at()), now) {
                return Err(Distrust::Expired(name()));
            }
            let back = binding.embedded_signature();
            let is_mutual = back.is_some_and(|back| back.verify_primary_key_binding(&subkey.key, primary).is_ok());
            (binding.key_flags().sign() && is_mutual, subkey.key.created_at())
        }
    };
    if !may_sign {
        return Err(Distrust::Bad(format!("the key {} is not for signing", name())));
    }
    let made = created(signature);
    if made < secs(born) || made > now + limits::CLOCK_SKEW_SECS as i64 {
        return Err(Distrust::Bad("it was made before its key, or in the future".to_owned()));
    }
    let life = signature.signature_expiration_time().map_or(0, |life| i64::from(life.as_secs()));
    if life > 0 && made + life <= now {
        return Err(Distrust::Expired(name()));
    }
    Ok(())
}

/// The newest of what a key's owner says about it: on the key itself, or on one of its names.
fn about(key: &Key) -> Option<&Signature> {
    let primary = &key.primary_key;
    let direct = key.details.direct_signatures.iter();
    let direct = direct.filter(|found| found.typ() == Some(SignatureType::Key) && found.verify_key(primary).is_ok());
    let named = key.details.users.iter().flat_map(|user| {
        let own = |found: &&Signature| found.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        let own: Vec<&Signature> = user.signatures.iter().filter(own).collect();
        let is_revoked = own.iter().any(|found| found.typ() == Some(SignatureType::CertRevocation));
        own.into_iter().filter(move |_| !is_revoked)
    });
    direct.chain(named).max_by_key(|found| created(found))
}

/// Whether a key that was made at `born` has expired.
fn has_ended(about: &Signature, born: i64, now: i64) -> bool {
    let life = about.key_expiration_time().map_or(0, |life| i64::from(life.as_secs()));
    life > 0 && born + life <= now
}

fn created(signature: &Signature) -> i64 {
    signature.created().map_or(0, secs)
}

fn secs(time: pgp::types::Timestamp) -> i64 {
    i64::from(time.as_secs())
}
