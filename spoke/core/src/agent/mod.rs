//! The spoke as a state machine: events in, effects out.
//!
//! The shell holds no decision. It takes the Lease, steps the machine with what happens, and
//! carries out what comes back, in order:
//!
//! 1. `Lease(true)` → [`Effect::Load`] → the shell reads the ledger → `Started`.
//! 2. `Connected` when a stream to the hub stands (before or after `Started`); the machine says
//!    Hello when both are there. `Disconnected` when the stream is gone, whoever ended it.
//! 3. Each [`Effect::Execute`] is answered by one `Done` with its id, each [`Effect::Store`] by one
//!    `Stored` with its token. At most [`limits::API_REQUESTS_MAX`] requests, one more for an ask of
//!    the hub, and one store are under way.
//! 4. [`Effect::Wake`] replaces the one timer of the machine; when it is due, the shell steps
//!    `Tick`. A `Tick` too early or too often does no harm.

mod act;
mod ask;
mod bundle;
mod done;
mod draft;
mod hooks;
mod local;
mod observe;
mod plan;
mod recover;
mod rehearse;
mod release;
mod remove;
mod services;
mod session;
mod slot;
mod start;
mod status;
mod store;
mod suspend;
mod takeover;
mod tell;
mod unwatched;
mod voice;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use proto_model::delta::{ToHub, ToSpoke};
use proto_model::{GroupKind, Identity, limits};

use crate::inbox::Contents;
use crate::ledger::Ledger;
use crate::local::Suspended;
use crate::port::{Depth, Failure, Kind, Marked, Note, Observation, Op, Outcome, Write};
use crate::suspend::Order;
use crate::target::Scopes;
pub use ask::AskPolicy;
use ask::Asking;
use bundle::{Bundle, Trouble};
use done::Errand;
pub use local::Outside;
use observe::KindWatch;
use recover::Recovery;
use session::Session;
use store::Storing;
use suspend::Suspending;
use voice::Voice;

/// The time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; any zero point. All waits count in it.
    pub mono_millis: u64,
    /// Milliseconds since 1970; shown, and ends suspensions.
    pub unix_millis: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The answer to [`Effect::Load`]: the shell retries the reading itself.
    Started {
        /// The id of [`Effect::Load`]; the answer to any but the newest is ignored.
        id: u64,
        /// Every record of the ledger; empty where there is none yet.
        records: BTreeMap<String, Vec<u8>>,
        /// uid of the namespace `kube-system`.
        cluster_uid: String,
    },
    /// A stream to the hub stands.
    Connected,
    /// The stream to the hub is gone.
    Disconnected,
    /// The hub said something. `Certificate` is the shell's own business; the machine ignores it.
    Hub(ToSpoke),
    /// A store came to its end.
    Stored {
        /// The token of [`Effect::Store`].
        token: u64,
        /// Whether all of it is durable.
        result: Result<(), Failure>,
    },
    /// A request came to its end.
    Done {
        /// The id of [`Effect::Execute`].
        id: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// A watch saw something.
    Observed(Observation),
    /// Somebody wants something suspended or resumed.
    Order {
        /// Names the answer.
        id: u64,
        /// What is wanted.
        order: Order,
    },
    /// What came of [`Effect::Publish`].
    Published(Result<(), Failure>),
    /// Whether this spoke holds the Lease of its cluster, when it changes (repeating does no harm).
    Lease(bool),
    /// The answer to [`Effect::Recover`].
    Recovered(Result<Marked, Failure>),
    /// A timer is due.
    Tick,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read all records of the ledger and step [`Event::Started`]. Watches have been told to stop. A reading
    /// under way is of no use any more.
    Load {
        /// Names the answer.
        id: u64,
    },
    /// Say this to the hub. Reports of one bundle may be coalesced, newest wins; everything else
    /// keeps its order. Dropped where no stream stands.
    Send(ToHub),
    /// Write to the ledger, durably, and step [`Event::Stored`].
    Store {
        /// Names the answer.
        token: u64,
        /// What to write.
        write: Write,
    },
    /// Ask the cluster and step [`Event::Done`].
    Execute {
        /// Names the answer.
        id: u64,
        /// The request.
        op: Op,
    },
    /// The answer to [`Event::Order`].
    Obeyed {
        /// The id of the order.
        id: u64,
        /// What is suspended now, durably; or why the order was not taken.
        result: Result<Vec<Suspended>, String>,
    },
    /// Make an Event of it in the cluster, best effort; nothing is answered.
    Tell(Note),
    /// Write this into the spoke's ConfigMap, best effort, and step [`Event::Published`]. One at a time.
    Publish {
        /// The ConfigMap's data.
        data: BTreeMap<String, String>,
    },
    /// Search the cluster for marked objects, [`crate::port::marked`], and step [`Event::Recovered`].
    Recover {
        /// These kinds alone; empty: all.
        only: BTreeSet<Kind>,
    },
    /// From now on watch these kinds and no others.
    Watch(BTreeMap<Kind, Depth>),
    /// Stop for good: the ledger can't be read. Nothing is done until the program is started anew.
    Halt {
        /// Why, and what to do.
        why: String,
    },
    /// End the stream to the hub, step [`Event::Disconnected`], and connect again after a wait.
    EndSession {
        /// Why, for the log.
        why: String,
    },
    /// Step [`Event::Tick`] at this time of the monotonic clock, instead of any time said before;
    /// `None`: no timer.
    Wake {
        /// When, in milliseconds.
        at_mono_millis: Option<u64>,
    },
}

