//! The hub: a log, perhaps a snapshot, and a process that may die at any time.

use std::collections::BTreeMap;

use hub_core::catalog::Guard;
use hub_core::command::{Command, Entry};
use hub_core::fleet::{Answer, Fleet};
use hub_core::lead::Waiting;
use hub_core::plan;
use hub_core::publish;
use proto_model::Report;

use super::streams::Served;
use super::{BEGINNING_UNIX_MILLIS, Happening, World};
use crate::bug::Bug;
use crate::counts::{Event, Fault};
use crate::invariants::Seen;
use crate::repo::{Member, SOURCE};

/// What survives, and what runs now.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) id: String,
    log: Vec<Vec<u8>>,
    /// Entries that it holds, and its bytes.
    snapshot: Option<(usize, Vec<u8>)>,
    pub(super) node: Option<Node>,
    /// Fleet as it stood when the process was killed.
    last: Option<Fleet>,
    pub(super) boot: u64,
    /// How far the wall clock is off, in milliseconds.
    pub(super) clock_off: i64,
    /// Whether it is to stay down.
    pub(super) is_gone: bool,
}

/// A process.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) fleet: Fleet,
    pub(super) waiting: Waiting,
    under_way: Option<Vec<u8>>,
    turns: bool,
    /// Commands of a publish that have not taken effect.
    publishing: usize,
    /// The commit and the revision for which nothing was to be published.
    published: Option<(u64, u64)>,
    pub(super) streams: BTreeMap<u64, Served>,
    /// Reports as they were last told, by cluster and bundle.
    pub(super) reports: BTreeMap<String, BTreeMap<String, Report>>,
    /// By cluster: incarnation and last session in which the spoke spoke.
    pub(super) confirmed: BTreeMap<String, (u64, u64)>,
    /// Clusters that were said to have left, and their generation.
    pub(super) parting: BTreeMap<String, u64>,
}

impl Hub {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            id: format!("{seed:032x}"),
            log: Vec::new(),
            snapshot: None,
            node: None,
            last: None,
            boot: 0,
            clock_off: 0,
            is_gone: false,
        }
    }
}

/// The Fleet that a log gives.
fn replay(id: &str, log: &[Vec<u8>], snapshot: Option<&(usize, Vec<u8>)>) -> Result<Fleet, String> {
    let (held, mut fleet) = match snapshot {
        Some((held, bytes)) => (*held, Fleet::decode(bytes).map_err(|error| error.to_string())?),
        None => (0, Fleet::new(id)),
    };
    for bytes in log.iter().skip(held) {
        let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
        // A refused entry changes nothing, now as then.
        let _ = fleet.apply(&entry);
    }
    Ok(fleet)
}

impl World {
    pub(super) fn hub_unix_millis(&self) -> u64 {
        (BEGINNING_UNIX_MILLIS + self.now).saturating_add_signed(self.hub.clock_off)
    }

    pub(super) fn hub_begins(&mut self) {
        if self.hub.node.is_some() || self.hub.is_gone {
            return;
        }
        let from_snapshot = self.hub.snapshot.is_some() && self.rng.chance(500);
        let snapshot = self.hub.snapshot.as_ref().filter(|_| from_snapshot);
        if from_snapshot {
            self.counts.fault(Fault::HubFromSnapshot);
        }
        let fleet = match replay(&self.hub.id, &self.hub.log, snapshot) {
            Ok(fleet) => fleet,
            Err(error) => return self.broken("replay", error),
        };
        if let Some(before) = self.hub.last.take() {
            self.see(&Seen::Replayed { before: &before, after: &fleet });
        }
        self.hub.boot += 1;
        let boot = self.hub.boot;
        let entries = self.hub.log.len();
        self.tell(|| format!("hub: begins with revision {} from {entries} entries", fleet.revision));
        let mut waiting = Waiting::new();
        if fleet.sources.is_empty() {
            waiting.push(Command::Source {
                source: SOURCE.into(),
                url: "/repository".into(),
                reference: "main".into(),
                path: String::new(),
                verified: false,
            });
            waiting.push(Command::Token(super::people::token()));
        }
        self.hub.node = Some(Node {
            fleet,
            waiting,
            under_way: None,
            turns: false,
            publishing: 0,
            published: None,
            streams: BTreeMap::new(),
            reports: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            parting: BTreeMap::new(),
        });
        self.wake_hub();
        self.soon(1, 500, Happening::HubPolls { boot });
        self.repeat_acts();
    }

