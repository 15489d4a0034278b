//! The ledger in the cluster: reading and writing its Secrets, and the files that they name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Method;
use proto_model::limits;
use serde_json::Value as Json;
use spoke_core::ledger::ROOT_KEY;
use spoke_core::port::{Failure, Reason, SYSTEM_NAMESPACE, Write};

use crate::api::{APPLY, Call, JSON, escaped};
use crate::cluster::{Inner, delete_options};
use crate::failure::{Subject, plain};
use crate::ledger::{LABEL, Place, Seen, Stored, Unpacked, compress, files, index_name, is_pack, name, pack, unpack};
use crate::volume::Volume;

const ALL: &str = "/api/v1/namespaces/drover-system/secrets";
const MANAGER: &str = "drover-spoke";

/// Where records lie, so that what is no longer needed is removed.
pub(crate) struct Secrets {
    volume: Volume,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    places: BTreeMap<String, Stored>,
    orphans: BTreeSet<String>,
    /// Whether a file lost its Secret since the others were removed.
    has_old_files: bool,
}

impl Known {
    /// Where a record is to lie: a pack beyond what the cluster is to hold, on the volume.
    fn place(&self, key: &str, bytes: usize) -> Place {
        let packs = self.places.iter().filter(|(other, _)| is_pack(other) && *other != key);
        let held: usize = packs.map(|(_, stored)| stored.cluster_bytes).sum();
        match is_pack(key) && held.saturating_add(bytes) > limits::LEDGER_CLUSTER_BYTES_MAX {
            true => Place::Volume,
            false => Place::Cluster,
        }
    }

    /// A record lies elsewhere than before, or nowhere.
    fn moved(&mut self, key: &str, to: Option<Stored>) {
        let chunks = to.as_ref().map(|stored| stored.chunks.clone()).unwrap_or_default();
        let file = to.as_ref().and_then(|stored| stored.file.clone());
        let before = match to {
            Some(stored) => self.places.insert(key.to_owned(), stored),
            None => self.places.remove(key),
        };
        let before = before.unwrap_or_default();
        self.orphans.retain(|name| !chunks.contains(name));
        self.orphans.extend(before.chunks.difference(&chunks).cloned());
        self.has_old_files |= before.file.is_some() && before.file != file;
    }

    fn seen(&self, key: &str) -> Seen {
        self.places.get(key).map(|stored| stored.seen.clone()).unwrap_or_default()
    }

    fn files(&self) -> BTreeSet<String> {
        self.places.values().filter_map(|stored| stored.file.clone()).collect()
    }
}

impl Secrets {
    /// `folder` takes the packs for which the cluster has no room.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { volume: Volume::new(folder), known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads all records.
    pub(crate) async fn load(&self, inner: &Inner) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let subject = subject("list", String::new());
        let base = format!("{ALL}?labelSelector={}&limit={}", escaped(LABEL), limits::LEDGER_PAGE_SECRETS);
        let mut path = base.clone();
        let mut secrets: Vec<Json> = Vec::new();
        loop {
            let page = inner.api.call(Call::get(path)).await;
            let mut page = page.map_err(|error| error.failure(&subject))?;
            if let Some(items) = page["items"].as_array_mut() {
                secrets.append(items);
            }
            match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => path = format!("{base}&continue={}", escaped(token)),
                None => break,
            }
        }
        let files = self.volume.read(files(&secrets)).await;
        let unpacked = unpack(&secrets, &files).map_err(|why| plain(Reason::Server, why))?;
        let Unpacked { records, places, orphans } = unpacked;
        *self.known() = Known { places, orphans, has_old_files: false };
        Ok(records)
    }

    /// Puts and deletes records, one after another.
    pub(crate) async fn store(&self, inner: &Inner, write: Write) -> Result<(), Failure> {
        for (key, value) in &write.puts {
            self.put(inner, key, value).await?;
        }
        for key in &write.deletes {
            let seen = self.known().seen(key);
            delete(inner, &index_name(key), &seen).await?;
            self.known().moved(key, None);
        }
        self.tidy(inner).await;
        Ok(())
    }

    async fn put(&self, inner: &Inner, key: &str, value: &[u8]) -> Result<(), Failure> {
        let body = compress(key, value).map_err(|why| plain(Reason::Invalid, why))?;
        let bytes = body.len();
        let place = self.known().place(key, bytes);
        let mut packed = pack(key, value, body, place);
        let chunks = packed.chunk_names();
        let mut stored = Stored { cluster_bytes: bytes, chunks, ..Stored::default() };
        if let Some((file, body)) = packed.file {
            stored = Stored { cluster_bytes: 0, file: Some(file.clone()), ..stored };
            self.volume.write(file, body).await?;
        }
        for chunk in &packed.chunks {
            let subject = subject("create", name(chunk));
            let path = format!("{ALL}?fieldManager={MANAGER}");
            match inner.in_system_namespace(&inner.api, &subject, Method::POST, &path, JSON, chunk).await {
                Ok(_) => {}
                // Named by its content: it is the same.
                Err(error) if error.is_code(409) => {}
                Err(error) => return Err(error.failure(&subject)),
            }
        }
        let seen = self.known().seen(key);
        seen.guard(&mut packed.index);
        let had_root = self.known().places.contains_key(ROOT_KEY);
        stored.seen = match put_index(inner, &packed.index, had_root).await {
            Err(failure) if failure.reason == Reason::Gone => {
                // What else is gone is written as if for the first time.
                self.load(inner).await?;
                return Err(failure);
            }
            answer => answer?,
        };
        self.known().moved(key, Some(stored));
        Ok(())
    }

    /// Removes chunks and files that no index names. What fails is tried again after the next write.
    async fn tidy(&self, inner: &Inner) {
        let files = {
            let mut known = self.known();
            std::mem::take(&mut known.has_old_files).then(|| known.files())
        };
        if let Some(files) = files {
            self.volume.keep(files).await;
        }
        let orphans = self.known().orphans.clone();
        for orphan in orphans {
            match delete(inner, &orphan, &Seen::default()).await {
                Ok(()) => {
                    self.known().orphans.remove(&orphan);
                }
                Err(failure) => {
                    tracing::debug!(secret = %orphan, %failure, "a piece of an old ledger record stays for now");
                }
            }
        }
    }
}

