//! Watches: a task per kind, which tells what it sees and begins anew when it is lost.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Error as WatchError, Event};
use proto_model::limits;
use serde_json::{Value as Json, json};
use spoke_core::port::{Depth, Failure, Kind, Live, OWNER_LABEL, Observation, Reason, Sink};
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::cluster::Inner;
use crate::discovery::Resource;
use crate::failure::{self, Error, Subject, of_client, plain};

/// First wait after a watch was lost, in milliseconds; doubles each time.
const RETRY_MILLIS_MIN: u64 = 250;

/// The watches that run.
pub(crate) struct Watches {
    running: Mutex<BTreeMap<Kind, Running>>,
    /// Whether the server streams initial lists; cleared by the first that does not.
    streaming: AtomicBool,
}

struct Running {
    depth: Depth,
    task: AbortHandle,
    /// Ends a wait between two tries.
    nudge: Arc<Notify>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Default for Watches {
    fn default() -> Self {
        Self { running: Mutex::default(), streaming: AtomicBool::new(true) }
    }
}

impl Watches {
    fn running(&self) -> MutexGuard<'_, BTreeMap<Kind, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on these kinds, and no others, are watched.
    pub(crate) fn set(&self, inner: &Arc<Inner>, kinds: BTreeMap<Kind, Depth>, sink: &Sink) {
        let mut running = self.running();
        running.retain(|kind, watch| kinds.get(kind) == Some(&watch.depth));
        for (kind, depth) in kinds {
            running.entry(kind.clone()).or_insert_with(|| {
                let nudge = Arc::new(Notify::new());
                let watch = Watch { inner: inner.clone(), kind, depth, sink: sink.clone(), nudge: nudge.clone() };
                let task = tokio::spawn(watch.run()).abort_handle();
                Running { depth, task, nudge }
            });
        }
    }

    /// The kind is there: a watch that waits to try again need not.
    pub(crate) fn nudge(&self, kind: &Kind) {
        if let Some(watch) = self.running().get(kind) {
            watch.nudge.notify_one();
        }
    }

    /// Ends all watches.
    pub(crate) fn stop(&self) {
        self.running().clear();
    }
}

/// The watch of one kind.
struct Watch {
    inner: Arc<Inner>,
    kind: Kind,
    depth: Depth,
    sink: Sink,
    nudge: Arc<Notify>,
}

/// What a watch delivers: metadata, and the whole object where that was asked for.
type Item = (Json, Option<Arc<Json>>);

/// Why a watch ended.
enum End {
    /// It begins anew at once.
    Again,
    /// It was lost; whether all objects had been told before.
    Lost(Failure, bool),
}

impl Watch {
    async fn run(self) {
        let mut attempt = 0;
        loop {
            // A watch that grew old begins anew: should it have lost something without a word, it is told now.
            let ended = tokio::time::timeout(age(), self.once()).await;
            let (failure, listed) = match ended.unwrap_or(End::Again) {
                End::Again => continue,
                End::Lost(failure, listed) => (failure, listed),
            };
            attempt = if listed { 0 } else { attempt + 1 };
            let wait = wait(attempt, failure.retry_after_millis);
            (self.sink)(Observation::Lost { kind: self.kind.clone(), failure });
            // Either is a reason to try again.
            let _ = tokio::time::timeout(wait, self.nudge.notified()).await;
        }
    }

    async fn once(&self) -> End {
        let resource = match self.inner.discovery.find(&self.inner.api, &self.kind).await {
            Ok(resource) => resource,
            Err(failure) => return End::Lost(failure, false),
        };
        let streaming = self.inner.watches.streaming.load(Ordering::Relaxed);
        let mut config = watcher::Config::default().labels(OWNER_LABEL).timeout(limits::WATCH_REQUEST_SECS);
        if streaming {
            config = config.streaming_lists();
        }
        let target = api_resource(&resource);
        let client = self.inner.api.client();
        match self.depth {
            Depth::Metadata => {
                let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client, &target);
                let stream = watcher::watcher(api, config);
                self.follow(&resource, streaming, stream, |object| (json!(object.metadata), None)).await
            }
            Depth::Whole => {
                let api: Api<DynamicObject> = Api::all_with(client, &target);
                let api_version = target.api_version.clone();
                let kind = target.kind.clone();
                let whole = move |object: DynamicObject| {
                    let metadata = json!(object.metadata);
                    let mut whole = object.data;
                    whole["apiVersion"] = api_version.as_str().into();
                    whole["kind"] = kind.as_str().into();
                    whole["metadata"] = metadata.clone();
                    (metadata, Some(Arc::new(whole)))
                };
                self.follow(&resource, streaming, watcher::watcher(api, config), whole).await
            }
        }
    }

    /// Tells what a stream brings until it is lost.
    async fn follow<K>(
        &self,
        resource: &Resource,
        streaming: bool,
        stream: impl Stream<Item = Result<Event<K>, WatchError>>,
        read: impl Fn(K) -> Item,
    ) -> End {
        let mut stream = pin!(stream);
        let mut listed = false;
        let mut stumbled = false;
        while let Some(event) = stream.next().await {
            let error = match event {
                Ok(event) => {
                    stumbled = false;
                    listed |= matches!(event, Event::InitDone);
                    self.tell(event, &read);
                    continue;
                }
                Err(error) => error,
            };
            if is_expired(&error) {
                // The watcher lists anew by itself.
                continue;
            }
            if streaming && !listed && is_refused(&error) {
                self.inner.watches.streaming.store(false, Ordering::Relaxed);
                return End::Again;
            }
            let failure = self.failure(&error, resource);
            let passing = matches!(failure.reason, Reason::Unreachable | Reason::Server);
            if !passing || stumbled {
                return End::Lost(failure, listed);
            }
            // A connection that breaks once is taken up where it broke.
            stumbled = true;
            tokio::time::sleep(wait(0, failure.retry_after_millis)).await;
        }
        End::Lost(plain(Reason::Server, format!("the watch of {} ended", resource.named())), listed)
    }

