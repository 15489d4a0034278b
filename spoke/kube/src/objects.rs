//! Objects: read, applied, deleted.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::Method;
use proto_model::{GroupKind, Identity, limits, object};
use serde_json::{Value as Json, json};
use spoke_core::port::{Failure, Kind, Live, OWNER_LABEL, Op, Outcome, Reason};

use crate::api::{APPLY, Api, Call, JSON, MERGE, METADATA_LIST, escaped};
use crate::cluster::Inner;
use crate::discovery::Resource;
use crate::failure::{Error, Subject, plain};

/// What a namespace that is missing is made as.
const MANAGER: &str = "drover-spoke";

impl Inner {
    /// Carries out one request.
    pub(crate) async fn run(&self, op: Op) -> Outcome {
        let done = match op {
            Op::As(account, op) => match self.api.acting_as(&account) {
                Ok(api) => self.carry_out(&api, *op).await,
                Err(failure) => Err(failure),
            },
            op => self.carry_out(&self.api, op).await,
        };
        done.unwrap_or_else(Outcome::Failed)
    }

    async fn carry_out(&self, api: &Api, op: Op) -> Result<Outcome, Failure> {
        match op {
            Op::Discover(kind) => self.discover(&kind).await,
            Op::Get { identity, version } => self.get(api, &identity, &version).await,
            Op::Apply { manifest, manager, dry_run } => self.apply(api, &manifest, &manager, dry_run).await,
            Op::Delete { identity, version, uid, resource_version, orphan } => {
                let preconditions = json!({"uid": uid, "resourceVersion": resource_version});
                self.delete(api, &identity, &version, &preconditions, orphan).await
            }
            Op::Patch { identity, version, uid, resource_version, mut patch } => {
                patch["metadata"]["uid"] = uid.into();
                patch["metadata"]["resourceVersion"] = resource_version.into();
                self.patch(api, &identity, &version, &patch).await
            }
            Op::List { kind, namespace, name, labels } => self.list(api, &kind, &namespace, &name, &labels).await,
            Op::EnsureNamespace(name) => self.ensure_namespace(api, &name).await.map(|()| Outcome::NamespaceReady),
            Op::Contents { of, inventoried } => self.contents(api, &of, inventoried).await,
            Op::As(..) => Err(plain(Reason::Invalid, "nobody acts as one who acts as another")),
        }
    }

    async fn discover(&self, kind: &Kind) -> Result<Outcome, Failure> {
        let resource = self.discovery.find(&self.api, kind).await?;
        self.watches.nudge(kind);
        Ok(Outcome::Discovered { namespaced: resource.namespaced })
    }

    async fn get(&self, api: &Api, identity: &Identity, version: &str) -> Result<Outcome, Failure> {
        let kind = Kind { kind: identity.kind.clone(), version: version.into() };
        let done = match self.discovery.find(&self.api, &kind).await {
            Ok(resource) => self.get_of(api, identity, &resource).await,
            Err(failure) => Err(failure),
        };
        match done {
            // The version may be gone and the object still there at another.
            Err(failure) if failure.reason == Reason::NoSuchKind => {
                match self.discovery.find_any(&self.api, &identity.kind).await {
                    Ok(resource) => self.get_of(api, identity, &resource).await,
                    // This one names the version.
                    Err(other) if other.reason == Reason::NoSuchKind => Err(failure),
                    Err(other) => Err(other),
                }
            }
            done => done,
        }
    }

    async fn get_of(&self, api: &Api, identity: &Identity, resource: &Resource) -> Result<Outcome, Failure> {
        let subject = subject("get", resource, identity)?;
        match api.call(Call::get(resource.path(&subject.namespace, &subject.name))).await {
            Ok(found) => Ok(Outcome::Got(Some(whole(resource, found)))),
            Err(error) if error.is_missing_object(&subject) => Ok(Outcome::Got(None)),
            Err(error) => Err(self.failed(error, &subject, resource)),
        }
    }

