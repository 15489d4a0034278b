//! The end of faults, and what follows it.

use spoke_memory::Script;

use super::{Happening, World};
use crate::invariants::Seen;

impl World {
    /// No more faults from now on; people only put things right.
    pub fn calm_down(&mut self) {
        self.is_rough = false;
        self.tell(|| "-- faults stop".to_owned());
        self.repo.resolve_doubles();
        for name in self.clusters() {
            if let Some(site) = self.sites.get_mut(&name) {
                let all: Vec<_> = site.state.identities().cloned().collect();
                let none: Option<Script> = None;
                all.into_iter().for_each(|identity| site.state.script(identity, none));
                // Somebody else's objects are taken away, where they stand in the way.
                let foreign: Vec<_> = site.foreign.keys().chain(&site.unmarked).cloned().collect();
                let now = super::BEGINNING_UNIX_MILLIS + self.now;
                for identity in foreign {
                    let live = site.state.object(&identity);
                    if live.is_some_and(|live| crate::invariants::owners(&live).is_empty()) {
                        site.state.remove(&identity, now);
                    }
                }
            }
            self.server_back(&name);
            self.eases(&name);
            let all = self.sites.get(&name).map(|site| site.annotated.keys().cloned().collect::<Vec<_>>());
            all.into_iter().flatten().for_each(|identity| self.annotate(&name, &identity, None));
        }
        for stream in self.streams.values_mut() {
            stream.stalled_until = 0;
        }
        if self.hub.node.is_none() {
            self.soon(1, 100, Happening::HubBegins);
        }
    }

    /// From now on nothing may be written anywhere, or it may again.
    pub fn rest(&mut self, is_rest: bool) {
        let seen = if is_rest { Seen::Rest } else { Seen::RestOver };
        self.tell(|| format!("-- {seen:?}"));
        self.see(&seen);
    }

    /// The hub is gone for good.
    pub fn lose_hub(&mut self) {
        self.tell(|| "-- the hub is gone for good".to_owned());
        self.hub.is_gone = true;
        self.kill_hub();
    }

    /// Somebody meddles in every cluster, and every other spoke is started anew.
    pub fn meddle_everywhere(&mut self) {
        for (number, name) in self.clusters().into_iter().enumerate() {
            if let Some(site) = self.sites.get_mut(&name) {
                site.edits.clear();
            }
            for _ in 0..3 {
                self.delete(&name);
                self.edit(&name);
            }
            if number % 2 == 0 {
                self.kill_spoke(&name);
            }
        }
    }

    /// Reports an invariant as broken that is looked at from outside.
    pub fn report(&mut self, invariant: &'static str, what: String) {
        self.broken(invariant, what);
    }
}
