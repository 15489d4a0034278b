//! Planted bugs: each is found by the seeds, by the invariant that is there for it.
#![allow(clippy::panic, reason = "a test fails by panicking")]

use tests_sim::{Bug, Settings, run};

/// Seeds within which a bug must show.
const SEEDS: u64 = 200;

/// Looks for a bug in seeds that are good without it; the first broken invariant must be one of
/// these.
fn is_found(bug: Bug, by: &[&str]) {
    for seed in 0..SEEDS {
        let Some(violation) = run(Settings { seed, bug: Some(bug), is_told: false }).violation else {
            continue;
        };
        assert!(by.contains(&violation.invariant), "{bug:?} was found by another: seed {seed}: {violation}");
        return;
    }
    panic!("{bug:?} was not found in {SEEDS} seeds");
}

#[test]
fn older_health_counted() {
    is_found(Bug::OlderHealthCounted, &["older_health"]);
}

#[test]
fn fence_skipped() {
    is_found(Bug::FenceSkipped, &["ledger_first"]);
}

#[test]
fn prune_without_permit() {
    is_found(Bug::PruneWithoutPermit, &["deletes"]);
}

#[test]
fn ledger_after_apply() {
    is_found(Bug::LedgerAfterApply, &["ledger_first"]);
}

#[test]
fn applied_before_apply() {
    is_found(Bug::AppliedBeforeApply, &["truthful"]);
}

#[test]
fn delete_by_name() {
    is_found(Bug::DeleteByName, &["deletes"]);
}

#[test]
fn wrong_base() {
    is_found(Bug::WrongBase, &["liveness"]);
}

#[test]
fn guard_skipped() {
    is_found(Bug::GuardSkipped, &["guard"]);
}

#[test]
fn double_owner() {
    is_found(Bug::DoubleOwner, &["one_owner"]);
}

#[test]
fn retarget_lost() {
    is_found(Bug::RetargetLost, &["liveness"]);
}

#[test]
fn log_tail_lost() {
    is_found(Bug::LogTailLost, &["replay", "one_content"]);
}

#[test]
fn hand_over_deletes() {
    is_found(Bug::HandOverDeletes, &["deletes"]);
}

#[test]
fn foreign_adopted() {
    is_found(Bug::ForeignAdopted, &["one_owner"]);
}

#[test]
fn marks_believed() {
    is_found(Bug::MarksBelieved, &["one_owner"]);
}

#[test]
fn suspended_written() {
    is_found(Bug::SuspendedWritten, &["suspended"]);
}

#[test]
fn keep_ignored() {
    is_found(Bug::KeepIgnored, &["deletes"]);
}

#[test]
fn every_bug_has_its_test() {
    // Counted by hand above: a bug that is added here needs a test of its own.
    assert_eq!(Bug::ALL.len(), 16);
}
