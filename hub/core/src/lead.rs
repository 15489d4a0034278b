//! The leader's next entry: what waits, folded together with the moves made from it.
//!
//! Pure: the shell brings reports, operators' acts and publishes, proposes what
//! [`Waiting::next`] gives, one entry at a time, and carries on with the Fleet that results.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proto_model::{Report, limits};

use crate::catalog::Guard;
use crate::check::{self, Facts};
use crate::command::{Act, Command, Entry, Observation, Observations, Seen};
use crate::fleet::Fleet;
use crate::plan;

/// What waits for the leader's next entry.
#[derive(Debug, Default)]
pub struct Waiting {
    reports: BTreeMap<(String, String), Report>,
    commands: VecDeque<Command>,
    dirty: BTreeSet<String>,
    all_dirty: bool,
    stopped: bool,
}

/// An entry to propose, and what of it somebody waits for.
#[derive(Debug, PartialEq)]
pub struct Next {
    /// The entry.
    pub entry: Entry,
    /// Complaints about moves that were left out of it: a defect of the planner.
    pub complaints: Vec<check::Complaint>,
}

impl Waiting {
    /// A new leader plans everything once.
    #[must_use]
    pub fn new() -> Self {
        Self { all_dirty: true, ..Self::default() }
    }

    /// A report; the newest of a cluster and bundle wins.
    pub fn report(&mut self, cluster: String, report: Report) {
        self.reports.insert((cluster, report.bundle.clone()), report);
    }

    /// Commands in order; they take effect in one entry each, or several to an entry.
    pub fn push(&mut self, command: Command) {
        self.commands.push_back(command);
    }

    /// An operator's act; refused with `false` while too many wait.
    #[must_use]
    pub fn operate(&mut self, act: Act) -> bool {
        if self.commands.len() >= limits::OPERATOR_QUEUE_MAX + limits::BUNDLES_PER_SOURCE_MAX {
            return false;
        }
        self.commands.push_back(Command::Operator(act));
        true
    }

    /// Plan everything anew: facts changed that Fleet does not show.
    pub fn plan_all(&mut self) {
        self.all_dirty = true;
    }

    /// Plans nothing more: Fleet is older than what a cluster was told, so moves made from it could
    /// take back what others were promised. Reports and commands go on.
    pub fn stop_planning(&mut self) {
        self.stopped = true;
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty() && self.commands.is_empty() && self.dirty.is_empty() && !self.all_dirty
    }

    /// The next entry to propose, if any. Commands and moves do not share an entry: moves are
    /// planned from a Fleet that has taken the commands, and both name their parent.
    pub fn next(&mut self, fleet: &Fleet, facts: &impl Facts, hub: &Guard, now_unix_millis: u64) -> Option<Next> {
        let at_unix_millis = now_unix_millis.max(fleet.at_unix_millis);
        let entry = |commands| Entry { parent: fleet.revision, at_unix_millis, commands };
        let commands = self.take_commands(fleet);
        if !commands.is_empty() {
            return Some(Next { entry: entry(commands), complaints: Vec::new() });
        }
        let (commands, complaints) = self.take_moves(fleet, facts, hub);
        (!commands.is_empty() || !complaints.is_empty()).then(|| Next { entry: entry(commands), complaints })
    }

    fn take_commands(&mut self, fleet: &Fleet) -> Vec<Command> {
        let mut out = Vec::new();
        let mut bytes = 256;
        while let Some(command) = self.commands.front() {
            let size = encoded_bytes(command);
            // A refusal undoes a whole entry, so what may be refused travels alone.
            let alone = matches!(command, Command::Operator(_) | Command::Enrol { .. } | Command::Attach { .. });
            if !out.is_empty() && (alone || bytes + size > limits::ENTRY_BYTES_MAX) {
                break;
            }
            bytes += size;
            mark_dirty(&mut self.dirty, &mut self.all_dirty, command);
            out.extend(self.commands.pop_front());
            if alone {
                return out;
            }
        }
        let room = (limits::ENTRY_BYTES_MAX.saturating_sub(bytes)) / OBSERVATION_BYTES;
        if let Some(observations) = self.take_reports(fleet, room) {
            out.push(Command::Observe(observations));
        }
        out
    }

