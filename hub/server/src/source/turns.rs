//! Whose turn it is to render. There are as many turns as cores; who takes long makes room for others, as far as
//! memory allows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proto_model::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::sleep;

/// The turns of one source.
pub(super) struct Turns {
    quick: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    /// How many of each bundle take long now: nothing more of it is begun, since that would take as long.
    late: Arc<watch::Sender<BTreeMap<String, usize>>>,
    /// What is long.
    patience: Duration,
}

/// One turn, until it is over.
pub(super) struct Turn {
    /// `None` never happens while the turns are there.
    quick: Option<OwnedSemaphorePermit>,
    slow: Arc<Semaphore>,
    late: Arc<watch::Sender<BTreeMap<String, usize>>>,
    bundle: String,
    patience: Duration,
}

/// That one of a bundle takes long, until it is dropped.
struct Late<'a>(&'a watch::Sender<BTreeMap<String, usize>>, &'a str);

impl<'a> Late<'a> {
    fn new(late: &'a watch::Sender<BTreeMap<String, usize>>, bundle: &'a str) -> Self {
        late.send_modify(|late| *late.entry(bundle.to_owned()).or_default() += 1);
        Self(late, bundle)
    }
}

impl Drop for Late<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|late| {
            if let Some(count) = late.get_mut(self.1) {
                *count -= 1;
            }
            late.retain(|_, count| *count > 0);
        });
    }
}

impl Default for Turns {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let patience = Duration::from_secs(limits::RENDERING_SLOW_SECS);
        Self::new(cores.min(limits::RENDERINGS_AT_ONCE_MAX), limits::RENDERINGS_SLOW_MAX, patience)
    }
}

impl Turns {
    fn new(quick: usize, slow: usize, patience: Duration) -> Self {
        let (quick, slow) = (Arc::new(Semaphore::new(quick)), Arc::new(Semaphore::new(slow)));
        Self { quick, slow, late: Arc::default(), patience }
    }

    /// Waits for a turn of a bundle, in the order in which it was asked for, and first until nothing of it takes long.
    pub(super) async fn begin(&self, bundle: &str) -> Turn {
        let mut late = self.late.subscribe();
        loop {
            // It cannot be closed while the turns are there.
            drop(late.wait_for(|late| !late.contains_key(bundle)).await);
            let quick = Arc::clone(&self.quick).acquire_owned().await.ok();
            if !late.borrow_and_update().contains_key(bundle) {
                let (slow, late) = (Arc::clone(&self.slow), Arc::clone(&self.late));
                return Turn { quick, slow, late, bundle: bundle.to_owned(), patience: self.patience };
            }
        }
    }
}

impl Turn {
    /// Waits for the work that the turn is for. After a while it makes room for the next one, once there is a place
    /// among those that take long.
    pub(super) async fn over<T>(self, mut work: JoinHandle<T>) -> Result<T, JoinError> {
        let Self { quick, slow, late, bundle, patience } = self;
        tokio::select! {
            done = &mut work => return done,
            () = sleep(patience) => {}
        }
        let _late = Late::new(&late, &bundle);
        tokio::select! {
            done = &mut work => done,
            _place = slow.acquire_owned() => {
                drop(quick);
                work.await
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::future::pending;

    use futures::FutureExt as _;

    use super::*;

    /// Work that never ends, in a turn of its own.
    async fn stuck(turns: &Turns, bundle: &str) -> JoinHandle<Result<(), JoinError>> {
        let turn = turns.begin(bundle).await;
        tokio::spawn(turn.over(tokio::spawn(pending())))
    }

    #[tokio::test]
    async fn there_are_so_many_turns_and_they_come_back() {
        let turns = Turns::new(2, 1, Duration::MAX);
        let first = stuck(&turns, "a").await;
        let second = turns.begin("a").await;
        assert!(turns.begin("b").now_or_never().is_none());
        assert!(second.over(tokio::spawn(async {})).await.is_ok());
        let _second = stuck(&turns, "b").await;
        assert!(turns.begin("b").now_or_never().is_none());
        first.abort();
        turns.begin("b").await;
    }

    #[tokio::test]
    async fn what_takes_long_makes_room_as_far_as_there_is_any() {
        let turns = Turns::new(2, 1, Duration::ZERO);
        let all = [stuck(&turns, "a").await, stuck(&turns, "b").await, stuck(&turns, "c").await];
        // One of them made room; the others have no place to go.
        assert!(turns.begin("d").now_or_never().is_none());
        all.iter().for_each(JoinHandle::abort);
        turns.begin("d").await;
    }

    #[tokio::test]
    async fn nothing_more_is_begun_of_a_bundle_that_takes_long() {
        let turns = Turns::new(2, 4, Duration::ZERO);
        let first = stuck(&turns, "a").await;
        let is_late = |late: &BTreeMap<String, usize>| late.contains_key("a");
        turns.late.subscribe().wait_for(is_late).await.unwrap();
        assert!(turns.begin("a").now_or_never().is_none());
        turns.begin("b").await;
        first.abort();
        turns.begin("a").await;
        assert!(turns.late.borrow().is_empty());
    }
}
