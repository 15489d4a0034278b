//! The world: one hub, a few clusters with their spokes, a network, a repository and people.

mod api;
mod calm;
mod chaos;
mod hub;
mod net;
mod orders;
mod people;
mod pods;
mod sabotage;
mod site;
mod strangers;
mod streams;
mod tally;
mod trouble;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use hub_core::fleet::Fleet;
use proto_model::delta::{ToHub, ToSpoke};
use proto_model::{Digest, Identity};
use spoke_core::port::{Kind, Op, Outcome, Write};
use spoke_memory::State;

use crate::bodies::Bodies;
use crate::bug::Bug;
use crate::counts::Counts;
use crate::history::History;
use crate::invariants::{self, Context, Invariant, Seen, Violation};
use crate::queue::Queue;
use crate::repo::Repo;
use crate::rng::Rng;
use crate::story::Story;
pub(crate) use strangers::BY_HAND;

/// Wall time of the beginning of every run, milliseconds since 1970.
pub(crate) const BEGINNING_UNIX_MILLIS: u64 = 1_700_000_000_000;

/// What can happen.
#[derive(Debug)]
enum Happening {
    /// A hub begins.
    HubBegins,
    /// The leader looks for something to propose.
    HubTurns {
        boot: u64,
    },
    /// The entry under way is durable.
    Appended {
        boot: u64,
    },
    /// The hub looks at the repository.
    HubPolls {
        boot: u64,
    },
    /// A message arrives at the hub.
    HubGets {
        stream: u64,
        message: Box<ToHub>,
    },
    /// The hub notices that a stream is gone.
    HubLoses {
        stream: u64,
    },
    /// A message arrives at a spoke.
    SpokeGets {
        stream: u64,
        message: Box<ToSpoke>,
    },
    /// A spoke notices that its stream is gone.
    SpokeLoses {
        stream: u64,
    },
    /// A spoke begins.
    SpokeBegins {
        cluster: String,
        boot: u64,
    },
    /// A spoke dials the hub.
    Dials {
        cluster: String,
        boot: u64,
    },
    /// A dialled stream stands.
    Stands {
        stream: u64,
    },
    /// The records of the ledger have been read.
    Loaded {
        cluster: String,
        boot: u64,
        id: u64,
    },
    Searched {
        cluster: String,
        boot: u64,
        only: BTreeSet<Kind>,
    },
    /// A write of the ledger comes to its end.
    Stores {
        cluster: String,
        boot: u64,
        token: u64,
    },
    /// What was called durable becomes durable (with a planted bug only).
    StoresLate {
        cluster: String,
        boot: u64,
        write: Box<Write>,
    },
    /// A request arrives at the API server.
    Arrives {
        cluster: String,
        boot: u64,
        id: u64,
        op: Box<Op>,
    },
    /// Its answer arrives at the spoke.
    Answers {
        cluster: String,
        boot: u64,
        id: u64,
        outcome: Box<Outcome>,
    },
    /// What watches saw arrives at the spoke.
    Observes {
        cluster: String,
        boot: u64,
    },
    /// The spoke's timer is due.
    Ticks {
        cluster: String,
        boot: u64,
        number: u64,
    },
    /// The cluster's controllers have something to do.
    Advances {
        cluster: String,
    },
    /// The Lease comes or goes.
    Leases {
        cluster: String,
        boot: u64,
        is_held: bool,
    },
    /// A fault.
    Chaos,
    /// The API server of a cluster is back.
    ServerBack {
        cluster: String,
    },
    /// Workloads of a cluster do as they should.
    Unscripts {
        cluster: String,
        identity: Identity,
    },
    /// The API server of a cluster is in trouble no more.
    Eases {
        cluster: String,
    },
    /// Nobody asks any more that hands are kept off an object.
    Unannotates {
        cluster: String,
        identity: Identity,
    },
    /// Somebody commits.
    Commits,
    /// An operator looks at the fleet.
    Operates,
}

