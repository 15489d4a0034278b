//! Real clusters: they start, run workloads, keep an audit log, survive a restart of the apiserver, and leave nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use tests_tools::{Cluster, Options};

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: example.com/web}]}
"#;

/// A process that ended but was not waited for would still be there.
fn running(pids: &[u32]) -> Vec<u32> {
    pids.iter().copied().filter(|pid| Path::new(&format!("/proc/{pid}")).exists()).collect()
}

#[test]
fn a_deployment_becomes_available_and_nothing_is_left() {
    let cluster = Cluster::start(Options::full("workloads")).unwrap();
    cluster.kubectl_text(["apply", "--server-side", "-f", "-"], DEPLOYMENT).unwrap();
    cluster.kubectl_text(["wait", "--for=condition=Available", "deployment/web", "--timeout=60s"], "").unwrap();
    let ready =
        cluster.kubectl_text(["get", "deployment", "web", "-o", "jsonpath={.status.readyReplicas}"], "").unwrap();
    assert_eq!(ready, "3");
    // The heartbeat without which the node, and with it what runs there, counts as lost after 50 s.
    let lease = ["wait", "--for=create", "lease/node-1", "-n", "kube-node-lease", "--timeout=30s"];
    cluster.kubectl_text(lease, "").unwrap();

    let entries = cluster.audit().unwrap();
    let applied = entries.iter().filter(|entry| entry.verb == "patch" && entry.name == "web").collect::<Vec<_>>();
    assert_eq!(applied.len(), 1, "{applied:#?}");
    let entry = applied[0];
    assert_eq!(
        (entry.group.as_str(), entry.resource.as_str(), entry.namespace.as_str()),
        ("apps", "deployments", "default")
    );
    assert_eq!((entry.user.as_str(), entry.code), ("admin", 201));
    assert!(entry.user_agent.starts_with("kubectl/"), "{entry:?}");
    let pods = |user: &str| {
        entries
            .iter()
            .filter(|e| e.user == user && e.verb == "create" && e.resource == "pods" && e.subresource.is_empty())
            .count()
    };
    assert_eq!((pods("controller-manager"), pods("admin")), (3, 0));

    let (pids, dir) = (cluster.pids(), cluster.dir().to_path_buf());
    assert_eq!(running(&pids).len(), 5);
    drop(cluster);
    assert_eq!(running(&pids), [0; 0]);
    assert!(!dir.exists());
}

#[test]
fn the_apiserver_stops_and_comes_back_with_its_data() {
    let mut cluster = Cluster::start(Options::bare("restart")).unwrap();
    cluster.kubectl_text(["create", "configmap", "kept"], "").unwrap();
    assert!(cluster.start_apiserver().is_err(), "it still runs");

    cluster.stop_apiserver();
    assert!(!cluster.kubectl(["get", "configmap", "kept"]).unwrap().status.success());

    let kubeconfig = std::fs::read(cluster.kubeconfig()).unwrap();
    cluster.start_apiserver().unwrap();
    cluster.kubectl_text(["get", "configmap", "kept"], "").unwrap();
    assert_eq!(std::fs::read(cluster.kubeconfig()).unwrap(), kubeconfig, "the same port and certificate");
    let reads =
        cluster.audit().unwrap().into_iter().filter(|entry| entry.verb == "get" && entry.name == "kept").count();
    assert_eq!(reads, 1, "the log goes on, and the request that met a closed port is not in it");

    cluster.kill();
    assert_eq!(running(&cluster.pids()), [0; 0]);
}

#[test]
fn clusters_start_in_parallel_and_share_nothing() {
    let options = ["one", "two", "three"].map(Options::bare).to_vec();
    // In a thread that ends: the processes must not end with it.
    let clusters = std::thread::spawn(|| Cluster::start_all(options)).join().unwrap().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    for cluster in &clusters {
        cluster.kubectl_text(["create", "namespace", cluster.name()], "").unwrap();
    }
    for cluster in &clusters {
        let names = cluster.kubectl_text(["get", "namespaces", "-o", "name"], "").unwrap();
        let own: Vec<_> = names.lines().filter(|name| ["one", "two", "three"].contains(&&name[10..])).collect();
        assert_eq!(own, [format!("namespace/{}", cluster.name())]);
    }
}

#[test]
fn a_directory_with_something_in_it_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("precious"), "data").unwrap();
    let options = Options { dir: Some(PathBuf::from(dir.path())), ..Options::bare("kept") };
    let error = Cluster::start(options).unwrap_err().to_string();
    assert!(error.contains("is not empty"), "{error}");
}
