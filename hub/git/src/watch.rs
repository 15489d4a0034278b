//! Looks from beside at what a fetch costs, and ends it where that is too much: how much comes, and
//! what it unpacks to, is the server's to say.

use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::getpid;

use crate::child;
use crate::error::FetchError;
use crate::mirror;
use crate::source::{Fetched, Request};

/// Time between looks.
const LOOK: Duration = Duration::from_millis(50);
/// What of the deadline is left to answer in, where there is something to answer: one in so many.
const DEADLINE_SHARE: u64 = 10;

/// A head that lies whole in the mirror, while its history is looked through: what is answered
/// where that costs too much.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<Option<Fetched>>>);

impl Standing {
    pub(crate) fn set(&self, fetched: &Fetched) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fetched.clone());
    }

    fn get(&self) -> Option<Fetched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Begins to watch this process; it ends with an answer once a limit is reached.
pub(crate) fn begin(request: &Request) -> Standing {
    // Where memory is short, this process goes before any other, the hub first of all.
    let _ = fs::write("/proc/self/oom_score_adj", "1000");
    let standing = Standing::default();
    let (seen, source, limits) = (standing.clone(), request.source.clone(), request.limits);
    let url = source.url.clone();
    let start = Instant::now();
    let last = Duration::from_millis(limits.deadline_millis - limits.deadline_millis / DEADLINE_SHARE);
    let before = mirror::bytes(&source.dir);
    thread::spawn(move || {
        let error = loop {
            if mirror::bytes(&source.dir) > before.saturating_add(limits.fetch_bytes_max) {
                break FetchError::TooLarge { url, max: limits.fetch_bytes_max };
            }
            if memory_bytes() > limits.memory_bytes_max {
                break FetchError::TooMuchMemory { url, max: limits.memory_bytes_max };
            }
            // Without an answer the deadline is its parent's to keep.
            if start.elapsed() > last && seen.get().is_some() {
                break FetchError::Deadline { url, secs: limits.deadline_millis / 1000 };
            }
            thread::sleep(LOOK);
        };
        let answer = seen.get().ok_or(error);
        if let Ok(fetched) = &answer {
            mirror::leave_unknown(&source, &fetched.commit);
        }
        child::say(&answer);
        mirror::clear(&source.dir);
        std::process::exit(0);
    });
    standing
}

/// What this process holds in memory that no file is behind, in bytes: a mapped pack is the
/// system's to drop.
fn memory_bytes() -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", getpid().as_raw_nonzero())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_holds_is_seen() {
        let before = memory_bytes();
        let held = vec![1_u8; 64 << 20];
        let after = memory_bytes();
        assert!(before > 0 && after > before + (48 << 20), "{before} {after} {}", held.len());
    }
}
