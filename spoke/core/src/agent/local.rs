//! How the machine stands, for people at the cluster: plain values, bounded.

use std::collections::BTreeMap;

use proto_model::assign::Entry;
use proto_model::{Health, Identity, ObjectProblem, limits};

use super::bundle::{self, Plan};
use super::slot::Slot;
use super::{Agent, Now, Phase};
use crate::diff::{Sight, Verdict};
use crate::ledger;
use crate::local::{Bundle, Explanation, HubLink, Line, Object, Owned, State, Status, Trouble};
use crate::prune;

/// What the shell knows and the machine does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Why the Lease is not held; empty while it is.
    pub lease_trouble: String,
    /// Why the ledger can't be read; empty where it can, or was not tried.
    pub ledger_trouble: String,
    /// Why there is no stream to the hub; empty while there is one.
    pub hub_trouble: String,
}

impl Agent {
    /// How the cluster stands, at `now`.
    #[must_use]
    pub fn status(&self, outside: &Outside, now: Now) -> Status {
        let mut status = self.status_told();
        status.now_unix_millis = now.unix_millis;
        status.idle_because = self.idle_because(outside);
        let since = self.voice.link.filter(|link| link.is_up || self.voice.told_link().1.is_some());
        status.hub.is_attached = self.is_attached();
        status.hub.since_unix_millis = since.map(|link| link.unix_millis);
        status.hub.trouble = if status.hub.is_attached { String::new() } else { outside.hub_trouble.clone() };
        status.ledger_trouble = self.store.trouble.as_ref().map(|one| trouble(one, now.mono_millis));
        status
    }

    /// How the cluster stands as far as it is worth telling those who did not ask: nothing in it
    /// changes while nothing happens.
    pub(super) fn status_told(&self) -> Status {
        let names = self.names();
        let (is_attached, since_unix_millis) = self.voice.told_link();
        let fence = &self.ledger.fence;
        let told = names.len().min(limits::LOCAL_BUNDLES_MAX);
        Status {
            cluster: self.voice.cluster.clone(),
            cluster_uid: self.cluster_uid.clone(),
            version: self.version.clone(),
            hub: HubLink { id: fence.hub_id.clone(), is_attached, since_unix_millis, trouble: String::new() },
            epoch: fence.epoch,
            incarnation: fence.incarnation,
            generation: fence.generation,
            search_trouble: self.search_trouble(),
            suspended: self.suspended(),
            bundles: names.iter().take(told).map(|name| self.bundle_view(name)).collect(),
            bundles_more: (names.len() - told) as u64,
            ..Status::default()
        }
    }

    /// Every object of a bundle, or of all bundles what is not as it should be.
    ///
    /// # Errors
    /// There is no such bundle, or nothing is known yet.
    pub fn explain(&self, bundle: Option<&str>, now: Now) -> Result<Vec<Explanation>, String> {
        let names = self.asked_for(bundle)?;
        let mut room = limits::LOCAL_OBJECTS_MAX;
        let explained = names.iter().map(|name| self.explanation(name, bundle.is_some(), &mut room, now.mono_millis));
        let is_news = |one: &Explanation| bundle.is_some() || !one.objects.is_empty() || !one.bundle.problem.is_empty();
        Ok(explained.filter(is_news).collect())
    }

    /// What a bundle owns, or all do.
    ///
    /// # Errors
    /// There is no such bundle, or nothing is known yet.
    pub fn inventory(&self, bundle: Option<&str>) -> Result<Vec<Owned>, String> {
        let mut room = limits::LOCAL_OBJECTS_MAX;
        let owned = |name: String| {
            let slots = self.bundles.get(&name).map(|bundle| &bundle.slots);
            let lines = slots.into_iter().flatten().map(|(identity, slot)| line(identity, slot));
            let (objects, objects_more) = fitting(lines, &mut room);
            Owned { bundle: name, objects, objects_more }
        };
        Ok(self.asked_for(bundle)?.into_iter().map(owned).collect())
    }

    /// The full name of the bundle that somebody means: its own name is enough where one bundle has it.
    ///
    /// # Errors
    /// None or several have it.
    pub(super) fn named(&self, name: &str) -> Result<String, String> {
        let names = self.names();
        if names.iter().any(|one| one == name) {
            return Ok(name.to_owned());
        }
        let mut short = names.iter().filter(|one| one.rsplit_once('/').is_some_and(|(_, own)| own == name));
        match (short.next(), short.next()) {
            (Some(only), None) => Ok(only.clone()),
            (Some(one), Some(other)) => Err(format!("{name} may be {one} or {other}: give the full name")),
            _ if names.is_empty() => Err(format!("there is no bundle {name} in this cluster, and no other")),
            _ => {
                let shown = names.iter().take(limits::LOCAL_NAMES_SHOWN_MAX);
                let shown: Vec<&str> = shown.map(String::as_str).collect();
                let more = names.len() - shown.len();
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                Err(format!("there is no bundle {name} in this cluster; it has {}{more}", shown.join(", ")))
            }
        }
    }

