//! Rule 13: what assignments take away, whatever the cause, and no other bundle is assigned there, stays within the guard that was in
//! force before (the hub's own always applies), or an operator let exactly that go.
//!
//! The guard in force is worked out here from the heads that were published: a new one counts once
//! every cluster is at the goal that came with it.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::catalog::Guard;
use hub_core::command::{Command, Entry, Pair};
use hub_core::fleet::{Cluster, Fleet};
use proto_model::variant::OnRemoval;
use proto_model::{Identity, limits};

use super::{Context, Invariant, Seen};
use crate::bodies::{Bodies, Wanted};

/// Remembers guards, approvals and what went lately.
#[derive(Debug, Default)]
pub struct GuardHolds {
    heads: BTreeMap<String, BTreeMap<String, Guard>>,
    coming: BTreeMap<String, Guard>,
    in_force: BTreeMap<String, Guard>,
    approved: BTreeSet<(String, u32, Option<Pair>)>,
    /// By bundle and cluster: the hour, and how many objects went without an operator's word.
    gone: BTreeMap<(String, u32), Vec<(u64, u64)>>,
}

/// One change of what a cluster is assigned of a bundle.
struct Change<'a> {
    bundle: &'a str,
    cluster: u32,
    goal: Option<Pair>,
    before: BTreeSet<Identity>,
    /// What is assigned of it there, what of `before` other bundles are assigned there (it goes over to them), and
    /// what of it stays, as it or its bundle asks.
    after: BTreeSet<Identity>,
    /// What of `before` asks for somebody's word before it goes.
    confirmed: BTreeSet<Identity>,
}

impl GuardHolds {
    fn applied(&mut self, entry: &Entry, before: &Fleet, after: &Fleet, bodies: &Bodies) -> Result<(), String> {
        let hour = after.at_unix_millis / 3_600_000;
        let mut is_news = false;
        for change in changes(before, after, bodies) {
            is_news |= self.judge(&change, hour)?;
        }
        // What went before may have been allowed when the fleet was larger.
        if is_news {
            self.judge_all(before, hour, bodies)?;
        }
        for command in &entry.commands {
            let Command::Publish(publish) = command else { continue };
            let Some(head) = self.heads.get(&publish.commit) else { continue };
            for bundle in &publish.bundles {
                let Some(guard) = head.get(&bundle.bundle) else { continue };
                self.coming.insert(bundle.bundle.clone(), guard.clone());
                self.in_force.entry(bundle.bundle.clone()).or_insert_with(|| guard.clone());
            }
        }
        self.in_force.retain(|name, _| after.bundles.contains_key(name));
        // It took an operator's word to make a bundle or a cluster go, and what it lost before goes out of
        // mind with it.
        self.gone.retain(|(name, cluster), _| after.bundles.contains_key(name) && after.by_number(*cluster).is_some());
        for (name, bundle) in &after.bundles {
            if bundle.is_at_goal()
                && let Some(guard) = self.coming.get(name)
            {
                self.in_force.insert(name.clone(), guard.clone());
            }
        }
        Ok(())
    }

    /// Whether anything goes without an operator's word.
    fn judge(&mut self, change: &Change<'_>, hour: u64) -> Result<bool, String> {
        let lost: Vec<&Identity> = change.before.difference(&change.after).collect();
        if lost.is_empty() || self.approved.remove(&(change.bundle.to_owned(), change.cluster, change.goal)) {
            return Ok(false);
        }
        let what = format!(
            "{} of {} objects of {} in cluster {} go without an operator's word",
            lost.len(),
            change.before.len(),
            change.bundle,
            change.cluster
        );
        if let Some(one) = lost.iter().find(|one| change.confirmed.contains(one)) {
            return Err(format!("{what}, and {one} asks for it"));
        }
        let hub = Guard::default();
        let own = self.in_force.get(change.bundle).unwrap_or(&hub);
        if let Some(one) = lost.iter().find(|one| own.protects(&one.kind) || hub.protects(&one.kind)) {
            return Err(format!("{what}, the protected {one} among them"));
        }
        if change.after.is_empty() {
            return Err(format!("{what}, and leave it empty"));
        }
        let total = change.before.len() as u64;
        let allowed = own.deletions_allowed(total).min(hub.deletions_allowed(total));
        let gone = self.gone.entry((change.bundle.to_owned(), change.cluster)).or_default();
        gone.push((hour, lost.len() as u64));
        let lately = lately(gone, hour);
        if lately > allowed {
            return Err(format!("{what}: {lately} within a day, and {allowed} are allowed"));
        }
        Ok(true)
    }

