//! Who may fetch now. A server that hangs holds each fetch up to its deadline, and must not hold up the
//! sources of others: each host has but a part of the room.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use proto_model::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Room for fetches under way.
pub struct Room {
    all: Arc<Semaphore>,
    /// Those of hosts that somebody fetches from, or waits for.
    hosts: Mutex<BTreeMap<String, Weak<Semaphore>>>,
}

/// Room for one fetch, until it is dropped.
pub struct Place {
    _all: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl Default for Room {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(limits::FETCHES_MAX)), hosts: Mutex::default() }
    }
}

impl Room {
    /// Waits until there is room for a fetch from `host`: first among those of the same host, in the
    /// order in which they came. `None` never happens while the room is there.
    pub async fn enter(&self, host: &str) -> Option<Place> {
        let own = self.of(host);
        let host = own.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.all).acquire_owned().await.ok()?;
        Some(Place { _all: all, _host: host })
    }

    fn of(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hosts.get(host).and_then(Weak::upgrade) {
            return known;
        }
        hosts.retain(|_, known| known.strong_count() > 0);
        let made = Arc::new(Semaphore::new(limits::FETCHES_PER_HOST_MAX));
        hosts.insert(host.to_owned(), Arc::downgrade(&made));
        made
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The place, where there is one at once.
    fn enters(room: &Room, host: &str) -> Option<Place> {
        match pin!(room.enter(host)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => place,
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_host_that_hangs_leaves_room_for_others() {
        let room = Room::default();
        let mut hanging: Vec<Place> = (0..60).filter_map(|_| enters(&room, "hangs")).collect();
        assert_eq!(hanging.len(), limits::FETCHES_PER_HOST_MAX);
        let others: Vec<Place> = (0..60).filter_map(|n| enters(&room, &format!("{n}"))).collect();
        assert_eq!(hanging.len() + others.len(), limits::FETCHES_MAX);
        // Each one that ends makes room for one, of the same host first of all.
        drop(hanging.pop());
        let next = enters(&room, "hangs");
        assert!(next.is_some() && enters(&room, "hangs").is_none());
        drop((next, others, hanging));
        assert!(enters(&room, "hangs").is_some());
        assert_eq!(room.hosts.lock().unwrap().len(), 1, "hosts that nobody asks are forgotten");
    }
}
