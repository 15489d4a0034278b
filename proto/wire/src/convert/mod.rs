//! Between the domain's words and messages. Every reading says what is missing or not understood,
//! and in which field; nothing is filled in.

mod ask;
mod delta;
mod hello;
mod report;
mod suspend;

use bytes::Bytes;
use prost::Message;
use proto_model::name::BadName;
use proto_model::{Digest, Fence, GroupKind, RuleVersions};

use crate::chunk::ChunkError;
use crate::sync as msg;

pub(crate) use hello::{read_holding, write_holding};
pub(crate) use suspend::{read_suspensions, write_suspensions};

/// Why a message was not understood. Names fields, never content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A digest of the wrong length.
    #[error("{0} is not a SHA-256 digest")]
    Digest(&'static str),
    /// A word that this version does not know.
    #[error("{field} has the value {number}, which this version does not know")]
    Unknown {
        /// Which field.
        field: &'static str,
        /// What it holds.
        number: i32,
    },
    /// A kind of message, or a field in one, that this version does not know.
    #[error("{0} has a field that this version does not know; upgrade this side first")]
    UnknownField(&'static str),
    /// Not protobuf.
    #[error("{what} does not decode: {source}")]
    Malformed {
        /// Which message.
        what: &'static str,
        /// What protobuf says.
        source: prost::DecodeError,
    },
    /// A text or byte string, or a list, above its limit.
    #[error("{field} is longer than {max}")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Bytes, or members of a list.
        max: usize,
    },
    /// One name twice in a list of distinct things.
    #[error("{field} has {name} twice")]
    Twice {
        /// Which field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// A name that breaks a rule.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Chunks that do not fit together.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// The other side speaks another protocol.
    #[error("the other side speaks protocol {theirs}, this one {ours}; upgrade the older", ours = crate::PROTOCOL)]
    Protocol {
        /// What the other side speaks.
        theirs: u32,
    },
}

/// Reads a message whole: one with a field that this version does not know is refused. The test is
/// that writing what was understood takes as many bytes as were read.
pub(crate) fn decode_whole<M: Message + Default>(what: &'static str, bytes: Bytes) -> Result<M, WireError> {
    let length = bytes.len();
    let message = M::decode(bytes).map_err(|source| WireError::Malformed { what, source })?;
    if message.encoded_len() == length { Ok(message) } else { Err(WireError::UnknownField(what)) }
}

pub(crate) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, WireError> {
    value.ok_or(WireError::Missing(field))
}

pub(crate) fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, WireError> {
    if bytes.is_empty() {
        return Err(WireError::Missing(field));
    }
    Digest::try_from(bytes).map_err(|_| WireError::Digest(field))
}

pub(crate) fn optional_digest(field: &'static str, bytes: &[u8]) -> Result<Option<Digest>, WireError> {
    if bytes.is_empty() { Ok(None) } else { digest(field, bytes).map(Some) }
}

pub(crate) fn digest_bytes(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

pub(crate) fn optional_bytes(digest: Option<&Digest>) -> Bytes {
    digest.map(digest_bytes).unwrap_or_default()
}

pub(crate) fn at_most(field: &'static str, length: usize, max: usize) -> Result<(), WireError> {
    if length > max { Err(WireError::TooLong { field, max }) } else { Ok(()) }
}

pub(crate) fn some_text(field: &'static str, text: String, max: usize) -> Result<String, WireError> {
    if text.is_empty() {
        return Err(WireError::Missing(field));
    }
    at_most(field, text.len(), max)?;
    Ok(text)
}

impl From<&Fence> for msg::Fence {
    fn from(fence: &Fence) -> Self {
        Self {
            hub_id: fence.hub_id.clone(),
            epoch: fence.epoch,
            incarnation: fence.incarnation,
            generation: fence.generation,
        }
    }
}

impl TryFrom<msg::Fence> for Fence {
    type Error = WireError;

    fn try_from(fence: msg::Fence) -> Result<Self, WireError> {
        at_most("fence.hub_id", fence.hub_id.len(), proto_model::limits::HUB_ID_BYTES_MAX)?;
        Ok(Self {
            hub_id: fence.hub_id,
            epoch: fence.epoch,
            incarnation: fence.incarnation,
            generation: fence.generation,
        })
    }
}

impl From<RuleVersions> for msg::RuleVersions {
    fn from(rules: RuleVersions) -> Self {
        Self { binding: rules.binding, ordering: rules.ordering, health: rules.health }
    }
}

impl TryFrom<msg::RuleVersions> for RuleVersions {
    type Error = WireError;

    fn try_from(rules: msg::RuleVersions) -> Result<Self, WireError> {
        if rules.binding == 0 || rules.ordering == 0 || rules.health == 0 {
            return Err(WireError::Missing("rules"));
        }
        Ok(Self { binding: rules.binding, ordering: rules.ordering, health: rules.health })
    }
}

impl From<&GroupKind> for msg::GroupKind {
    fn from(kind: &GroupKind) -> Self {
        Self { group: kind.group.clone(), kind: kind.kind.clone() }
    }
}

impl TryFrom<msg::GroupKind> for GroupKind {
    type Error = WireError;

    fn try_from(kind: msg::GroupKind) -> Result<Self, WireError> {
        if kind.kind.is_empty() {
            return Err(WireError::Missing("kind"));
        }
        Ok(Self { group: kind.group, kind: kind.kind })
    }
}
