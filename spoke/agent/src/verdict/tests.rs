//! Judging files, and the schema of what is printed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use super::*;

const LIVE: &str = "
apiVersion: v1
kind: List
items:
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web, namespace: shop, generation: 1}
  spec: {replicas: 2}
  status: {observedGeneration: 1, replicas: 2, updatedReplicas: 2, availableReplicas: 1, readyReplicas: 1}
- apiVersion: v1
  kind: ConfigMapList
  items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: web, namespace: shop}}
---
# nothing
---
{apiVersion: example.com/v1, kind: Widget, metadata: {name: w}}
---
{apiVersion: cert-manager.io/v1, kind: Certificate, metadata: {name: tls}}
";

const CHECKS: &str = "
apiVersion: drover.dev/v1alpha1
kind: HealthCheck
metadata: {name: all}
spec: {apiVersion: example.com/v1, kind: Widget, healthy: 'true'}
---
apiVersion: drover.dev/v1alpha1
kind: HealthCheck
metadata: {name: edge}
spec:
  apiVersion: example.com/v1
  kind: Widget
  selector: {matchLabels: {tier: edge}, matchExpressions: [{key: old, operator: DoesNotExist}]}
  healthy: object.spec.size > 1
";

#[test]
fn each_object_of_a_file_is_judged_in_order() {
    let found = verdicts(LIVE, &Checks::default()).unwrap();
    assert_eq!(
        table(&found),
        "OBJECT                           HEALTH       REASON\n\
         Deployment.apps shop/web         Progressing  1 of 2 replicas available\n\
         ConfigMap shop/web               Healthy\n\
         Widget.example.com w             Healthy      has no status; where its kind has one, a spoke waits 60 s for it\n\
         Certificate.cert-manager.io tls  Progressing  has no status yet; a spoke waits 60 s for it\n"
    );
    assert_eq!(
        serde_json::to_value(&found[0]).unwrap(),
        serde_json::json!({
            "object": "Deployment.apps shop/web", "health": "Progressing", "reason": "1 of 2 replicas available",
        })
    );
}

#[test]
fn a_check_decides_and_the_last_of_several() {
    let checks = checks(CHECKS).unwrap();
    let widget = |labels: &str| {
        let live = format!(
            "{{apiVersion: example.com/v1, kind: Widget, metadata: {{name: w, labels: {labels}}}, spec: {{size: 1}}}}"
        );
        let [verdict] = verdicts(&live, &checks).unwrap().try_into().unwrap();
        (verdict.health, verdict.reason)
    };
    assert_eq!(widget("{}"), ("Healthy".into(), String::new()));
    assert_eq!(widget("{tier: edge, old: 'yes'}"), ("Healthy".into(), String::new()));
    let unmet = "HealthCheck edge: `healthy` does not hold yet";
    assert_eq!(widget("{tier: edge}"), ("Progressing".into(), unmet.into()));
}

#[test]
fn what_is_no_object_or_check_is_refused() {
    let refusal = |text: &str| verdicts(text, &Checks::default()).unwrap_err().to_string();
    assert_eq!(refusal("a: ["), "is not YAML: unclosed bracket '[' at line 1, column 4");
    assert_eq!(refusal("kind: Pod"), "object 1 has no apiVersion; it must look as `kubectl get -o yaml` prints it");
    assert_eq!(refusal("- 1"), "object 1 is not a map; it must look as `kubectl get -o yaml` prints it");
    let refusal = |text: &str| checks(text).unwrap_err().to_string();
    assert_eq!(
        refusal(&CHECKS.replace("kind: HealthCheck", "kind: Bundle")),
        "document 1 is no HealthCheck: unknown variant `Bundle`, expected `HealthCheck`"
    );
    assert!(refusal(&CHECKS.replace("'true'", "'tru('")).starts_with("HealthCheck all: healthy "), "says where");
    assert!(
        refusal(&CHECKS.replace("selector", "selectors")).contains("unknown field `selectors`"),
        "knows its fields"
    );
}

#[test]
fn the_schema_is_that_of_the_documents() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas/cli/spoke-health.json");
    let found = serde_json::to_string_pretty(&schemars::schema_for!(Vec<Verdict>)).unwrap() + "\n";
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{} differs; UPDATE=1 writes what is found", path.display());
}
