//! The leader's loop: the only proposer, with one entry under way. What waits (reports, commands,
//! publishes) is folded by `hub_core::lead`, which decides what the next entry is.

mod defects;
mod handle;
mod publisher;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_core::catalog::Guard;
use hub_core::command::{Command, Entry};
use hub_core::fleet::Fleet;
use hub_core::lead::{Next, Waiting};
use hub_raft::ProposeError;
use proto_model::{Report, limits};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tracing::{error, warn};

use crate::bodies::Bodies;
use crate::log::{Applied, Outcome, Raft, State};
use crate::metrics::Metrics;
use crate::node::{Node, unix_millis};

pub use defects::{Defects, Noted};
pub use handle::{Done, Handle, Refused};
pub use publisher::{Asked, Missing, Prepared, assignable};

use handle::{Ask, Reports};
use publisher::Publisher;

/// Index of an entry that took effect, and what was done for operators, by request id.
type Settled = (u64, Vec<(String, String)>);
type Answer = oneshot::Sender<Result<Done, Refused>>;

/// What the leader works with.
pub struct Leader {
    raft: Raft,
    applied: watch::Receiver<Applied>,
    bodies: Arc<Bodies>,
    metrics: Arc<Metrics>,
    guard: Guard,
    asks: mpsc::Receiver<Ask>,
    reports: Arc<Reports>,
    waiting: Waiting,
    /// Who waits for each of the commands that wait, in their order.
    answers: VecDeque<Option<Answer>>,
    publisher: Publisher,
    node: Arc<Node>,
    /// When the oldest report that was not proposed yet arrived.
    oldest_report: Option<Instant>,
    /// The beginning of its time.
    start: Instant,
    /// When something becomes due by the clock.
    look_again: Duration,
}

impl Leader {
    /// A leader over a log, and the handle by which others reach it.
    #[must_use]
    pub fn new(raft: Raft, bodies: Arc<Bodies>, node: Arc<Node>, metrics: Arc<Metrics>) -> (Self, Handle) {
        let (missing, missed) = watch::channel(Missing::new());
        let (handle, asks, reports) = Handle::new(missed);
        let guard = Guard::default();
        let leader = Self {
            applied: raft.applied(),
            raft,
            publisher: Publisher::new(
                Arc::clone(&bodies),
                Arc::clone(&node),
                Arc::clone(&metrics),
                guard.clone(),
                missing,
            ),
            node,
            bodies,
            metrics,
            guard,
            asks,
            reports,
            waiting: Waiting::new(),
            answers: VecDeque::new(),
            oldest_report: None,
            start: Instant::now(),
            look_again: Duration::ZERO,
        };
        (leader, handle)
    }

    /// Leads until the log stops or every handle is gone; says why it ended.
    pub async fn run(mut self) -> String {
        let mut plan_again = tokio::time::interval(Duration::from_secs(limits::PLAN_AGAIN_SECS));
        loop {
            // What is left to do comes first; events fold in between two entries.
            match self.work().await {
                Ok(true) => {}
                Ok(false) => {
                    let look_again = self.look_again;
                    tokio::select! {
                        ask = self.asks.recv() => match ask {
                            Some(ask) => self.take(ask),
                            None => return "the hub stops".into(),
                        },
                        () = self.reports.some() => {}
                        () = tokio::time::sleep(look_again) => {}
                        _ = plan_again.tick() => {
                            self.waiting.plan_all();
                            self.publisher.retry();
                        }
                    }
                }
                Err(reason) => return reason,
            }
            while let Ok(ask) = self.asks.try_recv() {
                self.take(ask);
            }
            self.take_reports();
        }
    }

