//! A process is killed while it writes; every write that it was answered is there afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{list, open, open_with};
use hub_raft::Options;

/// Set for the process that is to be killed: the directory that it writes to.
const DIR: &str = "HUB_RAFT_CRASH_DIR";

fn options() -> Options {
    // Kills hit snapshots and purges as well.
    Options { snapshot_entries: 25, kept_entries: 5, ..Options::default() }
}

/// What the child does, in a process of its own; without the variable there is nothing to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let raft = open_with(Path::new(&dir), options()).await.unwrap();
    let start = list(&raft).len() as u64;
    for n in start.. {
        raft.propose(n.to_be_bytes().to_vec()).await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "answered {n}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_writing_it_keeps_what_it_answered() {
    let dir = tempfile::tempdir().unwrap();
    hub_raft::init(dir.path()).unwrap();
    let mut answered = 0;
    // Different lengths of life, so that the kill falls on different steps.
    for (round, life) in [3, 40, 77, 120, 26].into_iter().enumerate() {
        answered = answered.max(run_and_kill(dir.path(), life));
        let raft = open(dir.path()).await;
        let found = list(&raft);
        assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>(), "round {round}");
        assert!(found.len() as u64 > answered, "round {round}: {answered} was answered, {} found", found.len());
        raft.shutdown().await;
    }
}

/// Runs the child until it was answered `life` times, kills it, and gives the last number that it
/// was answered.
fn run_and_kill(dir: &Path, life: usize) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = lines.by_ref().filter_map(|line| line.unwrap().strip_prefix("answered ")?.parse::<u64>().ok());
    let mut last = numbers.by_ref().take(life).last().expect("the child writes");
    child.kill().unwrap();
    child.wait().unwrap();
    // What it still said before it died counts as well.
    last = numbers.last().unwrap_or(last);
    last
}
