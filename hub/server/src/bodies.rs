//! Bodies by digest, as the hub needs them: parsed, bound and encoded once, shared by everybody,
//! within a limit of bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use hub_core::check::{Facts, Identities};
use hub_core::command::Pair;
use hub_core::release::VariantMeta;
use hub_core::session::Variants;
use hub_store::{Kind, Store, StoreError};
use proto_model::delta::{BodyPart, ToSpoke, VariantPart};
use proto_model::{Digest, Object, Variables, Variant, limits};
use proto_wire::{Encoded, compress, sync as msg, to_spoke};
use tracing::error;

/// A part as it goes to many streams.
pub type Part = Encoded<msg::HubMessage>;

/// The objects of a variant, each with the key that all versions of one object share.
type Objects = Arc<Vec<(Digest, String)>>;

/// A part that is encoded once, by whoever asks first; `None` where that failed.
type Once = Arc<OnceLock<Option<Part>>>;

/// Bodies, and what was made of them.
pub struct Bodies {
    store: Arc<Store>,
    /// Bodies that were put lately: the entry that names them may be on its way.
    recent: Mutex<BTreeMap<Digest, Instant>>,
    variables: Cache<Digest, Arc<Variables>>,
    metas: Cache<Digest, Arc<VariantMeta>>,
    objects: Cache<Digest, Objects>,
    identities: Cache<Pair, Arc<Identities>>,
    parts: Cache<(Digest, Option<Digest>), Once>,
}

impl Bodies {
    /// Over a store.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        let bytes = limits::SHARED_BODIES_BYTES_MAX / 4;
        Self {
            store,
            recent: Mutex::default(),
            variables: Cache::new(bytes),
            metas: Cache::new(bytes),
            objects: Cache::new(bytes),
            identities: Cache::new(bytes),
            parts: Cache::new(limits::SHARED_PARTS_BYTES_MAX),
        }
    }

    /// Stores bodies durably, and keeps them from being collected until the log may name them.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub fn put(&self, bodies: &[(Digest, Kind, &[u8])]) -> Result<(), StoreError> {
        let now = Instant::now();
        // Before the look whether they are there: from here on they stay.
        self.lock_recent().extend(bodies.iter().map(|(digest, ..)| (*digest, now)));
        self.store.put(bodies)
    }

    /// Removes those bodies that were not put lately. How many there were.
    ///
    /// # Errors
    /// As [`Store::collect`].
    pub fn collect(&self, digests: &[Digest], now: Instant) -> Result<usize, StoreError> {
        let mut recent = self.lock_recent();
        let kept = Duration::from_secs(limits::UNREFERENCED_BODY_SECS);
        recent.retain(|_, at| now.saturating_duration_since(*at) < kept);
        let old: Vec<Digest> = digests.iter().filter(|digest| !recent.contains_key(*digest)).copied().collect();
        // The lock is held meanwhile: what is put now is stored anew afterwards.
        self.store.collect(&old)
    }

    fn lock_recent(&self) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Instant>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store beneath.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// A body; `None` where the store does not have it.
    #[must_use]
    pub fn get(&self, digest: &Digest) -> Option<Arc<[u8]>> {
        match self.store.get(digest) {
            Ok(found) => found,
            Err(error) => {
                // A disk that fails shows here first. Whoever asked holds back.
                error!(%digest, %error, "a body cannot be read");
                None
            }
        }
    }

    /// A table of variables.
    #[must_use]
    pub fn variables(&self, digest: &Digest) -> Option<Arc<Variables>> {
        self.variables.get_or(*digest, || {
            let bytes = self.get(digest)?;
            Some((Arc::new(Variables::decode(&bytes).ok()?), bytes.len() * 2))
        })
    }

    /// A variant.
    #[must_use]
    pub fn variant(&self, digest: &Digest) -> Option<Variant> {
        Variant::decode(&self.get(digest)?).ok()
    }

    /// What of a variant's objects can be told without their bodies.
    #[must_use]
    pub fn meta(&self, digest: &Digest) -> Option<Arc<VariantMeta>> {
        self.metas.get_or(*digest, || {
            let variant = self.variant(digest)?;
            let bodies = variant.objects.iter().map(|one| Object::from_body(self.get(one)?).ok());
            let objects = bodies.collect::<Option<Vec<Object>>>()?;
            let meta = VariantMeta::of(&variant.settings, &objects).ok()?;
            let bytes = meta.objects.iter().map(|one| 256 + one.uses.len() * 128).sum::<usize>();
            Some((Arc::new(meta), bytes))
        })
    }

    /// A variant, encoded for streams, as the difference to `base` where there is one.
    #[must_use]
    pub fn variant_part(&self, digest: Digest, base: Option<Digest>) -> Option<Part> {
        self.part(digest, base, |bytes| ToSpoke::Variant(VariantPart { digest, base, bytes }))
    }

    /// An object, encoded for streams, as the difference to `base` where there is one.
    #[must_use]
    pub fn body_part(&self, digest: Digest, base: Option<Digest>) -> Option<Part> {
        self.part(digest, base, |bytes| ToSpoke::Body(BodyPart { digest, base, bytes }))
    }

    /// Encodes once, however many streams ask at the same time.
    fn part(&self, digest: Digest, base: Option<Digest>, word: impl FnOnce(Arc<[u8]>) -> ToSpoke) -> Option<Part> {
        let key = (digest, base);
        let cell = self.parts.get_or(key, || Some((Arc::new(OnceLock::new()), 0)))?;
        let part = cell.get_or_init(|| {
            let bytes = self.get(&digest)?;
            let prefix = match base {
                Some(base) => Some(self.get(&base)?),
                None => None,
            };
            let packed = compress::compress(&bytes, prefix.as_deref()).ok()?;
            let part = to_spoke::encode_shared(&word(packed.into())).ok()?;
            self.parts.weigh(&key, part.blob_bytes() + 256);
            Some(part)
        });
        if part.is_none() {
            // It may be there the next time.
            self.parts.remove(&key);
        }
        part.clone()
    }
}