    fn asked_for(&self, bundle: Option<&str>) -> Result<Vec<String>, String> {
        if !matches!(self.phase, Phase::Ready) {
            return Err("the ledger was not read yet, so nothing is known; see `drover-spoke status` for why".into());
        }
        match bundle {
            Some(name) => self.named(name).map(|name| vec![name]),
            None => Ok(self.names()),
        }
    }

    /// All bundles that are assigned, or own something.
    fn names(&self) -> Vec<String> {
        let known = self.ledger.entries.keys().chain(self.ledger.lost.keys()).chain(self.bundles.keys());
        known.cloned().collect::<std::collections::BTreeSet<String>>().into_iter().collect()
    }

    fn idle_because(&self, outside: &Outside) -> String {
        match self.phase {
            Phase::Halted => "the ledger can't be read".into(),
            _ if !self.has_lease && outside.lease_trouble.is_empty() => {
                "the lease of the cluster is not held yet".into()
            }
            _ if !self.has_lease => outside.lease_trouble.clone(),
            Phase::Idle | Phase::Loading if !outside.ledger_trouble.is_empty() => {
                format!("the ledger can't be read: {}", outside.ledger_trouble)
            }
            Phase::Idle | Phase::Loading => "the ledger is being read".into(),
            Phase::Ready if self.is_stale => "the lease was lost for a while, and the ledger is read anew".into(),
            Phase::Ready if self.is_estranged => {
                "the ledger was written in another cluster (this one was cloned or restored): waits for the hub to \
                 say what it is"
                    .into()
            }
            Phase::Ready => String::new(),
        }
    }

    fn bundle_view(&self, name: &str) -> Bundle {
        let entry = self.ledger.entries.get(name);
        let known = self.bundles.get(name);
        let objects = known.map_or(0, |one| one.slots.values().filter(|slot| slot.exists()).count() as u64);
        let mut view = Bundle {
            bundle: name.to_owned(),
            health: Health::Unknown.to_string(),
            suspended_until_unix_millis: self.suspension(name).map(|(_, one)| one.until_unix_millis),
            installed: known.is_some_and(|one| one.installed),
            objects,
            variant: entry.and_then(ledger::variant).map_or_else(String::new, |digest| digest.short().to_string()),
            ..Bundle::default()
        };
        let report = known.and_then(|one| one.report.as_ref()).filter(|_| entry.is_some());
        match report {
            Some(report) => {
                view.sync = report.sync.to_string();
                view.health = report.health.to_string();
                view.drifted = report.drifted;
                view.since_unix_millis = report.since_unix_millis;
                view.problem = report.problems.first().map_or_else(String::new, words);
                view.problems_more = report.problems_more + (report.problems.len() as u64).saturating_sub(1);
            }
            None if entry.is_some() => view.sync = "Pending".into(),
            None if self.ledger.lost.contains_key(name) => {
                view.sync = "Lost".into();
                view.problem = "its content was lost from the ledger: what is there stays, and the hub has to send it \
                                again"
                    .into();
            }
            None => {
                view.sync = "Unassigned".into();
                view.problem = "the hub knows nothing of it: what is there stays and is not kept".into();
            }
        }
        view
    }

    fn explanation(&self, name: &str, is_whole: bool, room: &mut usize, now: u64) -> Explanation {
        let bundle = self.bundle_view(name);
        let Some(known) = self.bundles.get(name) else {
            return Explanation { bundle, ..Explanation::default() };
        };
        let stopped_by = known.problems.iter().map(words).collect();
        let blockers = blockers(known);
        let order: Vec<&Identity> = match &known.plan {
            Plan::Ready(ready) => ready.order.iter().collect(),
            Plan::None | Plan::Failed(_) => Vec::new(),
        };
        let place: BTreeMap<&Identity, usize> = order.iter().enumerate().map(|(at, one)| (*one, at)).collect();
        let mut slots: Vec<(&Identity, &Slot)> = known.slots.iter().collect();
        slots.sort_by_key(|(identity, _)| place.get(identity).copied().unwrap_or(usize::MAX));
        let runs = matches!(self.ledger.entries.get(name), Some(Entry::Run(_)));
        let view = |(identity, slot): (&Identity, &Slot)| {
            let lost = self.watches.get(&identity.kind).and_then(|watch| watch.lost.as_deref());
            let waits_for = blockers.get(identity).map(|before| format!("{before} comes first"));
            object(identity, slot, runs, lost, waits_for, now)
        };
        let is_shown = |one: &Object| is_whole || one.state != State::Applied || one.health != "Healthy";
        let (objects, objects_more) = fitting(slots.into_iter().map(view).filter(is_shown), room);
        Explanation { bundle, stopped_by, objects, objects_more }
    }
}

