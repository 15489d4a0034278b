//! What must always hold, each in a file of its own. The numbers are those of the rules in the
//! design's chapter "What must always hold".
//!
//! | rule | invariant | what is looked at |
//! |---|---|---|
//! | 3 | [`replay`] | the log, read again, gives the same Fleet |
//! | 5 | [`one_content`] | a fence means one content for ever, at the hub and in ledgers |
//! | 5, 9 | [`hello`] | a Hello names the fence and root of the durable ledger |
//! | 6 | [`older_health`] | a cluster counts as settled only on a report of this assignment |
//! | 6 | [`truthful`] | Applied is said only of what was applied |
//! | 9 | [`ledger_first`] | nothing is applied that the durable ledger does not name; no fence goes back |
//! | 10 | [`hub_loss`] | what happens to a cluster while the hub is gone |
//! | 11 | [`one_owner`] | no bundle takes an object of another, or of somebody else |
//! | 12 | [`deletes`] | every deletion is within its five conditions |
//! | 13 | [`guard`] | what assignments take away stays within the guard, or was approved |
//! | 15 | [`lease`] | nothing is asked of a cluster without its Lease |
//! | 16, 17 | [`bounds`] | limits hold, and what is under way is bounded |
//! | 18 | [`no_content`] | no word of ours carries what is in an object |
//! | 19 | [`liveness`] | when faults stop, everything settles, and then rests |
//! | – | [`suspended`] | what was suspended is neither moved nor touched |
//! | – | [`asked`] | what objects ask for, and what bundles leave alone |
//! | – | [`planner`] | planning what is dirty equals planning everything |

pub mod asked;
pub mod bounds;
pub mod deletes;
pub mod guard;
pub mod hello;
pub mod hub_loss;
pub mod lease;
pub mod ledger_first;
pub mod liveness;
mod looked;
pub mod no_content;
pub mod older_health;
pub mod one_content;
pub mod one_owner;
pub mod planner;
pub mod replay;
pub mod suspended;
pub mod truthful;

use std::collections::BTreeMap;

use hub_core::catalog::Guard;
use hub_core::command::{Entry, Pair};
use hub_core::fleet::Fleet;
use hub_core::plan::Moves;
use proto_model::Identity;
use proto_model::delta::{ToHub, ToSpoke};
use serde_json::Value as Json;
use spoke_core::local::Suspended;
use spoke_core::port::{Op, Outcome};

use crate::bodies::Bodies;
use crate::history::History;

/// Something that happened, as an invariant sees it.
#[derive(Debug)]
pub enum Seen<'a> {
    /// An entry took effect for the first time.
    Applied {
        /// The entry.
        entry: &'a Entry,
        /// Fleet before it.
        before: &'a Fleet,
        /// Fleet after it.
        after: &'a Fleet,
    },
    /// The leader has nothing to propose.
    Idle {
        /// What a plan of all bundles gives.
        everything: &'a Moves,
    },
    /// A hub began, with the Fleet that the log gave it.
    Replayed {
        /// What stood before it was killed.
        before: &'a Fleet,
        /// What the log gave.
        after: &'a Fleet,
    },
    /// A head is to be published with these guards.
    Published {
        /// Its commit.
        commit: &'a str,
        /// By full name of the bundle.
        guards: &'a BTreeMap<String, Guard>,
    },
    /// An operator let a deletion go.
    Approved {
        /// Full name of the bundle.
        bundle: &'a str,
        /// Number of the cluster.
        cluster: u32,
        /// The goal that was shown; `None` is a removal.
        goal: Option<Pair>,
    },
    /// A spoke said something to the hub.
    Said {
        /// Which.
        cluster: &'a str,
        /// What.
        message: &'a ToHub,
    },
    /// A spoke said something for its log.
    Logged {
        /// Which.
        cluster: &'a str,
        /// What.
        words: &'a str,
    },
    /// The hub gave a stream something.
    Told {
        /// Whose stream.
        cluster: &'a str,
        /// Which stream.
        stream: u64,
        /// What.
        message: &'a ToSpoke,
    },
    /// The hub heard an Ack or a Nack on a stream.
    Answered {
        /// Which stream.
        stream: u64,
    },
    /// A stream is gone.
    Ended {
        /// Which stream.
        stream: u64,
    },
    /// A spoke asked its cluster for something.
    Issued {
        /// Which.
        cluster: &'a str,
        /// What.
        op: &'a Op,
    },
    /// A request arrived at a cluster and will be carried out.
    Reached {
        /// Which.
        cluster: &'a str,
        /// What.
        op: &'a Op,
        /// The object that it is about, as it is.
        live: Option<&'a Json>,
        /// When somebody else last made, replaced or annotated it, in milliseconds of the simulation.
        foreign_since: Option<u64>,
    },
    /// A request was carried out.
    Happened {
        /// Which.
        cluster: &'a str,
        /// What.
        op: &'a Op,
        /// What came of it.
        outcome: &'a Outcome,
    },
    /// A record of a ledger is durable from now on, or deleted.
    Durable {
        /// Which.
        cluster: &'a str,
        /// The record.
        key: &'a str,
        /// Its bytes; `None`: deleted.
        bytes: Option<&'a [u8]>,
    },
    /// A spoke has been told that what it stored is durable.
    Known {
        /// Which.
        cluster: &'a str,
    },
    /// The ledger of a cluster is gone or another's, and with it what was known.
    Forgotten {
        /// Which.
        cluster: &'a str,
    },
    /// A spoke holds the Lease, or does not.
    Lease {
        /// Which.
        cluster: &'a str,
        /// Whether it does.
        is_held: bool,
    },
    /// Somebody ended a suspension at a cluster.
    Resumed {
        /// Which.
        cluster: &'a str,
    },
    /// A spoke says that it has written down what is suspended.
    Obeyed {
        /// Which.
        cluster: &'a str,
        /// What is.
        suspended: &'a [Suspended],
    },
    /// From now on nothing may be written anywhere.
    Rest,
    /// The rest is over.
    RestOver,
}