/// A cluster and its spoke.
#[derive(Debug)]
struct Site {
    state: State,
    /// How often the cluster behind the name was another one.
    life: u64,
    ledger: BTreeMap<String, Vec<u8>>,
    spoke: Option<site::Spoke>,
    /// The other spoke, which lives without the Lease.
    standby: Option<site::Spoke>,
    boot: u64,
    /// The key that the spoke enrolled, or would.
    key: Digest,
    advances_at: Option<u64>,
    /// Copies that somebody made of our objects, marks included: nobody owns them.
    copies: BTreeSet<Identity>,
    /// Whether objects of ours were left behind in it that no assignment will ever let go: it lost
    /// its ledger, or was replaced or removed.
    has_leftovers: bool,
    /// When somebody else made or replaced an object.
    foreign: BTreeMap<Identity, u64>,
    /// When somebody else annotated an object, or changed what its bundle may leave alone.
    annotated: BTreeMap<Identity, u64>,
    /// Objects of which somebody took the marks off.
    unmarked: BTreeSet<Identity>,
    /// When each of them was last changed by somebody else, so that nobody fights for ever.
    edits: BTreeMap<Identity, u32>,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    now: u64,
    rng: Rng,
    queue: Queue<Happening>,
    bug: Option<Bug>,
    bodies: Bodies,
    repo: Repo,
    hub: hub::Hub,
    sites: BTreeMap<String, Site>,
    streams: BTreeMap<u64, net::Stream>,
    next_stream: u64,
    late: BTreeMap<String, net::Late>,
    people: people::People,
    histories: BTreeMap<String, History>,
    invariants: Vec<Box<dyn Invariant>>,
    violation: Option<Violation>,
    /// Whether faults happen and people work.
    is_rough: bool,
    counts: Counts,
    story: Story,
}

impl std::fmt::Debug for dyn Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl World {
    /// A new world; `is_told`: with its story.
    #[must_use]
    pub fn new(seed: u64, bug: Option<Bug>, is_told: bool) -> Self {
        let mut rng = Rng::new(seed);
        let clusters = rng.between(2, 4);
        let repo = Repo::new(&mut rng, clusters);
        let mut world = Self {
            now: 0,
            queue: Queue::new(),
            bug,
            bodies: Bodies::default(),
            hub: hub::Hub::new(seed),
            sites: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            late: BTreeMap::new(),
            people: people::People::default(),
            histories: BTreeMap::new(),
            invariants: invariants::all(),
            violation: None,
            is_rough: true,
            counts: Counts::default(),
            story: Story::new(is_told),
            repo,
            rng,
        };
        let names: Vec<String> = world.repo.content.clusters.keys().cloned().collect();
        for name in names {
            world.build_site(&name);
        }
        world.queue.put(0, Happening::HubBegins);
        world.queue.put(1_000, Happening::Chaos);
        world.queue.put(3_000, Happening::Commits);
        world.queue.put(2_000, Happening::Operates);
        world
    }