/// What fits into the room that is left, and how much does not.
fn fitting<T>(mut all: impl Iterator<Item = T>, room: &mut usize) -> (Vec<T>, u64) {
    let fit: Vec<T> = all.by_ref().take(*room).collect();
    *room -= fit.len();
    (fit, all.count() as u64)
}

/// For each object that must wait for one of an earlier stage: which.
fn blockers(bundle: &bundle::Bundle) -> BTreeMap<Identity, Identity> {
    let mut blocked = BTreeMap::new();
    let Plan::Ready(ready) = &bundle.plan else {
        return blocked;
    };
    let (mut before, mut open, mut ailing) = (None, None::<&Identity>, None::<&Identity>);
    let (mut open_here, mut ailing_here) = (None::<&Identity>, None::<&Identity>);
    for (identity, slot) in ready.in_order(&bundle.slots) {
        let Some(target) = &slot.target else { continue };
        if before.is_some_and(|before| before != target.stage) {
            open = open.or(open_here.take());
            ailing = ailing.or(ailing_here.take());
            if let Some(stage) = before.filter(|before| target.stage.is_after_border(before)) {
                open = open.or(ailing.filter(|_| target.stage.is_after_border(&stage)));
            }
        }
        before = Some(target.stage);
        if !slot.is_applied()
            && let Some(blocker) = open
        {
            blocked.insert(identity.clone(), blocker.clone());
        }
        if !slot.is_applied() || bundle::holds_up(identity, slot) {
            open_here.get_or_insert(identity);
        }
        if slot.health().0 != Health::Healthy {
            ailing_here.get_or_insert(identity);
        }
    }
    blocked
}

fn object(
    identity: &Identity,
    slot: &Slot,
    runs: bool,
    lost: Option<&str>,
    waits_for: Option<String>,
    now: u64,
) -> Object {
    let (health, reason) = match lost {
        Some(why) => (Health::Unknown, why),
        None => slot.health(),
    };
    let contested = slot.is_contested().then(|| {
        slot.contest.clone().unwrap_or_else(|| "somebody keeps changing it back; correction pauses".to_owned())
    });
    let is_in_the_way = slot.is_hands_off() && (slot.target.is_none() || slot.verdict() != Verdict::Settled);
    let waits_for = waits_for.or_else(|| is_in_the_way.then(|| prune::HANDS_OFF.to_owned()));
    Object {
        object: identity.to_string(),
        state: state(slot, runs),
        health: health.to_string(),
        reason: reason.to_owned(),
        changed_by: slot.changed_by.clone().filter(|_| slot.is_drifted()),
        contested,
        trouble: slot.trouble.as_ref().map(|one| trouble(one, now)),
        waits_for,
    }
}

fn state(slot: &Slot, runs: bool) -> State {
    if slot.is_busy {
        State::Busy
    } else if slot.sight == Sight::Foreign {
        State::Foreign
    } else if slot.target.is_none() && runs {
        State::Removing
    } else if !runs {
        if slot.exists() { State::Removing } else { State::Missing }
    } else if !slot.is_applied() {
        State::Pending
    } else if slot.is_drifted() {
        if slot.sight == Sight::Absent { State::Missing } else { State::Drifted }
    } else {
        State::Applied
    }
}

fn line(identity: &Identity, slot: &Slot) -> Line {
    let tracked = &slot.tracked;
    Line {
        object: identity.to_string(),
        version: tracked.version.clone(),
        uid: tracked.uid.clone().unwrap_or_default(),
        order: tracked.order,
        applied: tracked.applied.map_or_else(String::new, |digest| digest.short().to_string()),
        health: slot.health().0.to_string(),
        is_durable: slot.is_durable,
    }
}

fn trouble(one: &bundle::Trouble, now: u64) -> Trouble {
    Trouble {
        message: one.message.clone(),
        is_final: one.is_final,
        attempts: one.attempts,
        retry_secs: one.retry_at.saturating_sub(now).div_ceil(1_000),
    }
}

fn words(problem: &ObjectProblem) -> String {
    match &problem.object {
        Some(object) => format!("{object} {}", problem.message),
        None => problem.message.clone(),
    }
}
