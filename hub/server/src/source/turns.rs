//! Whose turn it is to render. There are as many turns as cores; who takes long makes room for others, as far as
//! memory allows.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proto_model::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::sleep;

/// The turns of one source.
pub(super) struct Turns {
    quick: Arc<Semaphore>,
    slow: Arc<Semaphore>,
    /// What is long.
    patience: Duration,
}

/// One turn, until it is over.
pub(super) struct Turn {
    /// `None` never happens while the turns are there.
    quick: Option<OwnedSemaphorePermit>,
    slow: Arc<Semaphore>,
    patience: Duration,
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
        Self { quick: Arc::new(Semaphore::new(quick)), slow: Arc::new(Semaphore::new(slow)), patience }
    }

    /// Waits for a turn, in the order in which it was asked for.
    pub(super) async fn begin(&self) -> Turn {
        let quick = Arc::clone(&self.quick).acquire_owned().await.ok();
        Turn { quick, slow: Arc::clone(&self.slow), patience: self.patience }
    }
}

impl Turn {
    /// Waits for the work that the turn is for. After a while it makes room for the next one, once there is a place
    /// among those that take long.
    pub(super) async fn over<T>(self, mut work: JoinHandle<T>) -> Result<T, JoinError> {
        let Self { quick, slow, patience } = self;
        let place = async {
            sleep(patience).await;
            slow.acquire_owned().await
        };
        tokio::select! {
            done = &mut work => done,
            _place = place => {
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
    async fn stuck(turns: &Turns) -> JoinHandle<Result<(), JoinError>> {
        let turn = turns.begin().await;
        tokio::spawn(turn.over(tokio::spawn(pending())))
    }

    #[tokio::test]
    async fn there_are_so_many_turns_and_they_come_back() {
        let turns = Turns::new(2, 1, Duration::MAX);
        let first = stuck(&turns).await;
        let second = turns.begin().await;
        assert!(turns.begin().now_or_never().is_none());
        assert!(second.over(tokio::spawn(async {})).await.is_ok());
        let _second = stuck(&turns).await;
        assert!(turns.begin().now_or_never().is_none());
        first.abort();
        turns.begin().await;
    }

    #[tokio::test]
    async fn what_takes_long_makes_room_as_far_as_there_is_any() {
        let turns = Turns::new(2, 1, Duration::ZERO);
        let all = [stuck(&turns).await, stuck(&turns).await, stuck(&turns).await];
        // One of them made room; the others have no place to go.
        assert!(turns.begin().now_or_never().is_none());
        all.iter().for_each(JoinHandle::abort);
        turns.begin().await;
    }
}
