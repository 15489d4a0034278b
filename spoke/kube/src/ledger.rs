//! The form of the ledger in the cluster: a record is an index Secret that holds its bytes, or
//! names the Secrets that hold pieces of them. Pieces are named by their content, so the index
//! alone decides what a record is: a crash between two writes leaves the old record or the new
//! one.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto_model::{Digest, limits};
use serde_json::{Value as Json, json};
use spoke_core::port::SYSTEM_NAMESPACE;

/// Label of all Secrets of the ledger: `index` or `chunk`.
pub(crate) const LABEL: &str = "drover.dev/ledger";
const TYPE: &str = "drover.dev/ledger";
const LEVEL: i32 = 3;

/// A record as Secrets.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Written first, in order.
    pub(crate) chunks: Vec<Json>,
    /// Written last.
    pub(crate) index: Json,
}

impl Packed {
    /// Names of its chunks.
    pub(crate) fn chunk_names(&self) -> BTreeSet<String> {
        self.chunks.iter().map(name).collect()
    }
}

/// The name of a Secret.
pub(crate) fn name(secret: &Json) -> String {
    secret["metadata"]["name"].as_str().unwrap_or_default().into()
}

/// The name of a record's index.
pub(crate) fn index_name(key: &str) -> String {
    format!("drover-ledger-{}", &Digest::of(key.as_bytes()).to_string()[..32])
}

/// Makes Secrets of a record.
///
/// # Errors
/// It is too large, or can't be compressed.
pub(crate) fn pack(key: &str, value: &[u8]) -> Result<Packed, String> {
    if value.len() > limits::LEDGER_RECORD_BYTES_MAX {
        let max = limits::LEDGER_RECORD_BYTES_MAX;
        return Err(format!("ledger record {key:?} has {} bytes, more than {max}", value.len()));
    }
    let body = zstd::bulk::compress(value, LEVEL).map_err(|error| format!("ledger record {key:?}: {error}"))?;
    let index_name = index_name(key);
    let mut chunks = Vec::new();
    if body.len() > limits::LEDGER_CHUNK_BYTES_MAX {
        for piece in body.chunks(limits::LEDGER_CHUNK_BYTES_MAX) {
            let name = format!("{index_name}-{}", &Digest::of(piece).to_string()[..32]);
            chunks.push(secret(&name, "chunk", true, &[("body", piece)]));
        }
    }
    let names: Vec<String> = chunks.iter().map(name).collect();
    let names = json!(names).to_string();
    let digest = Digest::of(value).to_string();
    let bytes = value.len().to_string();
    let mut data: Vec<(&str, &[u8])> =
        vec![("key", key.as_bytes()), ("digest", digest.as_bytes()), ("bytes", bytes.as_bytes())];
    data.push(if chunks.is_empty() { ("body", &body) } else { ("chunks", names.as_bytes()) });
    let index = secret(&index_name, "index", false, &data);
    Ok(Packed { chunks, index })
}

fn secret(name: &str, role: &str, immutable: bool, data: &[(&str, &[u8])]) -> Json {
    let data: BTreeMap<&str, String> = data.iter().map(|(key, value)| (*key, STANDARD.encode(value))).collect();
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": TYPE, "immutable": immutable,
        "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {LABEL: role}},
        "data": data,
    })
}

/// What a list of the ledger's Secrets holds.
#[derive(Debug, Default)]
pub(crate) struct Unpacked {
    pub(crate) records: BTreeMap<String, Vec<u8>>,
    /// Chunks of each record that has some.
    pub(crate) chunks: BTreeMap<String, BTreeSet<String>>,
    /// Chunks that no index names.
    pub(crate) orphans: BTreeSet<String>,
}

