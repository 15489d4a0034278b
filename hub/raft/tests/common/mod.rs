//! A machine for tests: the list of numbers that were proposed.

#![allow(dead_code, clippy::expect_used, reason = "each test uses its part, and fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use hub_raft::{Machine, OpenError, Options, Raft, Stop};

/// Entries are eight bytes, a number; an entry of another length cannot be decoded.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub(crate) struct List(pub(crate) Arc<Vec<u64>>);

impl Machine for List {
    fn apply(&mut self, _index: u64, entry: &[u8]) -> Result<Vec<u8>, Stop> {
        if entry == b"panic" {
            assert!(entry.is_empty(), "as asked");
        }
        let number = entry.try_into().map_err(|_| Stop(format!("{} bytes are no number", entry.len())))?;
        let list = Arc::make_mut(&mut self.0);
        list.push(u64::from_be_bytes(number));
        Ok((list.len() as u64).to_be_bytes().to_vec())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    fn restore(bytes: &[u8]) -> Result<Self, Stop> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Stop("half a number".to_owned()));
        }
        Ok(Self(Arc::new(numbers.iter().map(|n| u64::from_be_bytes(*n)).collect())))
    }
}

pub(crate) async fn open(dir: &Path) -> Raft<List> {
    open_with(dir, Options::default()).await.expect("it opens")
}

/// Opens, and where the last user of the directory has not quite gone yet, tries again.
pub(crate) async fn open_with(dir: &Path, options: Options) -> Result<Raft<List>, OpenError> {
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match Raft::open(dir, List::default(), options.clone()).await {
            Err(OpenError::InUse { .. }) if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            other => return other,
        }
    }
}

pub(crate) async fn propose(raft: &Raft<List>, number: u64) -> u64 {
    raft.propose(number.to_be_bytes().to_vec()).await.expect("it is accepted").index
}

pub(crate) fn list(raft: &Raft<List>) -> Vec<u64> {
    raft.applied().borrow().machine.0.to_vec()
}
