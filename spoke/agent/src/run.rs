//! The loop: steps the machine with what happens, and carries out what comes back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto_model::limits;
use proto_model::name::{BadName, check_cluster};
use proto_model::token::JoinToken;
use spoke_core::agent::{Agent, AskPolicy, Effect, Event, Now, Outside};
use spoke_core::local::{Ask, Told};
use spoke_core::port::{Cluster, Failure, Outcome, marked};
use spoke_core::suspend::Order;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::dir::{Dir, DirError};
use crate::door::{Asked, Door};
use crate::enrolment::Identity;
use crate::intake::Intake;
use crate::lease::Lease;
use crate::link::{Link, LinkEvent};
use crate::outbox::Outbox;
use crate::pace::Backoff;
use crate::voice::Voice;

/// What a spoke needs to run.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its own directory: key, certificates, addresses. Made where it is missing.
    pub dir: PathBuf,
    /// The name of its cluster.
    pub cluster: String,
    /// To join with; not needed again afterwards.
    pub token: Option<JoinToken>,
    /// How long the Lease of the cluster is good for, in seconds; `limits::LEASE_SECS` if in doubt.
    pub lease_secs: u32,
    /// What is answered when the hub asks.
    pub ask: AskPolicy,
}

impl Config {
    /// With the usual lease, and answering what can be asked.
    #[must_use]
    pub fn new(dir: PathBuf, cluster: String, token: Option<JoinToken>) -> Self {
        Self { dir, cluster, token, lease_secs: limits::LEASE_SECS, ask: AskPolicy::default() }
    }
}

/// Why a spoke cannot run, or go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster's name breaks a rule.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The directory cannot be used.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The machine stopped for good.
    #[error("{0}")]
    Halted(String),
    /// A part of the spoke broke; starting it anew is safe.
    #[error("a task of the spoke broke: {0}")]
    Broken(JoinError),
}

/// Runs a spoke over a cluster until `stop` is done. Losing the hub ends nothing: it is looked for
/// for as long as it takes.
///
/// # Errors
/// The directory cannot be used, or holds no enrolment and there is no token; the ledger cannot be
/// read; a task broke.
pub async fn run(
    config: Config,
    cluster: Arc<dyn Cluster>,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), RunError> {
    check_cluster(&config.cluster)?;
    let dir = Dir::open(&config.dir)?;
    let identity = Identity::open(dir, &config.cluster, config.token.as_ref())?;
    let holder = identity.holder()?;
    let (events, inbox) = mpsc::channel(limits::SPOKE_INBOX_MAX);
    let (asks, asked) = mpsc::channel(1);
    let door = match Door::open(&config.dir) {
        Ok(door) => Some(tokio::spawn(door.serve(asks))),
        Err(error) => {
            warn!(%error, dir = %config.dir.display(), "no local door: `drover-spoke status` will not answer here");
            None
        }
    };
    let (ready, is_ready) = watch::channel(false);
    let link = Link::new(identity, config.token, events, is_ready);
    let link = tokio::spawn(Box::pin(link.run()));
    let mut agent = Agent::new(env!("CARGO_PKG_VERSION"));
    agent.set_ask_policy(config.ask);
    agent.introduce(config.cluster);
    let spoke = Spoke {
        agent,
        cluster,
        holder,
        lease: Lease::new(config.lease_secs),
        lease_secs: config.lease_secs,
        waits_because: String::new(),
        hub_trouble: String::new(),
        asked,
        orders: BTreeMap::new(),
        next_order: 0,
        voice: Voice::default(),
        intake: Arc::default(),
        inbox,
        ready,
        outbox: None,
        tasks: JoinSet::new(),
        loading: None,
        ledger_trouble: Arc::default(),
        wake_at: None,
        clock: Clock::new(),
    };
    let result = Box::pin(spoke.run(stop)).await;
    if let Some(door) = door {
        door.abort();
        let _ = door.await;
    }
    link.abort();
    // It was told to end; how it ended says nothing.
    let _ = link.await;
    result
}

/// What a task of the loop came to.
enum Finished {
    Event(Box<Event>),
    Lease { asked_at: u64, answer: Result<bool, Failure> },
    Told(Result<(), Failure>),
}

