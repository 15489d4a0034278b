//! What a namespace holds, or what is of a defined kind: metadata lists, a page at a time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use proto_model::{GroupKind, Identity, limits};
use serde_json::Value as Json;
use spoke_core::contents::{Contents, Member, Survey};
use spoke_core::port::{Failure, Kind, Outcome, Reason};

use crate::api::{Api, Call, METADATA_LIST, escaped};
use crate::cluster::Inner;
use crate::discovery::Resource;
use crate::failure::{Subject, plain};

impl Inner {
    /// Looks through a namespace, or through the objects of a definition.
    pub(crate) async fn contents(
        &self,
        api: &Api,
        of: &Identity,
        inventoried: Arc<BTreeSet<String>>,
    ) -> Result<Outcome, Failure> {
        let time = Duration::from_secs(limits::CONTENTS_SECS_MAX);
        let survey = async {
            if of.kind.is("", "Namespace") {
                self.survey_namespace(api, &of.name, inventoried).await
            } else {
                self.survey_definition(api, of, inventoried).await
            }
        };
        match tokio::time::timeout(time, survey).await {
            Ok(contents) => contents.map(Outcome::Contents),
            Err(_) => {
                Err(plain(Reason::Unreachable, format!("looking through {of} took longer than {} s", time.as_secs())))
            }
        }
    }

    async fn survey_namespace(
        &self,
        api: &Api,
        namespace: &str,
        inventoried: Arc<BTreeSet<String>>,
    ) -> Result<Contents, Failure> {
        let mut survey = Survey::new(inventoried);
        for listed in self.discovery.of_namespaces(&self.api).await? {
            if listed.can_list {
                self.survey_kind(api, &mut survey, &listed.resource, namespace).await?;
            } else {
                survey.cannot_list(listed.resource.kind.kind, "it offers no list");
            }
            if survey.is_decided() {
                break;
            }
        }
        Ok(survey.finish())
    }

    async fn survey_definition(
        &self,
        api: &Api,
        of: &Identity,
        inventoried: Arc<BTreeSet<String>>,
    ) -> Result<Contents, Failure> {
        let subject = Subject {
            verb: "get",
            resource: "customresourcedefinitions.apiextensions.k8s.io".into(),
            namespace: String::new(),
            name: of.name.clone(),
        };
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{}", escaped(&of.name));
        let definition = match api.call(Call::get(path)).await {
            Ok(definition) => definition,
            Err(error) if error.is_missing_object(&subject) => return Ok(Contents::default()),
            Err(error) => return Err(error.failure(&subject)),
        };
        let mut survey = Survey::new(inventoried);
        // What was never established never had an object.
        if !is_established(&definition) {
            return Ok(survey.finish());
        }
        match defined(&definition) {
            Some(resource) => self.survey_kind(api, &mut survey, &resource, "").await?,
            None => {
                let text = |pointer| definition.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned();
                let kind = GroupKind { group: text("/spec/group"), kind: text("/spec/names/kind") };
                survey.cannot_list(kind, "no version of it is served");
            }
        }
        Ok(survey.finish())
    }

    /// Lists one kind, until something foreign is found. That the server refuses the list says that
    /// nobody can know; that it does not answer is a failure of the whole.
    async fn survey_kind(
        &self,
        api: &Api,
        survey: &mut Survey,
        resource: &Resource,
        namespace: &str,
    ) -> Result<(), Failure> {
        let subject =
            Subject { verb: "list", resource: resource.named(), namespace: namespace.into(), ..Subject::default() };
        let kind = &resource.kind.kind;
        let base = format!("{}?limit={}", resource.path(namespace, ""), limits::API_PAGE_OBJECTS);
        let mut path = base.clone();
        loop {
            let call = Call { accept: METADATA_LIST, ..Call::get(path.as_str()) };
            let page = match api.call(call).await {
                Ok(page) => page,
                // Gone since the kinds were asked for, and its objects with it.
                Err(error) if error.is_code(404) => return Ok(()),
                Err(error) => {
                    let failure = self.failed(error, &subject, resource);
                    let is_passing = matches!(failure.reason, Reason::Unreachable | Reason::Throttled);
                    if is_passing {
                        return Err(failure);
                    }
                    survey.cannot_list(kind.clone(), failure.message);
                    return Ok(());
                }
            };
            let items = page["items"].as_array().into_iter().flatten();
            items.for_each(|item| survey.see(Member::read(kind, &item["metadata"])));
            let token = page["metadata"]["continue"].as_str().filter(|token| !token.is_empty());
            match token.filter(|_| !survey.is_decided()) {
                Some(token) => path = format!("{base}&continue={}", escaped(token)),
                None => return Ok(()),
            }
        }
    }
}

fn is_established(definition: &Json) -> bool {
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    conditions.into_iter().any(|one| one["type"] == "Established" && one["status"] == "True")
}

/// The kind of a definition, at a version that is served.
fn defined(definition: &Json) -> Option<Resource> {
    let text = |pointer| definition.pointer(pointer).and_then(Json::as_str).map(str::to_owned);
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let served = versions.into_iter().find(|version| version["served"] == true)?;
    Some(Resource {
        kind: Kind {
            kind: GroupKind { group: text("/spec/group")?, kind: text("/spec/names/kind")? },
            version: served["name"].as_str()?.to_owned(),
        },
        plural: text("/spec/names/plural")?,
        namespaced: text("/spec/scope")? == "Namespaced",
        status: false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_is_listed_at_a_version_that_is_served() {
        let mut definition = json!({
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"kind": "Widget", "plural": "widgets"},
                "versions": [{"name": "v1", "served": false}, {"name": "v2", "served": true}]},
            "status": {"conditions": [{"type": "Established", "status": "True"}]}});
        let path = defined(&definition).map(|resource| resource.path("", ""));
        assert_eq!(path.as_deref(), Some("/apis/example.com/v2/widgets"));
        assert!(is_established(&definition));
        definition["spec"]["versions"][1]["served"] = false.into();
        assert_eq!(defined(&definition), None);
        definition["status"]["conditions"][0]["status"] = "False".into();
        assert!(!is_established(&definition));
    }
}
