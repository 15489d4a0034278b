//! The form of the ledger in the cluster: a record is an index Secret that holds its bytes, or
//! names the Secrets that hold pieces of them, or a file on the volume. Pieces and files are named
//! by their content, so the index alone decides what a record is: a crash between two writes
//! leaves the old record or the new one.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proto_model::{Digest, limits};
use serde_json::{Value as Json, json};
use spoke_core::port::SYSTEM_NAMESPACE;

use crate::volume;

/// Label of all Secrets of the ledger: `index` or `chunk`.
pub(crate) const LABEL: &str = "drover.dev/ledger";
const TYPE: &str = "drover.dev/ledger";
const LEVEL: i32 = 3;

/// What comes with the hub's assignments, and from the hub again if it is lost.
pub(crate) fn is_pack(key: &str) -> bool {
    key.starts_with("bundle/")
}

/// Where the bytes of a record lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In Secrets.
    Cluster,
    /// In a file, which one Secret names.
    Volume,
}

/// A record as Secrets.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Written first: name and bytes of a file on the volume.
    pub(crate) file: Option<(String, Vec<u8>)>,
    /// Written next, in order.
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

/// Compresses a record.
///
/// # Errors
/// It is too large, or can't be compressed.
pub(crate) fn compress(key: &str, value: &[u8]) -> Result<Vec<u8>, String> {
    if value.len() > limits::LEDGER_RECORD_BYTES_MAX {
        let max = limits::LEDGER_RECORD_BYTES_MAX;
        return Err(format!("ledger record {key:?} has {} bytes, more than {max}", value.len()));
    }
    zstd::bulk::compress(value, LEVEL).map_err(|error| format!("ledger record {key:?}: {error}"))
}

/// Makes Secrets of a record; `body` is `value`, compressed.
pub(crate) fn pack(key: &str, value: &[u8], body: Vec<u8>, place: Place) -> Packed {
    let index_name = index_name(key);
    let digest = Digest::of(value).to_string();
    let bytes = value.len().to_string();
    let index = |field: &str, content: &[u8]| {
        let data =
            [("key", key.as_bytes()), ("digest", digest.as_bytes()), ("bytes", bytes.as_bytes()), (field, content)];
        secret(&index_name, "index", false, &data)
    };
    if place == Place::Volume {
        let file = volume::file_name(&body);
        return Packed { index: index("file", file.as_bytes()), chunks: Vec::new(), file: Some((file, body)) };
    }
    if body.len() <= limits::LEDGER_CHUNK_BYTES_MAX {
        return Packed { index: index("body", &body), chunks: Vec::new(), file: None };
    }
    let chunk = |piece: &[u8]| {
        let name = format!("{index_name}-{}", &Digest::of(piece).to_string()[..32]);
        secret(&name, "chunk", true, &[("body", piece)])
    };
    let chunks: Vec<Json> = body.chunks(limits::LEDGER_CHUNK_BYTES_MAX).map(chunk).collect();
    let names: Vec<String> = chunks.iter().map(name).collect();
    Packed { index: index("chunks", json!(names).to_string().as_bytes()), chunks, file: None }
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
    /// Where the bytes of each record lie, packs that are lost among them.
    pub(crate) places: BTreeMap<String, Stored>,
    /// Chunks that no index names.
    pub(crate) orphans: BTreeSet<String>,
}

/// What there is of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Its compressed bytes in the cluster.
    pub(crate) cluster_bytes: usize,
    /// Names of its chunks.
    pub(crate) chunks: BTreeSet<String>,
    /// Name of its file on the volume.
    pub(crate) file: Option<String>,
    /// The index as it was last read or written here.
    pub(crate) seen: Seen,
}

/// Which writing of an index was seen; empty where none was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) uid: String,
    pub(crate) resource_version: String,
}

impl Seen {
    pub(crate) fn of(index: &Json) -> Self {
        let text = |key: &str| index["metadata"][key].as_str().unwrap_or_default().to_owned();
        Self { uid: text("uid"), resource_version: text("resourceVersion") }
    }

