//! Fields that a real API server lets nobody change: what is said, and what `drover.dev/replace`
//! does; and a port that one workload hands over to the next.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use anyhow::{Result, ensure};
use tests_cluster::site::Site;
use tests_tools::{Options, fleet};

/// One cluster serves all: each case has a bundle of its own.
#[test]
fn what_cannot_change_is_said_or_made_anew_where_asked() -> Result<()> {
    let site = Site::joined(Options::full("immutable"))?;
    a_service_s_cluster_ip(&site)?;
    a_stateful_set_s_claim_templates(&site)?;
    a_job_s_template(&site)?;
    a_host_port_is_handed_over(&site)
}

fn annotation(replace: Option<&str>) -> String {
    replace.map(|how| format!("drover.dev/replace: {how}")).unwrap_or_default()
}

fn uid(site: &Site, kind: &str, name: &str, namespace: &str) -> Result<String> {
    Ok(site.object(kind, name, namespace)?["metadata"]["uid"].to_string())
}

fn a_service_s_cluster_ip(site: &Site) -> Result<()> {
    let service = |ip: &str, replace: Option<&str>| {
        let annotations = annotation(replace);
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: web, annotations: {{{annotations}}}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}\n"
        )
    };
    site.bundle("address", "  namespace: address\n")?;
    site.write("address/all.yaml", &service("10.0.0.101", None))?;
    site.settle("an address")?;
    let before = uid(site, "service", "web", "address")?;
    site.write("address/all.yaml", &service("10.0.0.102", None))?;
    site.fleet.repo.commit("another address")?;
    site.wait_explained("main/address", &["Service address/web", "spec.clusterIP", "drover.dev/replace"])?;
    ensure!(uid(site, "service", "web", "address")? == before);
    site.write("address/all.yaml", &service("10.0.0.102", Some("recreate")))?;
    site.settle("another address, made anew")?;
    ensure!(site.object("service", "web", "address")?["spec"]["clusterIP"] == "10.0.0.102");
    ensure!(uid(site, "service", "web", "address")? != before);
    Ok(())
}

/// Its pods stay: only the StatefulSet is made anew.
fn a_stateful_set_s_claim_templates(site: &Site) -> Result<()> {
    let set = |size: &str, replace: Option<&str>| {
        let annotations = annotation(replace);
        format!(
            r#"
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db, annotations: {{{annotations}}}}}
spec:
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec: {{containers: [{{name: run, image: "registry.example/db:1"}}]}}
  volumeClaimTemplates:
  - metadata: {{name: data}}
    spec: {{accessModes: [ReadWriteOnce], storageClassName: none, resources: {{requests: {{storage: {size}}}}}}}
"#
        )
    };
    // Nobody makes volumes here: the claims are bound by hand.
    let volume = "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: db}\nspec:\n  capacity: {storage: 5Gi}\n  accessModes: [ReadWriteOnce]\n  \
                  storageClassName: none\n  hostPath: {path: /nowhere}\n";
    site.cluster.kubectl_text(["create", "-f", "-"], volume)?;
    site.bundle("claims", "  namespace: claims\n")?;
    site.write("claims/all.yaml", &set("1Gi", None))?;
    site.settle("a claim")?;
    let pod = uid(site, "pod", "db-0", "claims")?;
    let before = uid(site, "statefulset", "db", "claims")?;
    site.write("claims/all.yaml", &set("2Gi", None))?;
    site.fleet.repo.commit("a larger claim")?;
    site.wait_explained("main/claims", &["StatefulSet.apps claims/db", "drover.dev/replace"])?;
    ensure!(uid(site, "statefulset", "db", "claims")? == before);
    site.write("claims/all.yaml", &set("2Gi", Some("orphan")))?;
    site.settle("a larger claim, its pods kept")?;
    ensure!(uid(site, "statefulset", "db", "claims")? != before, "it was not made anew");
    ensure!(uid(site, "pod", "db-0", "claims")? == pod, "its pod went along");
    Ok(())
}

fn a_job_s_template(site: &Site) -> Result<()> {
    let job = |image: &str, replace: Option<&str>| {
        let annotations = annotation(replace);
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: once, annotations: {{{annotations}}}}}\nspec:\n  template:\n    spec: {{restartPolicy: Never, \
             containers: [{{name: run, image: '{image}'}}]}}\n"
        )
    };
    site.bundle("once", "  namespace: once\n")?;
    site.write("once/all.yaml", &job("registry.example/once:1", None))?;
    site.settle("a job")?;
    let first = uid(site, "job", "once", "once")?;
    site.write("once/all.yaml", &job("registry.example/once:2", None))?;
    site.settle("another template")?;
    let second = uid(site, "job", "once", "once")?;
    ensure!(first != second, "a Job is made anew without being asked");
    site.write("once/all.yaml", &job("registry.example/once:3", Some("never")))?;
    site.fleet.repo.commit("a template that must not")?;
    site.wait_explained("main/once", &["Job.batch once/once", "spec.template"])?;
    ensure!(uid(site, "job", "once", "once")? == second);
    site.write("once/all.yaml", &job("registry.example/once:2", None))
}

/// The node has the port once: the old workload must be gone before the new one can be Healthy.
fn a_host_port_is_handed_over(site: &Site) -> Result<()> {
    let daemon = |name: &str| {
        format!(
            r#"
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: {name}, annotations: {{drover.dev/prune: first}}}}
spec:
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers: [{{name: run, image: "registry.example/{name}:1", ports: [{{containerPort: 53, hostPort: 5353}}]}}]
"#
        )
    };
    site.bundle("port", "  namespace: port\n")?;
    site.write("port/old.yaml", &daemon("old"))?;
    site.write("port/beside.yaml", &tests_cluster::site::config_map("beside", "1"))?;
    site.settle("a workload on a port of the node")?;
    site.remove("port/old.yaml")?;
    site.write("port/new.yaml", &daemon("new"))?;
    site.settle("its successor")?;
    fleet::wait_for("the old one is gone", || Ok(site.get("daemonset", "old", "port")?.is_none()))?;
    ensure!(site.object("daemonset", "new", "port")?["status"]["numberReady"] == 1);
    Ok(())
}
