//! What watches see, on its way to the loop: coalesced, so that it takes no more room than the
//! objects that exist.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto_model::{GroupKind, Identity};
use spoke_core::port::{Observation, Sink};
use tokio::sync::Notify;

/// The queue itself. Of each object only the newest sighting is kept, at the place of its first
/// since the last relist; a relist drops what it is about to tell anew.
#[derive(Debug, Default)]
struct Queue {
    next: u64,
    items: BTreeMap<u64, Observation>,
    places: HashMap<Identity, u64>,
}

impl Queue {
    fn push(&mut self, observation: Observation) {
        let identity = match &observation {
            Observation::Seen(live) => Some(&live.identity),
            Observation::Gone { identity, .. } => Some(identity),
            Observation::Restarted(kind) => {
                self.forget(&kind.kind);
                None
            }
            Observation::Listed(_) | Observation::Lost { .. } => None,
        };
        let place = match identity {
            Some(identity) => *self.places.entry(identity.clone()).or_insert(self.next),
            None => self.next,
        };
        if place == self.next {
            self.next += 1;
        }
        self.items.insert(place, observation);
    }

    fn forget(&mut self, kind: &GroupKind) {
        self.items.retain(|_, item| match item {
            Observation::Seen(live) => live.identity.kind != *kind,
            Observation::Gone { identity, .. } => identity.kind != *kind,
            Observation::Listed(one) | Observation::Restarted(one) => one.kind != *kind,
            Observation::Lost { kind: one, .. } => one.kind != *kind,
        });
        self.places.retain(|identity, _| identity.kind != *kind);
    }

    fn pop(&mut self) -> Option<Observation> {
        let (_, observation) = self.items.pop_first()?;
        match &observation {
            Observation::Seen(live) => self.places.remove(&live.identity),
            Observation::Gone { identity, .. } => self.places.remove(identity),
            _ => None,
        };
        Some(observation)
    }
}

/// The queue between the watches and the loop.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    queue: Mutex<Queue>,
    notify: Notify,
}

impl Intake {
    /// Where watches put what they see.
    pub(crate) fn sink(self: &Arc<Self>) -> Sink {
        let intake = Arc::clone(self);
        Arc::new(move |observation| {
            intake.queue().push(observation);
            intake.notify.notify_one();
        })
    }

    /// The next at most `max` observations; waits for the first.
    pub(crate) async fn next(&self, max: usize) -> Vec<Observation> {
        loop {
            {
                let mut queue = self.queue();
                let taken: Vec<_> = std::iter::from_fn(|| queue.pop()).take(max).collect();
                if !taken.is_empty() {
                    return taken;
                }
            }
            self.notify.notified().await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use spoke_core::port::{Kind, Live};

    use super::*;

    fn kind(name: &str) -> Kind {
        Kind { kind: GroupKind { group: String::new(), kind: name.into() }, version: "v1".into() }
    }

    fn seen(of: &str, name: &str, version: u32) -> Observation {
        let metadata = json!({"name": name, "uid": "u", "resourceVersion": version.to_string()});
        Observation::Seen(Live::read(&kind(of), &metadata, None))
    }

    fn gone(of: &str, name: &str) -> Observation {
        let Observation::Seen(live) = seen(of, name, 0) else { unreachable!() };
        Observation::Gone { identity: live.identity, uid: "u".into() }
    }

    fn through(observations: Vec<Observation>) -> Vec<Observation> {
        let mut queue = Queue::default();
        observations.into_iter().for_each(|one| queue.push(one));
        let out = std::iter::from_fn(|| queue.pop()).collect();
        assert!(queue.places.is_empty());
        out
    }

    #[test]
    fn the_newest_sighting_of_an_object_wins() {
        let out = through(vec![
            seen("ConfigMap", "a", 1),
            seen("ConfigMap", "b", 1),
            seen("ConfigMap", "a", 2),
            gone("ConfigMap", "b"),
        ]);
        assert_eq!(out, [seen("ConfigMap", "a", 2), gone("ConfigMap", "b")]);
    }

    #[test]
    fn a_relist_keeps_what_was_seen_in_it() {
        let (restarted, listed) = (Observation::Restarted(kind("ConfigMap")), Observation::Listed(kind("ConfigMap")));
        let out = through(vec![
            seen("ConfigMap", "a", 1),
            seen("Secret", "a", 1),
            gone("ConfigMap", "b"),
            restarted.clone(),
            seen("ConfigMap", "a", 2),
            listed.clone(),
            seen("ConfigMap", "a", 3),
        ]);
        // Not before the relist: then the object would count as gone.
        assert_eq!(out, [seen("Secret", "a", 1), restarted, seen("ConfigMap", "a", 3), listed]);
    }

    #[test]
    fn room_is_bounded_by_the_objects_that_exist() {
        let mut queue = Queue::default();
        for version in 0..10_000 {
            queue.push(seen("ConfigMap", &format!("c{}", version % 7), version));
            if version % 100 == 0 {
                queue.push(Observation::Restarted(kind("ConfigMap")));
                queue.push(Observation::Listed(kind("ConfigMap")));
            }
        }
        assert!(queue.items.len() <= 9, "{}", queue.items.len());
    }
}