    /// Lets an index be written only over the one that was seen, and over none where none was.
    pub(crate) fn guard(&self, index: &mut Json) {
        let metadata = &mut index["metadata"];
        if self.resource_version.is_empty() {
            // No object has this one.
            metadata["resourceVersion"] = "1".into();
            return;
        }
        metadata["resourceVersion"] = self.resource_version.as_str().into();
        metadata["uid"] = self.uid.as_str().into();
    }

    /// What must hold for an index to be removed; `None` where none was seen.
    pub(crate) fn preconditions(&self) -> Option<Json> {
        let is_known = !self.resource_version.is_empty();
        is_known.then(|| json!({"uid": self.uid, "resourceVersion": self.resource_version}))
    }
}

/// Names of the files that Secrets of the ledger name.
pub(crate) fn files(secrets: &[Json]) -> BTreeSet<String> {
    let named = secrets.iter().filter_map(|secret| String::from_utf8(field_of(secret, "file")?).ok());
    // It becomes a path.
    named.filter(|name| !name.contains('/') && !name.starts_with('.')).collect()
}

/// Reads all records from all Secrets, and from what could be read of the files that they name. A
/// pack that is damaged is absent.
///
/// # Errors
/// Another record is damaged: half a ledger must not pass for the whole.
pub(crate) fn unpack(secrets: &[Json], files: &BTreeMap<String, Vec<u8>>) -> Result<Unpacked, String> {
    let role = |secret: &Json| secret["metadata"]["labels"][LABEL].as_str().unwrap_or_default().to_owned();
    let chunks: BTreeMap<String, &Json> = secrets.iter().filter(|s| role(s) == "chunk").map(|s| (name(s), s)).collect();
    let mut out = Unpacked { orphans: chunks.keys().cloned().collect(), ..Unpacked::default() };
    for index in secrets.iter().filter(|secret| role(secret) == "index") {
        let damaged = |why: String| {
            format!(
                "the ledger is damaged at Secret {SYSTEM_NAMESPACE}/{}: {why}; remove it, and the hub sends again what it held",
                name(index)
            )
        };
        let key = text(index, "key").map_err(damaged)?;
        if index_name(&key) != name(index) {
            return Err(damaged("its key is another's".into()));
        }
        let stored = stored(index);
        out.orphans.retain(|chunk| !stored.chunks.contains(chunk));
        match body(index, &stored, &chunks, files).and_then(|body| Ok((value(index, &body)?, body.len()))) {
            Ok((value, bytes)) => {
                let cluster_bytes = if stored.file.is_some() { 0 } else { bytes };
                out.places.insert(key.clone(), Stored { cluster_bytes, ..stored });
                out.records.insert(key, value);
            }
            Err(why) if is_pack(&key) => {
                tracing::warn!(record = %key, %why, "a pack of the ledger is lost; the hub is asked for it");
                out.places.insert(key, stored);
            }
            Err(why) => return Err(damaged(why)),
        }
    }
    Ok(out)
}

fn stored(index: &Json) -> Stored {
    let chunks = text(index, "chunks").map(|text| names(&text)).unwrap_or_default().into_iter().collect();
    Stored { cluster_bytes: 0, chunks, file: text(index, "file").ok(), seen: Seen::of(index) }
}

/// The compressed bytes of a record.
fn body(
    index: &Json,
    stored: &Stored,
    chunks: &BTreeMap<String, &Json>,
    files: &BTreeMap<String, Vec<u8>>,
) -> Result<Vec<u8>, String> {
    if let Some(file) = &stored.file {
        return files.get(file).cloned().ok_or_else(|| format!("file {file} is missing"));
    }
    if let Some(whole) = field_of(index, "body") {
        return Ok(whole);
    }
    let mut body = Vec::new();
    for chunk in names(&text(index, "chunks")?) {
        let piece = chunks.get(&chunk).and_then(|chunk| field_of(chunk, "body"));
        body.extend(piece.ok_or_else(|| format!("chunk {chunk} is missing"))?);
    }
    Ok(body)
}

/// A record, out of its compressed bytes.
fn value(index: &Json, body: &[u8]) -> Result<Vec<u8>, String> {
    let bytes: usize = text(index, "bytes")?.parse().map_err(|_| "bytes is no number")?;
    if bytes > limits::LEDGER_RECORD_BYTES_MAX {
        return Err("it is too large".into());
    }
    let value = zstd::bulk::decompress(body, bytes).map_err(|_| "it does not decompress")?;
    if Digest::of(&value).to_string() != text(index, "digest")? {
        return Err("its digest is another".into());
    }
    Ok(value)
}

