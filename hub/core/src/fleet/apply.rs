//! `Fleet::apply`: check and store, or refuse. Planning happens before the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::{Digest, Permit, limits, name};

use super::{Bundle, Cluster, Fleet, Head, Rewind, Source, Staged};
use crate::command::{
    BundleHead, BundleMoves, Command, Entry, GoalPart, Observation, Observations, Pair, Publish, Quarantine,
};

/// What a command answers to whoever proposed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It took effect.
    Done,
    /// An operator's act: its request id and what to tell.
    Operator {
        /// The request id.
        request: String,
        /// What was done.
        message: String,
    },
}

/// Why an entry was refused; nothing of it took effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Made from another state.
    #[error("made from revision {made_from}, but the fleet is at {now}")]
    Parent {
        /// The revision that the entry names.
        made_from: u64,
        /// The present one.
        now: u64,
    },
    /// It names something that is not there.
    #[error("there is no {what} {name:?}")]
    Unknown {
        /// `cluster`, `bundle`, `source` or `token`.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It can't be done, in words that say what to do next.
    #[error("{0}")]
    Because(String),
}

impl Refused {
    pub(super) fn unknown(what: &'static str, name: &str) -> Self {
        Self::Unknown { what, name: name.into() }
    }
}

impl Fleet {
    /// Applies one entry: all of it, or nothing.
    ///
    /// # Errors
    /// Why nothing took effect. A refusal is the same on every replica.
    pub fn apply(&mut self, entry: &Entry) -> Result<Vec<Answer>, Refused> {
        if entry.parent != self.revision {
            return Err(Refused::Parent { made_from: entry.parent, now: self.revision });
        }
        // A clone costs a few reference counts, and makes a refusal leave no trace.
        let mut next = self.clone();
        next.at_unix_millis = next.at_unix_millis.max(entry.at_unix_millis);
        let mut answers = Vec::with_capacity(entry.commands.len());
        let mut moved = BTreeSet::new();
        for command in &entry.commands {
            answers.push(next.command(command, &mut moved)?);
        }
        for number in moved {
            next.raise_generation(number);
        }
        next.revision += 1;
        *self = next;
        Ok(answers)
    }

    /// Whether an entry could carry a command after those that were tried before: tries it on this
    /// clone.
    pub(crate) fn tries(&mut self, command: &Command) -> bool {
        self.command(command, &mut BTreeSet::new()).is_ok()
    }

    /// Carries out one command; clusters whose assignments change are added to `moved`.
    fn command(&mut self, command: &Command, moved: &mut BTreeSet<u32>) -> Result<Answer, Refused> {
        match command {
            Command::Source { source, url, reference, path, verified } => {
                self.set_source(source, url, reference, path)?;
                if let Some(known) = self.sources.get_mut(source) {
                    known.verified = *verified;
                }
            }
            Command::Forget { source } => self.forget_source(source)?,
            Command::Rewind { source, commit } => self.hold_rewind(source, commit)?,
            Command::Declare { source, declared, undeclared } => {
                self.declare(source, declared, undeclared)?;
            }
            Command::Rendered { renderings } => {
                self.renderings.extend(renderings.iter().copied());
            }
            Command::Collect { renderings } => {
                for input in renderings {
                    self.renderings.remove(input);
                }
            }
            Command::Heads(part) => self.stage(part.publish).heads.push_back(Arc::new(part.clone())),
            Command::Goal(part) => self.stage(part.publish).parts.push_back(Arc::new(part.clone())),
            Command::Publish(publish) => self.publish(publish)?,
            Command::Token(token) => self.add_token(token)?,
            Command::Enrol { cluster, token, key } => self.enrol(cluster, token, *key)?,
            Command::Attach { cluster, session, presented, uid } => self.attach(cluster, *session, *presented, uid)?,
            Command::Quarantine { cluster, reason } => self.quarantine(cluster, *reason)?,
            Command::Observe(observations) => self.observe(observations, moved)?,
            Command::Move(moves) => self.make_moves(moves, moved)?,
            Command::Operator(act) => return self.operate(act, moved),
            Command::Lapse(lapsed) => self.lapse(lapsed),
            Command::Left { cluster } => self.left(cluster)?,
        }
        Ok(Answer::Done)
    }

