//! The cluster that a case runs in: through the port, and by the hands of somebody else.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proto_model::{GroupKind, Identity};
use serde_json::Value as Json;
use spoke_core::port::{Cluster, Depth, Failure, Kind, Live, Observation, Op, Outcome, Reason};
use spoke_kube::{Access, KubeCluster};
use spoke_memory::{Change, Fault, Memory, Verb};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The field manager of most cases.
pub const MANAGER: &str = "drover/main/x";
/// How long anything may take. A loaded machine takes its time; a failure is the exception.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cluster and a namespace for one case.
pub struct World {
    /// The cluster, through the port.
    pub cluster: Arc<dyn Cluster>,
    /// A namespace that is the case's own and exists.
    pub namespace: String,
    hands: Hands,
}

/// Somebody else who works on the cluster.
enum Hands {
    Memory(Memory),
    Kube(Arc<tests_tools::Cluster>),
}

impl World {
    /// A cluster in memory, of its own.
    pub async fn memory(case: &str) -> Self {
        let memory = Memory::volatile(case);
        Self::new(case, Arc::new(memory.clone()), Hands::Memory(memory)).await
    }

    /// A connection of its own to the real cluster that all cases of a process share.
    pub async fn kube(case: &str) -> Self {
        let real = tokio::task::spawn_blocking(shared).await.unwrap();
        let cluster = connect(&real).await;
        Self::new(case, cluster, Hands::Kube(real)).await
    }

    async fn new(case: &str, cluster: Arc<dyn Cluster>, hands: Hands) -> Self {
        let namespace: String = case.replace('_', "-").chars().take(63).collect();
        let namespace = namespace.trim_end_matches('-').to_owned();
        let world = Self { cluster, namespace, hands };
        let made = world.run(Op::EnsureNamespace(world.namespace.clone())).await;
        assert_eq!(made, Outcome::NamespaceReady);
        world
    }

    /// Another client of the same cluster.
    pub async fn another(&self) -> Arc<dyn Cluster> {
        match &self.hands {
            Hands::Memory(memory) => Arc::new(memory.another()),
            Hands::Kube(real) => connect(real).await,
        }
    }

    /// Carries out a request.
    pub async fn run(&self, op: Op) -> Outcome {
        self.cluster.execute(op).await
    }

    /// Applies as [`MANAGER`].
    pub async fn apply(&self, manifest: &Json) -> Outcome {
        self.apply_as(MANAGER, manifest).await
    }

    /// Applies as another manager.
    pub async fn apply_as(&self, manager: &str, manifest: &Json) -> Outcome {
        let (manifest, manager) = (manifest.clone(), manager.into());
        self.run(Op::Apply { manifest, manager, dry_run: false }).await
    }

    /// Asks what an apply would do.
    pub async fn dry_run(&self, manifest: &Json) -> Outcome {
        self.run(Op::Apply { manifest: manifest.clone(), manager: MANAGER.into(), dry_run: true }).await
    }

    /// Applies, which must succeed.
    pub async fn applied(&self, manifest: &Json) -> Live {
        live(self.apply(manifest).await)
    }

    /// Applies, which must be refused.
    pub async fn refused(&self, manifest: &Json) -> Failure {
        failure(self.apply(manifest).await)
    }

    /// Applies as soon as the kind is there.
    pub async fn applied_once_known(&self, manifest: &Json) -> Live {
        eventually("the kind is served", || async {
            match self.apply(manifest).await {
                Outcome::Applied(live) => Some(live),
                Outcome::Failed(failure) if failure.reason == Reason::NoSuchKind => None,
                other => panic!("not applied: {other:?}"),
            }
        })
        .await
    }

    /// Reads an object.
    pub async fn get(&self, identity: &Identity) -> Option<Live> {
        let op = Op::Get { identity: identity.clone(), version: "v1".into() };
        match self.run(op).await {
            Outcome::Got(found) => found,
            other => panic!("{identity} can't be read: {other:?}"),
        }
    }