    fn tell<K>(&self, event: Event<K>, read: &impl Fn(K) -> Item) {
        (self.sink)(match event {
            Event::Init => Observation::Restarted(self.kind.clone()),
            Event::InitDone => Observation::Listed(self.kind.clone()),
            Event::InitApply(object) | Event::Apply(object) => {
                let (metadata, whole) = read(object);
                Observation::Seen(Live::read(&self.kind, &metadata, whole))
            }
            Event::Delete(object) => {
                let live = Live::read(&self.kind, &read(object).0, None);
                Observation::Gone { identity: live.identity, uid: live.uid }
            }
        });
    }

    fn failure(&self, error: &WatchError, resource: &Resource) -> Failure {
        let error = match error {
            WatchError::InitialListFailed(error)
            | WatchError::WatchStartFailed(error)
            | WatchError::WatchFailed(error) => of_client(error),
            WatchError::WatchError(status) => {
                Error::Refused(failure::Refusal { code: status.code, status: json!(status), retry_after_secs: None })
            }
            WatchError::NoResourceVersion => Error::Failed(plain(Reason::Server, "the answer has no resourceVersion")),
        };
        let subject = Subject { verb: "watch", resource: resource.named(), ..Subject::default() };
        self.inner.failed(error, &subject, resource)
    }
}

fn api_resource(resource: &Resource) -> ApiResource {
    let kind = &resource.kind;
    let group = &kind.kind.group;
    ApiResource {
        group: group.clone(),
        version: kind.version.clone(),
        api_version: resource.api_version(),
        kind: kind.kind.kind.clone(),
        plural: resource.plural.clone(),
    }
}

fn code(error: &WatchError) -> Option<u16> {
    match error {
        WatchError::WatchError(status) => Some(status.code),
        WatchError::InitialListFailed(kube::Error::Api(status))
        | WatchError::WatchStartFailed(kube::Error::Api(status))
        | WatchError::WatchFailed(kube::Error::Api(status)) => Some(status.code),
        _ => None,
    }
}

/// What the watch would go on from is too old.
fn is_expired(error: &WatchError) -> bool {
    matches!(error, WatchError::WatchError(status) if status.code == 410)
}

/// The server does not know how to stream an initial list.
fn is_refused(error: &WatchError) -> bool {
    matches!(code(error), Some(400 | 422))
}

/// How long a watch goes on: ten thousand spokes that start together are not told everything together.
fn age() -> Duration {
    Duration::from_millis(rand::random_range(limits::WATCH_AGE_MILLIS_MAX / 2..=limits::WATCH_AGE_MILLIS_MAX))
}

/// Exponential with full jitter, so that many watches do not come back at once.
fn wait(attempt: u32, asked_millis: Option<u64>) -> Duration {
    let most = RETRY_MILLIS_MIN.saturating_mul(1 << attempt.min(10)).min(limits::WATCH_RETRY_MILLIS_MAX);
    let jittered = rand::random_range(most / 2..=most);
    Duration::from_millis(jittered.max(asked_millis.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use proto_model::GroupKind;
    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    /// An API server with one kind, no objects of it and nothing to tell.
    async fn answer(request: Request<Body>) -> Result<Response<Body>, Infallible> {
        let answer = match request.uri().query() {
            None => {
                let kind = json!({"name": "configmaps", "kind": "ConfigMap", "namespaced": true});
                json!({"kind": "APIResourceList", "groupVersion": "v1", "resources": [kind]})
            }
            Some(query) if query.contains("sendInitialEvents=true") => {
                assert!(query.contains(&format!("timeoutSeconds={}", limits::WATCH_REQUEST_SECS)), "{query}");
                let end = json!({"resourceVersion": "7", "annotations": {"k8s.io/initial-events-end": "true"}});
                json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": end}})
            }
            Some(_) => std::future::pending().await,
        };
        Ok(Response::new(Body::from(format!("{answer}\n").into_bytes())))
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_grew_old_begins_anew() {
        let client = Client::new(tower::service_fn(answer), "default");
        let inner = Arc::new(Inner::new(client, std::path::PathBuf::new()));
        let (sender, mut told) = mpsc::unbounded_channel();
        let sink: Sink = Arc::new(move |seen| drop(sender.send((Instant::now(), seen))));
        let maps = Kind { kind: GroupKind::of("v1", "ConfigMap"), version: "v1".into() };
        let start = Instant::now();
        inner.watches.set(&inner, BTreeMap::from([(maps.clone(), Depth::Metadata)]), &sink);
        for begun in 0..3 {
            let (at, seen) = told.recv().await.unwrap();
            assert_eq!(seen, Observation::Restarted(maps.clone()));
            assert_eq!(told.recv().await.unwrap().1, Observation::Listed(maps.clone()));
            let age = u64::try_from(at.duration_since(start).as_millis()).unwrap();
            let (least, most) = (limits::WATCH_AGE_MILLIS_MAX / 2, limits::WATCH_AGE_MILLIS_MAX + 1_000);
            assert!((begun * least..=begun * most).contains(&age), "{age}");
        }
        inner.watches.stop();
    }
}
