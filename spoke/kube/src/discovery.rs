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
    /// Whether it has a status subresource, as far as that was asked for.
    pub(crate) status: bool,
}

/// A kind whose objects go with their namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfNamespaces {
    pub(crate) resource: Resource,
    pub(crate) can_list: bool,
}

impl Resource {
    /// `deployments.apps`, as messages name it.
    pub(crate) fn named(&self) -> String {
        match self.kind.kind.group.as_str() {
            "" => self.plural.clone(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Group and version in one, as manifests write them.
    pub(crate) fn api_version(&self) -> String {
        match self.kind.kind.group.as_str() {
            "" => self.kind.version.clone(),
            group => format!("{group}/{}", self.kind.version),
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
        entries.insert(key, Entry { at: Instant::now(), resources });
        found.ok_or_else(|| missing(kind))
    }

    /// Finds a kind at any version, the group's preferred first.
    pub(crate) async fn find_any(&self, api: &Api, kind: &GroupKind) -> Result<Resource, Failure> {
        let unversioned = Kind { kind: kind.clone(), version: "any version".into() };
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
        let all = group["versions"].as_array().into_iter().flatten().filter_map(|v| v["version"].as_str());
        let mut seen = BTreeSet::new();
        for version in preferred.into_iter().chain(all) {
            if !seen.insert(version) {
                continue;
            }
            let kind = Kind { kind: kind.clone(), version: version.into() };
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
        for answer in everything(api).await? {
            listable(&answer, &mut kinds);
        }
        Ok(kinds.into_iter().map(|(kind, version)| Kind { kind, version }).collect())
    }

    /// All kinds of which objects are deleted with their namespace, each at its preferred version.
    pub(crate) async fn of_namespaces(&self, api: &Api) -> Result<Vec<OfNamespaces>, Failure> {
        let mut kinds = BTreeMap::new();
        for answer in everything(api).await? {
            deletable(&answer, &mut kinds);
        }
        Ok(kinds.into_values().collect())
    }
}

/// What the server says of all its kinds.
async fn everything(api: &Api) -> Result<Vec<Json>, Failure> {
    let mut answers = Vec::new();
    for path in ["/api", "/apis"] {
        let call = Call { accept: DISCOVERY, ..Call::get(path) };
        let subject = discovery_subject("");
        let answer = api.call(call).await.map_err(|error| error.failure(&subject))?;
        if answer["kind"] != "APIGroupDiscoveryList" {
            return Err(plain(
                Reason::Server,
                "the API server does not tell all its kinds at once (aggregated discovery): Kubernetes 1.30 or newer is needed",
            ));
        }
        answers.push(answer);
    }
    Ok(answers)
}

/// What a kind offers, by verb; with its group and version.
fn each_resource(answer: &Json) -> impl Iterator<Item = (&str, &str, &Json)> {
    fn list(value: &Json) -> std::slice::Iter<'_, Json> {
        value.as_array().map(Vec::as_slice).unwrap_or_default().iter()
    }
    list(&answer["items"]).flat_map(move |group| {
        let name = group["metadata"]["name"].as_str().unwrap_or_default();
        list(&group["versions"]).flat_map(move |version| {
            let of = version["version"].as_str().unwrap_or_default();
            list(&version["resources"]).map(move |resource| (name, of, resource))
        })
    })
}

fn offers(resource: &Json, verbs: &[&str]) -> bool {
    let all = resource["verbs"].as_array().into_iter().flatten();
    all.into_iter().any(|verb| verbs.iter().any(|wanted| verb == wanted))
}

fn deletable(answer: &Json, kinds: &mut BTreeMap<GroupKind, OfNamespaces>) {
    for (group, version, resource) in each_resource(answer) {
        let is_of_namespaces = resource["scope"] == "Namespaced" && offers(resource, &["delete", "deletecollection"]);
        let names = (resource["responseKind"]["kind"].as_str(), resource["resource"].as_str());
        let (Some(kind), Some(plural), true) = (names.0, names.1, is_of_namespaces) else {
            continue;
        };
        let kind = GroupKind { group: group.into(), kind: kind.into() };
        kinds.entry(kind.clone()).or_insert_with(|| OfNamespaces {
            can_list: offers(resource, &["list"]),
            resource: Resource {
                kind: Kind { kind, version: version.into() },
                plural: plural.into(),
                namespaced: true,
                status: false,
            },
        });
    }
}

fn listable(answer: &Json, kinds: &mut BTreeMap<GroupKind, String>) {
    for (group, version, resource) in each_resource(answer) {
        if let (true, Some(kind)) = (offers(resource, &["list"]), resource["responseKind"]["kind"].as_str()) {
            let kind = GroupKind { group: group.into(), kind: kind.into() };
            kinds.entry(kind).or_insert_with(|| version.into());
        }
    }
}

async fn fetch(api: &Api, group: &str, version: &str) -> Result<BTreeMap<String, Resource>, Failure> {
    let answer = match api.call(Call::get(group_path(group, version))).await {
        Err(error) if error.is_code(404) => return Ok(BTreeMap::new()),
        answer => answer.map_err(|error| error.failure(&discovery_subject(group)))?,
    };
    Ok(resources(&answer, group, version))
}

/// The kinds of one version of a group.
fn resources(answer: &Json, group: &str, version: &str) -> BTreeMap<String, Resource> {
    let all = || answer["resources"].as_array().into_iter().flatten();
    let statuses: BTreeSet<&str> =
        all().filter_map(|resource| resource["name"].as_str()?.strip_suffix("/status")).collect();
    all()
        .filter_map(|resource| {
            let plural = resource["name"].as_str().filter(|name| !name.contains('/'))?;
            let kind = resource["kind"].as_str()?;
            let found = Resource {
                kind: Kind { kind: GroupKind { group: group.into(), kind: kind.into() }, version: version.into() },
                plural: plural.into(),
                namespaced: resource["namespaced"] == true,
                status: statuses.contains(plural),
            };
            Some((kind.to_owned(), found))
        })
        .collect()
}

fn discovery_subject(group: &str) -> Subject {
    Subject { verb: "get", resource: format!("the kinds of group {group:?}"), ..Subject::default() }
}

fn missing(kind: &Kind) -> Failure {
    plain(Reason::NoSuchKind, format!("the server has no kind {} at {}", kind.kind, kind.version))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let mut resource = Resource {
            kind: Kind { kind: GroupKind { group: "apps".into(), kind: "Deployment".into() }, version: "v1".into() },
            plural: "deployments".into(),
            namespaced: true,
            status: false,
        };
        assert_eq!(resource.path("shop", "web"), "/apis/apps/v1/namespaces/shop/deployments/web");
        assert_eq!(resource.path("", ""), "/apis/apps/v1/deployments");
        resource.kind.kind.group.clear();
        resource.namespaced = false;
        assert_eq!(resource.path("", "a:b"), "/api/v1/deployments/a%3Ab");
    }

    #[test]
    fn a_status_of_its_own_is_told_from_none() {
        let answer = json!({"resources": [
            {"name": "widgets", "kind": "Widget", "namespaced": true},
            {"name": "widgets/status", "kind": "Widget", "namespaced": true},
            {"name": "gadgets", "kind": "Gadget"}, {"name": "gadgets/scale", "kind": "Scale"}]});
        let found = resources(&answer, "example.com", "v1");
        let all: Vec<_> = found.values().map(|one| (one.named(), one.namespaced, one.status)).collect();
        assert_eq!(
            all,
            [("gadgets.example.com".to_owned(), false, false), ("widgets.example.com".to_owned(), true, true)]
        );
    }

    #[test]
    fn what_goes_with_a_namespace_is_told_from_the_rest() {
        let one = |kind: &str, scope: &str, verbs: &[&str]| {
            json!({"resource": kind.to_lowercase(), "scope": scope,
            "responseKind": {"kind": kind}, "verbs": verbs})
        };
        let answer = json!({"items": [{"metadata": {"name": "g"}, "versions": [{"version": "v1", "resources": [
            one("Both", "Namespaced", &["list", "delete"]),
            one("Blind", "Namespaced", &["deletecollection"]),
            one("Shown", "Namespaced", &["get", "list"]),
            one("Wide", "Cluster", &["list", "delete"])]}]}]});
        let mut kinds = BTreeMap::new();
        deletable(&answer, &mut kinds);
        let found: Vec<_> = kinds.values().map(|one| (one.resource.plural.as_str(), one.can_list)).collect();
        assert_eq!(found, [("blind", false), ("both", true)]);
    }

    #[test]
    fn a_kind_is_listed_at_its_preferred_version() {
        let answer = json!({"items": [{"metadata": {"name": "g"}, "versions": [
            {"version": "v2", "resources": [{"responseKind": {"kind": "A"}, "verbs": ["get", "list"]}]},
            {"version": "v1", "resources": [{"responseKind": {"kind": "A"}, "verbs": ["list"]},
                                            {"responseKind": {"kind": "B"}, "verbs": ["create"]}]}]}]});
        let mut kinds = BTreeMap::new();
        listable(&answer, &mut kinds);
        assert_eq!(kinds, BTreeMap::from([(GroupKind { group: "g".into(), kind: "A".into() }, "v2".into())]));
    }
}
