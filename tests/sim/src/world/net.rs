//! The network: streams that keep their order, and lose, delay and double messages only by ending
//! and beginning anew.

use proto_model::Digest;
use proto_model::delta::{ToHub, ToSpoke};
use spoke_core::Event;

use super::{Happening, World};
use crate::counts::Fault;
use crate::invariants::Seen;

/// One connection between a spoke and the hub.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) cluster: String,
    boot: u64,
    /// The key of the certificate that it was dialled with.
    key: Digest,
    at_spoke: bool,
    at_hub: bool,
    /// The network is cut: what is under way is lost.
    is_cut: bool,
    /// Nothing passes, and nobody has noticed.
    is_hollow: bool,
    /// When the last message arrives, in each direction.
    to_spoke_at: u64,
    to_hub_at: u64,
    /// Messages that the spoke has not read.
    unread: usize,
    /// Until when the spoke reads nothing.
    pub(super) stalled_until: u64,
}

/// What earlier streams of a cluster carried, newest last: it may turn up again.
#[derive(Debug, Default)]
pub(super) struct Late {
    to_spoke: Vec<ToSpoke>,
}

const LATE_MAX: usize = 24;

impl World {
    pub(super) fn dials(&mut self, cluster: &str, boot: u64) {
        let Some(site) = self.sites.get(cluster) else { return };
        let is_idle = site.spoke.as_ref().is_some_and(|spoke| spoke.stream.is_none());
        if site.boot != boot || !is_idle {
            return;
        }
        let key = site.key;
        if self.hub.node.is_none() {
            let again = Happening::Dials { cluster: cluster.to_owned(), boot };
            return self.soon(200, 2_000, again);
        }
        self.next_stream += 1;
        let stream = self.next_stream;
        self.streams.insert(
            stream,
            Stream {
                cluster: cluster.to_owned(),
                boot,
                key,
                at_spoke: true,
                at_hub: true,
                is_cut: false,
                is_hollow: false,
                to_spoke_at: self.now,
                to_hub_at: self.now,
                unread: 0,
                stalled_until: 0,
            },
        );
        self.set_stream(cluster, Some(stream));
        self.soon(2, 40, Happening::Stands { stream });
    }

    fn set_stream(&mut self, cluster: &str, stream: Option<u64>) {
        if let Some(spoke) = self.sites.get_mut(cluster).and_then(|site| site.spoke.as_mut()) {
            spoke.stream = stream;
        }
    }

    pub(super) fn stands(&mut self, stream: u64) {
        let Some(one) = self.streams.get(&stream).filter(|one| one.at_spoke && !one.is_cut) else {
            return;
        };
        let (cluster, boot) = (one.cluster.clone(), one.boot);
        self.step(&cluster, boot, Event::Connected);
        self.doubles(&cluster, stream);
    }

    /// What an earlier stream carried arrives on this one, too.
    fn doubles(&mut self, cluster: &str, stream: u64) {
        if !self.is_rough || !self.rng.chance(self.odds().doubles) {
            return;
        }
        let Some(late) = self.late.get(cluster) else { return };
        let to_spoke = late.to_spoke.clone();
        let from = self.rng.place(to_spoke.len());
        let mut at = self.now + self.rng.between(1, 300);
        for message in to_spoke.into_iter().skip(from) {
            self.counts.fault(Fault::LateToSpoke);
            at += self.rng.between(0, 5);
            self.queue.put(at, Happening::SpokeGets { stream, message: Box::new(message) });
        }
    }

    pub(super) fn send_to_hub(&mut self, stream: u64, message: ToHub) {
        let wait = self.rng.between(1, 25);
        let Some(one) = self.streams.get_mut(&stream).filter(|one| one.at_spoke) else { return };
        one.to_hub_at = one.to_hub_at.max(self.now + wait);
        if one.is_hollow {
            return self.counts.fault(Fault::MessagesLost);
        }
        let at = one.to_hub_at;
        if self.is_rough && matches!(message, ToHub::Report(_)) && self.rng.chance(30) {
            self.counts.fault(Fault::Doubled);
            self.queue.put(at, Happening::HubGets { stream, message: Box::new(message.clone()) });
        }
        self.queue.put(at, Happening::HubGets { stream, message: Box::new(message) });
    }

    pub(super) fn send_to_spoke(&mut self, stream: u64, message: ToSpoke) {
        let mut wait = self.rng.between(1, 25);
        if self.is_rough && self.rng.chance(10) {
            self.counts.fault(Fault::Delayed);
            wait += self.rng.between(100, 1_500);
        }
        let Some(one) = self.streams.get_mut(&stream).filter(|one| one.at_hub) else { return };
        one.to_spoke_at = one.to_spoke_at.max(self.now + wait).max(one.stalled_until);
        one.unread += 1;
        if matches!(message, ToSpoke::Delta(_) | ToSpoke::Variant(_) | ToSpoke::Body(_)) {
            let late = self.late.entry(one.cluster.clone()).or_default();
            late.to_spoke.push(message.clone());
            if late.to_spoke.len() > LATE_MAX {
                late.to_spoke.remove(0);
            }
        }
        if one.is_hollow {
            return self.counts.fault(Fault::MessagesLost);
        }
        self.queue.put(one.to_spoke_at, Happening::SpokeGets { stream, message: Box::new(message) });
    }

