//! Which kinds the API server has, asked for by group and version and remembered for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto_model::{GroupKind, limits};
use serde_json::Value as Json;
use spoke_core::port::{Failure, Kind, Reason};

use crate::api::{Api, Call, DISCOVERY, escaped};
use crate::failure::{Subject, plain};

/// How a kind is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resource {
    pub(crate) kind: Kind,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
}

impl Resource {
    /// `deployments.apps`, as messages name it.
    pub(crate) fn named(&self) -> String {
        match self.kind.kind.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The path of one object, or of all where `name` is empty; of all namespaces where
    /// `namespace` is.
    pub(crate) fn path(&self, namespace: &str, name: &str) -> String {
        let mut path = group_path(&self.kind.kind.group, &self.kind.version);
        if self.namespaced && !namespace.is_empty() {
            path.push_str("/namespaces/");
            path.push_str(&escaped(namespace));
        }
        path.push('/');
        path.push_str(&self.plural);
        if !name.is_empty() {
            path.push('/');
            path.push_str(&escaped(name));
        }
        path
    }
}

/// The path of a group's version.
fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("/api/{}", escaped(version))
    } else {
        format!("/apis/{}/{}", escaped(group), escaped(version))
    }
}

struct Entry {
    at: Instant,
    resources: BTreeMap<String, Resource>,
}

/// What is known of the server's kinds.
#[derive(Default)]
pub(crate) struct Discovery {
    entries: Mutex<BTreeMap<(String, String), Entry>>,
}

impl Discovery {
    fn entries(&self) -> MutexGuard<'_, BTreeMap<(String, String), Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds a kind. That it is missing is never remembered.
    pub(crate) async fn find(&self, api: &Api, kind: &Kind) -> Result<Resource, Failure> {
        let key = (kind.kind.group.clone(), kind.version.clone());
        let fresh = Duration::from_secs(limits::DISCOVERY_SECS_MAX);
        if let Some(entry) = self.entries().get(&key)
            && entry.at.elapsed() < fresh
            && let Some(resource) = entry.resources.get(&kind.kind.kind)
        {
            return Ok(resource.clone());
        }
        let resources = fetch(api, &kind.kind.group, &kind.version).await?;
        let found = resources.get(&kind.kind.kind).cloned();
        let mut entries = self.entries();
        if entries.len() >= limits::DISCOVERY_ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(
            key,
            Entry {
                at: Instant::now(),
                resources,
            },
        );
        found.ok_or_else(|| missing(kind))
    }

    /// Finds a kind at any version, the group's preferred first.
    pub(crate) async fn find_any(&self, api: &Api, kind: &GroupKind) -> Result<Resource, Failure> {
        let unversioned = Kind {
            kind: kind.clone(),
            version: "any version".into(),
        };
        if kind.group.is_empty() {
            return Err(missing(&unversioned));
        }
        let subject = discovery_subject(&kind.group);
        let path = format!("/apis/{}", escaped(&kind.group));
        let group = match api.call(Call::get(path)).await {
            Err(error) if error.is_code(404) => return Err(missing(&unversioned)),
            answer => answer.map_err(|error| error.failure(&subject))?,
        };
        let preferred = group["preferredVersion"]["version"].as_str();
        let all = group["versions"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|v| v["version"].as_str());
        let mut seen = BTreeSet::new();
        for version in preferred.into_iter().chain(all) {
            if !seen.insert(version) {
                continue;
            }
            let kind = Kind {
                kind: kind.clone(),
                version: version.into(),
            };
            match self.find(api, &kind).await {
                Err(failure) if failure.reason == Reason::NoSuchKind => {}
                found => return found,
            }
        }
        Err(missing(&unversioned))
    }

    /// Forgets what is known of a group: its kinds may have changed.
    pub(crate) fn forget(&self, group: &str) {
        self.entries().retain(|(known, _), _| known != group);
    }