/// What every invariant may look at.
#[derive(Debug)]
pub struct Context<'a> {
    /// Milliseconds of the simulation.
    pub now_millis: u64,
    /// The hub's bodies.
    pub bodies: &'a Bodies,
    /// Ledgers, by cluster.
    pub ledgers: &'a BTreeMap<String, History>,
}

impl Context<'_> {
    /// The ledger of a cluster.
    ///
    /// # Errors
    /// There is none: nothing was stored yet.
    pub fn ledger(&self, cluster: &str) -> Result<&History, String> {
        self.ledgers.get(cluster).ok_or_else(|| format!("{cluster} has no ledger yet"))
    }
}

/// Something that must always hold.
pub trait Invariant {
    /// Its name: that of its file.
    fn name(&self) -> &'static str;

    /// Looks at what happened.
    ///
    /// # Errors
    /// How it is broken.
    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String>;
}

/// All of them that look at every step.
#[must_use]
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<replay::Replay>::default(),
        Box::<one_content::OneContent>::default(),
        Box::<hello::Hello>::default(),
        Box::<older_health::OlderHealth>::default(),
        Box::<truthful::Truthful>::default(),
        Box::<ledger_first::LedgerFirst>::default(),
        Box::<one_owner::OneOwner>::default(),
        Box::<deletes::Deletes>::default(),
        Box::<guard::GuardHolds>::default(),
        Box::<lease::Lease>::default(),
        Box::<suspended::Suspended>::default(),
        Box::<asked::Asked>::default(),
        Box::<bounds::Bounds>::default(),
        Box::<no_content::NoContent>::default(),
        Box::<liveness::Rest>::default(),
        Box::<planner::Planner>::default(),
    ]
}

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: &'static str,
    /// How.
    pub what: String,
    /// When, in milliseconds of the simulation.
    pub at_millis: u64,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is broken at {} ms: {}", self.invariant, self.at_millis, self.what)
    }
}

/// The bundles that an object's marks name, of our hub.
#[must_use]
pub fn owners(object: &Json) -> Vec<String> {
    let marks = proto_model::object::annotation(object, spoke_core::port::OWNER_ANNOTATION);
    let marks: Vec<Json> = marks.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let bundle = |mark: &Json| Some(mark.get("bundle")?.as_str()?.to_owned());
    marks.iter().filter_map(bundle).collect()
}

/// The bundle behind a field manager.
#[must_use]
pub fn bundle_of(manager: &str) -> &str {
    manager.strip_prefix("drover/").unwrap_or(manager)
}

/// The identity that a request writes, or would write.
#[must_use]
pub fn aimed_at(op: &Op) -> Option<Identity> {
    match op {
        Op::Apply { manifest, .. } => proto_model::object::identity(manifest).ok(),
        op => written(op),
    }
}

/// The identity that a request is about, where it writes.
#[must_use]
pub fn written(op: &Op) -> Option<Identity> {
    match op {
        Op::Apply { manifest, dry_run: false, .. } => proto_model::object::identity(manifest).ok(),
        Op::Delete { identity, .. } | Op::Patch { identity, .. } => Some(identity.clone()),
        _ => None,
    }
}
