//! Many seeds, and one to replay.
#![allow(clippy::panic, clippy::print_stdout, reason = "a test fails by panicking and says why")]

use std::sync::atomic::{AtomicU64, Ordering};

use tests_sim::{Bug, Counts, Settings, run};

const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs a seed again, told this time, and fails with its story.
fn fail(seed: u64, bug: Option<Bug>) -> ! {
    let outcome = run(Settings { seed, bug, is_told: true });
    let what = outcome.violation.map_or_else(|| "nothing".to_owned(), |one| one.to_string());
    panic!(
        "{}\nseed {seed}: {what}\nreplay it with\n  \
         DROVER_SIM_SEED={seed} cargo test -p tests-sim --test sim replay -- --nocapture\n",
        outcome.story
    );
}

/// Every seed of a range keeps every invariant, and every kind of fault and event happened.
/// `DROVER_SIM_SEEDS` says how many, `DROVER_SIM_FIRST` which is the first.
#[test]
fn many_seeds() {
    let (first, count) = (number("DROVER_SIM_FIRST").unwrap_or(0), number("DROVER_SIM_SEEDS").unwrap_or(SEEDS));
    let next = AtomicU64::new(first);
    // Each world is a thread's own; only seeds are shared out.
    let work = || {
        let (mut counts, mut failed) = (Counts::default(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return (counts, failed);
            }
            let outcome = run(Settings { seed, bug: None, is_told: false });
            match outcome.violation {
                Some(violation) => failed.push((seed, violation.to_string())),
                None => counts.add(&outcome.counts),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let results: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    });
    assert_eq!(results.len(), threads, "a world fell apart");
    let (mut counts, mut failed) = (Counts::default(), Vec::new());
    for (of_one, failed_there) in results {
        counts.add(&of_one);
        failed.extend(failed_there);
    }
    for (seed, violation) in &failed {
        println!("seed {seed}: {violation}");
    }
    if let Some((seed, _)) = failed.iter().min() {
        fail(*seed, None);
    }
    println!("{counts}");
    // A few seeds can't show everything.
    if count >= SEEDS {
        assert_eq!(counts.missing(), Vec::<String>::new());
    }
}

/// One seed, with its story: `DROVER_SIM_SEED=7 cargo test -p tests-sim --test sim replay`.
/// `DROVER_SIM_BUG` plants a bug by its name, `DROVER_SIM_LINES` says how much of the story is kept.
#[test]
fn replay() {
    let seed = number("DROVER_SIM_SEED").unwrap_or(1);
    let planted = std::env::var("DROVER_SIM_BUG").ok();
    let bug = planted.and_then(|name| Bug::ALL.iter().copied().find(|bug| format!("{bug:?}") == name));
    let told = run(Settings { seed, bug, is_told: true });
    if told.violation.is_some() {
        fail(seed, bug);
    }
    let again = run(Settings { seed, bug, is_told: true });
    assert_eq!(told.story, again.story, "the same seed tells the same story");
}
