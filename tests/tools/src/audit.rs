//! Reads the audit log of kube-apiserver: which requests were made, by whom, with what result.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// One request. What a request does not have (the namespace of a node, the resource of `/readyz`) is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// When it arrived, RFC 3339 with microseconds.
    pub at: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// The plural name: `deployments`.
    pub resource: String,
    /// As in `deployments/status`: `status`.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// The name; empty for lists, and for objects that are created.
    pub name: String,
    /// Who asked: `admin` through the kubeconfig of a test, or the name of a component.
    pub user: String,
    /// Which program asked, as it says itself.
    pub user_agent: String,
    /// Path and query.
    pub uri: String,
    /// The HTTP status.
    pub code: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    #[serde(rename = "auditID")]
    audit_id: String,
    request_received_timestamp: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    object_ref: Option<ObjectRef>,
    response_status: Option<ResponseStatus>,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ObjectRef {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize)]
struct ResponseStatus {
    #[serde(default)]
    code: u16,
}

impl From<Event> for Entry {
    fn from(event: Event) -> Self {
        let object = event.object_ref.unwrap_or_default();
        Self {
            at: event.request_received_timestamp,
            verb: event.verb,
            group: object.api_group,
            resource: object.resource,
            subresource: object.subresource,
            namespace: object.namespace,
            name: object.name,
            user: event.user.username,
            user_agent: event.user_agent,
            uri: event.request_uri,
            code: event.response_status.map_or(0, |status| status.code),
        }
    }
}

/// The requests of an audit log, each once, in the order in which they were first logged; none if there is no log yet.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(path).with_context(|| format!("cannot read the audit log {}", path.display()))?;
    parse(&text).with_context(|| format!("in the audit log {}", path.display()))
}

/// A watch is logged at its begin and at its end: the same request, so one entry, with the newest code.
fn parse(text: &str) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        // The last line may be under way; a line without end in the middle cannot be.
        let Some(line) = line.strip_suffix('\n') else {
            break;
        };
        // A killed apiserver may leave part of a line, and its successor appends to it. Inside of strings the quotes would
        // be escaped, so the last of these is where the last event begins.
        let event = &line[line.rfind(r#"{"kind":"Event""#).unwrap_or_default()..];
        let event: Event =
            serde_json::from_str(event).with_context(|| format!("line {} is not an audit event", index + 1))?;
        if let Some(place) = places.get(&event.audit_id) {
            entries[*place] = event.into();
        } else {
            places.insert(event.audit_id.clone(), entries.len());
            entries.push(event.into());
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn line(id: &str, verb: &str, code: u16) -> String {
        format!(
            r#"{{"kind":"Event","auditID":"{id}","verb":"{verb}","requestURI":"/api/v1/pods","user":{{"username":"admin"}},"objectRef":{{"resource":"pods","apiVersion":"v1"}},"responseStatus":{{"code":{code}}},"requestReceivedTimestamp":"2026-01-01T00:00:00.000000Z"}}"#
        )
    }

    #[test]
    fn a_watch_counts_once_and_torn_lines_cost_only_themselves() {
        let (watch, list) = (line("a", "watch", 200), line("b", "list", 200));
        let text = format!("{watch}\n{}{list}\n{watch}\n{}", &watch[..50], &list[..20]);
        let entries = parse(&text).unwrap();
        let seen: Vec<_> = entries.iter().map(|entry| (entry.verb.as_str(), entry.resource.as_str())).collect();
        assert_eq!(seen, [("watch", "pods"), ("list", "pods")]);
    }
}
