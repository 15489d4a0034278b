//! One bundle in Fleet: its goal, what is assigned, and what was seen, as numbers and bits.

use imbl::{OrdMap, Vector};
use proto_model::{Digest, Health, Permit, Sync, limits};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use crate::catalog::Guard;
use crate::command::{Bits, Seen};

/// A bundle's part of Fleet. Clusters are numbers; pairs are numbers of the interner.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// Folder that it is read from.
    pub path: String,
    /// Whether a catalog declares it.
    pub declared: bool,
    /// What each cluster should run.
    pub goal: OrdMap<u32, u32>,
    /// What each cluster must run now.
    pub assigned: OrdMap<u32, u32>,
    /// Clusters in which it is on its way out.
    pub removing: Bits,
    /// The generation with which a cluster got what it is assigned, until a report at or above it
    /// was seen.
    pub unseen: OrdMap<u32, u64>,
    /// What clusters may remove; absent where nothing.
    pub permits: OrdMap<u32, Permit>,
    /// Clusters in which objects went over to other bundles with what is assigned, until that is settled: what such a
    /// bundle may let go of again meanwhile, this one may delete.
    #[serde(default, skip_serializing_if = "Bits::is_empty")]
    pub handing: Bits,
    /// Clusters by sync, in the order of `Sync::ALL`.
    pub sync: Vec<Bits>,
    /// Clusters by health, in the order of `Health::ALL`.
    pub health: Vec<Bits>,
    /// Clusters where somebody changed an object.
    pub drifted: Bits,
    /// Clusters where the spoke keeps its hands off.
    pub suspended: Bits,
    /// Clusters where it was Healthy at least once.
    pub installed: Bits,
    /// The guard in force.
    pub guard: Guard,
    /// The guard that the goal brings.
    pub goal_guard: Guard,
    /// Objects removed lately: by cluster, hour since 1970 and count.
    pub deleted: OrdMap<u32, Vec<(u64, u64)>>,
    /// Clusters emptied lately, and the hour.
    pub emptied: OrdMap<u32, u64>,
    /// Moves that the guard holds.
    pub held: OrdMap<u32, GuardHold>,
    /// Deletions that an operator let go: clusters, and the goal that was shown (`None`: removal).
    pub approved: OrdMap<u32, Option<u32>>,
    /// The present release.
    pub release: Digest,
    /// The last releases, newest last.
    pub releases: Vector<Release>,
}

/// A move that the guard holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardHold {
    /// Objects that would go.
    pub objects: u64,
    /// Since when.
    pub since_unix_millis: u64,
}

/// A release that was the goal once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Its address.
    pub release: Digest,
    /// The commit that first brought it.
    pub commit: String,
    /// Its variants.
    pub variants: std::collections::BTreeSet<Digest>,
    /// When.
    pub at_unix_millis: u64,
}

fn word<T: PartialEq>(all: &[T], word: &T) -> usize {
    all.iter().position(|one| one == word).unwrap_or_default()
}

impl Bundle {
    /// A bundle of which nothing is known.
    #[must_use]
    pub fn new() -> Self {
        Self {
            sync: vec![Bits::default(); Sync::ALL.len()],
            health: vec![Bits::default(); Health::ALL.len()],
            ..Self::default()
        }
    }

    /// What a cluster may remove.
    #[must_use]
    pub fn permit(&self, cluster: u32) -> Permit {
        self.permits.get(&cluster).cloned().unwrap_or_default()
    }

    /// Sync of a cluster; Pending where nothing was seen.
    #[must_use]
    pub fn sync(&self, cluster: u32) -> Sync {
        let found = self.sync.iter().position(|bits| bits.0.contains(cluster));
        found.and_then(|at| Sync::ALL.get(at)).copied().unwrap_or(Sync::Pending)
    }

    /// Health of a cluster; Unknown where nothing was seen.
    #[must_use]
    pub fn health(&self, cluster: u32) -> Health {
        let found = self.health.iter().position(|bits| bits.0.contains(cluster));
        found.and_then(|at| Health::ALL.get(at)).copied().unwrap_or(Health::Unknown)
    }

    /// Whether a cluster said that what is assigned now is Applied and Healthy.
    #[must_use]
    pub fn is_settled(&self, cluster: u32) -> bool {
        !self.unseen.contains_key(&cluster)
            && self.sync(cluster) == Sync::Applied
            && self.health(cluster) == Health::Healthy
    }

    /// Forgets what was seen of a cluster, save that it was Healthy once.
    pub(super) fn forget_seen(&mut self, cluster: u32) {
        for bits in self.sync.iter_mut().chain(&mut self.health) {
            bits.0.remove(cluster);
        }
        self.drifted.0.remove(cluster);
        self.suspended.0.remove(cluster);
    }

