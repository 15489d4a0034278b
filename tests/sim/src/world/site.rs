//! A spoke's shell: it steps the machine and carries out what comes back, and may die between any
//! two effects.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::Digest;
use spoke_core::port::{Failure, Kind, Marked, Reason, Write};
use spoke_core::{Agent, Effect, Event, Now};
use spoke_memory::{Settings, State};

use super::sabotage::Disguise;
use super::{Happening, Site, World, words};
use crate::counts::{Event as Counted, Fault};
use crate::history::History;
use crate::invariants::Seen;

/// A process.
#[derive(Debug)]
pub(super) struct Spoke {
    pub(super) agent: Agent,
    pub(super) stream: Option<u64>,
    pub(super) timer: u64,
    /// The newest reading of the ledger: it ends those before it, which answer nothing.
    loading: u64,
    /// When it wants to be woken.
    pub(super) wake_at: Option<u64>,
    /// The write under way.
    pub(super) store: Option<(u64, Write)>,
    /// Whether what watches saw is on its way.
    pub(super) observes: bool,
    pub(super) has_lease: bool,
    pub(super) disguise: Disguise,
}

impl World {
    /// A cluster, and the beginning of its spoke.
    pub(super) fn build_site(&mut self, cluster: &str) {
        let site = Site {
            state: fresh_state(cluster, 0),
            life: 0,
            ledger: BTreeMap::new(),
            spoke: None,
            standby: None,
            boot: 0,
            key: Digest::of(cluster.as_bytes()),
            advances_at: None,
            copies: BTreeSet::new(),
            has_leftovers: false,
            foreign: BTreeMap::new(),
            annotated: BTreeMap::new(),
            unmarked: BTreeSet::new(),
            edits: BTreeMap::new(),
        };
        self.sites.insert(cluster.to_owned(), site);
        self.histories.insert(cluster.to_owned(), History::default());
        self.soon(1, 2_000, Happening::SpokeBegins { cluster: cluster.to_owned(), boot: 0 });
    }

    pub(super) fn spoke_begins(&mut self, cluster: &str, boot: u64) {
        let Some(site) = self.sites.get_mut(cluster) else { return };
        if site.boot != boot {
            return;
        }
        if site.spoke.is_some() {
            return self.goes_on(cluster, boot);
        }
        site.spoke = Some(Spoke {
            agent: Agent::new("sim"),
            stream: None,
            timer: 0,
            loading: 0,
            wake_at: None,
            store: None,
            observes: false,
            has_lease: false,
            disguise: Disguise::default(),
        });
        self.tell(|| format!("{cluster}: its spoke begins"));
        let cluster = cluster.to_owned();
        self.soon(1, 300, Happening::Leases { cluster: cluster.clone(), boot, is_held: true });
        self.soon(1, 300, Happening::Dials { cluster, boot });
    }

    /// The process dies. What it asked for may still happen, what it was writing may be torn.
    pub(super) fn kill_spoke(&mut self, cluster: &str) {
        let Some(site) = self.sites.get_mut(cluster) else { return };
        let Some(spoke) = site.spoke.take() else { return };
        site.boot += 1;
        let boot = site.boot;
        site.state.watch(0, BTreeMap::new());
        self.tell(|| format!("{cluster}: its spoke is killed"));
        if let Some((_, write)) = spoke.store {
            let all = write.puts.len() + write.deletes.len();
            let done = self.rng.place(all + 1);
            if done < all {
                self.counts.fault(Fault::StoreTorn);
            }
            self.write_ledger(cluster, &write, done);
        }
        self.see(&Seen::Lease { cluster, is_held: false });
        // What it knew, it reads again.
        if let Some(stream) = spoke.stream {
            self.spoke_closes(stream);
        }
        self.soon(50, 3_000, Happening::SpokeBegins { cluster: cluster.to_owned(), boot });
    }

    /// Steps the machine of a spoke that is still the one that was meant.
    pub(super) fn step(&mut self, cluster: &str, boot: u64, event: Event) {
        if self.violation.is_some() {
            return;
        }
        let now = Now { mono_millis: self.now, unix_millis: self.unix_millis() };
        let Some(event) = self.disguise_event(cluster, event) else { return };
        if self.story_is_told() && !matches!(event, Event::Tick) {
            let words = words::event(&event);
            self.tell(|| format!("{cluster}: <- {words}"));
        }
        let site = self.sites.get_mut(cluster).filter(|site| site.boot == boot);
        let Some(spoke) = site.and_then(|site| site.spoke.as_mut()) else { return };
        let effects = spoke.agent.step(event, now);
        for effect in effects {
            if self.is_rough && self.rng.chance(self.odds().killed_at_effect) {
                self.counts.fault(Fault::SpokeKilledAtEffect);
                return self.kill_spoke(cluster);
            }
            if let Some(effect) = self.disguise_effect(cluster, effect) {
                self.carry_out(cluster, boot, effect);
            }
        }
    }

