//! How a session begins, and what a spoke says that it holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use proto_model::delta::{HeldEntry, Hello, Refusal};
use proto_model::limits;
use proto_model::name::check_full_bundle;

use super::{WireError, at_most, digest, digest_bytes, optional_bytes, optional_digest, required, some_text};
use crate::{PROTOCOL, sync as msg};

impl From<&Hello> for msg::Hello {
    fn from(hello: &Hello) -> Self {
        Self {
            protocol: PROTOCOL,
            fence: Some((&hello.fence).into()),
            fence_mac: Bytes::copy_from_slice(&hello.fence_mac),
            root: digest_bytes(&hello.root),
            level: digest_bytes(&hello.level),
            session_token: Bytes::copy_from_slice(&hello.session_token),
            cluster_uid: hello.cluster_uid.clone(),
            rules: Some(hello.rules.into()),
            version: hello.version.clone(),
            asks: hello.asks,
            suspends: hello.suspends,
            suspended: hello.suspended,
        }
    }
}

impl TryFrom<msg::Hello> for Hello {
    type Error = WireError;

    fn try_from(hello: msg::Hello) -> Result<Self, WireError> {
        if hello.protocol != PROTOCOL {
            return Err(WireError::Protocol { theirs: hello.protocol });
        }
        at_most("hello.fence_mac", hello.fence_mac.len(), limits::FENCE_MAC_BYTES_MAX)?;
        let token = hello.session_token;
        at_most("hello.session_token", token.len(), limits::SESSION_TOKEN_BYTES_MAX)?;
        at_most("hello.version", hello.version.len(), limits::VERSION_BYTES_MAX)?;
        let uid = hello.cluster_uid;
        Ok(Self {
            fence: required("hello.fence", hello.fence)?.try_into()?,
            fence_mac: hello.fence_mac.into(),
            root: digest("hello.root", &hello.root)?,
            level: digest("hello.level", &hello.level)?,
            session_token: token.into(),
            cluster_uid: some_text("hello.cluster_uid", uid, limits::CLUSTER_UID_BYTES_MAX)?,
            rules: required("hello.rules", hello.rules)?.try_into()?,
            version: hello.version,
            asks: hello.asks,
            suspends: hello.suspends,
            suspended: hello.suspended,
        })
    }
}

pub(crate) fn write_holding(holding: &BTreeMap<String, HeldEntry>) -> msg::Holding {
    let write = |(bundle, held): (&String, &HeldEntry)| msg::HeldEntry {
        bundle: bundle.clone(),
        digest: digest_bytes(&held.digest),
        variant: optional_bytes(held.variant.as_ref()),
    };
    msg::Holding { entries: holding.iter().map(write).collect() }
}

pub(crate) fn read_holding(holding: msg::Holding) -> Result<BTreeMap<String, HeldEntry>, WireError> {
    at_most("holding.entries", holding.entries.len(), limits::BUNDLES_PER_CLUSTER_MAX)?;
    let mut entries = BTreeMap::new();
    for entry in holding.entries {
        check_full_bundle(&entry.bundle)?;
        let held = HeldEntry {
            digest: digest("holding.digest", &entry.digest)?,
            variant: optional_digest("holding.variant", &entry.variant)?,
        };
        if entries.insert(entry.bundle.clone(), held).is_some() {
            return Err(WireError::Twice { field: "holding.entries", name: entry.bundle });
        }
    }
    Ok(entries)
}

impl From<Refusal> for msg::Refused {
    fn from(refusal: Refusal) -> Self {
        let reason = match refusal {
            Refusal::Revoked => msg::Refusal::Revoked,
            Refusal::DuplicateIdentity => msg::Refusal::DuplicateIdentity,
            Refusal::OtherCluster => msg::Refusal::OtherCluster,
            Refusal::Displaced => msg::Refusal::Displaced,
            Refusal::TooOld => msg::Refusal::TooOld,
            Refusal::Removed => msg::Refusal::Removed,
            Refusal::Retry => msg::Refusal::Retry,
            Refusal::ForeignFence => msg::Refusal::ForeignFence,
        };
        Self { reason: reason.into() }
    }
}

impl TryFrom<msg::Refused> for Refusal {
    type Error = WireError;

    fn try_from(refused: msg::Refused) -> Result<Self, WireError> {
        let field = "refused.reason";
        let reason =
            msg::Refusal::try_from(refused.reason).map_err(|_| WireError::Unknown { field, number: refused.reason })?;
        Ok(match reason {
            msg::Refusal::Unspecified => return Err(WireError::Missing(field)),
            msg::Refusal::Revoked => Self::Revoked,
            msg::Refusal::DuplicateIdentity => Self::DuplicateIdentity,
            msg::Refusal::OtherCluster => Self::OtherCluster,
            msg::Refusal::Displaced => Self::Displaced,
            msg::Refusal::TooOld => Self::TooOld,
            msg::Refusal::Removed => Self::Removed,
            msg::Refusal::Retry => Self::Retry,
            msg::Refusal::ForeignFence => Self::ForeignFence,
        })
    }
}
