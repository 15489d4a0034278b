//! What a bundle consists of: its variant with the body of each object, whole and verified.
//!
//! A pack is one record of the ledger: a line of JSON (format, bundle, variant, lengths), then the
//! bodies one after another.

use std::collections::BTreeMap;
use std::sync::Arc;

use proto_model::{Digest, Variant};
use serde::{Deserialize, Serialize};

use crate::ledger::Unreadable;

const VERSION: u32 = 1;

/// A complete variant: every digest in it has its body here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    digest: Digest,
    variant: Variant,
    bodies: BTreeMap<Digest, Arc<[u8]>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    version: u32,
    bundle: String,
    variant: Variant,
    lengths: Vec<usize>,
}

impl Content {
    /// Puts a variant and its bodies together; `body` gives a verified body by its digest.
    ///
    /// # Errors
    /// The first digest without a body.
    pub fn new(variant: Variant, mut body: impl FnMut(&Digest) -> Option<Arc<[u8]>>) -> Result<Self, Digest> {
        let mut bodies = BTreeMap::new();
        for digest in &variant.objects {
            if !bodies.contains_key(digest) {
                bodies.insert(*digest, body(digest).ok_or(*digest)?);
            }
        }
        Ok(Self { digest: variant.digest(), variant, bodies })
    }

    /// The variant's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The variant.
    #[must_use]
    pub fn variant(&self) -> &Variant {
        &self.variant
    }

    /// A body.
    #[must_use]
    pub fn body(&self, digest: &Digest) -> Option<&Arc<[u8]>> {
        self.bodies.get(digest)
    }

    /// The key of its record in the ledger.
    #[must_use]
    pub fn key(bundle: &str, variant: &Digest) -> String {
        format!("bundle/{bundle}/{}", variant.short())
    }

    /// The bytes of its record.
    #[must_use]
    pub fn encode(&self, bundle: &str) -> Vec<u8> {
        let head = Head {
            version: VERSION,
            bundle: bundle.into(),
            variant: self.variant.clone(),
            lengths: self.bodies.values().map(|body| body.len()).collect(),
        };
        // Writing plain structs to memory has no way to fail; an empty line would not decode.
        let mut bytes = serde_json::to_vec(&head).unwrap_or_default();
        bytes.push(b'\n');
        for body in self.bodies.values() {
            bytes.extend_from_slice(body);
        }
        bytes
    }

    /// Reads what [`Content::encode`] wrote, and verifies every digest.
    ///
    /// # Errors
    /// Another format, another bundle, or bytes that are not what was written.
    pub fn decode(bytes: &[u8], bundle: &str) -> Result<Self, Unreadable> {
        let broken = || Unreadable::new(format!("the pack of bundle {bundle} is damaged"));
        let line = bytes.iter().position(|byte| *byte == b'\n').ok_or_else(broken)?;
        let head: Head = serde_json::from_slice(&bytes[..line]).map_err(|_| broken())?;
        if head.version != VERSION || head.bundle != bundle {
            return Err(broken());
        }
        let mut rest = &bytes[line + 1..];
        let mut bodies = BTreeMap::new();
        for length in head.lengths {
            let (body, next) = rest.split_at_checked(length).ok_or_else(broken)?;
            bodies.insert(Digest::of(body), Arc::<[u8]>::from(body));
            rest = next;
        }
        Self::new(head.variant, |digest| bodies.get(digest).cloned()).map_err(|_| broken())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn content() -> Content {
        let body = |text: &str| Arc::<[u8]>::from(text.as_bytes());
        let all = [body("one"), body("two\n")];
        // The same object twice is stored once.
        let objects = vec![Digest::of(b"two\n"), Digest::of(b"one"), Digest::of(b"one")];
        let variant = Variant { objects, ..Variant::default() };
        let find = |digest: &Digest| all.iter().find(|b| Digest::of(b) == *digest).cloned();
        Content::new(variant, find).unwrap()
    }

    #[test]
    fn round_trip() {
        let bytes = content().encode("main/web");
        assert_eq!(Content::decode(&bytes, "main/web").unwrap(), content());
        assert!(Content::decode(&bytes, "main/db").is_err());
    }

    #[test]
    fn a_damaged_body_is_noticed() {
        let mut bytes = content().encode("main/web");
        *bytes.last_mut().unwrap() ^= 1;
        assert!(Content::decode(&bytes, "main/web").is_err());
        bytes.truncate(bytes.len() - 1);
        assert!(Content::decode(&bytes, "main/web").is_err());
    }

    #[test]
    fn a_missing_body_makes_no_content() {
        let variant = Variant { objects: vec![Digest::of(b"x")], ..Variant::default() };
        assert_eq!(Content::new(variant, |_| None), Err(Digest::of(b"x")));
    }
}
