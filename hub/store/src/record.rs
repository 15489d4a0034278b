//! A body as it lies on disk.
//!
//! ```text
//! version  kind  length of the body (u32)  zstd frame, for a secret sealed
//! ```

use proto_model::{Digest, limits};

use crate::key::SealingKey;

/// Version of the record and of the database.
pub(crate) const VERSION: u8 = 1;
const HEAD_BYTES: usize = 6;
const LEVEL: i32 = 3;

/// What a body is. The numbers are on disk and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A Kubernetes object without secrets, canonical JSON.
    Object = 1,
    /// A body with secrets: sealed at rest, never returned by an API.
    Secret = 2,
    /// The list of a variant.
    Variant = 3,
    /// The variables of one or more assignments.
    Variables = 4,
    /// The last good catalog of a source.
    Catalog = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        let all = [Self::Object, Self::Secret, Self::Variant, Self::Variables, Self::Catalog];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The record of a body.
pub(crate) fn encode(digest: &Digest, kind: Kind, body: &[u8], key: &SealingKey) -> std::io::Result<Vec<u8>> {
    let length = u32::try_from(body.len()).map_err(std::io::Error::other)?;
    let mut record = Vec::with_capacity(HEAD_BYTES + body.len() / 2);
    record.extend([VERSION, kind as u8]);
    record.extend(length.to_be_bytes());
    let packed = zstd::bulk::compress(body, LEVEL)?;
    if kind == Kind::Secret {
        let sealed = key.seal(&purpose(digest, &record), &packed).map_err(std::io::Error::other)?;
        record.extend(sealed);
    } else {
        record.extend(packed);
    }
    Ok(record)
}

/// What kind of body a record holds.
pub(crate) fn kind(record: &[u8]) -> Result<Kind, &'static str> {
    let (head, _) = record.split_at_checked(HEAD_BYTES).ok_or("short")?;
    if head.first() != Some(&VERSION) {
        return Err("of a version that this program does not know");
    }
    head.get(1).copied().and_then(Kind::from_byte).ok_or("of a kind that this program does not know")
}

/// The body in a record; it has the digest, or it is an error that says why not.
pub(crate) fn decode(digest: &Digest, record: &[u8], key: &SealingKey) -> Result<Vec<u8>, &'static str> {
    let kind = kind(record)?;
    let (head, packed) = record.split_at_checked(HEAD_BYTES).ok_or("short")?;
    let length = head.last_chunk::<4>().ok_or("short")?;
    let length = u32::from_be_bytes(*length) as usize;
    if length > limits::BODY_BYTES_MAX {
        return Err("longer than a body may be");
    }
    let body = if kind == Kind::Secret {
        let packed = key.open(&purpose(digest, head), packed).map_err(|_| "its seal does not open")?;
        zstd::bulk::decompress(&packed, length)
    } else {
        zstd::bulk::decompress(packed, length)
    };
    let body = body.map_err(|_| "it does not unpack")?;
    if Digest::of(&body) != *digest {
        return Err("its digest differs");
    }
    Ok(body)
}

/// What a seal is bound to: a sealed body cannot be moved to another digest or kind.
fn purpose(digest: &Digest, head: &[u8]) -> Vec<u8> {
    [b"drover body\0", head, &digest.0].concat()
}