/// Where the machine is between nothing and work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The Lease was never held.
    Idle,
    /// The ledger is being read.
    Loading,
    /// At work.
    Ready,
    /// The ledger can't be read.
    Halted,
}

/// The state machine of one spoke.
pub struct Agent {
    /// Version of the program, for people.
    version: String,
    now: Now,
    out: Vec<Effect>,
    phase: Phase,
    /// The newest reading of the ledger that was asked for.
    load_id: u64,
    has_lease: bool,
    /// The Lease was lost since the ledger was read: another spoke may have written to it.
    is_stale: bool,
    /// The ledger was written in another cluster: nothing is done until the hub has said welcome.
    is_estranged: bool,
    cluster_uid: String,
    ledger: Ledger,
    contents: Contents,
    bundles: BTreeMap<String, Bundle>,
    is_connected: bool,
    session: Option<Session>,
    ask_policy: AskPolicy,
    asking: Option<Asking>,
    store: Storing,
    suspending: Suspending,
    recovery: Recovery,
    voice: Voice,
    errands: BTreeMap<u64, Errand>,
    next_id: u64,
    scopes: Scopes,
    /// Kinds that were asked for and not found: `None` while the question is under way.
    asked: BTreeMap<Kind, Option<Trouble>>,
    watched: BTreeMap<Kind, Depth>,
    watches: BTreeMap<GroupKind, KindWatch>,
    /// Bundles to look at in this step.
    dirty: BTreeSet<String>,
    /// Bundles that would do more if requests were not limited.
    hungry: BTreeSet<String>,
    last_served: String,
    /// Free requests are being handed out in turn.
    is_feeding: bool,
    /// Shared objects whose claimants may have changed.
    claims_changed: BTreeSet<Identity>,
    reports_changed: BTreeSet<String>,
    watches_changed: bool,
    wake: Option<u64>,
}

impl std::fmt::Debug for Agent {
    // Never what it holds: objects may be Secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent").field("phase", &self.phase).field("fence", &self.ledger.fence).finish_non_exhaustive()
    }
}

