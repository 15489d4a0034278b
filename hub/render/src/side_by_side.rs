//! Work on all cores.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use proto_model::limits;

/// Does a piece of work for each number below `count`, on as many threads as there are cores, at most
/// [`limits::RENDERINGS_AT_ONCE_MAX`]: each number with what came of it, in no order.
pub(crate) fn side_by_side<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<(usize, T)> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(count)));
    let turns = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return;
            }
            let result = work(at);
            // What a thread that panicked left is whole: each write is one.
            results.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 1..cores.min(limits::RENDERINGS_AT_ONCE_MAX).min(count) {
            scope.spawn(turns);
        }
        turns();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_done_once() {
        let mut all = side_by_side(1_000, |at| at * 2);
        all.sort_unstable();
        assert_eq!(all, (0..1_000).map(|at| (at, at * 2)).collect::<Vec<_>>());
        assert_eq!(side_by_side(0, |at| at), []);
    }
}
