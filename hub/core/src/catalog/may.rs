//! Whether what a source declares, and what its bundles render to, keeps within what the root
//! source lets it do.

use globset::{Glob, GlobMatcher};
use proto_model::bind::BindError;
use proto_model::{Identity, Variables};

use super::document::Kind;
use super::source_spec::{Declarable, May};
use super::spec::BundleSpec;
use super::{Declared, Defect, service_account};
use crate::release::VariantMeta;
use crate::release::scope::{Scope, scope};

/// Where objects lie that name no namespace, and whose bundle names none.
const DEFAULT_NAMESPACE: &str = "default";

impl May {
    /// Why a kind may not be declared; `None` where it may.
    pub(super) fn refuses(&self, kind: Kind) -> Option<String> {
        let declarable = match kind {
            Kind::Cluster | Kind::Source => {
                return Some(format!("a {kind:?} is declared in the root source alone; move the document there"));
            }
            Kind::VariableSet => Declarable::VariableSet,
            Kind::Bundle => Declarable::Bundle,
            Kind::RolloutPolicy => Declarable::RolloutPolicy,
            Kind::HealthCheck => Declarable::HealthCheck,
        };
        (!self.declare.contains(&declarable)).then(|| {
            format!(
                "this source may not declare a {kind:?}: add it to may.declare of its Source, or move the document to \
                 the root source"
            )
        })
    }

    /// What a bundle's own document may not say.
    pub(super) fn check(&self, item: &Declared<BundleSpec>) -> Vec<Defect> {
        let mut found = Vec::new();
        if let Some(namespace) = item.spec.namespace.as_deref().filter(|one| !self.takes_namespace(one)) {
            found.push(item.defect("spec.namespace", self.wrong_namespace(namespace)));
        }
        let helm = item.spec.render.as_ref().and_then(|render| render.helm.as_ref());
        if let Some(name) =
            helm.and_then(|helm| helm.credentials.as_ref()).filter(|name| !self.credentials.contains(*name))
        {
            let message = format!(
                "this source may not use credentials {name}: add the name to may.credentials of its Source, or take \
                 the chart from elsewhere"
            );
            found.push(item.defect("spec.render.helm.credentials", message));
        }
        // Where spokes have no more rights than those that they act for, these are rights of others.
        let account = item.spec.service_account.as_ref();
        let account = account.and_then(|text| service_account(text, item.spec.namespace.as_deref()).ok());
        if let Some(account) = account.filter(|one| !self.takes_namespace(&one.namespace)) {
            found.push(item.defect("spec.serviceAccount", self.wrong_namespace(&account.namespace)));
        }
        found
    }

    /// What of a variant's objects, bound to these variables, may not be.
    ///
    /// # Errors
    /// A variable that is part of a name has no value.
    pub(crate) fn problems(&self, meta: &VariantMeta, variables: &Variables) -> Result<Vec<String>, BindError> {
        Ok(meta.identities(variables)?.iter().filter_map(|identity| self.problem(identity)).collect())
    }

    fn problem(&self, identity: &Identity) -> Option<String> {
        let kind = &identity.kind;
        let lies_in_one = match scope(kind) {
            Some(Scope::Namespaced) => true,
            Some(Scope::Cluster) => false,
            // A namespace in the manifest of a custom kind proves nothing: it is dropped where the
            // kind turns out to have none.
            None => self.namespaced_kinds.contains(&kind.to_string()),
        };
        if !lies_in_one {
            return (!self.cluster_scoped).then(|| match scope(kind) {
                Some(_) => format!("{identity}: this source may have no objects of the cluster's own scope"),
                None => format!(
                    "{identity}: the hub cannot tell whether {kind} lies in a namespace; add it to \
                     may.namespacedKinds of the Source, or set may.clusterScoped"
                ),
            });
        }
        let namespace = if identity.namespace.is_empty() { DEFAULT_NAMESPACE } else { &identity.namespace };
        (!self.takes_namespace(namespace)).then(|| format!("{identity}: {}", self.wrong_namespace(namespace)))
    }

    fn takes_namespace(&self, namespace: &str) -> bool {
        // A glob that is none was refused with the Source; here it matches nothing.
        let matches = |glob: &String| matcher(glob).is_some_and(|glob| glob.is_match(namespace));
        self.namespaces.as_ref().is_none_or(|globs| globs.iter().any(matches))
    }

    fn wrong_namespace(&self, namespace: &str) -> String {
        let globs = self.namespaces.iter().flatten().map(String::as_str);
        let globs: Vec<&str> = globs.collect();
        format!("namespace {namespace} is none that this source may use: {}", globs.join(", "))
    }
}

pub(super) fn matcher(glob: &str) -> Option<GlobMatcher> {
    Glob::new(glob).ok().map(|glob| glob.compile_matcher())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proto_model::GroupKind;

    use super::*;

    fn team() -> May {
        let mut may = May { namespaces: Some(vec!["team-a".into(), "team-a-*".into()]), ..May::default() };
        may.namespaced_kinds.insert("Certificate.cert-manager.io".into());
        may
    }

    fn problem(may: &May, api_version: &str, kind: &str, namespace: &str) -> Option<String> {
        let (kind, namespace) = (GroupKind::of(api_version, kind), namespace.into());
        may.problem(&Identity { kind, namespace, name: "x".into() })
    }

    #[test]
    fn objects_lie_in_the_namespaces_that_the_globs_name() {
        for (namespace, good) in
            [("team-a", true), ("team-a-web", true), ("team-ab", false), ("kube-system", false), ("", false)]
        {
            assert_eq!(problem(&team(), "v1", "ConfigMap", namespace).is_none(), good, "{namespace}");
        }
        assert_eq!(problem(&May::default(), "v1", "ConfigMap", "kube-system"), None);
        let may = May { namespaces: Some(vec!["default".into()]), ..May::default() };
        assert_eq!(problem(&may, "v1", "ConfigMap", ""), None, "the namespace that it will lie in");
    }

    #[test]
    fn what_may_lie_outside_of_namespaces_is_refused() {
        for (api, kind) in [
            ("v1", "Namespace"),
            ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
            ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            // With a namespace of the team's, and yet: nobody here knows the kind.
            ("cert-manager.io/v1", "ClusterIssuer"),
        ] {
            assert!(problem(&team(), api, kind, "team-a").is_some(), "{kind}");
            assert_eq!(problem(&May { cluster_scoped: true, ..team() }, api, kind, "team-a"), None, "{kind}");
        }
        assert_eq!(problem(&team(), "cert-manager.io/v1", "Certificate", "team-a"), None);
        assert!(problem(&team(), "cert-manager.io/v1", "Certificate", "other").is_some());
        assert!(problem(&team(), "example.com/v1", "Certificate", "team-a").is_some(), "of another group");
    }

    #[test]
    fn clusters_that_a_source_does_not_see() {
        let limit = |text: &str| May { clusters: Some(serde_json::from_str(text).unwrap()), ..May::default() };
        let labels = |team: &str| [("team".to_owned(), team.to_owned())].into();
        let may = limit(r#"{"selector": {"matchLabels": {"team": "a"}}}"#);
        assert!(may.sees(&labels("a")) && !may.sees(&labels("b")));
        assert!(limit(r#"{"selector": {}}"#).sees(&labels("b")) && May::default().sees(&labels("b")));
    }
}
