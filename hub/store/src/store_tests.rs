//! Bodies through restarts, damage, a wrong key and a full disk.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::StorageBackend;
use tempfile::TempDir;

use super::*;

fn key(dir: &TempDir) -> SealingKey {
    let path = dir.path().join("seal.key");
    SealingKey::load(&path).or_else(|_| SealingKey::create(&path)).unwrap()
}

fn open(dir: &TempDir) -> Store {
    Store::open(&dir.path().join("bodies"), key(dir)).unwrap()
}

fn put(store: &Store, kind: Kind, body: &[u8]) -> Digest {
    let digest = Digest::of(body);
    store.put(&[(digest, kind, body)]).unwrap();
    digest
}

/// Changes what lies on disk for a digest, behind the store's back.
fn tamper(store: &Store, digest: &Digest, change: impl Fn(&mut Vec<u8>)) {
    let mut record = store.record(digest).unwrap().unwrap();
    change(&mut record);
    let written = store.shared.write(|write| {
        write.open_table(BODIES)?.insert(&digest.0, record.as_slice())?;
        Ok(())
    });
    written.unwrap();
}

#[test]
fn bodies_of_every_kind_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let kinds = [Kind::Object, Kind::Secret, Kind::Variant, Kind::Variables, Kind::Catalog];
    let store = open(&dir);
    let digests: Vec<_> = kinds.map(|kind| put(&store, kind, format!("{kind:?}").as_bytes())).into();
    put(&store, Kind::Object, b"");
    drop(store);
    let store = open(&dir);
    for (digest, kind) in digests.iter().zip(kinds) {
        assert_eq!(&*store.get(digest).unwrap().unwrap(), format!("{kind:?}").as_bytes());
        assert_eq!(store.kind(digest).unwrap(), Some(kind));
    }
    assert_eq!(&*store.get(&Digest::of(b"")).unwrap().unwrap(), b"");
    assert_eq!(store.get(&Digest::of(b"absent")).unwrap(), None);
    assert_eq!(store.kind(&Digest::of(b"absent")).unwrap(), None);
}

#[test]
fn missing_list_and_collect() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let mut held: Vec<_> = (0_u8..5).map(|n| put(&store, Kind::Object, &[n])).collect();
    let absent = Digest::of(b"absent");
    assert_eq!(store.missing([held[0], absent, held[1]]).unwrap(), [absent]);
    assert!(store.has(&held[0]).unwrap() && !store.has(&absent).unwrap());
    held.sort_unstable();
    assert_eq!(store.list(None, 3).unwrap(), held[..3]);
    assert_eq!(store.list(Some(&held[2]), 3).unwrap(), held[3..]);
    assert_eq!(store.collect(&[held[0], absent, held[0]]).unwrap(), 1);
    assert_eq!(store.missing(held.clone()).unwrap(), held[..1]);
}

#[test]
fn a_put_is_all_or_nothing_and_may_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let (good, bad) = (Digest::of(b"good"), Digest::of(b"bad"));
    let error = store.put(&[(good, Kind::Object, b"good"), (bad, Kind::Object, b"other")]).unwrap_err();
    assert!(error.to_string().contains(&bad.to_string()), "{error}");
    assert!(!store.has(&good).unwrap());
    for _ in 0..2 {
        store.put(&[(good, Kind::Object, b"good"), (good, Kind::Object, b"good")]).unwrap();
    }
    assert_eq!(store.list(None, 9).unwrap(), [good]);
    let large = vec![0; limits::BODY_BYTES_MAX + 1];
    assert!(matches!(store.put(&[(bad, Kind::Object, &large)]), Err(StoreError::TooLarge { .. })));
}

#[test]
fn every_changed_byte_is_noticed_and_a_put_repairs_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    for (kind, body) in [(Kind::Object, b"an object of some length"), (Kind::Secret, b"a secret of some length!")] {
        let digest = put(&store, kind, body);
        let length = store.record(&digest).unwrap().unwrap().len();
        for at in 0..length {
            tamper(&store, &digest, |record| record[at] ^= 0x80);
            let error = store.get(&digest);
            // A plain body under another plain kind is still that body.
            if let Err(error) = error {
                assert!(error.to_string().contains(&digest.to_string()), "{error}");
            } else {
                assert_eq!(&*error.unwrap().unwrap(), body, "{kind:?} byte {at}");
            }
            put(&store, kind, body);
            assert_eq!(&*store.get(&digest).unwrap().unwrap(), body);
        }
        tamper(&store, &digest, |record| record.truncate(3));
        assert!(matches!(store.get(&digest), Err(StoreError::Damaged { .. })));
    }
}

