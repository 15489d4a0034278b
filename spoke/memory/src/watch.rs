//! Watches: what each subscriber was not told yet.

use std::collections::{BTreeMap, VecDeque};

use proto_model::{Identity, limits};
use spoke_core::port::{Depth, Kind, Observation};

use crate::state::{State, Stored, live};

/// Who watches; a number of the caller's choice.
pub type Subscriber = u32;

/// What one subscriber watches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscription {
    kinds: BTreeMap<Kind, Watched>,
    queue: VecDeque<Observation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    depth: Depth,
    /// Whether its objects were listed, so that changes are told.
    running: bool,
}

impl State {
    /// From now on these kinds, and no others, are watched for a subscriber; what runs goes on.
    pub fn watch(&mut self, subscriber: Subscriber, kinds: BTreeMap<Kind, Depth>) {
        let mut subscription = self.subscribers.remove(&subscriber).unwrap_or_default();
        subscription.kinds.retain(|kind, watched| kinds.get(kind) == Some(&watched.depth));
        let fresh: Vec<Kind> = kinds.keys().filter(|kind| !subscription.kinds.contains_key(*kind)).cloned().collect();
        for (kind, depth) in kinds {
            subscription.kinds.entry(kind).or_insert(Watched { depth, running: false });
        }
        self.subscribers.insert(subscriber, subscription);
        for kind in fresh {
            self.start(subscriber, &kind);
        }
    }

    /// What a subscriber was not told yet, in order.
    pub fn drain_observations(&mut self, subscriber: Subscriber) -> Vec<Observation> {
        self.subscribers.get_mut(&subscriber).map(|s| s.queue.drain(..).collect()).unwrap_or_default()
    }

    /// Whether a subscriber was not told something yet.
    #[must_use]
    pub fn has_observations(&self, subscriber: Subscriber) -> bool {
        self.subscribers.get(&subscriber).is_some_and(|s| !s.queue.is_empty())
    }

    /// All watches of a kind begin anew, as after the answer 410 Gone.
    pub fn expire_watch(&mut self, kind: &Kind) {
        let all: Vec<Subscriber> = self.watching(kind);
        for subscriber in all {
            self.start(subscriber, kind);
        }
    }

    /// A custom kind came or went.
    pub(crate) fn kinds_changed(&mut self) {
        let all: Vec<(Subscriber, Kind, bool)> = self
            .subscribers
            .iter()
            .flat_map(|(id, s)| s.kinds.iter().map(|(kind, watched)| (*id, kind.clone(), watched.running)))
            .collect();
        for (subscriber, kind, running) in all {
            if running != self.resolve(&kind).is_ok() {
                self.start(subscriber, &kind);
            }
        }
    }

    /// The API server went away or came back.
    pub(crate) fn reachability_changed(&mut self) {
        let all: Vec<(Subscriber, Kind)> =
            self.subscribers.iter().flat_map(|(id, s)| s.kinds.keys().map(|kind| (*id, kind.clone()))).collect();
        for (subscriber, kind) in all {
            self.start(subscriber, &kind);
        }
    }

    fn watching(&self, kind: &Kind) -> Vec<Subscriber> {
        self.subscribers.iter().filter(|(_, s)| s.kinds.contains_key(kind)).map(|(id, _)| *id).collect()
    }

    /// (Re)starts a watch: tells all there is, or that the kind can't be watched.
    fn start(&mut self, subscriber: Subscriber, kind: &Kind) {
        let depth = self.subscribers.get(&subscriber).and_then(|s| s.kinds.get(kind)).map(|w| w.depth);
        let Some(depth) = depth else { return };
        let told = if self.reachable {
            self.resolve(kind).map(|_| self.listing(kind, depth))
        } else {
            Err(crate::fault::unreachable())
        };
        let Some(subscription) = self.subscribers.get_mut(&subscriber) else {
            return;
        };
        subscription.kinds.insert(kind.clone(), Watched { depth, running: told.is_ok() });
        match told {
            Ok(all) => {
                // What was not told yet of this kind is overtaken.
                subscription.queue.retain(|seen| !is_of(seen, kind));
                subscription.queue.extend(all);
            }
            Err(failure) => {
                subscription.queue.push_back(Observation::Lost { kind: kind.clone(), failure });
            }
        }
    }

    fn listing(&self, kind: &Kind, depth: Depth) -> Vec<Observation> {
        let mut all = vec![Observation::Restarted(kind.clone())];
        let labelled = self.of_kind(&kind.kind).filter(|(_, stored)| stored.labelled);
        all.extend(labelled.map(|(_, s)| Observation::Seen(live(kind, s, depth == Depth::Whole))));
        all.push(Observation::Listed(kind.clone()));
        all
    }

    /// Tells all watches of a change.
    pub(crate) fn notify(&mut self, identity: &Identity, before: Option<&Stored>, after: Option<&Stored>) {
        if !self.reachable {
            return;
        }
        let mut overflown = Vec::new();
        for (id, subscription) in &mut self.subscribers {
            let watched: Vec<(Kind, Watched)> = subscription
                .kinds
                .iter()
                .filter(|(kind, watched)| kind.kind == identity.kind && watched.running)
                .map(|(kind, watched)| (kind.clone(), *watched))
                .collect();
            for (kind, watched) in watched {
                let whole = watched.depth == Depth::Whole;
                let Some(seen) = observation(&kind, whole, identity, before, after) else {
                    continue;
                };
                subscription.queue.push_back(seen);
                if subscription.queue.len() > limits::MEMORY_OBSERVATIONS_MAX {
                    overflown.push((*id, kind));
                }
            }
        }
        // A subscriber that does not keep up is told anew, as an API server does.
        for (subscriber, kind) in overflown {
            self.start(subscriber, &kind);
        }
    }
}

fn observation(
    kind: &Kind,
    whole: bool,
    identity: &Identity,
    before: Option<&Stored>,
    after: Option<&Stored>,
) -> Option<Observation> {
    match (before.filter(|b| b.labelled), after.filter(|a| a.labelled)) {
        (_, Some(after)) => Some(Observation::Seen(live(kind, after, whole))),
        (Some(before), None) => Some(Observation::Gone { identity: identity.clone(), uid: before.uid.clone() }),
        (None, None) => None,
    }
}

fn is_of(seen: &Observation, kind: &Kind) -> bool {
    match seen {
        Observation::Seen(live) => live.identity.kind == kind.kind,
        Observation::Gone { identity, .. } => identity.kind == kind.kind,
        Observation::Listed(of) | Observation::Restarted(of) | Observation::Lost { kind: of, .. } => of == kind,
    }
}