    /// Reads an object that must be there, whole.
    pub async fn object(&self, identity: &Identity) -> Json {
        let live = self.get(identity).await.unwrap_or_else(|| panic!("{identity} is not there"));
        live.object.unwrap().as_ref().clone()
    }

    /// Deletes an object as it is now.
    pub async fn delete(&self, identity: &Identity, uid: &str) -> Outcome {
        let get = Op::Get { identity: identity.clone(), version: "v1".into() };
        let present = match self.run(get).await {
            Outcome::Got(Some(live)) => live.resource_version,
            _ => "1".into(),
        };
        self.delete_at(identity, uid, &present).await
    }

    /// Deletes an object as it was at a resourceVersion.
    pub async fn delete_at(&self, identity: &Identity, uid: &str, resource_version: &str) -> Outcome {
        let (uid, resource_version) = (uid.to_owned(), resource_version.to_owned());
        let (identity, version) = (identity.clone(), "v1".into());
        self.run(Op::Delete { identity, version, uid, resource_version, orphan: false }).await
    }

    /// Watches kinds from now on.
    pub fn watch(&self, kinds: &[(Kind, Depth)]) -> Observer {
        let (tell, told) = unbounded_channel();
        let sink = Arc::new(move |seen| drop(tell.send(seen)));
        self.cluster.watch(kinds.iter().cloned().collect::<BTreeMap<_, _>>(), sink.clone());
        Observer { told, namespace: self.namespace.clone(), sink }
    }

    /// Somebody else changes an object, by JSON merge patch.
    pub async fn edit(&self, identity: &Identity, patch: Json) {
        match &self.hands {
            Hands::Memory(memory) => {
                let change = |object: &mut Json| merge_patch(object, &patch);
                memory.with_state(|state, now| state.edit(identity, "kubectl-patch", change, now)).unwrap();
            }
            Hands::Kube(real) => {
                let patch = patch.to_string();
                kubectl(real, &["patch", "--type=merge", "-p", &patch], identity).await;
            }
        }
    }

    /// A controller writes an object's status.
    pub async fn edit_status(&self, identity: &Identity, status: Json) {
        let patch = serde_json::json!({"status": status});
        match &self.hands {
            Hands::Memory(_) => self.edit(identity, patch).await,
            Hands::Kube(real) => {
                let patch = patch.to_string();
                kubectl(real, &["patch", "--subresource=status", "--type=merge", "-p", &patch], identity).await;
            }
        }
    }

    /// A client that may list nothing; in memory, nobody may, until [`World::see_again`].
    pub async fn blind(&self) -> Arc<dyn Cluster> {
        match &self.hands {
            Hands::Memory(memory) => {
                let fault = Fault { verbs: vec![Verb::List], ..Fault::of(Reason::Forbidden) };
                memory.with_state(|state, _| state.refuse(fault));
                Arc::new(memory.clone())
            }
            Hands::Kube(real) => {
                let text = self.kubectl(&["config", "view", "--raw", "--flatten", "-o", "json"]).await;
                let mut config: Json = serde_json::from_str(&text).unwrap();
                config["users"][0]["user"]["as"] = "blind".into();
                let path = real.kubeconfig().with_extension(&self.namespace);
                std::fs::write(&path, config.to_string()).unwrap();
                let access = Access::Kubeconfig { path, context: None };
                Arc::new(KubeCluster::connect(&access, packs(real)).await.unwrap())
            }
        }
    }

    /// Ends what [`World::blind`] began.
    pub fn see_again(&self) {
        if let Hands::Memory(memory) = &self.hands {
            memory.with_state(|state, _| state.allow());
        }
    }

    /// Somebody else makes an object.
    pub async fn create(&self, manifest: &Json) {
        match &self.hands {
            Hands::Memory(memory) => {
                memory.with_state(|state, now| state.create(manifest, "kubectl-create", now)).unwrap();
            }
            Hands::Kube(real) => {
                let (real, text) = (real.clone(), manifest.to_string());
                let run = move || real.kubectl_text(["create", "-f", "-"], &text);
                tokio::task::spawn_blocking(run).await.unwrap().unwrap();
            }
        }
    }

