//! The two sets of rights in deploy/spoke, on a real API server with RBAC.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use anyhow::{Result, ensure};
use tests_cluster::site::{Site, config_map, kubeconfig_of};
use tests_tools::Options;

const ADMIN: &str = include_str!("../../../deploy/spoke/admin.yaml");
const RESTRICTED: &str = include_str!("../../../deploy/spoke/restricted.yaml");
const SPOKE: &str = "system:serviceaccount:drover-system:drover-spoke";
const ACCOUNT: &str = "system:serviceaccount:team:deployer";

/// An account that may work in its namespace, with ConfigMaps and Deployments alone.
const TEAM: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: Namespace
metadata: {name: other}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: team}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: deployer, namespace: team}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, create, patch, delete]}
- {apiGroups: [apps], resources: [deployments], verbs: [get, list, create, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deployer}
subjects: [{kind: ServiceAccount, name: deployer, namespace: team}]
"#;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "registry.example/web:1"}]}
"#;

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n";

const ROLE: &str = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: mighty}\nrules: []\n";

/// A cluster whose spoke has the rights of a file of deploy/spoke.
fn with_rights(name: &str, manifests: &str) -> Result<Site> {
    let mut site = Site::start(Options::full(name))?;
    site.cluster.kubectl_text(["apply", "--validate=strict", "-f", "-"], &manifests.replace("EDIT", name))?;
    site.cluster.kubectl_text(["apply", "-f", "-"], TEAM)?;
    let kubeconfig = site.fleet.dir().join("kubeconfig.json");
    kubeconfig_of(&site.cluster, "drover-spoke", &kubeconfig)?;
    site.join(kubeconfig)?;
    Ok(site)
}

fn bundle(site: &Site, name: &str, namespace: &str, account: Option<&str>) -> Result<()> {
    let account = account.map(|account| format!("  serviceAccount: {account}\n")).unwrap_or_default();
    site.bundle(name, &format!("  namespace: {namespace}\n{account}"))
}

/// One cluster serves all that the restricted rights are to show: its steps build on each other.
#[test]
fn the_restricted_spoke_has_the_rights_of_the_bundle_s_account_and_no_others() -> Result<()> {
    let site = with_rights("restricted", RESTRICTED)?;
    it_applies_what_the_account_may(&site)?;
    nothing_was_done_as_the_spoke_itself(&site)?;
    it_sees_and_mends_drift(&site)?;
    it_is_refused_what_the_account_may_not(&site)?;
    another_namespace_is_out_of_reach(&site)?;
    a_bundle_without_an_account_is_refused(&site)?;
    an_account_that_is_not_there_is_refused(&site)?;
    secrets_are_not_readable(&site)
}

fn it_applies_what_the_account_may(site: &Site) -> Result<()> {
    bundle(site, "web", "team", Some("deployer"))?;
    site.write("web/web.yaml", DEPLOYMENT)?;
    site.write("web/config.yaml", &config_map("web", "1"))?;
    site.settle("what the account may")?;
    site.object("deployment", "web", "team").map(drop)
}

fn nothing_was_done_as_the_spoke_itself(site: &Site) -> Result<()> {
    let audit = site.cluster.audit()?;
    let writes = ["create", "update", "patch", "delete"];
    let ours = |entry: &&tests_tools::audit::Entry| {
        entry.user_agent.starts_with("drover-spoke/") && writes.contains(&entry.verb.as_str())
    };
    let writes: Vec<_> = audit.iter().filter(ours).collect();
    ensure!(writes.iter().any(|one| one.resource == "deployments"));
    for one in writes {
        let is_own = one.namespace == "drover-system" || one.resource == "events";
        ensure!(is_own || one.uri.contains("/team/"), "{one:?}");
    }
    Ok(())
}