    async fn apply(&self, api: &Api, manifest: &Json, manager: &str, dry_run: bool) -> Result<Outcome, Failure> {
        let identity =
            object::identity(manifest).map_err(|why| plain(Reason::Invalid, format!("the manifest {why}")))?;
        let api_version = manifest["apiVersion"].as_str().unwrap_or_default();
        let version = api_version.rsplit_once('/').map_or(api_version, |(_, version)| version);
        let kind = Kind { kind: identity.kind.clone(), version: version.into() };
        let resource = self.discovery.find(&self.api, &kind).await?;
        let subject = subject("patch", &resource, &identity)?;
        let mut path = resource.path(&subject.namespace, &subject.name);
        path.push_str(&format!("?fieldManager={}&force=true", escaped(manager)));
        if dry_run {
            path.push_str("&dryRun=All");
        }
        let call = Call::with(Method::PATCH, path, APPLY, manifest);
        let applied = api.call(call).await.map_err(|error| self.failed(error, &subject, &resource))?;
        if is_definition(&identity.kind) {
            self.discovery.forget(manifest["spec"]["group"].as_str().unwrap_or_default());
        }
        Ok(Outcome::Applied(whole(&resource, applied)))
    }

    async fn delete(
        &self,
        api: &Api,
        identity: &Identity,
        version: &str,
        preconditions: &Json,
        orphan: bool,
    ) -> Result<Outcome, Failure> {
        let kind = Kind { kind: identity.kind.clone(), version: version.into() };
        let resource = match self.discovery.find(&self.api, &kind).await {
            // The version may be gone and the object still there at another.
            Err(failure) if failure.reason == Reason::NoSuchKind => {
                self.discovery.find_any(&self.api, &identity.kind).await
            }
            found => found,
        };
        let resource = match resource {
            Ok(resource) => resource,
            // Where the kind does not exist, no object of it does.
            Err(failure) if failure.reason == Reason::NoSuchKind => return Ok(Outcome::Deleted),
            Err(failure) => return Err(failure),
        };
        let subject = subject("delete", &resource, identity)?;
        let options = json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": preconditions, "propagationPolicy": if orphan { "Orphan" } else { "Background" },
        });
        let path = resource.path(&subject.namespace, &subject.name);
        match api.call(Call::with(Method::DELETE, path, JSON, &options)).await {
            Ok(_) => {}
            Err(error) if error.is_missing_object(&subject) => {}
            Err(error) => return Err(self.failed(error, &subject, &resource)),
        }
        if is_definition(&identity.kind) {
            self.discovery.forget(identity.name.split_once('.').map_or("", |(_, group)| group));
        }
        Ok(Outcome::Deleted)
    }

    async fn patch(&self, api: &Api, identity: &Identity, version: &str, patch: &Json) -> Result<Outcome, Failure> {
        let kind = Kind { kind: identity.kind.clone(), version: version.into() };
        let resource = self.discovery.find(&self.api, &kind).await?;
        let subject = subject("patch", &resource, identity)?;
        let mut path = resource.path(&subject.namespace, &subject.name);
        path.push_str(&format!("?fieldManager={MANAGER}"));
        let patched = api.call(Call::with(Method::PATCH, path, MERGE, patch)).await;
        let patched = patched.map_err(|error| match error.is_missing_object(&subject) {
            // Gone since it was looked at: it must be looked at again.
            true => plain(Reason::Conflict, format!("{identity} is gone")),
            false => self.failed(error, &subject, &resource),
        })?;
        Ok(Outcome::Patched(whole(&resource, patched)))
    }

    async fn list(
        &self,
        api: &Api,
        kind: &Kind,
        namespace: &str,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<Outcome, Failure> {
        let resource = self.discovery.find(&self.api, kind).await?;
        let subject =
            Subject { verb: "list", resource: resource.named(), namespace: namespace.into(), ..Subject::default() };
        let mut path = format!("{}?limit={}", resource.path(namespace, ""), limits::LIST_OBJECTS_MAX);
        if !name.is_empty() {
            path.push_str(&format!("&fieldSelector={}", escaped(&format!("metadata.name={name}"))));
        }
        if !labels.is_empty() {
            let all: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            path.push_str(&format!("&labelSelector={}", escaped(&all.join(","))));
        }
        let mut page = api.call(Call::get(path)).await.map_err(|error| self.failed(error, &subject, &resource))?;
        let mut items = page["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
        // Items of a list do not say what they are.
        for item in &mut items {
            item["apiVersion"] = resource.api_version().into();
            item["kind"] = resource.kind.kind.kind.as_str().into();
        }
        Ok(Outcome::Listed(items.into_iter().map(Arc::new).collect()))
    }

    /// Makes a namespace where it is missing. Whether it is, the spoke itself looks: who may only
    /// work in a namespace need not have the right to.
    pub(crate) async fn ensure_namespace(&self, api: &Api, name: &str) -> Result<(), Failure> {
        let subject =
            |verb| Subject { verb, resource: "namespaces".into(), namespace: String::new(), name: name.into() };
        let path = format!("/api/v1/namespaces/{}", escaped(name));
        // Twice, since another client may make it in between.
        for _ in 0..2 {
            match self.api.call(Call::get(path.as_str())).await {
                Ok(found) if found["metadata"]["deletionTimestamp"].is_null() => return Ok(()),
                Ok(_) => {
                    let message =
                        format!("namespace {name:?} is being terminated; it can be made again once it is gone");
                    return Err(plain(Reason::Terminating, message));
                }
                Err(error) if error.is_missing_object(&subject("get")) => {}
                Err(error) => return Err(error.failure(&subject("get"))),
            }
            let manifest = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            let create = format!("/api/v1/namespaces?fieldManager={MANAGER}");
            match api.call(Call::with(Method::POST, create, JSON, &manifest)).await {
                Ok(_) => return Ok(()),
                Err(error) if error.is_code(409) => {}
                Err(error) => return Err(error.failure(&subject("create"))),
            }
        }
        Err(plain(Reason::Conflict, format!("namespace {name:?} is made and removed by someone else")))
    }

    /// All live objects of a kind that carry our label, by their metadata.
    pub(crate) async fn owned(&self, kind: &Kind) -> Result<Vec<Live>, Failure> {
        let resource = self.discovery.find(&self.api, kind).await?;
        let subject = Subject { verb: "list", resource: resource.named(), ..Subject::default() };
        let base = format!(
            "{}?labelSelector={}&limit={}",
            resource.path("", ""),
            escaped(OWNER_LABEL),
            limits::API_PAGE_OBJECTS
        );
        let mut all = Vec::new();
        let mut path = base.clone();
        loop {
            let call = Call { accept: METADATA_LIST, ..Call::get(path.as_str()) };
            let page = self.api.call(call).await.map_err(|error| self.failed(error, &subject, &resource))?;
            let items = page["items"].as_array().into_iter().flatten();
            all.extend(items.map(|item| Live::read(kind, &item["metadata"], None)));
            match page["metadata"]["continue"].as_str().filter(|token| !token.is_empty()) {
                Some(token) => path = format!("{base}&continue={}", escaped(token)),
                None => return Ok(all),
            }
        }
    }

    /// A failure; a kind that turns out to be gone is forgotten.
    pub(crate) fn failed(&self, error: Error, subject: &Subject, resource: &Resource) -> Failure {
        let failure = error.failure(subject);
        if failure.reason == Reason::NoSuchKind {
            self.discovery.forget(&resource.kind.kind.group);
        }
        failure
    }
}

fn whole(resource: &Resource, object: Json) -> Live {
    let object = Arc::new(object);
    Live::read(&resource.kind, &object["metadata"], Some(object.clone())).with_status(resource.status)
}

fn is_definition(kind: &GroupKind) -> bool {
    kind.is("apiextensions.k8s.io", "CustomResourceDefinition")
}

fn subject(verb: &'static str, resource: &Resource, identity: &Identity) -> Result<Subject, Failure> {
    if resource.namespaced && identity.namespace.is_empty() {
        let message = format!("{identity}: metadata.namespace: Required value: the kind lives in namespaces");
        return Err(plain(Reason::Invalid, message));
    }
    Ok(Subject {
        verb,
        resource: resource.named(),
        namespace: if resource.namespaced { identity.namespace.clone() } else { String::new() },
        name: identity.name.clone(),
    })
}
