//! The bytes on disk: our own records, each with its version first, so that an update of a
//! dependency never changes what an older directory means.

use std::collections::{BTreeMap, BTreeSet};

use openraft::{BasicNode, CommittedLeaderId, EntryPayload, LeaderId};
use proto_model::Digest;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::types::{Entry, LogId, Membership, Payload, StoredMembership, Vote};

/// Version of every record and row below.
const VERSION: u8 = 1;

const KIND_BLANK: u8 = 0;
const KIND_NORMAL: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// version, kind, term, node, check
const ROW_HEAD_BYTES: usize = 1 + 1 + 8 + 8 + CHECK_BYTES;
const CHECK_BYTES: usize = 8;

/// Bytes that are no record of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("is of version {0}, and this program knows version {VERSION}")]
    Version(u8),
    #[error("is damaged ({0})")]
    Damaged(&'static str),
}

/// A log id on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogIdRecord {
    pub(crate) term: u64,
    pub(crate) node: u64,
    pub(crate) index: u64,
}

/// A vote on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VoteRecord {
    term: u64,
    node: u64,
    committed: bool,
}

/// A membership on disk: the sets of voters (two while it changes), and every member's address.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct MembershipRecord {
    log_id: Option<LogIdRecord>,
    voters: Vec<BTreeSet<u64>>,
    nodes: BTreeMap<u64, String>,
}

impl From<LogId> for LogIdRecord {
    fn from(id: LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(id: LogIdRecord) -> Self {
        Self::new(CommittedLeaderId::new(id.term, id.node), id.index)
    }
}

impl From<Vote> for VoteRecord {
    fn from(vote: Vote) -> Self {
        Self { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
    }
}

impl From<VoteRecord> for Vote {
    fn from(vote: VoteRecord) -> Self {
        Self { leader_id: LeaderId::new(vote.term, vote.node), committed: vote.committed }
    }
}

impl From<&StoredMembership> for MembershipRecord {
    fn from(stored: &StoredMembership) -> Self {
        Self { log_id: stored.log_id().map(Into::into), ..Self::from(stored.membership()) }
    }
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            log_id: None,
            voters: membership.get_joint_config().clone(),
            nodes: membership.nodes().map(|(id, node)| (*id, node.addr.clone())).collect(),
        }
    }
}

impl From<MembershipRecord> for StoredMembership {
    fn from(record: MembershipRecord) -> Self {
        Self::new(record.log_id.map(Into::into), record.into())
    }
}

impl From<MembershipRecord> for Membership {
    fn from(record: MembershipRecord) -> Self {
        let nodes: BTreeMap<u64, BasicNode> =
            record.nodes.into_iter().map(|(id, addr)| (id, BasicNode { addr })).collect();
        Self::new(record.voters, nodes)
    }
}

/// A record with its version first.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    let mut out = vec![VERSION];
    // Writing plain records into memory has no way to fail; were there one, the reader would
    // refuse the record that breaks off.
    let _ = ciborium::into_writer(record, &mut out);
    out
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    let (&version, body) = bytes.split_first().ok_or(Malformed::Damaged("empty"))?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    ciborium::from_reader(body).map_err(|_| Malformed::Damaged("record"))
}

/// A row of the log: version, kind, term, node, check, payload. The index is the row's key.
pub(crate) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (KIND_BLANK, Vec::new()),
        EntryPayload::Normal(Payload(bytes)) => (KIND_NORMAL, bytes.clone()),
        EntryPayload::Membership(membership) => (KIND_MEMBERSHIP, encode(&MembershipRecord::from(membership))),
    };
    let id = LogIdRecord::from(entry.log_id);
    let mut row = Vec::with_capacity(ROW_HEAD_BYTES + payload.len());
    row.extend([VERSION, kind]);
    row.extend(id.term.to_be_bytes());
    row.extend(id.node.to_be_bytes());
    row.extend(check(id.index, &row, &payload));
    row.extend(payload);
    row
}