    /// Messages that a stream carries and its spoke has not read.
    pub(super) fn room(&self, stream: u64) -> usize {
        self.streams.get(&stream).map_or(usize::MAX, |one| one.unread)
    }

    /// The key that a stream was dialled with.
    pub(super) fn key_of(&self, stream: u64) -> Digest {
        self.streams.get(&stream).map(|one| one.key).unwrap_or_default()
    }

    /// Whose message arrived at the hub, if it did.
    pub(super) fn arrived_at_hub(&mut self, stream: u64) -> Option<(String, Digest)> {
        let one = self.streams.get(&stream)?;
        if one.is_cut {
            self.counts.fault(Fault::MessagesLost);
            return None;
        }
        (one.at_hub && self.hub.node.is_some()).then(|| (one.cluster.clone(), one.key))
    }

    pub(super) fn spoke_gets(&mut self, stream: u64, message: ToSpoke) {
        let Some(one) = self.streams.get_mut(&stream) else { return };
        if one.is_cut || !one.at_spoke {
            return self.counts.fault(Fault::MessagesLost);
        }
        if one.stalled_until > self.now {
            let at = one.stalled_until;
            return self.queue.put(at, Happening::SpokeGets { stream, message: Box::new(message) });
        }
        one.unread = one.unread.saturating_sub(1);
        let (cluster, boot) = (one.cluster.clone(), one.boot);
        self.step(&cluster, boot, Event::Hub(message));
        self.pump(stream);
    }

    pub(super) fn spoke_loses(&mut self, stream: u64) {
        let Some(one) = self.streams.get_mut(&stream).filter(|one| one.at_spoke) else { return };
        one.at_spoke = false;
        let (cluster, boot) = (one.cluster.clone(), one.boot);
        self.tell(|| format!("{cluster}: its stream is gone"));
        self.set_stream(&cluster, None);
        self.step(&cluster, boot, Event::Disconnected);
        self.soon(20, 1_500, Happening::Dials { cluster, boot });
        self.forget_stream(stream);
    }

    pub(super) fn hub_loses(&mut self, stream: u64) {
        let Some(one) = self.streams.get_mut(&stream).filter(|one| one.at_hub) else { return };
        one.at_hub = false;
        if let Some(node) = &mut self.hub.node {
            node.streams.remove(&stream);
        }
        self.see(&Seen::Ended { stream });
        self.forget_stream(stream);
    }

    /// The spoke ends a stream; what it has sent may still arrive.
    pub(super) fn spoke_closes(&mut self, stream: u64) {
        let Some(one) = self.streams.get_mut(&stream) else { return };
        one.at_spoke = false;
        let at = one.to_hub_at.max(self.now) + 1;
        self.queue.put(at, Happening::HubLoses { stream });
    }

    /// The hub ends a stream; what it has sent still arrives.
    pub(super) fn hub_closes(&mut self, stream: u64) {
        let Some(one) = self.streams.get_mut(&stream).filter(|one| one.at_hub) else { return };
        one.at_hub = false;
        let at = one.to_spoke_at.max(self.now) + 1;
        if let Some(node) = &mut self.hub.node {
            node.streams.remove(&stream);
        }
        self.queue.put(at, Happening::SpokeLoses { stream });
        self.see(&Seen::Ended { stream });
    }

    /// The network between both ends is cut; they notice in their own time.
    pub(super) fn cut(&mut self, stream: u64) {
        if let Some(one) = self.streams.get_mut(&stream) {
            one.is_cut = true;
            self.soon(1, 2_000, Happening::SpokeLoses { stream });
            self.soon(1, 2_000, Happening::HubLoses { stream });
        }
    }

    /// Nothing passes any more; the pings of both ends fail in the end.
    pub(super) fn hollow(&mut self, stream: u64) {
        if let Some(one) = self.streams.get_mut(&stream) {
            one.is_hollow = true;
            self.soon(10_000, 50_000, Happening::SpokeLoses { stream });
            self.soon(10_000, 50_000, Happening::HubLoses { stream });
        }
    }

    /// The hub's process is gone, and its ends of all streams with it.
    pub(super) fn cut_all_streams(&mut self) {
        let streams: Vec<u64> = self.streams.keys().copied().collect();
        for stream in streams {
            // Where its machine died too, nobody says so.
            let is_silent = self.is_rough && self.rng.chance(150);
            let last = if is_silent { 30_000 } else { 200 };
            if let Some(one) = self.streams.get_mut(&stream) {
                one.is_cut = true;
                one.at_hub = false;
            }
            self.see(&Seen::Ended { stream });
            self.soon(1, last, Happening::SpokeLoses { stream });
        }
    }

    fn forget_stream(&mut self, stream: u64) {
        if self.streams.get(&stream).is_some_and(|one| !one.at_hub && !one.at_spoke) {
            self.streams.remove(&stream);
        }
    }
}
