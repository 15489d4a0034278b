//! What the loop does when the process stood still.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::sync::atomic::{AtomicU64, Ordering};

use spoke_memory::Memory;

use super::*;

/// A loop that holds the Lease and its ledger, with a clock that is set by hand, in seconds.
fn at_work(secs: &Arc<AtomicU64>) -> Spoke {
    let read = secs.clone();
    let mut spoke = Spoke {
        ledger_trouble: Arc::default(),
        agent: Agent::new("test"),
        cluster: Arc::new(Memory::volatile("test")),
        holder: "a".into(),
        lease: Lease::new(75),
        lease_secs: 75,
        waits_because: String::new(),
        hub_trouble: String::new(),
        asked: mpsc::channel(1).1,
        orders: BTreeMap::new(),
        next_order: 0,
        voice: Voice::default(),
        intake: Arc::default(),
        inbox: mpsc::channel(1).1,
        ready: watch::channel(false).0,
        outbox: None,
        tasks: JoinSet::new(),
        loading: None,
        wake_at: None,
        clock: Clock::of(move || Duration::from_secs(read.load(Ordering::Relaxed))),
    };
    spoke.leased(0, &Ok(true)).unwrap();
    spoke.step(Event::Started { id: 1, records: BTreeMap::new(), cluster_uid: "uid".into() }).unwrap();
    spoke
}

fn idle_because(spoke: &Spoke) -> String {
    spoke.agent.status(&Outside::default(), spoke.now()).idle_because
}

#[tokio::test]
async fn after_standing_still_nothing_is_done_before_the_lease_is_looked_at() {
    let secs = Arc::new(AtomicU64::new(0));
    let mut spoke = at_work(&secs);
    secs.store(49, Ordering::Relaxed);
    spoke.step(Event::Tick).unwrap();
    assert_eq!(idle_because(&spoke), "");
    // It stands still between two events of one turn.
    secs.store(3_600, Ordering::Relaxed);
    spoke.steps([Event::Tick, Event::Connected]).unwrap();
    assert_eq!(idle_because(&spoke), "the lease of the cluster is not held yet");
    // A renewal that was asked for before is worth nothing.
    spoke.leased(25, &Ok(true)).unwrap();
    assert!(!spoke.lease.is_held());
    spoke.leased(3_600_000, &Ok(true)).unwrap();
    assert_eq!(idle_because(&spoke), "the ledger is being read");
}