    /// The process dies. What was on its way into the log may or may not be in it.
    pub(super) fn kill_hub(&mut self) {
        let Some(node) = self.hub.node.take() else { return };
        self.counts.fault(Fault::HubKilled);
        self.tell(|| format!("hub: killed at revision {}", node.fleet.revision));
        self.hub.last = Some(node.fleet);
        if let Some(bytes) = node.under_way {
            if self.rng.chance(500) {
                self.counts.fault(Fault::EntryKept);
                self.hub.log.push(bytes);
                self.hub.last = None;
            } else {
                self.counts.fault(Fault::EntryLost);
            }
        }
        if self.bug == Some(Bug::LogTailLost) {
            self.hub.log.pop();
        }
        self.cut_all_streams();
        if !self.hub.is_gone {
            self.soon(200, 5_000, Happening::HubBegins);
        }
    }

    /// Something waits for the leader.
    pub(super) fn wake_hub(&mut self) {
        let boot = self.hub.boot;
        let Some(node) = &mut self.hub.node else { return };
        if !std::mem::replace(&mut node.turns, true) {
            self.soon(0, 3, Happening::HubTurns { boot });
        }
    }

    pub(super) fn hub_turns(&mut self, boot: u64) {
        let (now, mono, guard) = (self.hub_unix_millis(), self.now, self.hub_guard());
        let Some(node) = self.hub.node.as_mut().filter(|_| self.hub.boot == boot) else { return };
        node.turns = false;
        if node.under_way.is_some() {
            return;
        }
        let _ = node.waiting.mind_clocks(&node.fleet, now, mono);
        let Some(next) = node.waiting.next(&node.fleet, &self.bodies.shelf, &guard, now) else {
            let all = node.fleet.bundles.keys();
            let everything = plan::plan(&node.fleet, &self.bodies.shelf, &guard, all);
            return self.see(&Seen::Idle { everything: &everything });
        };
        if let Some(complaint) = next.complaints.first() {
            return self.broken("planner", format!("it made a bad move: {complaint}"));
        }
        if next.entry.commands.is_empty() {
            return;
        }
        node.under_way = Some(next.entry.encode());
        self.soon(1, 15, Happening::Appended { boot });
    }

    pub(super) fn appended(&mut self, boot: u64) {
        let Some(node) = self.hub.node.as_mut().filter(|_| self.hub.boot == boot) else { return };
        let Some(bytes) = node.under_way.take() else { return };
        let entry = match Entry::decode(&bytes) {
            Ok(entry) => entry,
            Err(error) => return self.broken("replay", error.to_string()),
        };
        self.hub.log.push(bytes);
        let ended = entry.commands.iter().filter(|one| is_of_publish(one)).count();
        node.publishing = node.publishing.saturating_sub(ended);
        let before = node.fleet.clone();
        let applied = node.fleet.apply(&entry);
        let after = node.fleet.clone();
        match applied {
            Ok(answers) => {
                self.tell(|| format!("hub: revision {}: {}", after.revision, words(&entry)));
                self.see(&Seen::Applied { entry: &entry, before: &before, after: &after });
                if after.bundles.values().any(|bundle| !bundle.held.is_empty()) {
                    self.counts.event(Event::Held);
                }
                self.answered(answers);
                entry.commands.iter().for_each(|command| self.parted(command));
            }
            Err(refused) => {
                self.tell(|| format!("hub: refused {}: {refused}", words(&entry)));
                // Reports that travelled with it are told again.
                self.offer_reports();
                self.act_refused(&entry);
            }
        }
        self.serve_all();
        self.wake_hub();
    }