    /// Reports that say something new about what is assigned now.
    fn take_reports(&mut self, fleet: &Fleet, room: usize) -> Option<Observations> {
        let mut index: BTreeMap<String, u32> = BTreeMap::new();
        let mut items = Vec::new();
        while items.len() < room.min(limits::OBSERVATIONS_PER_ENTRY_MAX) {
            let Some(((cluster, name), report)) = self.reports.pop_first() else {
                break;
            };
            let Some(item) = observe(fleet, &cluster, &report) else {
                continue;
            };
            let next = u32::try_from(index.len()).unwrap_or(u32::MAX);
            let bundle = *index.entry(name.clone()).or_insert(next);
            if item.seen.is_none() {
                self.dirty.insert(name);
            }
            items.push(Observation { bundle, ..item });
        }
        let mut bundles = vec![String::new(); index.len()];
        for (name, at) in index {
            if let Some(slot) = bundles.get_mut(at as usize) {
                *slot = name;
            }
        }
        (!items.is_empty()).then_some(Observations { bundles, items })
    }

    fn take_moves(&mut self, fleet: &Fleet, facts: &impl Facts, hub: &Guard) -> (Vec<Command>, Vec<check::Complaint>) {
        let dirty = std::mem::take(&mut self.dirty);
        if self.stopped {
            self.all_dirty = false;
            return (Vec::new(), Vec::new());
        }
        let moves = if std::mem::take(&mut self.all_dirty) {
            plan::plan(fleet, facts, hub, fleet.bundles.keys())
        } else {
            plan::plan(fleet, facts, hub, &dirty)
        };
        let (mut out, mut complaints, mut bytes) = (Vec::new(), Vec::new(), 256);
        for one in moves.bundles {
            let found = check::lint(fleet, hub, facts, &one);
            if !found.is_empty() {
                complaints.extend(found);
                continue;
            }
            let one = shrink(one);
            let (name, full) = (one.bundle.clone(), one.clusters.0.len());
            let command = Command::Move(one);
            let size = encoded_bytes(&command);
            if !out.is_empty() && bytes + size > limits::ENTRY_BYTES_MAX {
                self.dirty.insert(name);
                continue;
            }
            // What did not fit comes with the next entry.
            if full > 0 {
                self.dirty.insert(name);
            }
            bytes += size;
            out.push(command);
        }
        (out, complaints)
    }
}

/// Bytes that one observation takes in an entry, at most.
const OBSERVATION_BYTES: usize = 64;

fn encoded_bytes(command: &Command) -> usize {
    let mut bytes = Vec::new();
    // Writing plain data to memory has no way to fail.
    let _ = ciborium::into_writer(command, &mut bytes);
    bytes.len()
}

/// Takes moves away until they fit an entry; the planner gives them again.
fn shrink(mut moves: crate::command::BundleMoves) -> crate::command::BundleMoves {
    while encoded_bytes(&Command::Move(moves.clone())) + 512 > limits::ENTRY_BYTES_MAX {
        let half = moves.clusters.0.len() / 2;
        let keep: roaring::RoaringBitmap =
            moves.clusters.0.iter().take(usize::try_from(half).unwrap_or_default()).collect();
        moves.permits.retain(|(cluster, ..)| keep.contains(*cluster));
        moves.held.truncate(moves.held.len() / 2);
        moves.clusters.0 = keep;
    }
    moves
}

fn mark_dirty(dirty: &mut BTreeSet<String>, all: &mut bool, command: &Command) {
    match command {
        Command::Publish(publish) => {
            dirty.extend(publish.bundles.iter().map(|head| head.bundle.clone()));
            dirty.extend(publish.gone.iter().cloned());
        }
        Command::Operator(_) | Command::Declare { .. } => *all = true,
        _ => {}
    }
}

/// What a report changes in Fleet; `None` where it is not about what is assigned now, or says
/// nothing new.
fn observe(fleet: &Fleet, cluster: &str, report: &Report) -> Option<Observation> {
    let known = fleet.clusters.get(cluster)?;
    let bundle = fleet.bundles.get(&report.bundle)?;
    let number = known.number;
    if report.generation > known.generation {
        return None;
    }
    let flags = u8::from(report.drifted) | u8::from(report.suspended) << 1 | u8::from(report.installed) << 2;
    let seen = Seen(report.sync, report.health, flags);
    let observation = |seen| Some(Observation { cluster: number, bundle: 0, generation: report.generation, seen });
    if let Some(pair) = fleet.assigned(bundle, number) {
        if !report.is_about(pair.variant, pair.variables) {
            return None;
        }
        match bundle.unseen.get(&number) {
            Some(at) if report.generation < *at => return None,
            Some(_) => {}
            None if bundle.seen(number) == seen => return None,
            None => {}
        }
        return observation(Some(seen));
    }
    if !bundle.removing.contains(number) {
        return None;
    }
    if bundle.unseen.get(&number).is_some_and(|at| report.generation < *at) {
        return None;
    }
    if report.variant.is_none() && report.objects == 0 {
        return observation(None);
    }
    (bundle.seen(number) != seen).then(|| observation(Some(seen))).flatten()
}