/// Reads all records from all Secrets.
///
/// # Errors
/// A record is damaged: half a ledger must not pass for the whole.
pub(crate) fn unpack(secrets: &[Json]) -> Result<Unpacked, String> {
    let role = |secret: &Json| secret["metadata"]["labels"][LABEL].as_str().unwrap_or_default().to_owned();
    let chunks: BTreeMap<String, &Json> = secrets.iter().filter(|s| role(s) == "chunk").map(|s| (name(s), s)).collect();
    let mut out = Unpacked { orphans: chunks.keys().cloned().collect(), ..Unpacked::default() };
    for index in secrets.iter().filter(|secret| role(secret) == "index") {
        let damaged = |why: &str| {
            format!(
                "the ledger is damaged at Secret {SYSTEM_NAMESPACE}/{}: {why}; remove it, and the hub sends again what it held",
                name(index)
            )
        };
        let text = |field: &str| {
            let bytes = field_of(index, field).ok_or_else(|| damaged(&format!("no {field}")))?;
            String::from_utf8(bytes).map_err(|_| damaged(&format!("{field} is no text")))
        };
        let key = text("key")?;
        let mut body = Vec::new();
        match field_of(index, "body") {
            Some(whole) => body = whole,
            None => {
                let names: BTreeSet<String> = names(&text("chunks")?).into_iter().collect();
                for chunk in self::names(&text("chunks")?) {
                    let piece = chunks.get(&chunk).and_then(|chunk| field_of(chunk, "body"));
                    body.extend(piece.ok_or_else(|| damaged(&format!("chunk {chunk} is missing")))?);
                    out.orphans.remove(&chunk);
                }
                out.chunks.insert(key.clone(), names);
            }
        }
        let bytes: usize = text("bytes")?.parse().map_err(|_| damaged("bytes is no number"))?;
        if bytes > limits::LEDGER_RECORD_BYTES_MAX {
            return Err(damaged("it is too large"));
        }
        let value = zstd::bulk::decompress(&body, bytes).map_err(|_| damaged("it does not decompress"))?;
        if Digest::of(&value).to_string() != text("digest")? || index_name(&key) != name(index) {
            return Err(damaged("its digest is another"));
        }
        out.records.insert(key, value);
    }
    Ok(out)
}

fn field_of(secret: &Json, field: &str) -> Option<Vec<u8>> {
    STANDARD.decode(secret["data"][field].as_str()?).ok()
}

fn names(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Bytes that do not compress.
    fn noise(len: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(len + 32);
        let mut last = Digest::of(b"seed");
        while out.len() < len {
            last = Digest::of(&last.0);
            out.extend_from_slice(&last.0);
        }
        out.truncate(len);
        out
    }

    fn secrets(packed: &Packed) -> Vec<Json> {
        packed.chunks.iter().chain([&packed.index]).cloned().collect()
    }

    #[test]
    fn records_round_trip_whole_and_in_pieces() {
        for len in [0, 1, limits::LEDGER_CHUNK_BYTES_MAX + 1, 2 * 1024 * 1024] {
            let value = noise(len);
            let packed = pack("assignments/a.b", &value).unwrap();
            let fits = |s: &Json| field_of(s, "body").is_none_or(|b| b.len() <= limits::LEDGER_CHUNK_BYTES_MAX);
            assert!(secrets(&packed).iter().all(fits));
            let read = unpack(&secrets(&packed)).unwrap();
            assert_eq!(read.records, BTreeMap::from([("assignments/a.b".to_owned(), value)]));
            assert!(read.orphans.is_empty());
        }
    }

    #[test]
    fn an_overwrite_that_was_cut_short_leaves_the_old_record() {
        let old = pack("k", &noise(2_000_000)).unwrap();
        let new = pack("k", &noise(1_900_000)[1..]).unwrap();
        let mut all = secrets(&old);
        all.push(new.chunks[0].clone());
        let read = unpack(&all).unwrap();
        assert_eq!(read.records["k"], noise(2_000_000));
        assert_eq!(read.orphans, BTreeSet::from([name(&new.chunks[0])]));
    }

    #[test]
    fn damage_is_told_not_skipped() {
        let packed = pack("k", &noise(2_000_000)).unwrap();
        assert!(unpack(&secrets(&packed)[1..]).unwrap_err().contains("missing"));
        let mut one = pack("k", b"value").unwrap();
        one.index["data"]["digest"] = STANDARD.encode("0").into();
        assert!(unpack(&[one.index]).unwrap_err().contains("digest"));
    }
}
