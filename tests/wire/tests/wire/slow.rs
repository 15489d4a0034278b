//! A spoke that stops reading costs a bounded amount of memory, delays nobody, and gets the newest state in the end.

use std::time::{Duration, Instant};

use anyhow::Result;
use proto_model::limits;
use tests_wire::hub::{DECLARATIONS, Hub};
use tests_wire::procfs;
use tests_wire::spoke::{Spoke, Stream};

/// Commits that pass while the slow spoke reads nothing.
const COMMITS: usize = 100;
/// Commits between two looks at the fast spoke: a hub looks at Git once a second and takes the newest.
const COMMITS_A_ROUND: usize = 10;
/// How long a commit may take to reach the fast spoke: the hub's second, and a slow machine.
const LATENCY_MAX: Duration = Duration::from_secs(8);
/// What 100 commits may add to the hub's memory for reasons of their own: caches of rendered bodies and parts, Git.
const GROWTH_BYTES_MAX: u64 = 96 * 1024 * 1024;

/// A ConfigMap of 60 KB that no compression makes much smaller, and that shares nothing with the one before.
fn body(round: usize) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(round as u64 + 1) | 1;
    let mut text = String::from("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n");
    text.push_str(&format!("  round: \"round-{round}-\"\n  noise: \""));
    while text.len() < 60 * 1024 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{state:016x}"));
    }
    text.push_str("\"\n");
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoke_that_stops_reading_costs_little_and_gets_the_newest_in_the_end() -> Result<()> {
    let hub = Hub::start_with(&[("drover.yaml", DECLARATIONS), ("web/web.yaml", &body(0))])?;
    let (mut slow, mut fast) = (Spoke::join(&hub, "a").await?, Spoke::join(&hub, "b").await?);
    let mut stalled: Stream = slow.connect(&hub).await?;
    let mut stream = fast.connect(&hub).await?;
    slow.follow(&mut stalled, |spoke| spoke.holds("round-0-")).await?;
    fast.follow(&mut stream, |spoke| spoke.holds("round-0-")).await?;
    let (deltas, given) = (slow.deltas, hub.cluster("a").await?.sent_delta_bytes);
    let before = procfs::rss_bytes(hub.pid()?)?;

    // From here on nobody polls `stalled`.
    let mut slowest = Duration::ZERO;
    for commit in 1..=COMMITS {
        hub.commit("web/web.yaml", &body(commit))?;
        if commit % COMMITS_A_ROUND == 0 {
            let begun = Instant::now();
            fast.follow(&mut stream, |spoke| spoke.holds(&format!("round-{commit}-"))).await?;
            slowest = slowest.max(begun.elapsed());
        }
    }
    let growth = procfs::rss_bytes(hub.pid()?)?.saturating_sub(before);
    assert!(growth < GROWTH_BYTES_MAX, "the hub grew by {growth} bytes");
    assert!(slowest < LATENCY_MAX, "the fast spoke had to wait for {slowest:?}");
    // What is on its way to the slow one is what the windows of its connection take, and a send buffer.
    let window = u64::from(limits::SYNC_WINDOW_BYTES);
    let room = 2 * window + 4 * limits::SYNC_SEND_BUFFER_BYTES as u64;
    let waiting = hub.cluster("a").await?.sent_delta_bytes - given;
    assert!(waiting > 0 && waiting <= room, "{waiting} bytes wait for a spoke that reads nothing");
    assert!(hub.cluster("a").await?.connected, "it stands, since its transport answers pings");

    slow.follow(&mut stalled, |spoke| spoke.holds(&format!("round-{COMMITS}-"))).await?;
    let more = slow.deltas - deltas;
    assert!(more <= 2, "{more} deltas where the one under way and the newest state are due");
    Ok(())
}