fn it_sees_and_mends_drift(site: &Site) -> Result<()> {
    site.kubectl(&["patch", "configmap", "web", "-n", "team", "-p", r#"{"data":{"key":"theirs"}}"#])?;
    site.wait_object("it is put right", ("configmap", "web", "team"), |found| {
        found.is_some_and(|one| one["data"]["key"] == "1")
    })
}

/// The message names verb, resource and account.
fn it_is_refused_what_the_account_may_not(site: &Site) -> Result<()> {
    bundle(site, "more", "team", Some("deployer"))?;
    site.write("more/service.yaml", SERVICE)?;
    site.write("more/role.yaml", ROLE)?;
    site.fleet.repo.commit("what the account may not")?;
    site.wait_explained("main/more", &["services", "clusterroles.rbac.authorization.k8s.io", ACCOUNT])?;
    site.wait_sync("main/more", "Failed")?;
    ensure!(site.get("service", "web", "team")?.is_none() && site.get("clusterrole", "mighty", "team")?.is_none());
    Ok(())
}

fn another_namespace_is_out_of_reach(site: &Site) -> Result<()> {
    bundle(site, "elsewhere", "other", Some("team/deployer"))?;
    site.write("elsewhere/config.yaml", &config_map("web", "1"))?;
    site.fleet.repo.commit("another namespace")?;
    site.wait_explained("main/elsewhere", &["configmaps other/web", ACCOUNT, "namespace \"other\""])?;
    ensure!(site.get("configmap", "web", "other")?.is_none());
    Ok(())
}

fn a_bundle_without_an_account_is_refused(site: &Site) -> Result<()> {
    bundle(site, "bare", "team", None)?;
    site.write("bare/config.yaml", &config_map("bare", "1"))?;
    site.fleet.repo.commit("without an account")?;
    site.wait_explained("main/bare", &["configmaps team/bare", SPOKE])?;
    site.wait_sync("main/bare", "Failed")?;
    ensure!(site.get("configmap", "bare", "team")?.is_none());
    Ok(())
}

/// It has no rights, as every account that nobody gave any.
fn an_account_that_is_not_there_is_refused(site: &Site) -> Result<()> {
    bundle(site, "nobody", "team", Some("nobody"))?;
    site.write("nobody/config.yaml", &config_map("nobody", "1"))?;
    site.fleet.repo.commit("an account that is not there")?;
    site.wait_explained("main/nobody", &["configmaps team/nobody", "system:serviceaccount:team:nobody"])?;
    ensure!(site.get("configmap", "nobody", "team")?.is_none());
    Ok(())
}

fn secrets_are_not_readable(site: &Site) -> Result<()> {
    let may = |verb: &str, what: &str, namespace: &str| -> Result<bool> {
        let args = ["auth", "can-i", verb, what, "-n", namespace, "--as", SPOKE];
        Ok(site.cluster.kubectl(args)?.status.success())
    };
    ensure!(may("list", "secrets", "drover-system")?, "the ledger");
    for verb in ["get", "list", "watch", "create", "patch", "delete"] {
        ensure!(!may(verb, "secrets", "team")?, "{verb}");
    }
    for verb in ["create", "patch", "delete"] {
        for what in ["configmaps", "deployments.apps", "clusterroles.rbac.authorization.k8s.io", "namespaces"] {
            ensure!(!may(verb, what, "team")?, "{verb} {what}");
        }
    }
    Ok(())
}

#[test]
fn the_admin_spoke_applies_everything() -> Result<()> {
    let site = with_rights("admin", ADMIN)?;
    bundle(&site, "web", "elsewhere", None)?;
    site.write("web/web.yaml", DEPLOYMENT)?;
    site.write("web/service.yaml", SERVICE)?;
    site.write("web/role.yaml", ROLE)?;
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: web}\nstringData: {key: value}\n";
    site.write("web/secret.yaml", secret)?;
    // And, where it is asked to, as somebody else.
    bundle(&site, "team", "team", Some("deployer"))?;
    site.write("team/config.yaml", &config_map("web", "1"))?;
    site.settle("all kinds, in a namespace that is not there yet")?;
    site.object("service", "web", "elsewhere")?;
    site.object("clusterrole", "mighty", "elsewhere").map(drop)
}