struct Spoke {
    agent: Agent,
    cluster: Arc<dyn Cluster>,
    holder: String,
    lease: Lease,
    lease_secs: u32,
    /// Why the lease is not held, as it was told last; empty while it is.
    waits_because: String,
    /// Why there is no stream to the hub; empty while there is one.
    hub_trouble: String,
    asked: mpsc::Receiver<Asked>,
    /// Who waits for what comes of an order.
    orders: BTreeMap<u64, oneshot::Sender<Result<Told, String>>>,
    next_order: u64,
    voice: Voice,
    intake: Arc<Intake>,
    inbox: mpsc::Receiver<LinkEvent>,
    ready: watch::Sender<bool>,
    outbox: Option<Arc<Outbox>>,
    tasks: JoinSet<Finished>,
    /// The reading of the ledger under way.
    loading: Option<AbortHandle>,
    /// Why the ledger could not be read the last time; empty where it could.
    ledger_trouble: Arc<Mutex<String>>,
    wake_at: Option<u64>,
    clock: Clock,
}

impl Spoke {
    async fn run(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), RunError> {
        let intake = Arc::clone(&self.intake);
        tokio::pin!(stop);
        loop {
            self.mind_lease()?;
            self.mind_timer()?;
            let wake_at = [self.wake_at, self.lease.wake_at()].into_iter().flatten().min();
            // Timers do not count sleep: how long there is still to wait is worked out anew each time.
            let wait = wake_at.map(|at| Duration::from_millis(at.saturating_sub(self.mono_millis())));
            tokio::select! {
                () = &mut stop => break,
                Some(finished) = self.tasks.join_next() => self.finished(finished)?,
                Some(event) = self.inbox.recv() => self.linked(event)?,
                Some(asked) = self.asked.recv() => self.asked(asked)?,
                seen = intake.next(limits::OBSERVATIONS_PER_TURN_MAX) => {
                    self.steps(seen.into_iter().map(Event::Observed))?;
                }
                () = sleep(wait.unwrap_or_default()), if wait.is_some() => {}
            }
        }
        self.end().await;
        Ok(())
    }

    fn mono_millis(&self) -> u64 {
        self.clock.millis()
    }