    fn set_source(&mut self, source: &str, url: &str, reference: &str, path: &str) -> Result<(), Refused> {
        name::check_source(source).map_err(|error| Refused::Because(error.to_string()))?;
        let known = self.sources.get(source);
        let same = known.is_some_and(|one| one.url == url && one.reference == reference && one.path == path);
        if known.is_none() && self.sources.len() > limits::SOURCES_MAX {
            return Err(Refused::Because(format!("a hub follows at most {} further sources", limits::SOURCES_MAX)));
        }
        if !same {
            if let Some(head) = known.and_then(|one| one.head.as_ref()) {
                let head = &head.commit;
                self.note(
                    "drover-hub",
                    format!("{source} is read from another place: its head {head} is forgotten"),
                    "",
                );
            }
            let fresh = Source { url: url.into(), reference: reference.into(), path: path.into(), ..Source::default() };
            self.sources.insert(source.into(), fresh);
        }
        Ok(())
    }

    /// Only once nothing of it is left: what would remain could be told to nobody.
    fn forget_source(&mut self, source: &str) -> Result<(), Refused> {
        let prefix = format!("{source}/");
        if let Some((left, _)) =
            self.bundles.range(prefix.clone()..).next().filter(|(name, _)| name.starts_with(&prefix))
        {
            return Err(Refused::Because(format!("{left} of {source} is still there")));
        }
        self.sources.remove(source).map(drop).ok_or_else(|| Refused::unknown("source", source))
    }

    fn hold_rewind(&mut self, source: &str, commit: &str) -> Result<(), Refused> {
        let at = self.at_unix_millis;
        let known = self.sources.get_mut(source).ok_or_else(|| Refused::unknown("source", source))?;
        if known.head.as_ref().is_some_and(|head| head.commit == commit) {
            // The source came back by itself: a rewind to the same commit later is another one.
            known.rewind = None;
        } else if known.rewind.as_ref().is_none_or(|rewind| rewind.commit != commit) {
            known.rewind = Some(Rewind { commit: commit.into(), since_unix_millis: at, approved: false });
        }
        Ok(())
    }

    /// What lies here of a publish; what lay here of another one is dropped.
    fn stage(&mut self, publish: Digest) -> &mut Staged {
        let fresh = || Staged { publish, parts: imbl::Vector::new(), heads: imbl::Vector::new() };
        let staged = self.staged.get_or_insert_with(fresh);
        if staged.publish != publish {
            *staged = fresh();
        }
        staged
    }

    fn publish(&mut self, publish: &Publish) -> Result<(), Refused> {
        let at = self.at_unix_millis;
        self.stage(publish.publish);
        let staged = self.staged.take().ok_or_else(|| Refused::unknown("publish", &publish.source))?;
        let here = staged.parts.len() + staged.heads.len();
        if here != publish.parts as usize {
            return Err(Refused::Because(format!(
                "{here} of {} parts of commit {} are here; it is published anew",
                publish.parts, publish.commit
            )));
        }
        let source =
            self.sources.get_mut(&publish.source).ok_or_else(|| Refused::unknown("source", &publish.source))?;
        if source.head.as_ref().is_none_or(|head| head.commit != publish.commit) {
            source.heads.push_back(publish.commit.clone());
            while source.heads.len() > limits::HEADS_KEPT {
                source.heads.pop_front();
            }
            // The same head once more, for a cluster that joined, says nothing about a rewind.
            source.rewind = None;
        }
        source.head = Some(Head {
            commit: publish.commit.clone(),
            catalog: publish.catalog,
            defects: publish.defects,
            at_unix_millis: at,
        });
        let heads = || staged.heads.iter().flat_map(|part| &part.bundles).chain(&publish.bundles);
        let gone = || staged.heads.iter().flat_map(|part| &part.gone).chain(&publish.gone);
        heads().for_each(|head| self.begin(head, &publish.commit));
        for name in gone() {
            let mut bundle = self.bundle_or_new(name);
            bundle.declared = false;
            bundle.goal = imbl::OrdMap::new();
            bundle.note_release(Digest::default(), &publish.commit, at);
            self.bundles.insert(name.clone(), Arc::new(bundle));
        }
        for part in &staged.parts {
            self.add_goals(part)?;
        }
        for name in heads().map(|head| &head.bundle).chain(gone()) {
            self.tidy_bundle(name);
        }
        self.sweep();
        Ok(())
    }

    /// A bundle with a new goal, of which the parts come.
    fn begin(&mut self, head: &BundleHead, commit: &str) {
        let mut bundle = self.bundle_or_new(&head.bundle);
        bundle.goal = imbl::OrdMap::new();
        bundle.declared = true;
        bundle.path.clone_from(&head.path);
        bundle.goal_guard = head.guard.clone();
        if bundle.releases.is_empty() {
            bundle.guard = head.guard.clone();
        }
        bundle.note_release(head.release, commit, self.at_unix_millis);
        self.bundles.insert(head.bundle.clone(), Arc::new(bundle));
    }