impl Facts for Bodies {
    fn identities(&self, pair: &Pair) -> Option<Arc<Identities>> {
        let meta = self.meta(&pair.variant)?;
        // Most bundles name their objects alike everywhere: one set serves the whole fleet.
        let variables = if meta.binds_identities() { pair.variables } else { Digest::of(b"") };
        self.identities.get_or(Pair { variables, ..*pair }, || {
            let variables = self.variables(&pair.variables)?;
            let out = meta.removals(&variables).ok()?;
            let bytes = out.objects.len() * 192 + 128;
            Some((Arc::new(out), bytes))
        })
    }
}

impl Variants for Bodies {
    fn objects(&self, variant: &Digest) -> Option<Objects> {
        self.objects.get_or(*variant, || {
            let meta = self.meta(variant)?;
            // Unbound names will do: all versions of one object carry the same ones.
            let keyed = meta.objects.iter().map(|one| (one.digest, one.identity.to_string()));
            let out: Vec<(Digest, String)> = keyed.collect();
            let bytes = out.iter().map(|(_, key)| key.len() + 96).sum::<usize>() + 64;
            Some((Arc::new(out), bytes))
        })
    }
}

/// Values by key within a limit of bytes; the one not used for longest goes first.
struct Cache<K, V> {
    bytes_max: usize,
    state: Mutex<CacheState<K, V>>,
}

struct CacheState<K, V> {
    values: BTreeMap<K, (V, usize, u64)>,
    by_use: BTreeMap<u64, K>,
    bytes: usize,
    clock: u64,
}

impl<K: Ord + Copy, V: Clone> Cache<K, V> {
    fn new(bytes_max: usize) -> Self {
        let state = CacheState { values: BTreeMap::new(), by_use: BTreeMap::new(), bytes: 0, clock: 0 };
        Self { bytes_max, state: Mutex::new(state) }
    }

    /// The value, made where it is not there. Two may make it at once; the first is kept.
    fn get_or(&self, key: K, make: impl FnOnce() -> Option<(V, usize)>) -> Option<V> {
        if let Some(found) = self.lock().touch(&key) {
            return Some(found);
        }
        let (value, bytes) = make()?;
        let mut state = self.lock();
        if let Some(found) = state.touch(&key) {
            return Some(found);
        }
        state.insert(key, value.clone(), bytes + ENTRY_BYTES);
        state.shrink(self.bytes_max);
        Some(value)
    }

    /// Says how large a value has become.
    fn weigh(&self, key: &K, bytes: usize) {
        let mut state = self.lock();
        if let Some((value, _, _)) = state.remove(key) {
            state.insert(*key, value, bytes + ENTRY_BYTES);
            state.shrink(self.bytes_max);
        }
    }

    fn remove(&self, key: &K) {
        self.lock().remove(key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, CacheState<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an entry of a cache costs beside its value, in bytes.
const ENTRY_BYTES: usize = 160;

impl<K: Ord + Copy, V: Clone> CacheState<K, V> {
    fn touch(&mut self, key: &K) -> Option<V> {
        let (value, _, used) = self.values.get_mut(key)?;
        self.by_use.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.by_use.insert(self.clock, *key);
        Some(value.clone())
    }

    fn insert(&mut self, key: K, value: V, bytes: usize) {
        self.clock += 1;
        self.bytes += bytes;
        self.values.insert(key, (value, bytes, self.clock));
        self.by_use.insert(self.clock, key);
    }

    fn remove(&mut self, key: &K) -> Option<(V, usize, u64)> {
        let removed = self.values.remove(key)?;
        self.by_use.remove(&removed.2);
        self.bytes -= removed.1;
        Some(removed)
    }

    /// The newest stays, however large it is: it is in use.
    fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max && self.values.len() > 1 {
            let Some((_, key)) = self.by_use.pop_first() else { return };
            if let Some((_, bytes, _)) = self.values.remove(&key) {
                self.bytes -= bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let cache = Cache::new(3 * (100 + ENTRY_BYTES));
        let made = |key: u32| cache.get_or(key, || Some((key, 100)));
        for key in [1, 2, 3] {
            assert_eq!(made(key), Some(key));
        }
        assert_eq!(cache.get_or(1, || None), Some(1), "still there, and used");
        made(4);
        assert_eq!(cache.get_or(2, || None), None, "the oldest went");
        for key in [1, 3, 4] {
            assert_eq!(cache.get_or(key, || None), Some(key));
        }
    }

    #[test]
    fn a_value_that_grows_makes_room() {
        let cache = Cache::new(1_000);
        for key in [1, 2, 3] {
            cache.get_or(key, || Some((key, 0)));
        }
        cache.weigh(&3, 900);
        assert_eq!(cache.get_or(3, || None), Some(3));
        assert_eq!(cache.get_or(1, || None), None);
        assert_eq!(cache.lock().bytes, 900 + ENTRY_BYTES);
    }
}
