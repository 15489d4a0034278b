//! The spoke as a state machine: events in, effects out.
//!
//! The shell holds no decision. It takes the Lease, steps the machine with what happens, and
//! carries out what comes back, in order:
//!
//! 1. `Lease(true)` → [`Effect::Load`] → the shell reads the ledger → `Started`.
//! 2. `Connected` when a stream to the hub stands (before or after `Started`); the machine says
//!    Hello when both are there. `Disconnected` when the stream is gone, whoever ended it.
//! 3. Each [`Effect::Execute`] is answered by one `Done` with its id, each [`Effect::Store`] by one
//!    `Stored` with its token. At most [`limits::API_REQUESTS_MAX`] requests and one store are
//!    under way.
//! 4. [`Effect::Wake`] replaces the one timer of the machine; when it is due, the shell steps
//!    `Tick`. A `Tick` too early or too often does no harm.

use std::collections::BTreeMap;

use proto_model::delta::{ToHub, ToSpoke};
#[cfg(doc)]
use proto_model::limits;

use crate::port::{Depth, Failure, Kind, Observation, Op, Outcome, Write};

/// The time of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds of a clock that never goes back; any zero point. All waits count in it.
    pub mono_millis: u64,
    /// Milliseconds since 1970; only ever shown.
    pub unix_millis: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The answer to [`Effect::Load`]: the shell retries the reading itself.
    Started {
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
    /// Whether this spoke holds the Lease of its cluster, when it changes (repeating does no harm).
    Lease(bool),
    /// A timer is due.
    Tick,
}

/// What the shell has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Read all records of the ledger and step [`Event::Started`]. Watches have been told to stop.
    Load,
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
    /// From now on watch these kinds and no others.
    Watch(BTreeMap<Kind, Depth>),
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

/// The state machine of one spoke.
#[derive(Debug)]
pub struct Agent {
    /// Version of the program, for people.
    version: String,
}

impl Agent {
    /// A spoke that knows nothing yet. `version` is the program's, shown to people.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self { version: version.into() }
    }

    /// Takes one event and says what to do, in order.
    #[must_use]
    pub fn step(&mut self, event: Event, now: Now) -> Vec<Effect> {
        let _ = (event, now, &self.version);
        Vec::new()
    }
}
