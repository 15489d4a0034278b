//! The leader's next entry: what waits, folded together with the moves made from it.
//!
//! Pure: the shell brings reports, operators' acts and publishes, proposes what
//! [`Waiting::next`] gives, one entry at a time, and carries on with the Fleet that results.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proto_model::{Report, limits};

use crate::catalog::Guard;
use crate::check::{self, Facts, Losses};
use crate::command::{Act, BundleMoves, Command, Deed, Entry, Observation, Observations, Seen};
use crate::fleet::{Bundle, Fleet};
use crate::plan;

mod lapse;

use lapse::Lapses;

/// What waits for the leader's next entry.
#[derive(Debug, Default)]
pub struct Waiting {
    reports: BTreeMap<(String, String), Report>,
    commands: VecDeque<Command>,
    dirty: BTreeSet<String>,
    all_dirty: bool,
    /// The hour, since 1970, of the last plan: the guard sums deletions by hours, so that with a
    /// new one what it holds may go.
    hour: u64,
    /// Bundles of the publish under way: dirty once it takes effect.
    coming: BTreeSet<String>,
    /// Moves that are planned and found no room in an entry yet.
    planned: VecDeque<Planned>,
    /// Bundles to plan again once those have gone: what comes after them.
    again: BTreeSet<String>,
    /// Bundles that wait for others, to take objects over or for a body: they may move whenever anything else does.
    waiting: BTreeSet<String>,
    /// Whether moves come next: what spokes and people say without a pause must not hold them up.
    moves_next: bool,
    stopped: bool,
    lapses: Lapses,
}

/// Moves of bundles that go into one entry, and the states of these that they were made from.
#[derive(Debug)]
struct Planned {
    moves: Vec<BundleMoves>,
    bundles: Vec<Arc<Bundle>>,
}

impl Planned {
    /// Whether the planner would give the same moves now.
    fn holds(&self, fleet: &Fleet) -> bool {
        self.moves.iter().zip(&self.bundles).all(|(moves, then)| {
            fleet.bundles.get(&moves.bundle).is_some_and(|now| {
                let same_moves = now.goal.ptr_eq(&then.goal) && now.assigned.ptr_eq(&then.assigned);
                let same_guard = now.held.ptr_eq(&then.held)
                    && now.approved.ptr_eq(&then.approved)
                    && now.deleted.ptr_eq(&then.deleted)
                    && now.emptied.ptr_eq(&then.emptied)
                    && now.guard == then.guard;
                same_moves && same_guard && now.declared == then.declared
            })
        })
    }
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

    /// Looks at the clocks: suspensions whose time has come end with the next entry. Says in how many milliseconds the
    /// next one does. `now_mono_millis` never goes back, and has any zero point.
    pub fn mind_clocks(&mut self, fleet: &Fleet, now_unix_millis: u64, now_mono_millis: u64) -> Option<u64> {
        self.lapses.look(fleet, now_unix_millis, now_mono_millis)
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let nothing_to_plan = self.dirty.is_empty() && !self.all_dirty && self.planned.is_empty();
        self.reports.is_empty() && self.commands.is_empty() && nothing_to_plan && self.lapses.is_empty()
    }

    /// The next entry to propose, if any. Commands and moves do not share an entry: moves are
    /// planned from a Fleet that has taken the commands, and both name their parent. They take
    /// turns.
    pub fn next(&mut self, fleet: &Fleet, facts: &impl Facts, hub: &Guard, now_unix_millis: u64) -> Option<Next> {
        let at_unix_millis = now_unix_millis.max(fleet.at_unix_millis);
        let entry = |commands| Entry { parent: fleet.revision, at_unix_millis, commands };
        let mut complaints = Vec::new();
        let moves_first = std::mem::take(&mut self.moves_next);
        if moves_first {
            let moves = self.take_moves(fleet, facts, hub, &mut complaints);
            if !moves.is_empty() {
                return Some(Next { entry: entry(moves), complaints });
            }
        }
        let mut commands = self.take_commands(fleet, at_unix_millis);
        self.moves_next = !commands.is_empty();
        if commands.is_empty() && !moves_first {
            commands = self.take_moves(fleet, facts, hub, &mut complaints);
        }
        (!commands.is_empty() || !complaints.is_empty()).then(|| Next { entry: entry(commands), complaints })
    }