    /// Lets everything happen that happens before a time, in milliseconds, unless an invariant
    /// breaks.
    pub fn run_until(&mut self, end_millis: u64) {
        while self.violation.is_none()
            && let Some((at, happening)) = self.queue.pop_before(end_millis)
        {
            self.now = self.now.max(at);
            self.happen(happening);
        }
        if self.violation.is_none() {
            self.now = self.now.max(end_millis);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::HubBegins => self.hub_begins(),
            Happening::HubTurns { boot } => self.hub_turns(boot),
            Happening::Appended { boot } => self.appended(boot),
            Happening::HubPolls { boot } => self.hub_polls(boot),
            Happening::HubGets { stream, message } => self.hub_gets(stream, *message),
            Happening::HubLoses { stream } => self.hub_loses(stream),
            Happening::SpokeGets { stream, message } => self.spoke_gets(stream, *message),
            Happening::SpokeLoses { stream } => self.spoke_loses(stream),
            Happening::SpokeBegins { cluster, boot } => self.spoke_begins(&cluster, boot),
            Happening::Dials { cluster, boot } => self.dials(&cluster, boot),
            Happening::Stands { stream } => self.stands(stream),
            Happening::Loaded { cluster, boot, id } => self.loaded(&cluster, boot, id),
            Happening::Searched { cluster, boot, only } => self.searched(&cluster, boot, only),
            Happening::Stores { cluster, boot, token } => self.stores(&cluster, boot, token),
            Happening::StoresLate { cluster, boot, write } => {
                self.stores_late(&cluster, boot, &write);
            }
            Happening::Arrives { cluster, boot, id, op } => self.arrives(&cluster, boot, id, *op),
            Happening::Answers { cluster, boot, id, outcome } => {
                self.answers(&cluster, boot, id, *outcome);
            }
            Happening::Observes { cluster, boot } => self.observes(&cluster, boot),
            Happening::Ticks { cluster, boot, number } => self.ticks(&cluster, boot, number),
            Happening::Advances { cluster } => self.advances(&cluster),
            Happening::Leases { cluster, boot, is_held } => self.leases(&cluster, boot, is_held),
            Happening::Chaos => self.chaos(),
            Happening::ServerBack { cluster } => self.server_back(&cluster),
            Happening::Unscripts { cluster, identity } => self.unscripts(&cluster, &identity),
            Happening::Eases { cluster } => self.eases(&cluster),
            Happening::Unannotates { cluster, identity } => self.annotate(&cluster, &identity, None),
            Happening::Commits => self.commits(),
            Happening::Operates => self.operates(),
        }
    }

    /// Shows something to the invariants; the first that breaks ends the run.
    fn see(&mut self, seen: &Seen<'_>) {
        if self.violation.is_some() {
            return;
        }
        let context = Context { now_millis: self.now, bodies: &self.bodies, ledgers: &self.histories };
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.see(seen, &context) {
                self.violation = Some(Violation { invariant: invariant.name(), what, at_millis: self.now });
                return;
            }
        }
    }

    fn broken(&mut self, invariant: &'static str, what: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation { invariant, what, at_millis: self.now });
        }
    }

    fn tell(&mut self, line: impl FnOnce() -> String) {
        self.story.tell(self.now, line);
    }

    fn soon(&mut self, first_millis: u64, last_millis: u64, happening: Happening) {
        let wait = self.rng.between(first_millis, last_millis);
        self.queue.put(self.now + wait, happening);
    }

    /// Wall time of clusters and spokes.
    fn unix_millis(&self) -> u64 {
        BEGINNING_UNIX_MILLIS + self.now
    }

    /// What broke, if anything did.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// How often everything happened.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The last of what happened, in words.
    #[must_use]
    pub fn story(&self) -> String {
        self.story.text()
    }

    /// The time, in milliseconds.
    #[must_use]
    pub fn now_millis(&self) -> u64 {
        self.now
    }

    /// Fleet, while the hub is up.
    #[must_use]
    pub fn fleet(&self) -> Option<&Fleet> {
        self.hub.node.as_ref().map(|node| &node.fleet)
    }

    /// The hub's bodies.
    #[must_use]
    pub fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// Names of all clusters that ever were.
    #[must_use]
    pub fn clusters(&self) -> Vec<String> {
        self.sites.keys().cloned().collect()
    }

    /// What is in a cluster.
    #[must_use]
    pub fn state(&self, cluster: &str) -> Option<&State> {
        self.sites.get(cluster).map(|site| &site.state)
    }

    /// The ledger of a cluster.
    #[must_use]
    pub fn ledger(&self, cluster: &str) -> Option<&History> {
        self.histories.get(cluster)
    }

    /// Whether somebody took the marks off an object, or made it.
    #[must_use]
    pub fn is_unmarked(&self, cluster: &str, identity: &Identity) -> bool {
        let is_it = |site: &Site| site.unmarked.contains(identity) || site.foreign.contains_key(identity);
        self.sites.get(cluster).is_some_and(is_it)
    }

    /// Whether nobody owns an object although it bears our mark.
    #[must_use]
    pub fn is_copy(&self, cluster: &str, identity: &Identity) -> bool {
        self.sites.get(cluster).is_some_and(|site| site.copies.contains(identity))
    }
}