    fn declare(
        &mut self,
        source: &str,
        declared: &BTreeMap<String, BTreeMap<String, String>>,
        undeclared: &BTreeSet<String>,
    ) -> Result<(), Refused> {
        for (cluster, labels) in declared {
            let mut known = self.cluster_or_new(cluster)?;
            known.declared = Some(labels.clone());
            known.declared_by = Some(source.into());
            known.declaration_removed = false;
            known.leaving = None;
            self.clusters.insert(cluster.clone(), known);
        }
        for cluster in undeclared {
            if let Some(known) = self.clusters.get_mut(cluster) {
                known.declaration_removed = true;
            }
        }
        Ok(())
    }

    fn add_goals(&mut self, part: &GoalPart) -> Result<(), Refused> {
        let pairs: Vec<u32> = part.pairs.iter().map(|pair| self.pairs.intern(*pair)).collect();
        let mut bundle = self.bundle_or_new(&part.bundle);
        for (cluster, index) in &part.clusters {
            let pair = usize::try_from(*index).ok().and_then(|index| pairs.get(index));
            let pair =
                pair.ok_or_else(|| Refused::Because(format!("a goal of {} names no pair {index}", part.bundle)))?;
            // One that leaves may have been counted on when the goals were made.
            if self.by_number(*cluster).is_some_and(|(_, known)| known.leaving.is_none()) {
                bundle.goal.insert(*cluster, *pair);
            }
        }
        if let Some(release) = bundle.releases.back_mut() {
            release.variants.extend(part.pairs.iter().map(|pair| pair.variant));
        }
        self.bundles.insert(part.bundle.clone(), Arc::new(bundle));
        Ok(())
    }

    pub(super) fn bundle_or_new(&self, name: &str) -> Bundle {
        self.bundles.get(name).map_or_else(Bundle::new, |bundle| (**bundle).clone())
    }

    /// A bundle at its goal takes on the guard that the goal brought, and drops what was approved
    /// or held; one that is declared nowhere and runs nowhere is forgotten.
    pub(super) fn tidy_bundle(&mut self, name: &str) {
        let mut bundle = self.bundle_or_new(name);
        bundle.drop_stale_approvals();
        bundle.forget_deleted(self.at_unix_millis);
        if bundle.is_at_goal() {
            bundle.guard = bundle.goal_guard.clone();
            bundle.held.clear();
            bundle.approved.clear();
            if !bundle.declared && bundle.assigned.is_empty() && bundle.removing.0.is_empty() {
                self.bundles.remove(name);
                return;
            }
        }
        self.bundles.insert(name.into(), Arc::new(bundle));
    }

    fn sweep(&mut self) {
        if !self.pairs.wants_sweep() {
            return;
        }
        let used = self
            .bundles
            .values()
            .flat_map(|bundle| {
                bundle
                    .goal
                    .values()
                    .chain(bundle.assigned.values())
                    .copied()
                    .chain(bundle.approved.values().filter_map(|pair| *pair).collect::<Vec<_>>())
            })
            .collect();
        self.pairs.sweep(&used);
    }

    fn attach(&mut self, cluster: &str, session: u64, presented: u64, uid: &str) -> Result<(), Refused> {
        let known = self.clusters.get_mut(cluster).ok_or_else(|| Refused::unknown("cluster", cluster))?;
        if session <= known.session {
            return Err(Refused::Because(format!(
                "session {session} of {cluster} is not newer than {}",
                known.session
            )));
        }
        known.session = session;
        known.presented = known.presented.max(presented);
        if known.uid.is_none() {
            known.uid = Some(uid.into());
        }
        Ok(())
    }

    fn quarantine(&mut self, cluster: &str, reason: Quarantine) -> Result<(), Refused> {
        let known = self.clusters.get_mut(cluster).ok_or_else(|| Refused::unknown("cluster", cluster))?;
        known.quarantine.get_or_insert(reason);
        Ok(())
    }

    fn observe(&mut self, observations: &Observations, moved: &mut BTreeSet<u32>) -> Result<(), Refused> {
        let mut by_bundle: Vec<Vec<&Observation>> = vec![Vec::new(); observations.bundles.len()];
        for item in &observations.items {
            if let Some(list) = by_bundle.get_mut(item.bundle as usize) {
                list.push(item);
            }
        }
        for (name, items) in observations.bundles.iter().zip(by_bundle) {
            let Some(known) = self.bundles.get(name) else {
                continue;
            };
            let mut bundle = (**known).clone();
            for item in items {
                // A report from before this assignment says nothing about it.
                if bundle.unseen.get(&item.cluster).is_some_and(|at| item.generation < *at) {
                    continue;
                }
                match item.seen {
                    Some(seen) if bundle.assigned.contains_key(&item.cluster) => {
                        bundle.unseen.remove(&item.cluster);
                        bundle.see(item.cluster, seen);
                    }
                    Some(seen) if bundle.removing.contains(item.cluster) => {
                        bundle.see(item.cluster, seen);
                    }
                    None if bundle.removing.contains(item.cluster) => {
                        bundle.gone(item.cluster);
                        moved.insert(item.cluster);
                    }
                    _ => {}
                }
            }
            self.bundles.insert(name.clone(), Arc::new(bundle));
            self.tidy_bundle(name);
        }
        Ok(())
    }