    fn take_commands(&mut self, fleet: &Fleet, at_unix_millis: u64) -> Vec<Command> {
        let (mut out, mut bytes) = (Vec::new(), 256);
        let mut tried = Fleet { at_unix_millis, ..fleet.clone() };
        let lapse = Command::Lapse(self.lapses.take(fleet));
        if lapse != Command::Lapse(Vec::new()) && tried.tries(&lapse) {
            bytes += encoded_bytes(&lapse);
            self.all_dirty = true;
            out.push(lapse);
        }
        while let Some(command) = self.commands.front() {
            let size = encoded_bytes(command);
            // A refusal undoes a whole entry, so what will be refused travels alone, and is answered.
            let is_act = matches!(command, Command::Operator(_));
            let alone = is_act || bytes + size > limits::ENTRY_BYTES_MAX || !tried.tries(command);
            if alone && !out.is_empty() {
                return out;
            }
            bytes += size;
            self.mark_dirty();
            out.extend(self.commands.pop_front());
            if alone {
                return out;
            }
        }
        if let Some(observations) = self.take_reports(fleet, limits::ENTRY_BYTES_MAX.saturating_sub(bytes)) {
            out.push(Command::Observe(observations));
        }
        out
    }

    /// What the first command makes dirty.
    fn mark_dirty(&mut self) {
        match self.commands.front() {
            Some(Command::Heads(part)) => {
                self.coming.extend(part.bundles.iter().map(|head| head.bundle.clone()));
                self.coming.extend(part.gone.iter().cloned());
            }
            Some(Command::Publish(publish)) => {
                self.dirty.append(&mut self.coming);
                self.dirty.extend(publish.bundles.iter().map(|head| head.bundle.clone()));
                self.dirty.extend(publish.gone.iter().cloned());
            }
            Some(Command::Operator(act)) => match &act.deed {
                Deed::ApproveDeletions { bundle, .. } => {
                    self.dirty.insert(bundle.clone());
                }
                Deed::Suspend { bundle: Some(bundle), .. } | Deed::Resume { bundle: Some(bundle), .. } => {
                    self.dirty.insert(bundle.clone());
                }
                Deed::RemoveCluster(_)
                | Deed::ReplaceCluster(_)
                | Deed::Leave { .. }
                | Deed::Suspend { .. }
                | Deed::Resume { .. } => self.all_dirty = true,
                Deed::CreateToken(_) | Deed::RevokeCluster(_) | Deed::ApproveRewind { .. } => {}
            },
            Some(Command::Declare { .. }) => self.all_dirty = true,
            _ => {}
        }
    }