    /// The Events of a namespace.
    pub async fn events(&self, namespace: &str) -> Vec<Json> {
        match &self.hands {
            Hands::Memory(memory) => memory.with_state(|state, _| {
                let all = state.all().into_iter().filter_map(|change| match change {
                    Change::Put(identity, body, _) if identity.namespace == namespace => Some((identity, body)),
                    _ => None,
                });
                let events = all.filter(|(identity, _)| identity.kind.is("", "Event"));
                events.map(|(_, body)| serde_json::from_slice(&body).unwrap()).collect()
            }),
            Hands::Kube(_) => {
                let text = self.kubectl(&["get", "events", "-n", namespace, "-o", "json"]).await;
                let list: Json = serde_json::from_str(&text).unwrap();
                list["items"].as_array().unwrap().clone()
            }
        }
    }

    /// What `kubectl describe` shows of an object; nothing in memory.
    pub async fn described(&self, identity: &Identity) -> Option<String> {
        match &self.hands {
            Hands::Memory(_) => None,
            Hands::Kube(_) => {
                let kind = format!("{}.{}", identity.kind.kind, identity.kind.group);
                let kind = kind.trim_end_matches('.');
                let place = if identity.namespace.is_empty() { "default" } else { &identity.namespace };
                Some(self.kubectl(&["describe", kind, &identity.name, "-n", place]).await)
            }
        }
    }

    /// Somebody else makes an object with `kubectl apply`, client-side.
    pub async fn apply_by_hand(&self, manifest: &Json) {
        match &self.hands {
            Hands::Memory(memory) => {
                let mut manifest = manifest.clone();
                let last = "kubectl.kubernetes.io/last-applied-configuration";
                manifest["metadata"]["annotations"][last] = "{}".into();
                memory.with_state(|state, now| state.create(&manifest, "kubectl-client-side-apply", now)).unwrap();
            }
            Hands::Kube(real) => {
                let (real, text) = (real.clone(), manifest.to_string());
                let run = move || real.kubectl_text(["apply", "-f", "-"], &text);
                tokio::task::spawn_blocking(run).await.unwrap().unwrap();
            }
        }
    }

    /// An autoscaler scales an object.
    pub async fn scale(&self, identity: &Identity, replicas: u32) {
        let manager = "kube-controller-manager";
        match &self.hands {
            Hands::Memory(memory) => {
                memory.with_state(|state, now| state.scale(identity, manager, replicas, now)).unwrap();
            }
            Hands::Kube(real) => {
                let patch = serde_json::json!({"spec": {"replicas": replicas}}).to_string();
                let manager = format!("--field-manager={manager}");
                let args = ["patch", "--subresource=scale", "--type=merge", &manager, "-p", &patch];
                kubectl(real, &args, identity).await;
            }
        }
    }

    /// Somebody else deletes an object, and does not wait for its end.
    pub async fn remove(&self, identity: &Identity) {
        match &self.hands {
            Hands::Memory(memory) => {
                assert!(memory.with_state(|state, now| state.remove(identity, now)));
            }
            Hands::Kube(real) => kubectl(real, &["delete", "--wait=false"], identity).await,
        }
    }
}

impl World {
    /// What TLS needs once per process.
    pub fn install_provider() {
        // A second test of the process finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }

    /// What kubectl prints, in the real cluster alone.
    pub async fn kubectl(&self, args: &[&str]) -> String {
        let Hands::Kube(real) = &self.hands else { panic!("no kubectl for a cluster in memory") };
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let real = real.clone();
        tokio::task::spawn_blocking(move || real.kubectl_text(args, "")).await.unwrap().unwrap()
    }
}

/// What a watch tells.
pub struct Observer {
    told: UnboundedReceiver<Observation>,
    namespace: String,
    sink: Arc<dyn Fn(Observation) + Send + Sync>,
}

impl Observer {
    /// Where the watch tells it.
    pub fn sink(&self) -> Arc<dyn Fn(Observation) + Send + Sync> {
        self.sink.clone()
    }