    fn make_moves(&mut self, moves: &BundleMoves, moved: &mut BTreeSet<u32>) -> Result<(), Refused> {
        let at = self.at_unix_millis;
        let known = self.bundles.get(&moves.bundle).ok_or_else(|| Refused::unknown("bundle", &moves.bundle))?;
        let mut bundle = (**known).clone();
        let permits: BTreeMap<u32, (&Permit, u64)> =
            moves.permits.iter().map(|(one, permit, counted)| (*one, (permit, *counted))).collect();
        for number in &moves.clusters.0 {
            let (_, cluster) =
                self.by_number(number).ok_or_else(|| Refused::unknown("cluster", &number.to_string()))?;
            let stays = moves.stays.contains(number);
            bundle.assign(number, permits.get(&number).copied(), stays, cluster.generation + 1, at);
            if moves.hands.contains(number) {
                bundle.handing.0.insert(number);
            }
            moved.insert(number);
        }
        let since = |number: &u32| bundle.held.get(number).map_or(at, |hold| hold.since_unix_millis);
        bundle.held = moves
            .held
            .iter()
            .flat_map(|(objects, clusters)| clusters.0.iter().map(|number| (number, *objects)))
            .map(|(number, objects)| (number, super::bundle::GuardHold { objects, since_unix_millis: since(&number) }))
            .collect();
        self.bundles.insert(moves.bundle.clone(), Arc::new(bundle));
        self.tidy_bundle(&moves.bundle);
        self.let_go_along(moves);
        Ok(())
    }

    /// What a bundle lets go of may have been handed to it by an earlier entry, and not have reached it yet.
    fn let_go_along(&mut self, moves: &BundleMoves) {
        let gone = moves.permits.iter().filter(|(_, permit, _)| permit.deletions > 0);
        let others = self.bundles.iter().filter(|(name, one)| **name != moves.bundle && !one.handing.is_empty());
        let mut changed = Vec::new();
        for (name, other) in others {
            let mut next = None;
            for (cluster, permit, _) in gone.clone().filter(|(cluster, ..)| other.handing.contains(*cluster)) {
                let held = self.by_number(*cluster).map_or(0, |(_, known)| known.generation);
                if other.unseen.get(cluster).is_none_or(|at| *at <= held) {
                    next.get_or_insert_with(|| (**other).clone()).let_go_along(*cluster, permit);
                }
            }
            changed.extend(next.map(|next| (name.clone(), Arc::new(next))));
        }
        for (name, next) in changed {
            self.bundles.insert(name, next);
        }
    }

    pub(super) fn cluster_or_new(&mut self, name: &str) -> Result<Cluster, Refused> {
        if let Some(known) = self.clusters.get(name) {
            return Ok(known.clone());
        }
        name::check_cluster(name).map_err(|error| Refused::Because(error.to_string()))?;
        if self.clusters.len() >= limits::CLUSTERS_MAX {
            return Err(Refused::Because(format!(
                "a hub holds at most {} clusters; remove some with `drover cluster remove`",
                limits::CLUSTERS_MAX
            )));
        }
        let number = self.next_number;
        self.next_number += 1;
        self.names.insert(number, name.into());
        Ok(Cluster {
            number,
            incarnation: self.next_incarnation,
            generation: 0,
            declared: None,
            declared_by: None,
            declaration_removed: false,
            token_labels: BTreeMap::new(),
            key: None,
            token: None,
            uid: None,
            session: 0,
            presented: 0,
            revoked: false,
            revoked_at: 0,
            quarantine: None,
            since_unix_millis: self.at_unix_millis,
            leaving: None,
        })
    }

    fn raise_generation(&mut self, number: u32) {
        let Some(name) = self.names.get(&number).cloned() else {
            return;
        };
        if let Some(cluster) = self.clusters.get_mut(&name) {
            cluster.generation += 1;
        }
    }

    /// The pair that a cluster would get by a move now.
    #[must_use]
    pub fn pair_of(&self, number: Option<u32>) -> Option<Pair> {
        self.pairs.pair(number?)
    }
}