    pub(super) fn carry_out(&mut self, cluster: &str, boot: u64, effect: Effect) {
        if self.story_is_told() && !matches!(effect, Effect::Wake { .. }) {
            let words = words::effect(&effect);
            self.tell(|| format!("{cluster}: -> {words}"));
        }
        let name = cluster.to_owned();
        match effect {
            Effect::Load { id } => {
                if let Some(spoke) = self.sites.get_mut(cluster).and_then(|site| site.spoke.as_mut()) {
                    spoke.loading = id;
                }
                self.soon(1, 30, Happening::Loaded { cluster: name, boot, id });
            }
            Effect::Send(message) => {
                self.see(&Seen::Said { cluster, message: &message });
                let spoke = self.sites.get(cluster).and_then(|site| site.spoke.as_ref());
                if let Some(stream) = spoke.and_then(|spoke| spoke.stream) {
                    self.send_to_hub(stream, message);
                }
            }
            Effect::Store { token, write } => self.begin_store(cluster, boot, token, write),
            Effect::Execute { id, op } => {
                self.see(&Seen::Issued { cluster, op: &op });
                let op = Box::new(op);
                self.soon(1, 15, Happening::Arrives { cluster: name, boot, id, op });
            }
            Effect::Watch(kinds) => {
                if let Some(site) = self.sites.get_mut(cluster) {
                    site.state.watch(0, kinds);
                }
                self.after_change(cluster);
            }
            Effect::Recover { only } => {
                self.soon(1, 60, Happening::Searched { cluster: name, boot, only });
            }
            // Best effort, for people alone.
            Effect::Tell(_) => {}
            Effect::Obeyed { result, .. } => self.obeyed(cluster, &result),
            Effect::Publish { .. } => self.step(cluster, boot, Event::Published(Ok(()))),
            Effect::Halt { why } => {
                self.broken("liveness", format!("{cluster} halts for good: {why}"));
            }
            Effect::EndSession { why } => {
                self.see(&Seen::Logged { cluster, words: &why });
                let spoke = self.sites.get_mut(cluster).and_then(|site| site.spoke.as_mut());
                if let Some(stream) = spoke.and_then(|spoke| spoke.stream.take()) {
                    self.spoke_closes(stream);
                }
                self.step(cluster, boot, Event::Disconnected);
                self.soon(500, 3_000, Happening::Dials { cluster: name, boot });
            }
            Effect::Wake { at_mono_millis } => {
                let spoke = self.sites.get_mut(cluster).and_then(|site| site.spoke.as_mut());
                let Some(spoke) = spoke else { return };
                spoke.timer += 1;
                spoke.wake_at = at_mono_millis;
                let number = spoke.timer;
                if let Some(at) = at_mono_millis {
                    let at = at.max(self.now);
                    self.queue.put(at, Happening::Ticks { cluster: name, boot, number });
                }
            }
        }
    }

    pub(super) fn ticks(&mut self, cluster: &str, boot: u64, number: u64) {
        let spoke = self.sites.get(cluster).and_then(|site| site.spoke.as_ref());
        if spoke.is_some_and(|spoke| spoke.timer == number) {
            self.step(cluster, boot, Event::Tick);
        }
    }

    pub(super) fn leases(&mut self, cluster: &str, boot: u64, is_held: bool) {
        let Some(site) = self.sites.get_mut(cluster).filter(|site| site.boot == boot) else { return };
        let Some(spoke) = &mut site.spoke else { return };
        spoke.has_lease = is_held;
        self.see(&Seen::Lease { cluster, is_held });
        self.step(cluster, boot, Event::Lease(is_held));
    }

    pub(super) fn loaded(&mut self, cluster: &str, boot: u64, id: u64) {
        let Some(site) = self.sites.get(cluster).filter(|site| site.boot == boot) else { return };
        if site.spoke.as_ref().is_none_or(|spoke| spoke.loading != id) {
            return;
        }
        let (records, cluster_uid) = (site.ledger.clone(), site.state.uid());
        self.known(cluster);
        self.step(cluster, boot, Event::Started { id, records, cluster_uid });
    }

    pub(super) fn searched(&mut self, cluster: &str, boot: u64, only: BTreeSet<Kind>) {
        let Some(site) = self.sites.get(cluster).filter(|site| site.boot == boot) else { return };
        let found = marked(&site.state, only);
        if !found.found.is_empty() {
            self.counts.event(Counted::Rebuilt);
        }
        self.step(cluster, boot, Event::Recovered(Ok(found)));
    }

    fn begin_store(&mut self, cluster: &str, boot: u64, token: u64, write: Write) {
        if self.stores_early(cluster, boot, token, &write) {
            return;
        }
        if let Some(spoke) = self.sites.get_mut(cluster).and_then(|site| site.spoke.as_mut()) {
            spoke.store = Some((token, write));
        }
        self.soon(1, 40, Happening::Stores { cluster: cluster.to_owned(), boot, token });
    }