#[test]
fn secrets_are_sealed_and_bound_to_their_digest() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let plain = b"correct horse battery staple";
    let digest = put(&store, Kind::Object, plain);
    let on_disk = |store: &Store| {
        let record = store.record(&digest).unwrap().unwrap();
        record.windows(5).any(|window| plain.windows(5).any(|part| part == window))
    };
    assert!(on_disk(&store), "short bodies do not compress, so the check below means something");
    put(&store, Kind::Secret, plain);
    assert!(!on_disk(&store), "sealed once it is known to be a secret");
    put(&store, Kind::Object, plain);
    assert_eq!(store.kind(&digest).unwrap(), Some(Kind::Secret), "and it stays sealed");

    let other = put(&store, Kind::Secret, b"another secret");
    let moved = store.record(&other).unwrap().unwrap();
    tamper(&store, &digest, |record| record.clone_from(&moved));
    let error = store.get(&digest).unwrap_err().to_string();
    assert!(error.contains("seal does not open") && !error.contains("secret of"), "{error}");
}

#[test]
fn another_key_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    put(&open(&dir), Kind::Secret, b"secret");
    fs::remove_file(dir.path().join("seal.key")).unwrap();
    let error = Store::open(&dir.path().join("bodies"), key(&dir)).unwrap_err();
    assert!(matches!(error, StoreError::WrongKey { .. }), "{error}");
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(&dir);
    let error = Store::open(&dir.path().join("bodies"), key(&dir)).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn a_later_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir);
    let changed = store.shared.write(|write| {
        write.open_table(META)?.insert(FORMAT, [9].as_slice())?;
        Ok(())
    });
    changed.unwrap();
    drop(store);
    let error = Store::open(&dir.path().join("bodies"), key(&dir)).unwrap_err();
    assert!(matches!(error, StoreError::Version { found: 9, .. }), "{error}");
}

/// A disk in memory that can be full (what is there may be overwritten) or dead.
#[derive(Debug, Clone, Default)]
struct Memory {
    bytes: Arc<Mutex<Vec<u8>>>,
    full: Arc<AtomicBool>,
    dead: Arc<AtomicBool>,
}

impl Memory {
    fn check(&self, switch: &AtomicBool) -> std::io::Result<()> {
        if switch.load(Ordering::SeqCst) || self.dead.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> std::io::Result<u64> {
        self.check(&self.dead)?;
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.check(&self.dead)?;
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(&self.bytes.lock().unwrap()[start..start + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        let len = usize::try_from(len).unwrap();
        if len > bytes.len() {
            self.check(&self.full)?;
        }
        bytes.resize(len, 0);
        Ok(())
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.check(&self.dead)
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.check(&self.dead)?;
        let start = usize::try_from(offset).unwrap();
        self.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn on(memory: &Memory, key: SealingKey) -> Store {
    let backend = memory.clone();
    let opener = move || Builder::new().create_with_backend(backend.clone());
    Store::open_with("memory".into(), key, Box::new(opener)).unwrap()
}

#[test]
fn a_full_disk_is_told_reading_goes_on_and_writing_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::default();
    let store = on(&memory, key(&dir));
    let held = put(&store, Kind::Secret, b"held");
    memory.full.store(true, Ordering::SeqCst);
    // Bytes that do not compress, more than the file has room for.
    let mut bulk = vec![0; 8 * 1024 * 1024];
    aws_lc_rs::rand::fill(&mut bulk).unwrap();
    let digest = Digest::of(&bulk);
    for _ in 0..2 {
        let error = store.put(&[(digest, Kind::Object, &bulk)]).unwrap_err();
        assert!(matches!(error, StoreError::Write { .. }) && error.to_string().contains("memory"), "{error}");
        assert_eq!(&*store.get(&held).unwrap().unwrap(), b"held");
        assert!(!store.has(&digest).unwrap());
    }
    memory.full.store(false, Ordering::SeqCst);
    put(&store, Kind::Object, &bulk);
    assert_eq!(&*store.get(&digest).unwrap().unwrap(), bulk);
}

#[test]
fn a_disk_that_was_away_is_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let memory = Memory::default();
    let store = on(&memory, key(&dir));
    let held = put(&store, Kind::Object, b"held");
    memory.dead.store(true, Ordering::SeqCst);
    let body = b"new";
    assert!(store.put(&[(Digest::of(body), Kind::Object, body)]).is_err());
    assert!(matches!(store.get(&held), Err(StoreError::Read { .. })));
    memory.dead.store(false, Ordering::SeqCst);
    assert_eq!(&*store.get(&held).unwrap().unwrap(), b"held");
    put(&store, Kind::Object, body);
}
