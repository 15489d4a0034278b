//! The port's implementation: what belongs to one connection.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderValue, Method};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::{Value as Json, json};
use spoke_core::port::{Answer, Cluster, Depth, Failure, Kind, Live, Note, Op, Outcome, Reason, Sink, Write};

use crate::api::{Api, Call, JSON};
use crate::client::client;
use crate::discovery::Discovery;
use crate::failure::{Chain, Subject, plain};
use crate::lease::Lease;
use crate::secrets::Secrets;
use crate::voice::Voice;
use crate::watch::Watches;

/// What this program calls itself.
const AGENT: &str = concat!("drover-spoke/", env!("CARGO_PKG_VERSION"));

/// How the API server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// A kubeconfig file, and a context other than its current one.
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Name of the context.
        context: Option<String>,
    },
    /// The service account of the pod that this process runs in.
    InCluster,
}

/// Why no client could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig can't be read or lacks something.
    #[error("kubeconfig {path}: {why}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Not in a pod, or without a service account.
    #[error("no service account of a pod: {0}; give a kubeconfig outside of a cluster")]
    InCluster(String),
    /// The settings make no client.
    #[error("no client can be made: {0}")]
    Client(String),
}

/// A real cluster. Its watches end with it.
pub struct KubeCluster {
    inner: Arc<Inner>,
}

/// What requests and watches share.
pub(crate) struct Inner {
    pub(crate) api: Api,
    /// For what must not wait until others have their answers.
    pub(crate) urgent: Api,
    pub(crate) discovery: Discovery,
    pub(crate) watches: Watches,
    secrets: Secrets,
    lease: Lease,
    voice: Voice,
}

impl KubeCluster {
    /// Makes a client; nothing is asked of the API server yet. A process-wide rustls provider
    /// must be installed before. `folder` is this spoke's alone, and takes the packs of the ledger
    /// for which the cluster has no room; it is made when it is needed.
    ///
    /// # Errors
    /// The kubeconfig or service account can't be used.
    pub async fn connect(access: &Access, folder: PathBuf) -> Result<Self, ConnectError> {
        let mut config = match access {
            Access::Kubeconfig { path, context } => {
                let wrong = |error: kube::config::KubeconfigError| ConnectError::Kubeconfig {
                    path: path.clone(),
                    why: Chain(&error).to_string(),
                };
                let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
                let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
                Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?
            }
            Access::InCluster => {
                Config::incluster().map_err(|error| ConnectError::InCluster(Chain(&error).to_string()))?
            }
        };
        // Audit logs and managed fields tell clients apart by this.
        config.headers.push((USER_AGENT, HeaderValue::from_static(AGENT)));
        let client = client(config).map_err(|error| ConnectError::Client(Chain(&error).to_string()))?;
        Ok(Self::over(client, folder))
    }

    /// The cluster behind a client.
    fn over(client: Client, folder: PathBuf) -> Self {
        Self { inner: Arc::new(Inner::new(client, folder)) }
    }
}

impl Drop for KubeCluster {
    fn drop(&mut self) {
        self.inner.watches.stop();
    }
}

impl Inner {
    pub(crate) fn new(client: Client, folder: PathBuf) -> Self {
        let api = Api::new(client);
        Self {
            urgent: api.apart(),
            api,
            discovery: Discovery::default(),
            watches: Watches::default(),
            secrets: Secrets::new(folder),
            lease: Lease::default(),
            voice: Voice::default(),
        }
    }

    /// Makes something in the system namespace, and that namespace first where it is missing.
    pub(crate) async fn in_system_namespace(
        &self,
        api: &Api,
        subject: &Subject,
        method: Method,
        path: &str,
        content: &'static str,
        body: &Json,
    ) -> Result<Json, crate::failure::Error> {
        let call = || Call::with(method.clone(), path.to_owned(), content, body);
        match api.call(call()).await {
            Err(crate::failure::Error::Refused(refusal))
                if crate::failure::failure(subject, &refusal).reason == Reason::NoSuchNamespace =>
            {
                self.ensure_namespace(api, &subject.namespace).await.map_err(crate::failure::Error::Failed)?;
                api.call(call()).await
            }
            answer => answer,
        }
    }

    async fn uid(&self) -> Result<String, Failure> {
        let subject = Subject {
            verb: "get",
            resource: "namespaces".into(),
            namespace: String::new(),
            name: "kube-system".into(),
        };
        let found = self.api.call(Call::get("/api/v1/namespaces/kube-system")).await;
        let found = found.map_err(|error| error.failure(&subject))?;
        match found["metadata"]["uid"].as_str() {
            Some(uid) => Ok(uid.into()),
            None => Err(plain(Reason::Server, "namespace kube-system has no uid")),
        }
    }
}

impl Cluster for KubeCluster {
    fn uid(&self) -> Answer<'_, Result<String, Failure>> {
        Box::pin(self.inner.uid())
    }

    fn execute(&self, op: Op) -> Answer<'_, Outcome> {
        Box::pin(self.inner.run(op))
    }

    fn watch(&self, kinds: BTreeMap<Kind, Depth>, sink: Sink) {
        self.inner.watches.set(&self.inner, kinds, &sink);
    }

    fn load(&self) -> Answer<'_, Result<BTreeMap<String, Vec<u8>>, Failure>> {
        Box::pin(self.inner.secrets.load(&self.inner))
    }

    fn store(&self, write: Write) -> Answer<'_, Result<(), Failure>> {
        Box::pin(self.inner.secrets.store(&self.inner, write))
    }

    fn lease(&self, holder: String, secs: u32) -> Answer<'_, Result<bool, Failure>> {
        Box::pin(async move { self.inner.lease.renew(&self.inner, &holder, secs).await })
    }

    fn kinds(&self) -> Answer<'_, Result<BTreeSet<Kind>, Failure>> {
        Box::pin(self.inner.discovery.all(&self.inner.api))
    }

    fn owned(&self, kind: Kind) -> Answer<'_, Result<Vec<Live>, Failure>> {
        Box::pin(async move { self.inner.owned(&kind).await })
    }

    fn tell(&self, note: Note) -> Answer<'_, Result<(), Failure>> {
        Box::pin(async move { self.inner.voice.tell(&self.inner, &note).await })
    }

    fn publish(&self, data: BTreeMap<String, String>) -> Answer<'_, Result<(), Failure>> {
        Box::pin(async move { self.inner.voice.publish(&self.inner, &data).await })
    }
}

/// An empty body that some requests need.
pub(crate) fn delete_options() -> (&'static str, Json) {
    (JSON, json!({"apiVersion": "v1", "kind": "DeleteOptions"}))
}

#[cfg(test)]
mod tests {
    use proto_model::limits;

    use super::*;
    use crate::api::tests::hangs_at_patches;

    #[tokio::test(start_paused = true)]
    async fn a_renewal_waits_for_no_apply_that_hangs() {
        let cluster = KubeCluster::over(hangs_at_patches(), PathBuf::new());
        let body = Json::Null;
        let hangs = || cluster.inner.api.call(Call::with(Method::PATCH, "/x".into(), JSON, &body));
        let all = futures::future::join_all((0..limits::API_REQUESTS_MAX).map(|_| hangs()));
        let start = tokio::time::Instant::now();
        let renewals = async {
            for _ in 0..2 {
                assert_eq!(cluster.lease("a".into(), 75).await, Ok(true));
            }
        };
        tokio::select! {
            biased;
            _ = all => {}
            () = renewals => {}
        }
        assert!(start.elapsed().is_zero(), "it waited for {:?}", start.elapsed());
    }
}