/// Reads what [`encode_entry`] wrote at `index`.
pub(crate) fn decode_entry(index: u64, row: &[u8]) -> Result<Entry, Malformed> {
    let version = *row.first().ok_or(Malformed::Damaged("empty"))?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    let (head, payload) = row.split_at_checked(ROW_HEAD_BYTES).ok_or(Malformed::Damaged("short"))?;
    let (fields, found) = head.split_at(ROW_HEAD_BYTES - CHECK_BYTES);
    if check(index, fields, payload) != found {
        return Err(Malformed::Damaged("check"));
    }
    let number = |at: usize| -> Result<u64, Malformed> {
        let bytes = fields.get(at..at + 8).and_then(|b| b.try_into().ok());
        bytes.map(u64::from_be_bytes).ok_or(Malformed::Damaged("short"))
    };
    let log_id = LogIdRecord { term: number(2)?, node: number(10)?, index }.into();
    let payload = match fields.get(1) {
        Some(&KIND_BLANK) => EntryPayload::Blank,
        Some(&KIND_NORMAL) => EntryPayload::Normal(Payload(payload.to_vec())),
        Some(&KIND_MEMBERSHIP) => EntryPayload::Membership(decode::<MembershipRecord>(payload)?.into()),
        _ => return Err(Malformed::Damaged("kind")),
    };
    Ok(Entry { log_id, payload })
}

/// Binds a row's fields and payload to its index: what a disk returns from elsewhere is noticed.
fn check(index: u64, fields: &[u8], payload: &[u8]) -> [u8; CHECK_BYTES] {
    let digest = Digest::of_parts([&index.to_be_bytes()[..], fields, payload]);
    let mut out = [0; CHECK_BYTES];
    out.copy_from_slice(&digest.0[..CHECK_BYTES]);
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn normal(index: u64, bytes: &[u8]) -> Entry {
        Entry {
            log_id: LogIdRecord { term: 3, node: 9, index }.into(),
            payload: EntryPayload::Normal(Payload(bytes.to_vec())),
        }
    }

    #[test]
    fn the_row_of_version_one_stays_as_it_is() {
        let row = encode_entry(&normal(7, b"ab"));
        let text: String = row.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(&text[..36], "010100000000000000030000000000000009");
        assert_eq!(&text[52..], "6162");
        assert_eq!(decode_entry(7, &row).unwrap(), normal(7, b"ab"));
    }

    #[test]
    fn memberships_survive() {
        let membership = Membership::new(
            vec![[1, 2].into(), [2, 3].into()],
            BTreeMap::from([(1, BasicNode::new("a:1")), (2, BasicNode::new("b:1")), (4, BasicNode::new("learner:1"))]),
        );
        let entry = Entry { log_id: LogId::default(), payload: EntryPayload::Membership(membership.clone()) };
        assert_eq!(decode_entry(0, &encode_entry(&entry)).unwrap(), entry);
        let stored = StoredMembership::new(Some(LogId::default()), membership);
        let record: MembershipRecord = decode(&encode(&MembershipRecord::from(&stored))).unwrap();
        assert_eq!(StoredMembership::from(record), stored);
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let row = encode_entry(&normal(7, b"payload"));
        for at in 0..row.len() {
            let mut bad = row.clone();
            bad[at] ^= 0x40;
            assert!(decode_entry(7, &bad).is_err(), "byte {at}");
        }
        for length in 0..row.len() {
            assert!(decode_entry(7, &row[..length]).is_err(), "length {length}");
        }
        assert_eq!(decode_entry(8, &row).unwrap_err(), Malformed::Damaged("check"));
    }

    #[test]
    fn a_later_version_is_named() {
        let mut row = encode_entry(&normal(7, b""));
        row[0] = 2;
        assert_eq!(decode_entry(7, &row).unwrap_err(), Malformed::Version(2));
        assert_eq!(decode::<LogIdRecord>(&[9, 0]).unwrap_err(), Malformed::Version(9));
    }
}