    /// Ends suspensions that are over, and says when the next one is.
    fn mind_clocks(&mut self, fleet: &Fleet) {
        let mono_millis = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX / 2);
        let left = self.waiting.mind_clocks(fleet, unix_millis(), mono_millis).unwrap_or(u64::MAX);
        // The wall clock may be set meanwhile: it is looked at again soon.
        self.look_again = Duration::from_millis(left.min(limits::PLAN_AGAIN_SECS * 1_000));
    }

    fn take(&mut self, ask: Ask) {
        match ask {
            Ask::Command(command, answer) => self.push(command, Some(answer)),
            Ask::Operate(act, answer) => {
                if self.waiting.operate(act) {
                    self.answers.push_back(Some(answer));
                } else {
                    let _ = answer.send(Err(Refused::Busy));
                }
            }
            Ask::Prepared(prepared) => self.publisher.prepared(prepared),
            Ask::Forget(source) => self.publisher.forget(&source),
            Ask::StopPlanning => {
                self.metrics.planning_stopped.set(1);
                self.waiting.stop_planning();
            }
        }
    }

    fn take_reports(&mut self) {
        for ((cluster, _), (report, at)) in self.reports.take() {
            self.oldest_report = Some(self.oldest_report.map_or(at, |oldest| oldest.min(at)));
            self.waiting.report(cluster, report);
        }
    }

    fn push(&mut self, command: Command, answer: Option<Answer>) {
        self.waiting.push(command);
        self.answers.push_back(answer);
    }

    /// Proposes the next entry, if there is one to propose.
    async fn work(&mut self) -> Result<bool, String> {
        let state = State::of(&self.applied.borrow_and_update());
        if let Some(commands) = self.publisher.next(&state).await? {
            for command in commands {
                self.push(command, None);
            }
        }
        self.mind_clocks(state.fleet());
        if self.waiting.is_empty() {
            return Ok(false);
        }
        let Some(next) = self.next(state).await? else {
            self.oldest_report = None;
            return Ok(false);
        };
        for complaint in &next.complaints {
            error!(%complaint, "moves were left out of an entry: a defect of the planner");
        }
        if next.entry.commands.is_empty() {
            return Ok(false);
        }
        self.propose(next.entry).await?;
        Ok(true)
    }

    /// The next entry. It may read many bodies, so it is worked out where that harms nobody.
    async fn next(&mut self, state: State) -> Result<Option<Next>, String> {
        let mut waiting = std::mem::take(&mut self.waiting);
        let (bodies, guard) = (Arc::clone(&self.bodies), self.guard.clone());
        let work = spawn_blocking(move || {
            let next = waiting.next(state.fleet(), &*bodies, &guard, unix_millis());
            (waiting, next)
        });
        let (waiting, next) = work.await.map_err(|_| "planning panicked: this is a defect of drover-hub".to_owned())?;
        self.waiting = waiting;
        Ok(next)
    }

    async fn propose(&mut self, entry: Entry) -> Result<(), String> {
        let asked = entry.commands.iter().filter(|command| !is_our_own(command)).count();
        let answers: Vec<Option<Answer>> = self.answers.drain(..asked.min(self.answers.len())).collect();
        let observes = entry.commands.iter().any(|one| matches!(one, Command::Observe(_)));
        let start = Instant::now();
        self.metrics.entries.inc();
        let proposed = self.raft.propose(entry.encode()).await;
        self.metrics.propose.observe(start.elapsed().as_secs_f64());
        if let Some(at) = self.oldest_report.take_if(|_| observes) {
            self.metrics.report_lag.observe(at.elapsed().as_secs_f64());
        }
        let result = match proposed {
            Ok(proposed) => self.outcome(&entry, proposed.index, &proposed.answer),
            Err(ProposeError::Stopped { reason }) => {
                settle(answers, &Err(Refused::Stopped));
                return Err(format!("the log has stopped: {reason}"));
            }
            Err(error) => {
                error!(%error, "an entry was not taken");
                Err(Refused::Because(error.to_string()))
            }
        };
        if result.is_err() && observes {
            // What spokes said stays true, and they say it once.
            for (cluster, report) in self.node.reports() {
                self.waiting.report(cluster, Report::clone(&report));
            }
        }
        self.publisher.settled(&entry, result.as_ref().err());
        settle(answers, &result);
        Ok(())
    }

    fn outcome(&self, entry: &Entry, index: u64, answer: &[u8]) -> Result<Settled, Refused> {
        match Outcome::decode(answer) {
            Some(Outcome::Done(messages)) => Ok((index, messages)),
            Some(Outcome::Refused(reason)) => {
                self.metrics.entries_refused.inc();
                if !entry.commands.iter().all(is_asked_for) {
                    warn!(reason, "Fleet refused an entry");
                }
                Err(Refused::Because(reason))
            }
            Some(Outcome::Stale) => {
                self.metrics.entries_refused.inc();
                error!("Fleet refused an entry as made from another state");
                Err(Refused::Because("the fleet changed meanwhile; try again".into()))
            }
            None => Err(Refused::Because("the log gave an answer that cannot be read".into())),
        }
    }
}

/// Whether the leader made the command itself, from what it knows.
fn is_our_own(command: &Command) -> bool {
    matches!(command, Command::Observe(_) | Command::Move(_) | Command::Lapse(_))
}

/// Whether somebody waits for the command and is told of a refusal.
fn is_asked_for(command: &Command) -> bool {
    matches!(command, Command::Operator(_) | Command::Enrol { .. } | Command::Attach { .. } | Command::Left { .. })
}

fn settle(answers: Vec<Option<Answer>>, result: &Result<Settled, Refused>) {
    for answer in answers.into_iter().flatten() {
        let told = result.as_ref().map(|(index, messages)| Done {
            index: *index,
            message: messages.first().map(|(_, message)| message.clone()).unwrap_or_default(),
        });
        // Whoever asked may have gone.
        let _ = answer.send(told.map_err(Clone::clone));
    }
}