    /// The next observation that is about the case: of its namespace, of the cluster's scope, or
    /// of a kind as a whole.
    pub async fn next(&mut self) -> Observation {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let seen = tokio::time::timeout_at(deadline, self.told.recv()).await;
            let seen = seen.expect("the watch tells nothing").expect("the watch ended");
            let elsewhere = match &seen {
                Observation::Seen(live) => live.identity.namespace != self.namespace,
                Observation::Gone { identity, .. } => identity.namespace != self.namespace,
                _ => false,
            };
            if !elsewhere {
                return seen;
            }
        }
    }

    /// Skips what is told until something fits.
    pub async fn until<T>(&mut self, mut fits: impl FnMut(&Observation) -> Option<T>) -> T {
        loop {
            if let Some(found) = fits(&self.next().await) {
                return found;
            }
        }
    }

    /// Skips until the kind was told whole.
    pub async fn until_listed(&mut self) {
        self.until(|seen| matches!(seen, Observation::Listed(_)).then_some(())).await;
    }

    /// The next object that is seen.
    pub async fn next_live(&mut self) -> Live {
        self.until(|seen| match seen {
            Observation::Seen(live) => Some(live.clone()),
            _ => None,
        })
        .await
    }
}

/// Waits until something is so.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut ask: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// The object of an apply that succeeded.
pub fn live(outcome: Outcome) -> Live {
    match outcome {
        Outcome::Applied(live) => live,
        other => panic!("not applied: {other:?}"),
    }
}

/// The failure of a request that failed.
pub fn failure(outcome: Outcome) -> Failure {
    match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("not refused: {other:?}"),
    }
}

/// A kind at v1.
pub fn kind(group: &str, kind: &str) -> Kind {
    Kind { kind: GroupKind { group: group.into(), kind: kind.into() }, version: "v1".into() }
}

/// RFC 7386.
fn merge_patch(target: &mut Json, patch: &Json) {
    let Json::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Json::Object(serde_json::Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge_patch(target.entry(key.clone()).or_insert(Json::Null), value);
        }
    }
}

async fn kubectl(real: &Arc<tests_tools::Cluster>, args: &[&str], identity: &Identity) {
    let mut all: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    all.push(match identity.kind.group.as_str() {
        "" => identity.kind.kind.clone(),
        group => format!("{}.{group}", identity.kind.kind),
    });
    all.push(identity.name.clone());
    if !identity.namespace.is_empty() {
        all.push(format!("--namespace={}", identity.namespace));
    }
    let real = real.clone();
    tokio::task::spawn_blocking(move || real.kubectl_text(all, "")).await.unwrap().unwrap();
}

async fn connect(real: &tests_tools::Cluster) -> Arc<dyn Cluster> {
    World::install_provider();
    let access = Access::Kubeconfig { path: real.kubeconfig(), context: None };
    Arc::new(KubeCluster::connect(&access, packs(real)).await.unwrap())
}

/// Where the ledger goes when the cluster has no room; clients of one cluster share it.
fn packs(real: &tests_tools::Cluster) -> PathBuf {
    real.dir().join("packs")
}

/// The real cluster, one for the process: its programs end with it.
fn shared() -> Arc<tests_tools::Cluster> {
    static SHARED: Mutex<Option<Arc<tests_tools::Cluster>>> = Mutex::new(None);
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(real) = &*shared {
        return real.clone();
    }
    let mut options = tests_tools::Options::full("conformance");
    options.dir = Some(work_dir());
    let real = Arc::new(tests_tools::Cluster::start(options).unwrap());
    *shared = Some(real.clone());
    real
}

/// A directory for this process. It stays for whoever looks for the reason of a failure, until
/// the next run.
fn work_dir() -> PathBuf {
    let all = std::env::temp_dir().join("drover-conformance");
    let running = |dir: &Path| dir.file_name().is_some_and(|pid| Path::new("/proc").join(pid).exists());
    for old in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        if !running(&old.path()) {
            let _ = std::fs::remove_dir_all(old.path());
        }
    }
    all.join(std::process::id().to_string())
}
