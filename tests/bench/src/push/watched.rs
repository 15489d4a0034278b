//! What the clusters hold, as a watch of their API servers tells it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config};
use tokio::task::JoinSet;

/// Longest wait for a commit to be applied.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at what the watches told; when they told it is noted by them.
const POLL: Duration = Duration::from_millis(5);

/// Value of each ConfigMap by namespace and name, and when it was told.
type Told = BTreeMap<(String, String), (String, Instant)>;

/// Watches of all ConfigMaps of some clusters; they end when it is dropped.
pub(super) struct Watched {
    told: Vec<Arc<Mutex<Told>>>,
    _tasks: JoinSet<()>,
}

impl Watched {
    /// Begins to watch.
    ///
    /// # Errors
    /// A cluster does not answer.
    pub(super) async fn start(kubeconfigs: &[PathBuf]) -> Result<Self> {
        let (mut all, mut tasks) = (Vec::new(), JoinSet::new());
        for kubeconfig in kubeconfigs {
            let told = Arc::new(Mutex::new(Told::new()));
            let api: Api<ConfigMap> = Api::all(client(kubeconfig).await?);
            let events = watcher(api, watcher::Config::default()).default_backoff();
            tasks.spawn(follow(events, Arc::clone(&told)));
            all.push(told);
        }
        Ok(Self { told: all, _tasks: tasks })
    }

    /// Waits until so many ConfigMaps of a namespace have a value, in every cluster; tells when the last was told.
    ///
    /// # Errors
    /// They have not in time.
    pub(super) async fn until(&self, namespace: &str, count: usize, value: &str) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last: Option<Vec<Instant>> =
                self.told.iter().map(|told| last_of(told, namespace, count, value)).collect();
            if let Some(last) = last.and_then(|all| all.into_iter().max()) {
                return Ok(last);
            }
            ensure!(Instant::now() < deadline, "{value} is not applied in {namespace} of every cluster");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// When the last of so many was told; nothing while fewer have the value.
fn last_of(told: &Mutex<Told>, namespace: &str, count: usize, value: &str) -> Option<Instant> {
    let told = told.lock().unwrap_or_else(PoisonError::into_inner);
    let fitting = told.iter().filter(|((of, _), (now, _))| of == namespace && now == value);
    let times: Vec<Instant> = fitting.map(|(_, (_, time))| *time).collect();
    times.iter().max().copied().filter(|_| times.len() >= count)
}

async fn follow(events: impl Stream<Item = watcher::Result<Event<ConfigMap>>>, told: Arc<Mutex<Told>>) {
    let mut events = std::pin::pin!(events);
    // A watch that breaks is begun anew by the stream itself.
    while let Some(event) = events.next().await {
        if let Ok(Event::Apply(object) | Event::InitApply(object)) = event {
            let value = object.data.and_then(|mut data| data.remove("value")).unwrap_or_default();
            let key = (object.metadata.namespace.unwrap_or_default(), object.metadata.name.unwrap_or_default());
            told.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (value, Instant::now()));
        }
    }
}

/// A client of the API server of a kubeconfig.
///
/// # Errors
/// The file cannot be read.
pub(super) async fn client(kubeconfig: &Path) -> Result<Client> {
    let config = Kubeconfig::read_from(kubeconfig).context("the kubeconfig cannot be read")?;
    let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}
