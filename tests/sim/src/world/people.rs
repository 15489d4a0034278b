//! People: they commit, let clusters join, approve, replace, revoke and remove.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::check;
use hub_core::command::{Act, Command, Deed, Entry, Token};
use hub_core::fleet::Fleet;
use proto_model::suspend::CLUSTER;
use proto_model::{Digest, Identity, Sync};

use super::{Happening, World};
use crate::counts::Event;
use crate::invariants::{Seen, owners};

/// What people remember.
#[derive(Debug, Default)]
pub(super) struct People {
    requests: u64,
    /// Orders given to spokes.
    pub(super) orders: u64,
    /// Requests without an answer.
    waiting: BTreeMap<String, Act>,
    /// Requests and the answers that they got.
    answered: BTreeMap<String, (Act, String)>,
    /// Clusters that a hub must not trust until they are replaced.
    pub(super) suspects: BTreeSet<String>,
    /// Clusters behind which another one shall stand once they are replaced.
    tokens: u64,
}

/// The token that clusters join with.
pub(super) fn token() -> Token {
    numbered_token(0)
}

fn numbered_token(number: u64) -> Token {
    Token {
        id: format!("token-{number}"),
        secret: Digest::default(),
        names: vec!["*".into()],
        labels: BTreeMap::new(),
        uses: 1_000,
        expires_unix_millis: u64::MAX,
    }
}

impl World {
    pub(super) fn commits(&mut self) {
        if !self.is_rough {
            return;
        }
        self.soon(500, 7_000, Happening::Commits);
        let event = self.repo.commit(&mut self.rng, &mut self.counts);
        let commit = self.repo.commit_id();
        self.tell(|| format!("git: commit {}: {event:?}", commit.trim_start_matches('0')));
        let names: Vec<String> = self.repo.content.clusters.keys().cloned().collect();
        for name in names {
            if !self.sites.contains_key(&name) {
                self.build_site(&name);
            }
        }
        let names = self.clusters();
        if self.rng.chance(400)
            && let Some(name) = self.rng.pick(&names).cloned()
        {
            self.forestall(&name);
        }
    }

    pub(super) fn operates(&mut self) {
        // In calm times they look less often.
        let last = if self.is_rough { 4_000 } else { 15_000 };
        self.soon(700, last, Happening::Operates);
        let Some(node) = &self.hub.node else { return };
        let fleet = node.fleet.clone();
        let names: Vec<String> = self.sites.keys().cloned().collect();
        for name in names {
            self.mind_cluster(&fleet, &name);
        }
        self.approve(&fleet);
        if !self.is_rough {
            self.clear_leftovers();
        }
        if self.is_rough {
            self.meddle(&fleet);
            self.repeat_one();
        }
    }

    /// Lets a cluster join, or replaces it where it can't be trusted.
    fn mind_cluster(&mut self, fleet: &Fleet, name: &str) {
        let Some(known) = fleet.clusters.get(name) else {
            if self.repo.content.clusters.contains_key(name) {
                self.join(name, false);
            }
            return;
        };
        let is_away = known.key.is_none() || known.revoked || known.quarantine.is_some();
        if known.declaration_removed && is_away && (!self.is_rough || self.rng.chance(200)) {
            self.orphan(name);
            self.act(Event::Removed, Deed::RemoveCluster(name.to_owned()));
        } else if known.declaration_removed && (!self.is_rough || self.rng.chance(200)) {
            self.let_leave(name, known.leaving.is_some());
        } else if known.key.is_none() {
            self.people.suspects.remove(name);
            self.join(name, true);
        } else if known.revoked {
            self.join(name, false);
        } else if known.quarantine.is_some() {
            self.orphan(name);
            self.act(Event::Replaced, Deed::ReplaceCluster(name.to_owned()));
        }
    }

    /// A cluster is given up: with its objects, without them, or at once.
    fn let_leave(&mut self, name: &str, is_leaving: bool) {
        let leave = |deletes_objects| Deed::Leave { cluster: name.to_owned(), deletes_objects };
        match self.rng.below(10) {
            _ if is_leaving && !self.is_rough => {}
            0..=1 => {
                self.orphan(name);
                self.act(Event::Removed, Deed::RemoveCluster(name.to_owned()));
            }
            2..=6 => self.act(Event::Left, leave(false)),
            _ => self.act(Event::LeftEmpty, leave(true)),
        }
    }

