//! What the spoke says in its cluster: Events and the ConfigMap with how it stands.

use std::collections::BTreeMap;

use proto_model::{GroupKind, Identity, limits};
use serde_json::json;
use spoke_core::port::{About, Failure, Note, STATUS_NAME, SYSTEM_NAMESPACE};

use crate::state::{State, time};

const MANAGER: &str = "drover-spoke";

impl State {
    /// Writes the ConfigMap; see [`spoke_core::port::Cluster::publish`].
    ///
    /// # Errors
    /// A fault that a test put there.
    pub fn publish(&mut self, data: &BTreeMap<String, String>, now_millis: u64) -> Result<(), Failure> {
        self.ensure_namespace(SYSTEM_NAMESPACE, now_millis)?;
        let manifest = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": STATUS_NAME, "namespace": SYSTEM_NAMESPACE}, "data": data,
        });
        self.apply(&manifest, MANAGER, false, now_millis).map(drop)
    }

    /// Makes an Event of a note, in the place of the oldest where there are too many; see
    /// [`spoke_core::port::Cluster::tell`].
    ///
    /// # Errors
    /// A fault that a test put there, or the namespace of the object is gone.
    pub fn tell(&mut self, note: &Note, now_millis: u64) -> Result<(), Failure> {
        let status = Identity {
            kind: GroupKind::of("v1", "ConfigMap"),
            namespace: SYSTEM_NAMESPACE.into(),
            name: STATUS_NAME.into(),
        };
        let (about, version, uid) = match &note.about {
            About::Object { identity, version, uid } => (identity.clone(), version.as_str(), uid.clone()),
            About::Status => {
                self.ensure_namespace(SYSTEM_NAMESPACE, now_millis)?;
                let uid = self.objects.get(&status).map(|stored| stored.uid.clone());
                (status, "v1", uid.unwrap_or_default())
            }
        };
        let group = &about.kind.group;
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        let namespace = if about.namespace.is_empty() { "default" } else { &about.namespace };
        let manifest = json!({
            "apiVersion": "v1", "kind": "Event",
            "metadata": {"name": format!("drover.{:016x}", self.revision), "namespace": namespace},
            "involvedObject": {
                "apiVersion": api_version, "kind": about.kind.kind, "namespace": about.namespace,
                "name": about.name, "uid": uid,
            },
            "type": if note.is_warning { "Warning" } else { "Normal" },
            "reason": note.reason, "message": note.message, "count": note.count,
            "firstTimestamp": time(note.first_unix_millis), "lastTimestamp": time(note.last_unix_millis),
            "source": {"component": MANAGER}, "reportingComponent": MANAGER,
        });
        self.apply(&manifest, MANAGER, false, now_millis)?;
        let events = GroupKind::of("v1", "Event");
        if self.of_kind(&events).count() > limits::MEMORY_EVENTS_MAX {
            let oldest = self.of_kind(&events).min_by_key(|(_, stored)| stored.since);
            if let Some(oldest) = oldest.map(|(identity, _)| identity.clone()) {
                self.erase(&oldest);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn events_do_not_pile_up() {
        let mut state = State::new("edge-1");
        let note = |number: u64| Note {
            about: About::Status,
            is_warning: false,
            reason: "Applied",
            message: number.to_string(),
            count: 1,
            first_unix_millis: number,
            last_unix_millis: number,
        };
        for number in 0..limits::MEMORY_EVENTS_MAX as u64 + 20 {
            state.tell(&note(number), number).unwrap();
        }
        let events = GroupKind::of("v1", "Event");
        let mut told: Vec<u64> = state
            .of_kind(&events)
            .map(|(_, stored)| stored.json()["message"].as_str().unwrap().parse().unwrap())
            .collect();
        told.sort_unstable();
        assert_eq!((told.len(), told[0]), (limits::MEMORY_EVENTS_MAX, 20));
    }
}
