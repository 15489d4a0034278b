//! The ledger in the cluster: reading and writing its Secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::Method;
use proto_model::limits;
use serde_json::Value as Json;
use spoke_core::port::{Failure, Reason, SYSTEM_NAMESPACE, Write};

use crate::api::{APPLY, Call, JSON, escaped};
use crate::cluster::{Inner, delete_options};
use crate::failure::{Subject, plain};
use crate::ledger::{LABEL, Unpacked, index_name, name, pack, unpack};

const ALL: &str = "/api/v1/namespaces/drover-system/secrets";
const MANAGER: &str = "drover-spoke";

/// What is known of chunks, so that those which are no longer needed are removed.
#[derive(Default)]
pub(crate) struct Secrets {
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    chunks: BTreeMap<String, BTreeSet<String>>,
    orphans: BTreeSet<String>,
}

impl Secrets {
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
        let Unpacked { records, chunks, orphans } = unpack(&secrets).map_err(|why| plain(Reason::Server, why))?;
        *self.known() = Known { chunks, orphans };
        Ok(records)
    }

    /// Puts and deletes records, one after another.
    pub(crate) async fn store(&self, inner: &Inner, write: Write) -> Result<(), Failure> {
        for (key, value) in &write.puts {
            self.put(inner, key, value).await?;
        }
        for key in &write.deletes {
            delete(inner, &index_name(key)).await?;
            let mut known = self.known();
            let chunks = known.chunks.remove(key).unwrap_or_default();
            known.orphans.extend(chunks);
        }
        self.tidy(inner).await;
        Ok(())
    }

    async fn put(&self, inner: &Inner, key: &str, value: &[u8]) -> Result<(), Failure> {
        let packed = pack(key, value).map_err(|why| plain(Reason::Invalid, why))?;
        for chunk in &packed.chunks {
            let subject = subject("create", name(chunk));
            let path = format!("{ALL}?fieldManager={MANAGER}");
            match inner.in_system_namespace(&subject, Method::POST, &path, JSON, chunk).await {
                Ok(_) => {}
                // Named by its content: it is the same.
                Err(error) if error.is_code(409) => {}
                Err(error) => return Err(error.failure(&subject)),
            }
        }
        let subject = subject("patch", name(&packed.index));
        let path = format!("{ALL}/{}?fieldManager={MANAGER}&force=true", subject.name);
        let done = inner.in_system_namespace(&subject, Method::PATCH, &path, APPLY, &packed.index).await;
        done.map_err(|error| error.failure(&subject))?;
        let names = packed.chunk_names();
        let mut known = self.known();
        known.orphans.retain(|name| !names.contains(name));
        let before = known.chunks.insert(key.to_owned(), names.clone()).unwrap_or_default();
        known.orphans.extend(before.difference(&names).cloned());
        Ok(())
    }

    /// Removes chunks that no index names. What fails is tried again after the next write.
    async fn tidy(&self, inner: &Inner) {
        let orphans = self.known().orphans.clone();
        for orphan in orphans {
            match delete(inner, &orphan).await {
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

async fn delete(inner: &Inner, name: &str) -> Result<(), Failure> {
    let subject = subject("delete", name.to_owned());
    let (content, body) = delete_options();
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