    /// A cluster has nothing of the bundle any more. Its goal stays: it may be wanted again.
    pub(super) fn gone(&mut self, cluster: u32) {
        self.forget_seen(cluster);
        self.installed.0.remove(cluster);
        self.removing.0.remove(cluster);
        self.assigned.remove(&cluster);
        self.unseen.remove(&cluster);
        self.handing.0.remove(cluster);
        self.permits.remove(&cluster);
        self.held.remove(&cluster);
        self.approved.remove(&cluster);
    }

    /// Forgets a cluster altogether.
    pub(super) fn forget(&mut self, cluster: u32) {
        self.gone(cluster);
        self.goal.remove(&cluster);
        self.deleted.remove(&cluster);
        self.emptied.remove(&cluster);
    }

    /// What was approved is exactly what was shown: a move to another goal, or one that is no move
    /// any more, needs a new word.
    pub(super) fn drop_stale_approvals(&mut self) {
        if self.approved.is_empty() {
            return;
        }
        let approved = std::mem::take(&mut self.approved);
        let stands = |cluster: &u32, goal: &Option<u32>| {
            let wanted = self.goal.get(cluster);
            *goal == wanted.copied() && wanted != self.assigned.get(cluster)
        };
        self.approved = approved.into_iter().filter(|(cluster, goal)| stands(cluster, goal)).collect();
    }

    /// Lets a cluster that may still have what it handed over delete as much as another bundle lets go of there: nobody
    /// names it any more.
    pub(super) fn let_go_along(&mut self, cluster: u32, permit: &Permit) {
        let all = self.permit(cluster).and(&Permit { orphan: false, ..permit.clone() });
        self.permits.insert(cluster, all);
    }

    /// Keeps what a cluster reported.
    pub(super) fn see(&mut self, cluster: u32, Seen(sync, health, flags): Seen) {
        self.forget_seen(cluster);
        if let Some(bits) = self.sync.get_mut(word(Sync::ALL, &sync)) {
            bits.0.insert(cluster);
        }
        if let Some(bits) = self.health.get_mut(word(Health::ALL, &health)) {
            bits.0.insert(cluster);
        }
        if self.is_settled(cluster) {
            self.handing.0.remove(cluster);
        }
        for (flag, bits) in [(1, &mut self.drifted), (2, &mut self.suspended), (4, &mut self.installed)] {
            if flags & flag != 0 {
                bits.0.insert(cluster);
            }
        }
    }

    /// Objects that were removed from a cluster within the guard's span.
    #[must_use]
    pub fn deleted_lately(&self, cluster: u32, now_unix_millis: u64) -> u64 {
        let first = now_unix_millis / 3_600_000;
        let first = first.saturating_sub(limits::GUARD_SPAN_SECS / 3600);
        let list = self.deleted.get(&cluster).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter(|(hour, _)| *hour > first).map(|(_, count)| count).sum()
    }

    /// Clusters that were emptied within the guard's span.
    #[must_use]
    pub fn emptied_lately(&self, now_unix_millis: u64) -> u64 {
        let first = (now_unix_millis / 3_600_000).saturating_sub(limits::GUARD_SPAN_SECS / 3600);
        self.emptied.values().filter(|hour| **hour > first).count() as u64
    }

    pub(super) fn count_deleted(&mut self, cluster: u32, count: u64, now_unix_millis: u64) {
        let hour = now_unix_millis / 3_600_000;
        let first = hour.saturating_sub(limits::GUARD_SPAN_SECS / 3600);
        let mut list = self.deleted.get(&cluster).cloned().unwrap_or_default();
        list.retain(|(at, _)| *at > first);
        match list.last_mut() {
            Some((at, sum)) if *at == hour => *sum += count,
            _ => list.push((hour, count)),
        }
        self.deleted.insert(cluster, list);
    }

    /// Forgets what went before the guard's span.
    pub(super) fn forget_deleted(&mut self, now_unix_millis: u64) {
        let first = (now_unix_millis / 3_600_000).saturating_sub(limits::GUARD_SPAN_SECS / 3600);
        let is_late = |list: &[(u64, u64)]| list.last().is_some_and(|(hour, _)| *hour > first);
        if !self.deleted.values().all(|list| is_late(list)) {
            let late = self.deleted.iter().filter(|(_, list)| is_late(list));
            self.deleted = late.map(|(cluster, list)| (*cluster, list.clone())).collect();
        }
        if !self.emptied.values().all(|hour| *hour > first) {
            let late = self.emptied.iter().filter(|(_, hour)| **hour > first);
            self.emptied = late.map(|(cluster, hour)| (*cluster, *hour)).collect();
        }
    }