    fn offer_reports(&mut self) {
        let Some(node) = &mut self.hub.node else { return };
        for (cluster, reports) in &node.reports {
            for report in reports.values() {
                node.waiting.report(cluster.clone(), report.clone());
            }
        }
    }

    fn answered(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            if let Answer::Operator { request, message } = answer {
                self.act_answered(&request, message);
            }
        }
    }

    /// Takes a snapshot of what is applied.
    pub(super) fn take_snapshot(&mut self) {
        if let Some(node) = &self.hub.node {
            self.hub.snapshot = Some((self.hub.log.len(), node.fleet.encode()));
        }
    }

    /// Looks at the repository: what it declares first, then what it wants.
    pub(super) fn hub_polls(&mut self, boot: u64) {
        if self.hub.boot != boot || self.hub.node.is_none() {
            return;
        }
        self.soon(800, 1_200, Happening::HubPolls { boot });
        // A suspension may be over.
        if self.fleet().is_some_and(|fleet| !fleet.suspensions.is_empty()) {
            self.wake_hub();
        }
        let (clusters, commit) = (self.repo.content.clusters.clone(), self.repo.commit_number());
        let Some(node) = &mut self.hub.node else { return };
        let is_known = node.published == Some((commit, node.fleet.revision));
        if is_known || node.publishing > 0 || !node.fleet.sources.contains_key(SOURCE) {
            return;
        }
        if let Some(declare) = publish::declare(&node.fleet, SOURCE, &clusters) {
            node.publishing = 1;
            node.waiting.push(declare);
            return self.wake_hub();
        }
        let members = members(&node.fleet);
        let mut head = self.repo.head(&members, &mut self.bodies);
        if self.bug == Some(Bug::GuardSkipped) {
            head.bundles.values_mut().for_each(|wanted| wanted.guard = no_guard());
        }
        let commands = publish::publish(&node.fleet, &head);
        if commands.is_empty() {
            node.published = Some((commit, node.fleet.revision));
            return;
        }
        node.publishing = commands.len();
        commands.into_iter().for_each(|command| node.waiting.push(command));
        let (commit, guards) = (head.commit, self.repo.guards());
        self.tell(|| format!("hub: publishes commit {}", commit.trim_start_matches('0')));
        self.see(&Seen::Published { commit: &commit, guards: &guards });
        self.wake_hub();
    }

    fn hub_guard(&self) -> Guard {
        if self.bug == Some(Bug::GuardSkipped) { no_guard() } else { Guard::default() }
    }
}

fn is_of_publish(command: &Command) -> bool {
    matches!(command, Command::Declare { .. } | Command::Heads(_) | Command::Goal(_) | Command::Publish(_))
}

fn no_guard() -> Guard {
    let open = hub_core::catalog::Allowance { percent: Some(100), count: None };
    Guard { max_deleted_objects: open, max_emptied_clusters: open, protected_kinds: std::collections::BTreeSet::new() }
}

/// Clusters to which anything may be assigned.
fn members(fleet: &Fleet) -> Vec<Member> {
    let assignable = fleet.clusters.iter().filter(|(_, cluster)| cluster.is_assignable());
    assignable
        .map(|(name, cluster)| Member { number: cluster.number, name: name.clone(), labels: cluster.labels() })
        .collect()
}

fn words(entry: &Entry) -> String {
    let word = |command: &Command| match command {
        Command::Move(moves) => format!(
            "Move {} in {:?}, permits {:?}, held {:?}",
            moves.bundle, moves.clusters.0, moves.permits, moves.held
        ),
        Command::Observe(all) => format!("Observe {:?} {:?}", all.bundles, all.items),
        Command::Goal(part) => format!("Goal of {}", part.bundle),
        Command::Publish(publish) => {
            format!("Publish {} gone {:?}", publish.commit.trim_start_matches('0'), publish.gone)
        }
        other => format!("{other:?}"),
    };
    entry.commands.iter().map(word).collect::<Vec<_>>().join("; ")
}
