//! How the rest of the hub reaches the leader: bounded, and coalesced where only the newest counts.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hub_core::command::{Act, Command};
use proto_model::{Report, limits};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::Answer;
use super::publisher::{Missing, Prepared};

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Index of the entry.
    pub index: u64,
    /// What was done, for operators.
    pub message: String,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too much waits already.
    #[error("too many commands wait at the hub; try again in a moment")]
    Busy,
    /// The hub is going away.
    #[error("the hub is stopping; try again")]
    Stopped,
    /// It cannot be done, in words that say what to do next.
    #[error("{0}")]
    Because(String),
}

/// Something for the leader.
pub(super) enum Ask {
    Command(Command, Answer),
    Operate(Act, Answer),
    Prepared(Arc<Prepared>),
    Forget(String),
    StopPlanning,
}

/// How the rest of the hub reaches the leader.
#[derive(Clone)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    reports: Arc<Reports>,
    missing: watch::Receiver<Missing>,
}

impl Handle {
    pub(super) fn new(missing: watch::Receiver<Missing>) -> (Self, mpsc::Receiver<Ask>, Arc<Reports>) {
        let (asks, taken) = mpsc::channel(limits::ASKS_WAITING_MAX);
        let reports = Arc::new(Reports::default());
        (Self { asks, reports: Arc::clone(&reports), missing }, taken, reports)
    }

    /// Brings a command into the log.
    ///
    /// # Errors
    /// Fleet refused it, or the hub stops.
    pub async fn command(&self, command: Command) -> Result<Done, Refused> {
        self.ask(|answer| Ask::Command(command, answer)).await
    }

    /// Brings an operator's act into the log.
    ///
    /// # Errors
    /// Fleet refused it, too much waits, or the hub stops.
    pub async fn operate(&self, act: Act) -> Result<Done, Refused> {
        self.ask(|answer| Ask::Operate(act, answer)).await
    }

    /// A source's head was read, and what is new of it rendered and stored.
    ///
    /// # Errors
    /// The hub stops.
    pub async fn prepared(&self, prepared: Arc<Prepared>) -> Result<(), Refused> {
        self.asks.send(Ask::Prepared(prepared)).await.map_err(|_| Refused::Stopped)
    }

    /// What was read of a source under this name is not published any more.
    pub async fn forget(&self, source: &str) {
        // A leader that is gone publishes nothing either.
        let _ = self.asks.send(Ask::Forget(source.to_owned())).await;
    }

    /// What is to be rendered beside what sources have prepared, whenever it changes.
    #[must_use]
    pub fn missing(&self) -> watch::Receiver<Missing> {
        self.missing.clone()
    }

    /// A spoke holds more than this hub ever said: nothing is planned from here on.
    pub async fn stop_planning(&self) {
        // A leader that is gone plans nothing either.
        let _ = self.asks.send(Ask::StopPlanning).await;
    }

    /// Brings a report to the leader; waits while too many wait there.
    pub async fn report(&self, cluster: &str, report: Report, at: Instant) {
        self.reports.put(cluster, report, at).await;
    }

    async fn ask(&self, ask: impl FnOnce(Answer) -> Ask) -> Result<Done, Refused> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| Refused::Stopped)?;
        answered.await.map_err(|_| Refused::Stopped)?
    }
}

type Waiting = BTreeMap<(String, String), (Report, Instant)>;

/// Reports on their way to the leader: one for each cluster and bundle, the newest.
#[derive(Default)]
pub(super) struct Reports {
    waiting: Mutex<Waiting>,
    some: Notify,
    room: Notify,
}

impl Reports {
    async fn put(&self, cluster: &str, report: Report, at: Instant) {
        loop {
            // Registered before the look, so that room made in between is not missed.
            let room = self.room.notified();
            {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let key = (cluster.to_owned(), report.bundle.clone());
                let is_known = waiting.contains_key(&key);
                if is_known || waiting.len() < limits::REPORTS_WAITING_MAX {
                    // The lag is that of the oldest news that was not told.
                    let since = waiting.get(&key).map_or(at, |(_, since)| *since);
                    waiting.insert(key, (report, since));
                    self.some.notify_one();
                    return;
                }
            }
            room.await;
        }
    }

    /// All that wait.
    pub(super) fn take(&self) -> Waiting {
        let taken = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        if !taken.is_empty() {
            self.room.notify_waiters();
        }
        taken
    }

    /// Resolves once some wait.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use proto_model::{Digest, Health, Sync};

    use super::*;

    fn report(bundle: &str, generation: u64) -> Report {
        Report {
            bundle: bundle.into(),
            generation,
            variant: None,
            variables: Digest::of(b""),
            sync: Sync::Applied,
            health: Health::Healthy,
            drifted: false,
            suspended: false,
            installed: true,
            objects: 0,
            problems: Vec::new(),
            problems_more: 0,
            since_unix_millis: 0,
        }
    }

    #[tokio::test]
    async fn the_newest_report_of_a_pair_wins() {
        let reports = Reports::default();
        let now = Instant::now();
        reports.put("a", report("main/x", 1), now).await;
        reports.put("a", report("main/x", 2), now).await;
        reports.put("b", report("main/x", 1), now).await;
        reports.some().await;
        let taken = reports.take();
        assert_eq!(taken.len(), 2);
        assert_eq!(taken[&("a".into(), "main/x".into())].0.generation, 2);
        assert!(reports.take().is_empty());
    }

    #[tokio::test]
    async fn a_full_queue_makes_newcomers_wait_but_takes_news_of_what_it_holds() {
        let reports = Arc::new(Reports::default());
        let now = Instant::now();
        for n in 0..limits::REPORTS_WAITING_MAX {
            reports.put(&format!("c{n}"), report("main/x", 1), now).await;
        }
        reports.put("c0", report("main/x", 2), now).await;
        let late = {
            let reports = Arc::clone(&reports);
            tokio::spawn(async move { reports.put("late", report("main/x", 1), now).await })
        };
        tokio::task::yield_now().await;
        assert!(!late.is_finished());
        assert_eq!(reports.take().len(), limits::REPORTS_WAITING_MAX);
        late.await.unwrap();
        assert_eq!(reports.take().len(), 1);
    }
}
