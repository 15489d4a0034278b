//! What the spoke says in its cluster: Events, where `kubectl describe` shows them, and the ConfigMap
//! with how it stands. One request each, best effort.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use http::Method;
use serde_json::{Value as Json, json};
use spoke_core::local::time;
use spoke_core::port::{About, Failure, Note, STATUS_NAME, SYSTEM_NAMESPACE};

use crate::api::{APPLY, Call, JSON, escaped};
use crate::cluster::Inner;
use crate::failure::Subject;

/// Field manager of the ConfigMap, and source of the Events.
const MANAGER: &str = "drover-spoke";
const CONFIG_MAPS: &str = "/api/v1/namespaces/drover-system/configmaps";

/// What is known of the ConfigMap: Events about it name its uid, or `kubectl describe` passes them over.
#[derive(Default)]
pub(crate) struct Voice {
    status_uid: Mutex<String>,
}

impl Voice {
    /// Writes the ConfigMap, whatever is there.
    pub(crate) async fn publish(&self, inner: &Inner, data: &BTreeMap<String, String>) -> Result<(), Failure> {
        let manifest = manifest(data);
        let path = format!("{CONFIG_MAPS}/{STATUS_NAME}?fieldManager={MANAGER}&force=true");
        let subject = status("patch");
        let written = inner.in_system_namespace(&inner.api, &subject, Method::PATCH, &path, APPLY, &manifest).await;
        self.learn(&written.map_err(|error| error.failure(&subject))?);
        Ok(())
    }

    /// Makes an Event.
    pub(crate) async fn tell(&self, inner: &Inner, note: &Note) -> Result<(), Failure> {
        let status_uid = match note.about {
            About::Status => self.status_uid(inner).await,
            About::Object { .. } => String::new(),
        };
        let event = event(note, status_uid);
        let namespace = event["metadata"]["namespace"].as_str().unwrap_or_default();
        let subject =
            Subject { verb: "create", resource: "events".into(), namespace: namespace.to_owned(), name: String::new() };
        let path = format!("/api/v1/namespaces/{}/events", escaped(namespace));
        let made = inner.api.call(Call::with(Method::POST, path, JSON, &event)).await;
        made.map(drop).map_err(|error| error.failure(&subject))
    }

    /// The uid of the ConfigMap, which is made where there is none yet; empty where that fails.
    async fn status_uid(&self, inner: &Inner) -> String {
        let known = self.status_uid.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if !known.is_empty() {
            return known;
        }
        let found = match inner.api.call(Call::get(format!("{CONFIG_MAPS}/{STATUS_NAME}"))).await {
            Err(error) if error.is_missing_object(&status("get")) => {
                let subject = status("create");
                // Not applied: what was published meanwhile must not be emptied.
                let empty = manifest(&BTreeMap::new());
                inner.in_system_namespace(&inner.api, &subject, Method::POST, CONFIG_MAPS, JSON, &empty).await
            }
            found => found,
        };
        found.map(|found| self.learn(&found)).unwrap_or(known)
    }

    fn learn(&self, found: &Json) -> String {
        let uid = found["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        self.status_uid.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&uid);
        uid
    }
}

fn manifest(data: &BTreeMap<String, String>) -> Json {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": STATUS_NAME, "namespace": SYSTEM_NAMESPACE}, "data": data,
    })
}

fn status(verb: &'static str) -> Subject {
    Subject { verb, resource: "configmaps".into(), namespace: SYSTEM_NAMESPACE.into(), name: STATUS_NAME.into() }
}

/// The Event of a note. One about an object of the cluster's scope lies in `default`, as the API server asks.
fn event(note: &Note, status_uid: String) -> Json {
    let involved = match &note.about {
        About::Object { identity, version, uid } => {
            let group = &identity.kind.group;
            let api_version = if group.is_empty() { version.clone() } else { format!("{group}/{version}") };
            json!({
                "apiVersion": api_version, "kind": identity.kind.kind, "namespace": identity.namespace,
                "name": identity.name, "uid": uid,
            })
        }
        About::Status => json!({
            "apiVersion": "v1", "kind": "ConfigMap", "namespace": SYSTEM_NAMESPACE,
            "name": STATUS_NAME, "uid": status_uid,
        }),
    };
    let namespace = involved["namespace"].as_str().filter(|name| !name.is_empty()).unwrap_or("default").to_owned();
    json!({
        "apiVersion": "v1", "kind": "Event",
        "metadata": {"generateName": "drover.", "namespace": namespace},
        "involvedObject": involved,
        "type": if note.is_warning { "Warning" } else { "Normal" },
        "reason": note.reason, "message": note.message, "count": note.count,
        "firstTimestamp": time::utc(note.first_unix_millis), "lastTimestamp": time::utc(note.last_unix_millis),
        "source": {"component": MANAGER}, "reportingComponent": MANAGER,
    })
}

#[cfg(test)]
mod tests {
    use proto_model::{GroupKind, Identity};

    use super::*;

    fn note(about: About) -> Note {
        Note {
            about,
            is_warning: true,
            reason: "Failed",
            message: "why".into(),
            count: 2,
            first_unix_millis: 0,
            last_unix_millis: 60_000,
        }
    }

    #[test]
    fn an_event_lies_with_its_object() {
        let identity =
            |kind: GroupKind, namespace: &str| Identity { kind, namespace: namespace.into(), name: "x".into() };
        let about = |identity| About::Object { identity, version: "v1".into(), uid: "u".into() };
        let of = |about| event(&note(about), "status".into());
        let deployment = of(about(identity(GroupKind::of("apps/v1", "Deployment"), "shop")));
        assert_eq!(deployment["metadata"]["namespace"], "shop");
        assert_eq!(deployment["involvedObject"]["apiVersion"], "apps/v1");
        assert_eq!(deployment["involvedObject"]["uid"], "u");
        assert_eq!((&deployment["type"], &deployment["count"]), (&json!("Warning"), &json!(2)));
        assert_eq!(deployment["lastTimestamp"], "1970-01-01T00:01:00Z");
        let role = of(about(identity(GroupKind::of("rbac.authorization.k8s.io/v1", "ClusterRole"), "")));
        assert_eq!(role["metadata"]["namespace"], "default");
        let status = of(About::Status);
        assert_eq!(status["involvedObject"]["uid"], "status");
        assert_eq!(status["metadata"]["namespace"], SYSTEM_NAMESPACE);
    }
}