    /// A cluster has left: nothing in it bears our marks, save what nobody tracked.
    pub(super) fn parted(&mut self, command: &Command) {
        let Command::Left { cluster } = command else { return };
        let Some(site) = self.sites.get(cluster).filter(|site| !site.has_leftovers) else { return };
        let is_marked = |identity: &&Identity| {
            let marked = site.state.object(identity).is_some_and(|live| !owners(&live).is_empty());
            marked && !site.copies.contains(*identity)
        };
        let left: Vec<String> = site.state.identities().filter(is_marked).map(ToString::to_string).collect();
        if !left.is_empty() {
            self.broken("liveness", format!("{cluster} has left the fleet, and marks are on {left:?}"));
        }
    }

    /// Takes away by hand what no assignment will ever let go, and what lost its marks and stands in
    /// the way of what is wanted.
    fn clear_leftovers(&mut self) {
        let now = self.unix_millis();
        for name in self.clusters() {
            let Some(site) = self.sites.get(&name) else { continue };
            // Nobody looks where nothing is amiss.
            let reports = self.hub.node.as_ref().and_then(|node| node.reports.get(&name));
            let is_amiss = reports.is_some_and(|all| all.values().any(|one| one.sync != Sync::Applied));
            if !site.has_leftovers && !is_amiss {
                continue;
            }
            let is_left = |identity: &&Identity| {
                let owners = site.state.object(identity).map(|live| owners(&live)).unwrap_or_default();
                // A namespace that holds what nobody tracks is not deleted.
                let is_tracked = !owners.is_empty() && !site.copies.contains(*identity);
                let is_of_container = identity.namespace.starts_with("team-") || identity.kind.kind == "Widget";
                let is_inside = is_of_container && !is_tracked;
                let in_the_way = is_inside || owners.is_empty() && self.names(&name, identity);
                let is_leftover = site.has_leftovers && !owners.is_empty();
                let is_ours = self.is_named_by_its_owner(&name, identity) || site.copies.contains(*identity);
                in_the_way || (is_leftover && !is_ours)
            };
            let left: Vec<Identity> = site.state.identities().filter(is_left).cloned().collect();
            for identity in left {
                self.tell(|| format!("{name}: somebody clears {identity} away"));
                if let Some(site) = self.sites.get_mut(&name) {
                    site.state.remove(&identity, now);
                    site.unmarked.insert(identity);
                }
            }
            self.after_change(&name);
        }
    }

    /// Whether a bundle whose mark an object bears names it in the newest ledger.
    fn is_named_by_its_owner(&self, cluster: &str, identity: &Identity) -> bool {
        let live = self.sites.get(cluster).and_then(|site| site.state.object(identity));
        let last = self.histories.get(cluster).and_then(|history| history.last());
        let (Some(live), Some(root)) = (live, last) else { return false };
        owners(&live).iter().any(|bundle| {
            let all = crate::history::expected(&self.bodies, root.entries.get(bundle));
            all.is_some_and(|all| all.contains_key(identity))
        })
    }

    /// A spoke enrols, with a token made for it.
    fn join(&mut self, name: &str, with_new_key: bool) {
        self.people.tokens += 1;
        let token = numbered_token(self.people.tokens);
        let Some(site) = self.sites.get_mut(name) else { return };
        if with_new_key {
            site.key = Digest::of_parts([name.as_bytes(), &self.people.tokens.to_be_bytes()]);
        }
        let enrol = Command::Enrol { cluster: name.to_owned(), token: token.id.clone(), key: site.key };
        let Some(node) = &mut self.hub.node else { return };
        node.waiting.push(Command::Token(token));
        node.waiting.push(enrol);
        self.wake_hub();
    }