/// Writes an index, and says which writing of it this was. Where another spoke wrote it meanwhile, it keeps what that
/// one wrote: this one was held up, and what it knows is old.
async fn put_index(inner: &Inner, index: &Json, had_root: bool) -> Result<Seen, Failure> {
    let subject = subject("patch", name(index));
    let path = format!("{ALL}/{}?fieldManager={MANAGER}&force=true", subject.name);
    let refused = match inner.in_system_namespace(&inner.api, &subject, Method::PATCH, &path, APPLY, index).await {
        Ok(written) => return Ok(Seen::of(&written)),
        Err(error) if error.is_code(409) => error.failure(&subject),
        Err(error) => return Err(error.failure(&subject)),
    };
    // Its own, of which the answer was lost.
    match inner.api.call(Call::get(format!("{ALL}/{}", subject.name))).await {
        Ok(found) if found["data"] == index["data"] => Ok(Seen::of(&found)),
        Err(error) if error.is_code(404) => {
            // Another spoke never removes the root: where that is gone, it was somebody who knows nothing of it.
            let root = inner.api.call(Call::get(format!("{ALL}/{}", index_name(ROOT_KEY)))).await;
            let gone = || plain(Reason::Gone, format!("Secret {SYSTEM_NAMESPACE}/{} was removed", subject.name));
            let is_gone = had_root && root.is_err_and(|error| error.is_code(404));
            Err(if is_gone { gone() } else { refused })
        }
        _ => Err(refused),
    }
}

async fn delete(inner: &Inner, name: &str, seen: &Seen) -> Result<(), Failure> {
    let subject = subject("delete", name.to_owned());
    let (content, mut body) = delete_options();
    if let Some(preconditions) = seen.preconditions() {
        body["preconditions"] = preconditions;
    }
    let call = Call::with(Method::DELETE, format!("{ALL}/{name}"), content, &body);
    match inner.api.call(call).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_missing_object(&subject) => Ok(()),
        Err(error) => Err(error.failure(&subject)),
    }
}

fn subject(verb: &'static str, name: String) -> Subject {
    Subject { verb, resource: "secrets".into(), namespace: SYSTEM_NAMESPACE.into(), name }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_alone_go_to_the_volume_when_the_cluster_has_no_room() {
        let mut known = Known::default();
        let most = limits::LEDGER_CLUSTER_BYTES_MAX;
        let in_cluster = |bytes| Some(Stored { cluster_bytes: bytes, ..Stored::default() });
        assert_eq!(known.place("bundle/main/a/1", most), Place::Cluster);
        assert_eq!(known.place("bundle/main/a/1", most + 1), Place::Volume);
        assert_eq!(known.place("inventory/main/a", most + 1), Place::Cluster);
        known.moved("bundle/main/a/1", in_cluster(most));
        known.moved("inventory/main/a", in_cluster(most));
        assert_eq!(known.place("bundle/main/b/1", 1), Place::Volume);
        // It takes its own place.
        assert_eq!(known.place("bundle/main/a/1", most), Place::Cluster);
        known.moved("bundle/main/a/1", None);
        assert_eq!(known.place("bundle/main/b/1", 1), Place::Cluster);
    }

    #[test]
    fn a_file_is_old_when_its_record_moved() {
        let mut known = Known::default();
        let file = |name: &str| Some(Stored { file: Some(name.into()), ..Stored::default() });
        known.moved("bundle/main/a/1", file("x"));
        known.moved("bundle/main/a/1", file("x"));
        assert!(!known.has_old_files);
        known.moved("bundle/main/a/1", file("y"));
        assert!(known.has_old_files && known.files() == BTreeSet::from(["y".into()]));
        known.has_old_files = false;
        known.moved("bundle/main/a/1", None);
        assert!(known.has_old_files && known.files().is_empty());
    }
}
