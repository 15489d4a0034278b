//! One replica through its life: what was answered is there after every kind of end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;

use common::{List, list, open, open_with, propose};
use hub_raft::{InitError, Leader, OpenError, Options, ProposeError, Raft};
use proto_model::limits;
use tempfile::TempDir;

fn founded() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let raft = dir.path().join("raft");
    hub_raft::init(&raft).unwrap();
    (dir, raft)
}

fn often() -> Options {
    Options { snapshot_entries: 20, kept_entries: 5, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_means_that_the_entry_is_applied() {
    let (_keep, dir) = founded();
    let raft = open(&dir).await;
    assert!(matches!(*raft.leader().borrow(), Leader::This { .. }));
    let proposed = raft.propose(7_u64.to_be_bytes().to_vec()).await.unwrap();
    assert_eq!(proposed.answer, 1_u64.to_be_bytes());
    assert_eq!(raft.applied().borrow().index, proposed.index);
    assert_eq!(list(&raft), [7]);
    let held = raft.applied().borrow().clone();
    assert!(propose(&raft, 8).await > proposed.index);
    assert_eq!(*held.machine.0, [7], "a state that was handed out never changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_brings_everything_back_and_leads_in_a_later_term() {
    let (_keep, dir) = founded();
    let mut expected = Vec::new();
    let (mut term_before, mut id) = (0, None);
    for round in 0..3 {
        let raft = open(&dir).await;
        assert_eq!(list(&raft), expected, "round {round}");
        let Leader::This { term } = *raft.leader().borrow() else { panic!("it leads once open") };
        assert!(term > term_before);
        assert_eq!(*id.get_or_insert(raft.id()), raft.id(), "the id lies on the disk");
        term_before = term;
        for n in 0..10 {
            propose(&raft, round * 100 + n).await;
            expected.push(round * 100 + n);
        }
        raft.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_proposals_are_all_answered_once() {
    let (_keep, dir) = founded();
    let raft = open(&dir).await;
    let tasks: Vec<_> = (0..200_u64)
        .map(|n| {
            let raft = raft.clone();
            tokio::spawn(async move { propose(&raft, n).await })
        })
        .collect();
    let mut indices = Vec::new();
    for task in tasks {
        indices.push(task.await.unwrap());
    }
    indices.sort_unstable();
    indices.dedup();
    assert_eq!(indices.len(), 200);
    let mut numbers = list(&raft);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..200).collect::<Vec<_>>());
}

#[test]
fn dropped_in_the_middle_it_loses_nothing_that_was_answered() {
    let (_keep, dir) = founded();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let answered = runtime.block_on(async {
        let raft = open(&dir).await;
        for n in 0..30 {
            propose(&raft, n).await;
        }
        let busy = raft.clone();
        tokio::spawn(async move {
            for n in 30.. {
                if busy.propose(u64::to_be_bytes(n).to_vec()).await.is_err() {
                    return;
                }
            }
        });
        let mut applied = raft.applied();
        applied.wait_for(|applied| applied.machine.0.len() >= 60).await.unwrap();
        list(&raft)
    });
    runtime.shutdown_background();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let found = runtime.block_on(async { list(&open(&dir).await) });
    assert!(found.starts_with(&answered), "{} of {}", found.len(), answered.len());
    assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_replace_the_log_and_survive() {
    let (_keep, dir) = founded();
    let raft = open_with(&dir, often()).await.unwrap();
    for n in 0..100 {
        propose(&raft, n).await;
    }
    raft.shutdown().await;
    let snapshots: Vec<_> = std::fs::read_dir(dir.join("snapshots")).unwrap().map(|f| f.unwrap().path()).collect();
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    assert!(first_index(&dir) > 30, "the log begins at {}", first_index(&dir));

    let raft = open_with(&dir, often()).await.unwrap();
    assert_eq!(list(&raft), (0..100).collect::<Vec<_>>());
    propose(&raft, 100).await;
    raft.shutdown().await;

    let mut bytes = std::fs::read(&snapshots[0]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&snapshots[0], bytes).unwrap();
    let error = open_with(&dir, often()).await.err().unwrap().to_string();
    assert!(error.contains("damaged") && error.contains("snapshots"), "{error}");

    std::fs::remove_file(&snapshots[0]).unwrap();
    let error = open_with(&dir, often()).await.err().unwrap();
    assert!(matches!(error, OpenError::Gap { .. }), "{error}");
}

/// The index of the first entry that the log still holds.
fn first_index(dir: &std::path::Path) -> u64 {
    use redb::{ReadableDatabase, ReadableTable};
    let database = redb::Database::open(dir.join("log.redb")).unwrap();
    let read = database.begin_read().unwrap();
    let log = read.open_table(redb::TableDefinition::<u64, &[u8]>::new("log")).unwrap();
    log.first().unwrap().unwrap().0.value()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_that_cannot_be_decoded_stops_the_replica_for_good() {
    let (_keep, dir) = founded();
    let raft = open(&dir).await;
    propose(&raft, 1).await;
    let error = raft.propose(b"later version".to_vec()).await.unwrap_err();
    assert!(error.to_string().contains("13 bytes are no number"), "{error}");
    let mut stopped = raft.stopped();
    let reason = stopped.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(reason.contains("cannot be applied"), "{reason}");
    assert_eq!(list(&raft), [1], "the last good value is still shown");
    assert_eq!(*raft.leader().borrow(), Leader::Unknown);
    assert!(matches!(raft.propose(2_u64.to_be_bytes().to_vec()).await, Err(ProposeError::Stopped { .. })));
    raft.shutdown().await;
    drop(raft);

    let error = open_with(&dir, Options::default()).await.err().unwrap();
    assert!(error.to_string().contains("13 bytes are no number"), "it is never skipped: {error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_machine_stops_it_too() {
    let (_keep, dir) = founded();
    let raft = open(&dir).await;
    let error = raft.propose(b"panic".to_vec()).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_shutdown_everything_is_refused() {
    let (_keep, dir) = founded();
    let raft = open(&dir).await;
    propose(&raft, 1).await;
    raft.shutdown().await;
    raft.shutdown().await;
    let refused = raft.propose(2_u64.to_be_bytes().to_vec()).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Stopped { .. }), "{refused}");
    assert!(raft.stopped().borrow().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_and_nothing_is_written() {
    let (_keep, dir) = founded();
    let raft = open(&dir).await;
    let before = raft.applied().borrow().index;
    let refused = raft.propose(vec![0; limits::ENTRY_BYTES_MAX + 1]).await.unwrap_err();
    assert!(matches!(refused, ProposeError::TooLarge { .. }), "{refused}");
    assert_eq!(propose(&raft, 1).await, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_made_once_and_used_once() {
    let (_keep, dir) = founded();
    assert!(matches!(hub_raft::init(&dir), Err(InitError::Exists { .. })));
    let raft = open(&dir).await;
    let second = Raft::open(&dir, List::default(), Options::default()).await.err().unwrap();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    drop(raft);

    let empty = tempfile::tempdir().unwrap();
    let error = Raft::open(empty.path(), List::default(), Options::default()).await.err().unwrap();
    assert!(error.to_string().contains("drover hub init"), "{error}");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "opening makes nothing");
}