    /// Reports that say something new about what is assigned now.
    fn take_reports(&mut self, fleet: &Fleet, mut room_bytes: usize) -> Option<Observations> {
        let mut index: BTreeMap<String, u32> = BTreeMap::new();
        let mut items = Vec::new();
        while items.len() < limits::OBSERVATIONS_PER_ENTRY_MAX {
            let Some(((_, name), _)) = self.reports.first_key_value() else { break };
            let name_bytes = if index.contains_key(name) { 0 } else { name.len() + 4 };
            let Some(left) = room_bytes.checked_sub(OBSERVATION_BYTES + name_bytes) else { break };
            let Some(((cluster, name), report)) = self.reports.pop_first() else { break };
            let Some(item) = observe(fleet, &cluster, &report) else {
                continue;
            };
            let next = u32::try_from(index.len()).unwrap_or(u32::MAX);
            let bundle = *index.entry(name.clone()).or_insert(next);
            if item.seen.is_none() {
                self.dirty.insert(name);
            }
            room_bytes = left;
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

    fn take_moves(
        &mut self,
        fleet: &Fleet,
        facts: &impl Facts,
        hub: &Guard,
        complaints: &mut Vec<check::Complaint>,
    ) -> Vec<Command> {
        self.plan(fleet, facts, hub);
        let (mut out, mut bytes, mut moved) = (Vec::new(), 256, 0);
        let mut lost = Losses::new(fleet, facts);
        while let Some(Planned { moves, .. }) = self.planned.front() {
            let found = check::lint(hub, &mut lost, moves);
            if !found.is_empty() {
                complaints.extend(found);
                self.planned.pop_front();
                continue;
            }
            let moves = shrink(moves.clone());
            let clusters: u64 = moves.iter().map(|one| one.clusters.0.len()).sum();
            let clusters = usize::try_from(clusters).unwrap_or(usize::MAX);
            let size = moves.iter().map(moves_bytes).sum::<usize>();
            let fits = bytes + size <= limits::ENTRY_BYTES_MAX && moved + clusters <= limits::MOVES_PER_ENTRY_MAX;
            if !out.is_empty() && !fits {
                break;
            }
            (bytes, moved) = (bytes + size, moved + clusters);
            // What did not fit of the bundles comes when the others have had their turn.
            if clusters > 0 {
                self.again.extend(moves.iter().map(|one| one.bundle.clone()));
            }
            self.planned.pop_front();
            out.extend(moves.into_iter().map(Command::Move));
        }
        if self.planned.is_empty() {
            self.dirty.append(&mut self.again);
        }
        out
    }

    /// Plans what is dirty, together with what was planned before and still waits: the hub-wide
    /// guard looks at all of it.
    fn plan(&mut self, fleet: &Fleet, facts: &impl Facts, hub: &Guard) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let hour = fleet.at_unix_millis / 3_600_000;
        let is_later = std::mem::replace(&mut self.hour, hour) != hour;
        let all = std::mem::take(&mut self.all_dirty) || is_later;
        if self.stopped {
            self.planned.clear();
            self.again.clear();
            return;
        }
        if dirty.is_empty() && !all && self.planned.iter().all(|one| one.holds(fleet)) {
            return;
        }
        dirty.extend(self.planned.drain(..).flat_map(|one| one.moves).map(|moves| moves.bundle));
        dirty.append(&mut self.again);
        dirty.append(&mut self.waiting);
        // What the guard holds hangs together: all that would go from the fleet counts, and its
        // allowance rises with what was assigned meanwhile.
        let held = fleet.bundles.iter().filter(|(_, bundle)| !bundle.held.is_empty());
        dirty.extend(held.map(|(name, _)| name.clone()));
        let moves = match all {
            true => plan::plan(fleet, facts, hub, fleet.bundles.keys()),
            false => plan::plan(fleet, facts, hub, &dirty),
        };
        self.waiting = moves.waiting;
        let planned = moves.groups.into_iter().filter_map(|moves| {
            let bundles = moves.iter().map(|one| fleet.bundles.get(&one.bundle).map(Arc::clone));
            Some(Planned { bundles: bundles.collect::<Option<_>>()?, moves })
        });
        self.planned = planned.collect();
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

fn moves_bytes(moves: &BundleMoves) -> usize {
    encoded_bytes(&Command::Move(moves.clone()))
}

/// Takes moves away until they fit an entry, the same clusters of all bundles that go together; the planner gives them
/// again.
fn shrink(mut group: Vec<BundleMoves>) -> Vec<BundleMoves> {
    loop {
        let all = group.iter().fold(roaring::RoaringBitmap::new(), |all, one| all | &one.clusters.0);
        let fits = group.iter().map(moves_bytes).sum::<usize>() + 512 <= limits::ENTRY_BYTES_MAX;
        if all.is_empty() || fits {
            return group;
        }
        let half = all.len() / 2;
        let keep: roaring::RoaringBitmap = all.iter().take(usize::try_from(half).unwrap_or_default()).collect();
        for moves in &mut group {
            moves.permits.retain(|(cluster, ..)| keep.contains(*cluster));
            moves.clusters.0 &= &keep;
            moves.stays.0 &= &keep;
            moves.hands.0 &= &keep;
        }
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