    fn now(&self) -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Now { mono_millis: self.mono_millis(), unix_millis }
    }

    fn mind_lease(&mut self) -> Result<(), RunError> {
        let now = self.mono_millis();
        if let Some(lost) = self.lapse(now) {
            self.step(lost)?;
        }
        if self.lease.asks(now) {
            let (cluster, holder) = (Arc::clone(&self.cluster), self.holder.clone());
            let secs = self.lease_secs;
            self.tasks
                .spawn(async move { Finished::Lease { asked_at: now, answer: cluster.lease(holder, secs).await } });
        }
        Ok(())
    }

    /// What there is to say where the Lease ran out, unrenewed; once.
    fn lapse(&mut self, now: u64) -> Option<Event> {
        self.lease.has_run_out(now).then(|| {
            warn!("the lease of the cluster could not be renewed: nothing is done until it is");
            Event::Lease(false)
        })
    }

    fn mind_timer(&mut self) -> Result<(), RunError> {
        if self.wake_at.is_some_and(|at| at <= self.mono_millis()) {
            self.wake_at = None;
            self.step(Event::Tick)?;
        }
        Ok(())
    }

    fn finished(&mut self, finished: Result<Finished, JoinError>) -> Result<(), RunError> {
        match finished {
            // A reading of the ledger that a newer one replaced.
            Err(error) if error.is_cancelled() => Ok(()),
            Err(error) => Err(RunError::Broken(error)),
            Ok(Finished::Event(event)) if matches!(*event, Event::Done { .. }) => self.done(*event),
            Ok(Finished::Event(event)) => {
                if let Event::Published(result) = &*event {
                    self.voice.note("the ConfigMap drover-status", result);
                }
                let starts = matches!(*event, Event::Started { .. });
                self.step(*event)?;
                if starts {
                    self.ready.send_replace(true);
                }
                Ok(())
            }
            Ok(Finished::Lease { asked_at, answer }) => self.leased(asked_at, &answer),
            Ok(Finished::Told(result)) => {
                self.voice.told(&result);
                Ok(())
            }
        }
    }

    /// Takes an answer, with those that came while the last were looked at.
    fn done(&mut self, event: Event) -> Result<(), RunError> {
        let mut answers = vec![event];
        while let Some(finished) = self.tasks.try_join_next() {
            match finished {
                Ok(Finished::Event(event)) if matches!(*event, Event::Done { .. }) => answers.push(*event),
                other => {
                    self.steps(answers)?;
                    return self.finished(other);
                }
            }
        }
        self.steps(answers)
    }

    fn leased(&mut self, asked_at: u64, answer: &Result<bool, Failure>) -> Result<(), RunError> {
        let now = self.mono_millis();
        let trouble = match answer {
            Ok(true) => None,
            Ok(false) => Some("another spoke holds the lease of the cluster".to_owned()),
            Err(failure) => Some(format!("no answer about the lease of the cluster: {failure}")),
        };
        self.wait_for_lease(trouble);
        match self.lease.answered(asked_at, now, answer.as_ref().ok().copied()) {
            Some(true) => {
                info!("this spoke holds the lease of its cluster");
                self.step(Event::Lease(true))
            }
            Some(false) => {
                warn!("another spoke holds the lease of this cluster: nothing is done here");
                self.step(Event::Lease(false))
            }
            None => Ok(()),
        }
    }

    /// A spoke without the lease does nothing at all, so it says why, once for each reason. While the
    /// lease is still held, an answer may be missing.
    fn wait_for_lease(&mut self, trouble: Option<String>) {
        match trouble {
            Some(why) if self.lease.is_held() => debug!("{why}"),
            Some(why) if self.waits_because != why => {
                warn!("nothing is done here: {why}");
                self.waits_because = why;
            }
            Some(_) => {}
            None => self.waits_because.clear(),
        }
    }

    fn linked(&mut self, event: LinkEvent) -> Result<(), RunError> {
        match event {
            LinkEvent::Up(outbox) => {
                self.outbox = Some(outbox);
                self.hub_trouble = "a connection stands, and the hub did not say welcome yet".into();
                self.step(Event::Connected)
            }
            LinkEvent::Word(word) => self.step(Event::Hub(word)),
            LinkEvent::Down => {
                self.outbox = None;
                self.step(Event::Disconnected)
            }
            LinkEvent::Trouble(why) => {
                self.hub_trouble = why;
                Ok(())
            }
        }
    }

    /// Answers somebody at the door, or has the machine do what they want.
    fn asked(&mut self, asked: Asked) -> Result<(), RunError> {
        let now = self.now();
        let told = match asked.ask {
            Ask::Status => {
                let lease_trouble = if self.lease.is_held() { String::new() } else { self.waits_because.clone() };
                let ledger_trouble = self.ledger_trouble.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let outside = Outside { lease_trouble, ledger_trouble, hub_trouble: self.hub_trouble.clone() };
                Ok(Told::Status(Box::new(self.agent.status(&outside, now))))
            }
            Ask::Explain { bundle } => self.agent.explain(bundle.as_deref(), now).map(Told::Explained),
            Ask::Inventory { bundle } => self.agent.inventory(bundle.as_deref()).map(Told::Inventory),
            Ask::Suspend { bundle, secs, reason } => {
                let by = "drover-spoke suspend".to_owned();
                let span_millis = secs.saturating_mul(1_000);
                return self.order(Order::Suspend { bundle, span_millis, reason, by }, asked.answer);
            }
            Ask::Resume { bundle } => return self.order(Order::Resume { bundle }, asked.answer),
        };
        let _ = asked.answer.send(told);
        Ok(())
    }

    fn order(&mut self, order: Order, answer: oneshot::Sender<Result<Told, String>>) -> Result<(), RunError> {
        // Those who gave up waiting need no place.
        self.orders.retain(|_, answer| !answer.is_closed());
        self.next_order += 1;
        self.orders.insert(self.next_order, answer);
        info!(?order, "ordered at the local door");
        self.step(Event::Order { id: self.next_order, order })
    }

    fn step(&mut self, event: Event) -> Result<(), RunError> {
        self.steps([event])
    }

    /// Steps the machine. The process may have stood still since it last looked, for any time and at any place: that
    /// the Lease ran out comes before everything else.
    fn steps(&mut self, events: impl IntoIterator<Item = Event>) -> Result<(), RunError> {
        let now = self.now();
        let lost = self.lapse(now.mono_millis);
        for effect in self.agent.steps(lost.into_iter().chain(events), now) {
            self.carry_out(effect)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, effect: Effect) -> Result<(), RunError> {
        let cluster = Arc::clone(&self.cluster);
        match effect {
            Effect::Load { id } => {
                let trouble = Arc::clone(&self.ledger_trouble);
                let loading = self.tasks.spawn(async move {
                    let event = load(id, &*cluster, &trouble).await;
                    Finished::Event(Box::new(event))
                });
                if let Some(before) = self.loading.replace(loading) {
                    before.abort();
                }
            }
            Effect::Send(word) => {
                if let Some(outbox) = &self.outbox {
                    outbox.push(word);
                }
            }
            Effect::Store { token, write } => {
                self.tasks.spawn(async move {
                    let result = cluster.store(write).await;
                    Finished::Event(Box::new(Event::Stored { token, result }))
                });
            }
            Effect::Execute { id, op } => {
                self.tasks.spawn(async move {
                    let outcome: Outcome = cluster.execute(op).await;
                    Finished::Event(Box::new(Event::Done { id, outcome }))
                });
            }
            Effect::Recover { only } => {
                self.tasks.spawn(async move {
                    let found = marked(&*cluster, only).await;
                    Finished::Event(Box::new(Event::Recovered(found)))
                });
            }
            Effect::Watch(kinds) => self.cluster.watch(kinds, self.intake.sink()),
            Effect::Obeyed { id, result } => {
                if let Some(answer) = self.orders.remove(&id) {
                    // Who asked may be gone.
                    let _ = answer.send(result.map(Told::Suspended));
                }
            }
            Effect::Tell(note) => {
                if self.voice.begins() {
                    self.tasks.spawn(async move { Finished::Told(cluster.tell(note).await) });
                }
            }
            Effect::Publish { data } => {
                self.tasks.spawn(async move {
                    let result = cluster.publish(data).await;
                    Finished::Event(Box::new(Event::Published(result)))
                });
            }
            Effect::EndSession { why } => {
                if let Some(outbox) = &self.outbox {
                    outbox.close(&why);
                }
            }
            Effect::Wake { at_mono_millis } => self.wake_at = at_mono_millis,
            Effect::Halt { why } => return Err(RunError::Halted(why)),
        }
        Ok(())
    }

    // Nothing new is begun; what is under way may finish, and then another spoke may take over.
    async fn end(mut self) {
        info!("told to end");
        if let Some(outbox) = self.outbox.take() {
            outbox.close("this spoke ends");
        }
        if let Some(loading) = self.loading.take() {
            loading.abort();
        }
        self.cluster.watch(BTreeMap::new(), self.intake.sink());
        let tasks = &mut self.tasks;
        let wait = async { while tasks.join_next().await.is_some() {} };
        if timeout(Duration::from_secs(limits::SPOKE_END_SECS_MAX), wait).await.is_err() {
            warn!("some requests to the cluster did not end in time");
            self.tasks.shutdown().await;
        }
        if self.lease.is_held() {
            // Where giving it back fails, it runs out by itself.
            let release = self.cluster.lease(self.holder.clone(), 0);
            let _ = timeout(Duration::from_secs(limits::SPOKE_END_SECS_MAX), release).await;
        }
    }
}

/// Reads the ledger and the cluster's uid, for as long as it takes.
async fn load(id: u64, cluster: &dyn Cluster, trouble: &Mutex<String>) -> Event {
    let mut backoff = Backoff::default();
    let tell = |why: String| *trouble.lock().unwrap_or_else(PoisonError::into_inner) = why;
    loop {
        let read = async { Ok::<_, Failure>((cluster.uid().await?, cluster.load().await?)) };
        match read.await {
            Ok((cluster_uid, records)) => {
                tell(String::new());
                return Event::Started { id, records, cluster_uid };
            }
            Err(failure) => {
                match backoff.is_first() {
                    true => warn!(%failure, "the ledger cannot be read yet"),
                    false => debug!(%failure, "the ledger cannot be read yet"),
                }
                tell(failure.to_string());
            }
        }
        sleep(backoff.next(rand::random())).await;
    }
}

#[cfg(test)]
mod tests;