impl Agent {
    /// A spoke that knows nothing yet. `version` is the program's, shown to people.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            now: Now { mono_millis: 0, unix_millis: 0 },
            out: Vec::new(),
            phase: Phase::Idle,
            load_id: 0,
            has_lease: false,
            is_stale: false,
            is_estranged: false,
            cluster_uid: String::new(),
            ledger: Ledger::default(),
            contents: Contents::new(),
            bundles: BTreeMap::new(),
            is_connected: false,
            session: None,
            ask_policy: AskPolicy::default(),
            asking: None,
            store: Storing::default(),
            suspending: Suspending::default(),
            recovery: Recovery::default(),
            voice: Voice::default(),
            errands: BTreeMap::new(),
            next_id: 0,
            scopes: Scopes::new(),
            asked: BTreeMap::new(),
            watched: BTreeMap::new(),
            watches: BTreeMap::new(),
            dirty: BTreeSet::new(),
            hungry: BTreeSet::new(),
            last_served: String::new(),
            is_feeding: false,
            claims_changed: BTreeSet::new(),
            reports_changed: BTreeSet::new(),
            watches_changed: false,
            wake: None,
        }
    }

    /// What is answered when the hub asks, from now on.
    pub fn set_ask_policy(&mut self, policy: AskPolicy) {
        self.ask_policy = policy;
    }

    /// Takes one event and says what to do, in order.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Effect> {
        self.steps([event], now)
    }

    /// Takes events that are there together and says what to do, in order. What is next is decided
    /// once, after the last of them: that looks at every object of the bundles they are about.
    #[must_use]
    pub fn steps(&mut self, events: impl IntoIterator<Item = Event>, now: Now) -> Vec<Effect> {
        self.now = now;
        if self.phase == Phase::Halted {
            return Vec::new();
        }
        for event in events {
            self.take(event);
        }
        self.settle();
        std::mem::take(&mut self.out)
    }

    fn take(&mut self, event: Event) {
        if self.phase == Phase::Halted {
            return;
        }
        match event {
            Event::Lease(held) => self.lease(held),
            Event::Started { id, records, cluster_uid } => self.started(id, records, cluster_uid),
            Event::Connected => self.connected(),
            Event::Disconnected => self.disconnected(),
            Event::Hub(message) => self.hear(message),
            Event::Stored { token, result } => self.stored(token, result),
            Event::Done { id, outcome } => self.done(id, outcome),
            Event::Observed(observation) => self.observed(observation),
            Event::Order { id, order } => self.ordered(id, order),
            Event::Published(result) => self.published(result),
            Event::Recovered(result) => self.recovered(result),
            Event::Tick => {}
        }
    }

    /// Does everything that can be done now.
    fn settle(&mut self) {
        if self.phase == Phase::Ready {
            self.mind_suspensions();
            self.answer_held_back();
            self.mind_recovery();
            self.collect_due();
            while !self.dirty.is_empty() || !self.claims_changed.is_empty() || self.feed_hungry() {
                self.plan_dirty();
                for name in std::mem::take(&mut self.dirty) {
                    self.advance(&name);
                }
            }
            self.mind_inbox();
            self.mind_store();
            self.mind_watches();
            self.tell();
            self.mind_asking();
            self.mind_voice();
        }
        self.set_wake();
    }

    /// Whether requests to the cluster may be made.
    fn may_act(&self) -> bool {
        self.has_lease && !self.is_stale && !self.is_estranged && self.phase == Phase::Ready
    }

    /// Whether a bundle may start a request; where not, it is remembered that it wants to. While
    /// others wait, requests are handed out in turn.
    fn has_turn(&mut self, bundle: &str) -> bool {
        if !self.may_act() {
            return false;
        }
        let must_queue = !self.is_feeding && self.hungry.iter().any(|other| other != bundle);
        if must_queue || self.errands.len() >= limits::API_REQUESTS_MAX {
            self.hungry.insert(bundle.to_owned());
            return false;
        }
        true
    }

    /// Starts a request, if it is the bundle's turn.
    fn start(&mut self, bundle: &str, errand: Errand, op: Op) -> bool {
        let may_start = self.has_turn(bundle);
        if may_start {
            self.start_now(errand, op);
        }
        may_start
    }

    /// Starts a request that follows from an answer, in the place of what was answered.
    fn start_now(&mut self, errand: Errand, op: Op) {
        self.next_id += 1;
        if self.holds_back(self.next_id, &errand, &op) {
            self.errands.insert(self.next_id, errand);
            return;
        }
        let account = errand.bundle().and_then(|name| self.bundles.get(name)).and_then(|bundle| bundle.account.clone());
        let op = match account {
            Some(account) => Op::As(account, Box::new(op)),
            None => op,
        };
        self.errands.insert(self.next_id, errand);
        self.out.push(Effect::Execute { id: self.next_id, op });
    }

    /// Bundles whose timer is due.
    fn collect_due(&mut self) {
        let now = self.now.mono_millis;
        for (name, bundle) in &mut self.bundles {
            if bundle.next_at.is_some_and(|at| at <= now) {
                bundle.next_at = None;
                self.dirty.insert(name.clone());
            }
        }
    }

    /// Gives a free request to the next bundle in turn; `false` where none is free or wanted.
    fn feed_hungry(&mut self) -> bool {
        if self.errands.len() >= limits::API_REQUESTS_MAX || !self.may_act() {
            return false;
        }
        let after = (Bound::Excluded(self.last_served.clone()), Bound::Unbounded);
        let next = self.hungry.range(after).next().or_else(|| self.hungry.first()).cloned();
        let Some(name) = next else { return false };
        self.hungry.remove(&name);
        self.last_served.clone_from(&name);
        self.is_feeding = true;
        self.advance(&name);
        self.is_feeding = false;
        true
    }

    /// Says when to be woken, if that changed.
    fn set_wake(&mut self) {
        let bundles = self.bundles.values().filter_map(|bundle| bundle.next_at);
        let others = [
            self.store_wake(),
            self.session_wake(),
            self.asking_wake(),
            self.suspensions_wake(),
            self.voice_wake(),
            self.recovery_wake(),
        ];
        let at = bundles.chain(others.into_iter().flatten()).min();
        if at != self.wake {
            self.wake = at;
            self.out.push(Effect::Wake { at_mono_millis: at });
        }
    }
}

#[cfg(test)]
mod tests;