    pub(super) fn stores(&mut self, cluster: &str, boot: u64, token: u64) {
        let Some(site) = self.sites.get_mut(cluster).filter(|site| site.boot == boot) else { return };
        let store = site.spoke.as_mut().and_then(|spoke| spoke.store.take());
        let Some((under_way, write)) = store else { return };
        debug_assert_eq!(under_way, token);
        let all = write.puts.len() + write.deletes.len();
        if self.is_rough && self.rng.chance(40) {
            self.counts.fault(Fault::StoreFailed);
            // All of it may be there nevertheless, with the answer lost.
            let done = self.rng.place(all + 1);
            self.write_ledger(cluster, &write, done);
            let failure = Failure {
                reason: Reason::Server,
                message: "the store failed, as the simulation asked for".into(),
                retry_after_millis: None,
            };
            return self.step(cluster, boot, Event::Stored { token, result: Err(failure) });
        }
        self.write_ledger(cluster, &write, all);
        self.known(cluster);
        self.step(cluster, boot, Event::Stored { token, result: Ok(()) });
    }

    /// The first parts of a write become durable.
    pub(super) fn write_ledger(&mut self, cluster: &str, write: &Write, parts: usize) {
        let puts = write.puts.iter().map(|(key, bytes)| (key, Some(bytes)));
        let deletes = write.deletes.iter().map(|key| (key, None));
        let all: Vec<_> = puts.chain(deletes).take(parts).collect();
        for (key, bytes) in all {
            let Some(site) = self.sites.get_mut(cluster) else { return };
            match bytes {
                Some(bytes) => site.ledger.insert(key.clone(), bytes.clone()),
                None => site.ledger.remove(key),
            };
            let bytes = bytes.map(Vec::as_slice);
            let history = self.histories.entry(cluster.to_owned()).or_default();
            if let Err(error) = history.record(key, bytes) {
                return self.broken("hello", format!("{cluster} wrote {key}: {error}"));
            }
            self.see(&Seen::Durable { cluster, key, bytes });
        }
    }

    /// The spoke is told that all that is durable is durable.
    pub(super) fn known(&mut self, cluster: &str) {
        self.histories.entry(cluster.to_owned()).or_default().told();
        self.see(&Seen::Known { cluster });
    }

    /// The cluster changed: what watches saw is brought to the spoke, and controllers get to work.
    pub(super) fn after_change(&mut self, cluster: &str) {
        let now = self.now;
        let Some(site) = self.sites.get_mut(cluster) else { return };
        let due = site.state.next_due().map(|at| at.saturating_sub(super::BEGINNING_UNIX_MILLIS));
        let due = due.map(|at| at.max(now));
        if let Some(at) = due
            && site.advances_at.is_none_or(|known| at < known)
        {
            site.advances_at = Some(at);
            self.queue.put(at, Happening::Advances { cluster: cluster.to_owned() });
        }
        let boot = site.boot;
        let Some(spoke) = &mut site.spoke else { return };
        if site.state.has_observations(0) && !std::mem::replace(&mut spoke.observes, true) {
            self.soon(1, 40, Happening::Observes { cluster: cluster.to_owned(), boot });
        }
    }

    pub(super) fn observes(&mut self, cluster: &str, boot: u64) {
        let Some(site) = self.sites.get_mut(cluster).filter(|site| site.boot == boot) else { return };
        let Some(spoke) = &mut site.spoke else { return };
        spoke.observes = false;
        for observation in site.state.drain_observations(0) {
            self.step(cluster, boot, Event::Observed(observation));
        }
        self.after_change(cluster);
    }

    pub(super) fn advances(&mut self, cluster: &str) {
        let now = self.unix_millis();
        let Some(site) = self.sites.get_mut(cluster) else { return };
        site.advances_at = None;
        site.state.advance(now);
        self.after_change(cluster);
    }

    pub(super) fn story_is_told(&self) -> bool {
        self.story.is_told()
    }
}

/// A cluster nobody has used; each life has a uid of its own.
pub(super) fn fresh_state(cluster: &str, life: u64) -> State {
    let mut state = State::new(&format!("{cluster}-{life}"));
    state.settings = Settings { progress_millis: 300, establish_millis: 50, terminate_millis: 100 };
    state
}

/// All marked objects of a cluster.
fn marked(state: &State, only: BTreeSet<Kind>) -> Marked {
    let kinds = if only.is_empty() { state.kinds() } else { only };
    let mut marked = Marked::default();
    for kind in kinds {
        match state.owned(&kind) {
            Ok(some) => marked.found.extend(some),
            Err(failure) => drop(marked.unlisted.insert(kind, failure)),
        }
    }
    marked
}
