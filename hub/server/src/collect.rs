//! Removes bodies that nothing needs any more, so that the store does not grow with every commit.
//!
//! A body goes when Fleet named it in none of the looks of a long while: a publish under way, or a
//! stream in the middle of a delta, still finds what it began with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_core::fleet::Fleet;
use hub_store::{Store, StoreError};
use proto_model::{Digest, Variant, limits};
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::bodies::Bodies;
use crate::hub::Hub;

/// Collects until the hub stops.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut seen = Seen::default();
    let mut stop = hub.stop.clone();
    let mut often = tokio::time::interval(Duration::from_secs(limits::COLLECT_SECS));
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            _ = often.tick() => {}
        }
        let look = {
            let hub = Arc::clone(&hub);
            spawn_blocking(move || {
                let collected = collect(hub.state().fleet(), &hub.bodies, &mut seen, Instant::now());
                (seen, collected)
            })
        };
        // A panic was told on stderr; the next look begins anew.
        let (again, collected) = look.await.unwrap_or_else(|_| (Seen::default(), Ok(0)));
        seen = again;
        match collected {
            Ok(0) => {}
            Ok(bodies) => info!(bodies, "removed bodies that nothing needs"),
            Err(error) => warn!(%error, "bodies could not be collected"),
        }
    }
}

/// Since when bodies are named by nothing.
#[derive(Debug, Default)]
struct Seen(BTreeMap<Digest, Instant>);

impl Seen {
    /// Of some bodies that lie in the store, those that were unnamed for long enough.
    fn old(&mut self, page: &[Digest], needed: &BTreeSet<Digest>, now: Instant) -> Vec<Digest> {
        let kept = Duration::from_secs(limits::UNREFERENCED_BODY_SECS);
        let mut old = Vec::new();
        for digest in page {
            if needed.contains(digest) {
                self.0.remove(digest);
            } else if now.saturating_duration_since(*self.0.entry(*digest).or_insert(now)) >= kept {
                old.push(*digest);
            }
        }
        old
    }
}

/// One look at the whole store. How many bodies were removed.
fn collect(fleet: &Fleet, bodies: &Bodies, seen: &mut Seen, now: Instant) -> Result<usize, StoreError> {
    let needed = needed(fleet, bodies.store())?;
    let (mut removed, mut after) = (0, None);
    loop {
        let page = bodies.store().list(after.as_ref(), limits::COLLECT_BODIES)?;
        let Some(last) = page.last() else { return Ok(removed) };
        after = Some(*last);
        let old = seen.old(&page, &needed, now);
        if !old.is_empty() {
            removed += bodies.collect(&old, now)?;
            for digest in &old {
                seen.0.remove(digest);
            }
        }
    }
}

/// All that Fleet names, and the objects of the variants among it. Where a list cannot be read
/// nobody knows what it needs: then nothing goes.
fn needed(fleet: &Fleet, store: &Store) -> Result<BTreeSet<Digest>, StoreError> {
    let mut needed = fleet.referenced();
    for digest in fleet.variants() {
        if let Some(list) = store.get(&digest)? {
            let unread = |_| StoreError::Mismatch { digest };
            needed.extend(Variant::decode(&list).map_err(unread)?.objects);
        }
    }
    Ok(needed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use hub_core::command::{Command, Entry};
    use hub_store::{Kind, SealingKey};
    use proto_model::Object;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nothing_names_goes_after_a_while_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let key = SealingKey::create(&temp.path().join("key")).unwrap();
        let bodies = Bodies::new(Arc::new(Store::open(temp.path(), key).unwrap()));
        let object = Object::new(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})).unwrap();
        let variant = Variant { objects: vec![object.digest], ..Variant::default() }.encode();
        let (list, stray) = (Digest::of(&variant), Digest::of(b"stray"));
        let all: [(Digest, Kind, &[u8]); 3] = [
            (object.digest, Kind::Object, &object.body),
            (list, Kind::Variant, &variant),
            (stray, Kind::Object, b"stray"),
        ];
        bodies.store().put(&all).unwrap();
        let mut fleet = Fleet::new("h");
        let commands = vec![Command::Rendered { renderings: vec![(Digest::of(b"input"), list)] }];
        fleet.apply(&Entry { parent: 0, at_unix_millis: 0, commands }).unwrap();

        let (start, mut seen) = (Instant::now(), Seen::default());
        let span = Duration::from_secs(limits::UNREFERENCED_BODY_SECS);
        assert_eq!(collect(&fleet, &bodies, &mut seen, start).unwrap(), 0);
        assert_eq!(collect(&fleet, &bodies, &mut seen, start + span / 2).unwrap(), 0);
        // Whoever puts it again means to name it.
        bodies.put(&[(stray, Kind::Object, b"stray")]).unwrap();
        assert_eq!(collect(&fleet, &bodies, &mut seen, start + span).unwrap(), 0);
        assert!(bodies.store().has(&stray).unwrap());
        assert_eq!(collect(&fleet, &bodies, &mut seen, start + 2 * span).unwrap(), 0, "seen anew");
        assert_eq!(collect(&fleet, &bodies, &mut seen, start + 3 * span).unwrap(), 1);
        assert!(bodies.store().missing([object.digest, list]).unwrap().is_empty());
    }
}
