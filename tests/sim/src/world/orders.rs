//! Orders that people give to a spoke itself: they suspend a bundle or the whole cluster for a while, or end that.

use spoke_core::Event;
use spoke_core::local::Suspended;
use spoke_core::suspend::{CLUSTER, Order};

use super::World;
use crate::counts::Event as Counted;
use crate::invariants::Seen;

impl World {
    /// Somebody tells a spoke to leave something alone, or not to any more.
    pub(super) fn order(&mut self, cluster: &str) {
        let last = self.histories.get(cluster).and_then(|history| history.last());
        let Some(root) = last else { return };
        let bundles: Vec<String> = root.entries.keys().cloned().collect();
        let here: Vec<String> = root.suspensions_here.keys().cloned().collect();
        let named = |scope: String| (scope != CLUSTER).then_some(scope);
        let order = match self.rng.pick(&here).cloned().filter(|_| self.rng.chance(400)) {
            Some(scope) => {
                self.see(&Seen::Resumed { cluster });
                Order::Resume { bundle: named(scope) }
            }
            None => {
                let bundle = self.rng.pick(&bundles).cloned().filter(|_| self.rng.chance(700));
                let span_millis = self.rng.between(500, 15_000);
                Order::Suspend { bundle, span_millis, reason: "it is meant".into(), by: "ann".into() }
            }
        };
        let Some(boot) = self.sites.get(cluster).map(|site| site.boot) else { return };
        self.people.orders += 1;
        let id = self.people.orders;
        self.step(cluster, boot, Event::Order { id, order });
    }

    /// What came of an order.
    pub(super) fn obeyed(&mut self, cluster: &str, result: &Result<Vec<Suspended>, String>) {
        if let Ok(suspended) = result {
            self.counts.event(Counted::OrderObeyed);
            self.see(&Seen::Obeyed { cluster, suspended });
        }
    }
}