    /// All kinds that can be listed, each at its preferred version.
    pub(crate) async fn all(&self, api: &Api) -> Result<BTreeSet<Kind>, Failure> {
        let mut kinds = BTreeMap::new();
        for path in ["/api", "/apis"] {
            let call = Call {
                accept: DISCOVERY,
                ..Call::get(path)
            };
            let subject = discovery_subject("");
            let answer = api
                .call(call)
                .await
                .map_err(|error| error.failure(&subject))?;
            if answer["kind"] != "APIGroupDiscoveryList" {
                return Err(plain(
                    Reason::Server,
                    "the API server does not tell all its kinds at once (aggregated discovery): Kubernetes 1.30 or newer is needed",
                ));
            }
            listable(&answer, &mut kinds);
        }
        Ok(kinds
            .into_iter()
            .map(|(kind, version)| Kind { kind, version })
            .collect())
    }
}

fn listable(answer: &Json, kinds: &mut BTreeMap<GroupKind, String>) {
    let each = |list: &Json| list.as_array().cloned().unwrap_or_default();
    for group in each(&answer["items"]) {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        for version in each(&group["versions"]) {
            for resource in each(&version["resources"]) {
                let lists = each(&resource["verbs"]).iter().any(|verb| verb == "list");
                if let (true, Some(kind)) = (lists, resource["responseKind"]["kind"].as_str()) {
                    let kind = GroupKind {
                        group: name.into(),
                        kind: kind.into(),
                    };
                    let version = version["version"].as_str().unwrap_or_default();
                    kinds.entry(kind).or_insert_with(|| version.into());
                }
            }
        }
    }
}

async fn fetch(
    api: &Api,
    group: &str,
    version: &str,
) -> Result<BTreeMap<String, Resource>, Failure> {
    let answer = match api.call(Call::get(group_path(group, version))).await {
        Err(error) if error.is_code(404) => return Ok(BTreeMap::new()),
        answer => answer.map_err(|error| error.failure(&discovery_subject(group)))?,
    };
    let all = answer["resources"].as_array().into_iter().flatten();
    Ok(all
        .filter_map(|resource| {
            let plural = resource["name"]
                .as_str()
                .filter(|name| !name.contains('/'))?;
            let kind = resource["kind"].as_str()?;
            let found = Resource {
                kind: Kind {
                    kind: GroupKind {
                        group: group.into(),
                        kind: kind.into(),
                    },
                    version: version.into(),
                },
                plural: plural.into(),
                namespaced: resource["namespaced"] == true,
            };
            Some((kind.to_owned(), found))
        })
        .collect())
}

fn discovery_subject(group: &str) -> Subject {
    Subject {
        verb: "get",
        resource: format!("the kinds of group {group:?}"),
        ..Subject::default()
    }
}

fn missing(kind: &Kind) -> Failure {
    plain(
        Reason::NoSuchKind,
        format!("the server has no kind {} at {}", kind.kind, kind.version),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let mut resource = Resource {
            kind: Kind {
                kind: GroupKind {
                    group: "apps".into(),
                    kind: "Deployment".into(),
                },
                version: "v1".into(),
            },
            plural: "deployments".into(),
            namespaced: true,
        };
        assert_eq!(
            resource.path("shop", "web"),
            "/apis/apps/v1/namespaces/shop/deployments/web"
        );
        assert_eq!(resource.path("", ""), "/apis/apps/v1/deployments");
        resource.kind.kind.group.clear();
        resource.namespaced = false;
        assert_eq!(resource.path("", "a:b"), "/api/v1/deployments/a%3Ab");
    }

    #[test]
    fn a_kind_is_listed_at_its_preferred_version() {
        let answer = json!({"items": [{"metadata": {"name": "g"}, "versions": [
            {"version": "v2", "resources": [{"responseKind": {"kind": "A"}, "verbs": ["get", "list"]}]},
            {"version": "v1", "resources": [{"responseKind": {"kind": "A"}, "verbs": ["list"]},
                                            {"responseKind": {"kind": "B"}, "verbs": ["create"]}]}]}]});
        let mut kinds = BTreeMap::new();
        listable(&answer, &mut kinds);
        assert_eq!(
            kinds,
            BTreeMap::from([(
                GroupKind {
                    group: "g".into(),
                    kind: "A".into()
                },
                "v2".into()
            )])
        );
    }
}
