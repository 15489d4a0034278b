//! Two spokes in one cluster: one of them acts. When the Lease goes over, the other one reads the ledger and goes on;
//! the first lives, and may get it back later.

use spoke_core::Event;
use spoke_core::port::{Failure, Reason};

use super::{Happening, World};
use crate::counts::Fault;
use crate::invariants::Seen;

impl World {
    /// The other spoke of a cluster gets its Lease.
    pub(super) fn hand_lease_over(&mut self, cluster: &str) {
        let Some(site) = self.sites.get_mut(cluster) else { return };
        let boot = site.boot;
        let Some(spoke) = site.spoke.as_mut().filter(|spoke| spoke.has_lease) else { return };
        let (store, stream) = (spoke.store.take(), spoke.stream.take());
        self.counts.fault(Fault::LeaseMoved);
        self.tell(|| format!("{cluster}: another spoke gets its Lease"));
        if let Some((token, write)) = store {
            let all = write.puts.len() + write.deletes.len();
            let done = self.rng.place(all + 1);
            self.write_ledger(cluster, &write, done);
            let failure = Failure {
                reason: Reason::Unreachable,
                message: "the answer was lost, as the simulation asked for".into(),
                retry_after_millis: None,
            };
            self.step(cluster, boot, Event::Stored { token, result: Err(failure) });
        }
        if let Some(stream) = stream {
            self.spoke_closes(stream);
            self.step(cluster, boot, Event::Disconnected);
        }
        self.leases(cluster, boot, false);
        let Some(site) = self.sites.get_mut(cluster).filter(|site| site.boot == boot) else { return };
        site.boot += 1;
        let boot = site.boot;
        site.state.watch(0, std::collections::BTreeMap::new());
        let before = std::mem::replace(&mut site.spoke, site.standby.take());
        site.standby = before;
        self.see(&Seen::Lease { cluster, is_held: false });
        let cluster = cluster.to_owned();
        self.soon(1, 3_000, Happening::SpokeBegins { cluster, boot });
    }

    /// A spoke that stood by goes on.
    pub(super) fn goes_on(&mut self, cluster: &str, boot: u64) {
        let now = self.now;
        let Some(spoke) = self.sites.get_mut(cluster).and_then(|site| site.spoke.as_mut()) else { return };
        spoke.observes = false;
        if let Some(at) = spoke.wake_at {
            spoke.timer += 1;
            let (cluster, number) = (cluster.to_owned(), spoke.timer);
            self.queue.put(at.max(now), Happening::Ticks { cluster, boot, number });
        }
        self.tell(|| format!("{cluster}: the spoke that stood by goes on"));
        let cluster = cluster.to_owned();
        self.soon(1, 300, Happening::Leases { cluster: cluster.clone(), boot, is_held: true });
        self.soon(1, 300, Happening::Dials { cluster, boot });
    }
}