    fn judge_all(&self, before: &Fleet, hour: u64, bodies: &Bodies) -> Result<(), String> {
        let gone: u64 = self.gone.values().map(|list| lately(list, hour)).sum();
        let mut total = 0;
        let mut clusters = BTreeSet::new();
        for bundle in before.bundles.values() {
            for number in bundle.assigned.keys() {
                clusters.insert(*number);
                let pair = before.assigned(bundle, *number);
                let objects = pair.and_then(|pair| bodies.of_pair(&pair));
                total += objects.map_or(0, |objects| objects.len() as u64);
            }
        }
        let floor = limits::GUARD_FLOOR_OBJECTS * clusters.len() as u64;
        let allowed = Guard::default().deletions_allowed(total).max(floor);
        if gone > allowed.max(limits::GUARD_FLOOR_OBJECTS * before.clusters.len() as u64) {
            return Err(format!("{gone} objects of the fleet went within a day, and {allowed} may"));
        }
        Ok(())
    }
}

fn lately(list: &[(u64, u64)], hour: u64) -> u64 {
    let first = hour.saturating_sub(limits::GUARD_SPAN_SECS / 3600);
    list.iter().filter(|(at, _)| *at > first).map(|(_, count)| count).sum()
}

fn changes<'a>(before: &'a Fleet, after: &Fleet, bodies: &Bodies) -> Vec<Change<'a>> {
    let identities = |pair: Option<Pair>| -> BTreeSet<Identity> {
        let all = pair.and_then(|pair| bodies.of_pair(&pair));
        all.map(|all| all.keys().cloned().collect()).unwrap_or_default()
    };
    let mut out = Vec::new();
    for (name, bundle) in &before.bundles {
        for cluster in bundle.assigned.keys() {
            // What runs in a cluster that leaves the fleet stays there, unless its removal is meant.
            let leaves = |known: &Cluster| known.leaving.as_ref().is_some_and(|one| !one.deletes_objects);
            if after.by_number(*cluster).is_none_or(|(_, known)| leaves(known)) {
                continue;
            }
            let was = before.assigned(bundle, *cluster);
            let is = after.bundles.get(name).and_then(|bundle| after.assigned(bundle, *cluster));
            if was != is {
                let (before, mut now) = (identities(was), identities(is));
                let (kept, confirmed) = careful(bodies, was, is.is_none());
                now.extend(kept);
                for (_, other) in after.bundles.iter().filter(|(other, _)| *other != name) {
                    let there = identities(after.assigned(other, *cluster));
                    now.extend(before.intersection(&there).cloned());
                }
                out.push(Change { bundle: name, cluster: *cluster, goal: is, before, after: now, confirmed });
            }
        }
    }
    out
}

/// What of a pair stays when it is assigned no more, and what asks for somebody's word.
fn careful(bodies: &Bodies, pair: Option<Pair>, goes: bool) -> (BTreeSet<Identity>, BTreeSet<Identity>) {
    let settings = pair.and_then(|pair| bodies.settings(&pair.variant));
    let is_orphaned = goes && settings.is_some_and(|settings| settings.on_removal == OnRemoval::Orphan);
    let Some(all) = pair.and_then(|pair| bodies.of_pair(&pair)) else { return Default::default() };
    let those = |asks: &dyn Fn(&Wanted) -> bool| {
        all.iter().filter(|(_, one)| asks(one)).map(|(identity, _)| identity.clone()).collect()
    };
    (those(&|one| is_orphaned || one.is_kept), those(&|one| one.is_confirmed))
}

impl Invariant for GuardHolds {
    fn name(&self) -> &'static str {
        "guard"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Published { commit, guards } => {
                self.heads.insert((*commit).to_owned(), (*guards).clone());
                Ok(())
            }
            Seen::Approved { bundle, cluster, goal } => {
                self.approved.insert(((*bundle).to_owned(), *cluster, *goal));
                Ok(())
            }
            Seen::Applied { entry, before, after } => self.applied(entry, before, after, context.bodies),
            _ => Ok(()),
        }
    }
}