    /// Looks at what the guard holds, and lets it go or not.
    fn approve(&mut self, fleet: &Fleet) {
        for (name, bundle) in &fleet.bundles {
            if bundle.held.is_empty() || (self.is_rough && !self.rng.chance(300)) {
                continue;
            }
            let shown = bundle.held.keys().map(|cluster| (*cluster, fleet.goal(bundle, *cluster)));
            let moves: Vec<_> = shown.collect();
            for (cluster, goal) in &moves {
                self.see(&Seen::Approved { bundle: name, cluster: *cluster, goal: *goal });
            }
            self.act(
                Event::Approved,
                Deed::ApproveDeletions { bundle: name.clone(), shown: check::held_digest(&moves) },
            );
        }
    }

    /// Replaces or revokes some cluster.
    fn meddle(&mut self, fleet: &Fleet) {
        let names: Vec<String> = fleet.clusters.keys().cloned().collect();
        let Some(name) = self.rng.pick(&names).cloned() else { return };
        match self.rng.below(100) {
            0..=1 => {
                // The same cluster goes on under the name, or another takes its place.
                if self.rng.chance(500) {
                    self.kill_spoke(&name);
                    self.new_cluster(&name);
                }
                self.orphan(&name);
                self.act(Event::Replaced, Deed::ReplaceCluster(name));
            }
            2..=3 => self.act(Event::Revoked, Deed::RevokeCluster(name)),
            4..=15 => self.suspend(fleet, name),
            16..=22 => self.order(&name),
            _ => {}
        }
    }

    /// Suspends a cluster or something in it, or ends that.
    fn suspend(&mut self, fleet: &Fleet, cluster: String) {
        let suspended: Vec<String> = fleet.suspensions_of(&cluster).into_keys().collect();
        if let Some(scope) = self.rng.pick(&suspended).cloned().filter(|_| self.rng.chance(500)) {
            let bundle = (scope != CLUSTER).then_some(scope);
            return self.act(Event::Resumed, Deed::Resume { cluster, bundle });
        }
        let bundles: Vec<String> = fleet.bundles.keys().cloned().collect();
        let bundle = self.rng.pick(&bundles).cloned().filter(|_| self.rng.chance(700));
        let span_millis = self.rng.between(500, 15_000);
        self.act(Event::Suspended, Deed::Suspend { cluster, bundle, span_millis });
    }

    fn act(&mut self, event: Event, deed: Deed) {
        if self.people.waiting.values().any(|act| act.deed == deed) {
            return;
        }
        self.people.requests += 1;
        let act = Act {
            request: format!("request-{}", self.people.requests),
            who: "ann".into(),
            why: "it is meant".into(),
            deed,
        };
        self.counts.event(event);
        self.tell(|| format!("operator: {:?}", act.deed));
        self.people.waiting.insert(act.request.clone(), act.clone());
        self.propose(act);
    }

    fn propose(&mut self, act: Act) {
        if let Some(node) = &mut self.hub.node {
            // A full queue refuses; the request is made again after a restart.
            let _ = node.waiting.operate(act);
        }
        self.wake_hub();
    }

    /// Whoever got no answer asks again.
    pub(super) fn repeat_acts(&mut self) {
        let acts: Vec<Act> = self.people.waiting.values().cloned().collect();
        acts.into_iter().for_each(|act| self.propose(act));
    }

    /// A client repeats a request that was answered.
    fn repeat_one(&mut self) {
        if !self.rng.chance(150) {
            return;
        }
        let answered: Vec<Act> = self.people.answered.values().map(|(act, _)| act.clone()).collect();
        if let Some(act) = self.rng.pick(&answered).cloned() {
            self.counts.event(Event::Repeated);
            self.propose(act);
        }
    }

    pub(super) fn act_answered(&mut self, request: &str, message: String) {
        if let Some((_, before)) = self.people.answered.get(request)
            && *before != message
        {
            let what = format!("{request} was answered {before:?} and now {message:?}");
            return self.broken("replay", what);
        }
        if let Some(act) = self.people.waiting.remove(request) {
            self.people.answered.insert(request.to_owned(), (act, message));
        }
    }

    pub(super) fn act_refused(&mut self, entry: &Entry) {
        for command in &entry.commands {
            if let Command::Operator(act) = command {
                self.people.waiting.remove(&act.request);
            }
        }
    }

    /// Whether there is a cause for a quarantine.
    pub(super) fn may_be_quarantined(&self, cluster: &str) -> bool {
        self.people.suspects.contains(cluster)
    }
}
