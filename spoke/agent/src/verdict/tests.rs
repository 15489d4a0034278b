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
";

#[test]
fn each_object_of_a_file_is_judged_in_order() {
    let found = verdicts(LIVE).unwrap();
    assert_eq!(
        table(&found),
        "OBJECT                    HEALTH       REASON\n\
         Deployment.apps shop/web  Progressing  1 of 2 replicas available\n\
         ConfigMap shop/web        Healthy\n\
         Widget.example.com w      Healthy      has no status: where its kind has one, it is Progressing until that \
         comes, for 60 s at most\n"
    );
}

#[test]
fn what_is_no_object_is_refused() {
    let refusal = |text: &str| verdicts(text).unwrap_err().to_string();
    assert_eq!(refusal("a: ["), "is not YAML: unclosed bracket '[' at line 1, column 4");
    assert_eq!(refusal("kind: Pod"), "object 1 has no apiVersion; it must look as `kubectl get -o yaml` prints it");
    assert_eq!(refusal("- 1"), "object 1 is not a map; it must look as `kubectl get -o yaml` prints it");
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