    /// Whether every cluster is assigned its goal, and nothing else.
    #[must_use]
    pub fn is_at_goal(&self) -> bool {
        self.goal == self.assigned
    }
}

impl Bits {
    /// Whether no cluster is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a cluster is in the set.
    #[must_use]
    pub fn contains(&self, cluster: u32) -> bool {
        self.0.contains(cluster)
    }
}

impl From<RoaringBitmap> for Bits {
    fn from(bits: RoaringBitmap) -> Self {
        Self(bits)
    }
}

impl Bundle {
    /// Begins a release, unless it is the present one; the end of a bundle is the empty release.
    pub(super) fn note_release(&mut self, release: Digest, commit: &str, at_unix_millis: u64) {
        if self.release == release {
            return;
        }
        self.release = release;
        self.releases.push_back(Release {
            release,
            commit: commit.into(),
            variants: std::collections::BTreeSet::new(),
            at_unix_millis,
        });
        while self.releases.len() > limits::RELEASES_KEPT {
            self.releases.pop_front();
        }
    }

    /// Gives a cluster its goal, or the removal where it has none; `stays`: then it keeps some of the objects.
    pub(super) fn assign(
        &mut self,
        cluster: u32,
        permit: Option<(&Permit, u64)>,
        stays: bool,
        generation: u64,
        at_unix_millis: u64,
    ) {
        // What was permitted on the way to an assignment that was never reached is still to do.
        // A removal under way is such a way, too.
        let is_new = !self.assigned.contains_key(&cluster) && !self.removing.contains(cluster);
        let reached = is_new || self.is_settled(cluster);
        let kept = if reached { Permit::default() } else { self.permit(cluster) };
        let mut all = permit.map_or_else(|| kept.clone(), |(permit, _)| kept.and(permit));
        let goal = self.goal.get(&cluster).copied();
        // What becomes of the objects of a bundle that goes follows from what it was assigned last. One that was to
        // leave them, and came back before the cluster heard of it, leaves what it names no more.
        all.orphan = match goal {
            Some(_) => kept.orphan,
            None => permit.is_some_and(|(permit, _)| permit.orphan),
        };
        if all == Permit::default() {
            self.permits.remove(&cluster);
        } else {
            self.permits.insert(cluster, all);
        }
        let approved = self.approved.contains_key(&cluster);
        if let Some((_, counted)) = permit.filter(|(_, counted)| *counted > 0 && !approved) {
            self.count_deleted(cluster, counted, at_unix_millis);
        }
        if let Some(goal) = goal {
            self.assigned.insert(cluster, goal);
            self.removing.0.remove(cluster);
        } else {
            if self.assigned.remove(&cluster).is_some() && !approved && !stays {
                self.emptied.insert(cluster, at_unix_millis / 3_600_000);
            }
            self.removing.0.insert(cluster);
        }
        self.unseen.insert(cluster, generation);
        self.forget_seen(cluster);
        self.held.remove(&cluster);
        self.approved.remove(&cluster);
    }
}

impl Bundle {
    /// A cluster lets go of the bundle: its objects stay there, owned by nobody.
    pub(super) fn release(&mut self, cluster: u32, generation: u64) {
        let permit = Permit { orphan: true, ..Permit::default() };
        let was_assigned = self.assigned.remove(&cluster).is_some();
        let was_removed = self.removing.contains(cluster) && self.permits.get(&cluster) == Some(&permit);
        self.held.remove(&cluster);
        self.approved.remove(&cluster);
        // A spoke that was told the same before is told nothing now: what it said since then counts.
        if was_removed && !was_assigned {
            return;
        }
        self.removing.0.insert(cluster);
        self.permits.insert(cluster, permit);
        self.unseen.insert(cluster, generation);
        self.forget_seen(cluster);
    }

    /// Whether a cluster has anything of it, as far as the hub knows.
    pub(super) fn is_in(&self, cluster: u32) -> bool {
        self.assigned.contains_key(&cluster) || self.removing.contains(cluster)
    }

    /// What was seen of a cluster.
    #[must_use]
    pub fn seen(&self, cluster: u32) -> Seen {
        let flag = |bits: &Bits, flag| if bits.contains(cluster) { flag } else { 0 };
        let flags = flag(&self.drifted, 1) | flag(&self.suspended, 2) | flag(&self.installed, 4);
        Seen(self.sync(cluster), self.health(cluster), flags)
    }
}