fn text(secret: &Json, field: &str) -> Result<String, String> {
    let bytes = field_of(secret, field).ok_or_else(|| format!("no {field}"))?;
    String::from_utf8(bytes).map_err(|_| format!("{field} is no text"))
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

    fn packed(key: &str, value: &[u8], place: Place) -> Packed {
        pack(key, value, compress(key, value).unwrap(), place)
    }

    fn secrets(packed: &Packed) -> Vec<Json> {
        packed.chunks.iter().chain([&packed.index]).cloned().collect()
    }

    fn read(secrets: &[Json]) -> Result<Unpacked, String> {
        unpack(secrets, &BTreeMap::new())
    }

    #[test]
    fn records_round_trip_whole_and_in_pieces() {
        for len in [0, 1, limits::LEDGER_CHUNK_BYTES_MAX + 1, 2 * 1024 * 1024] {
            let value = noise(len);
            let packed = packed("assignments/a.b", &value, Place::Cluster);
            let fits = |s: &Json| field_of(s, "body").is_none_or(|b| b.len() <= limits::LEDGER_CHUNK_BYTES_MAX);
            assert!(secrets(&packed).iter().all(fits) && packed.file.is_none());
            let read = read(&secrets(&packed)).unwrap();
            assert!(read.places["assignments/a.b"].cluster_bytes >= len);
            assert_eq!(read.records, BTreeMap::from([("assignments/a.b".to_owned(), value)]));
            assert!(read.orphans.is_empty());
        }
    }

    #[test]
    fn a_pack_on_the_volume_is_whole_or_absent() {
        let value = noise(2_000_000);
        let packed = packed("bundle/main/web/1", &value, Place::Volume);
        let (file, body) = packed.file.clone().unwrap();
        let all = secrets(&packed);
        assert!(all.len() == 1 && files(&all) == BTreeSet::from([file.clone()]));
        let read = unpack(&all, &BTreeMap::from([(file.clone(), body)])).unwrap();
        assert_eq!(read.records["bundle/main/web/1"], value);
        assert_eq!(read.places["bundle/main/web/1"].cluster_bytes, 0);
        let read = unpack(&all, &BTreeMap::new()).unwrap();
        assert!(read.records.is_empty());
        assert_eq!(read.places["bundle/main/web/1"].file, Some(file));
    }

    #[test]
    fn a_file_has_a_plain_name() {
        let mut index = packed("bundle/main/web/1", b"x", Place::Volume).index;
        for name in ["../../etc/passwd", "/etc/passwd", ".."] {
            index["data"]["file"] = STANDARD.encode(name).into();
            assert!(files(std::slice::from_ref(&index)).is_empty(), "{name}");
        }
    }

    #[test]
    fn an_overwrite_that_was_cut_short_leaves_the_old_record() {
        let old = packed("k", &noise(2_000_000), Place::Cluster);
        let new = packed("k", &noise(1_900_000)[1..], Place::Cluster);
        let mut all = secrets(&old);
        all.push(new.chunks[0].clone());
        let read = read(&all).unwrap();
        assert_eq!(read.records["k"], noise(2_000_000));
        assert_eq!(read.orphans, BTreeSet::from([name(&new.chunks[0])]));
    }

    #[test]
    fn damage_is_told_not_skipped_but_of_packs() {
        for (key, is_pack) in [("k", false), ("bundle/main/web/1", true)] {
            let large = packed(key, &noise(2_000_000), Place::Cluster);
            let mut one = packed(key, b"value", Place::Cluster);
            one.index["data"]["digest"] = STANDARD.encode("0").into();
            for (all, why) in [(&secrets(&large)[1..], "missing"), (&[one.index][..], "digest")] {
                match read(all) {
                    Ok(read) => assert!(is_pack && read.records.is_empty() && read.places.contains_key(key)),
                    Err(said) => assert!(!is_pack && said.contains(why), "{said}"),
                }
            }
        }
    }
}
