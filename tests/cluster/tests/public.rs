//! A repository laid out as the well-known public ones are: a Kustomize base with overlays, an umbrella chart, an
//! operator's chart with hooks and definitions, a monitoring stack of plain manifests with definitions and
//! dashboards. Declarations lie beside them, and none of their own files is changed.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::{Fleet, Where};
use tests_tools::{Cluster, Options};

const CLUSTERS: [&str; 2] = ["prod-eu", "prod-us"];
const DECLARATIONS: &str = r#"
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: prod-eu, labels: {region: eu}}
spec: {variables: {greeting: hallo}}
---
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: prod-us, labels: {region: us}}
spec: {variables: {greeting: hello}}
---
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: namespaces}
spec: {path: namespaces, targets: [{selector: {}}]}
---
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: podinfo}
spec:
  path: overlays
  render: {kustomize: {path: production}}
  variables: {greeting: {}}
  dependsOn: [{bundle: namespaces}]
  targets: [{selector: {}}]
---
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: shop}
spec:
  path: umbrella
  namespace: shop
  render: {helm: {chart: ./shop, valuesFiles: [production.yaml]}}
  overrides: [{selector: {matchLabels: {region: us}}, values: {web: {replicas: 3}}}]
  targets: [{selector: {}}]
---
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: certs}
spec: {path: operator, namespace: certs, targets: [{selector: {}}]}
---
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: monitoring}
spec: {path: monitoring, namespace: monitoring, targets: [{selector: {}}]}
"#;

fn get(cluster: &Cluster, namespace: &str, what: &str, path: &str) -> Result<String> {
    let path = format!("jsonpath={{{path}}}");
    cluster.kubectl_text(["-n", namespace, "get", what, "-o", &path], "")
}

#[test]
fn a_repository_laid_out_like_public_examples_settles() -> Result<()> {
    let mut fleet = Fleet::new()?;
    fleet.use_renderers()?;
    fleet.repo.copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../golden/renderers"))?;
    fleet.repo.write("fleet.drover.yaml", DECLARATIONS)?;
    fleet.repo.write("namespaces/all.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: production}\n")?;
    let commit = fleet.repo.commit("everything as it is")?;
    fleet.start_hub()?;
    let mut clusters = Vec::new();
    for name in CLUSTERS {
        let cluster = Cluster::start(Options::full(name))?;
        fleet.join(name, Where::Kube(cluster.kubeconfig()))?;
        clusters.push(cluster);
    }
    fleet.wait("both spokes are there", |status| {
        status["clusters"].as_array().is_some_and(|all| all.iter().all(|one| one["connected"] == true))
    })?;
    let status = fleet.wait_settled(&commit).with_context(|| fleet.hub_log())?;
    let (eu, us) = (&clusters[0], &clusters[1]);

    // What Kustomize's generator computed differs by an early variable, name and all.
    let settings = |cluster: &Cluster| get(cluster, "production", "configmap", ".items[*].data.message");
    ensure!(settings(eu)?.contains("hallo") && settings(us)?.contains("hello"), "{} {}", settings(eu)?, settings(us)?);
    ensure!(get(eu, "production", "deployment/prod-podinfo-v2", ".spec.replicas")? == "4", "the overlay counts");
    // One release of the chart in two forms.
    ensure!(get(us, "shop", "deployment", ".items[*].spec.replicas")?.contains('3'), "the override counts");
    let variants: Vec<&Json> = CLUSTERS
        .iter()
        .filter_map(|name| tests_tools::fleet::bundle(&status, name, "main/shop").map(|bundle| &bundle["variant"]))
        .collect();
    ensure!(variants.len() == 2 && variants[0] != variants[1], "{variants:?}");
    // Hooks ran before and after; what belongs to deletion is not there.
    ensure!(get(eu, "certs", "job/certs-check", ".status.succeeded")? == "1", "the hook after the rest ran");
    ensure!(!get(eu, "certs", "job", ".items[*].metadata.name")?.contains("cleanup"), "no hook of deletion");
    ensure!(get(eu, "", "crd", ".items[*].metadata.name")?.contains("certificates"), "definitions of the chart");

    // Content changes, so the hook runs anew: it is another Job.
    let before = get(eu, "certs", "job/certs-check", ".metadata.uid")?;
    let values = std::fs::read_to_string(fleet.repo.dir().join("operator/values.yaml"))?;
    fleet.repo.write("operator/values.yaml", &values.replace("10", "12"))?;
    let commit = fleet.repo.commit("another timeout")?;
    fleet.wait_settled(&commit)?;
    let after = get(eu, "certs", "job/certs-check", ".metadata.uid")?;
    ensure!(before != after, "the hook of the new content is a Job of its own");
    Ok(())
}
