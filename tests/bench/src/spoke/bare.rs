//! The reference: a program that makes the requests of a spoke on a cluster of its own, and neither decides, records
//! nor reports anything.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{HeaderValue, Request, header};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use proto_model::limits;
use tokio::task::JoinSet;

use super::content::KINDS;
use super::requests::{Call, path};

/// What it calls itself.
pub(super) const AGENT: &str = "bare-loop/1";
/// Before a watch that ended begins anew.
const AGAIN: Duration = Duration::from_secs(1);

/// The program; its watches end with it.
pub(super) struct Bare {
    client: Client,
    watches: JoinSet<()>,
}

impl Bare {
    /// Makes its client.
    ///
    /// # Errors
    /// The kubeconfig cannot be used.
    pub(super) async fn new(kubeconfig: &Path) -> Result<Self> {
        Ok(Self { client: client(kubeconfig, AGENT).await?, watches: JoinSet::new() })
    }

    /// Begins the watches that a spoke has, and reads what they tell.
    pub(super) fn watch(&mut self, uris: Vec<String>) {
        for uri in uris {
            let client = self.client.clone();
            self.watches.spawn(async move {
                loop {
                    // One that ends, however that is, begins anew.
                    let _ = read(&client, &uri).await;
                    tokio::time::sleep(AGAIN).await;
                }
            });
        }
    }

    /// Makes requests of a spoke in their order, as many at once as it does.
    ///
    /// # Errors
    /// One is refused.
    pub(super) async fn replay(&self, calls: &[Call], bodies: &BTreeMap<String, Bytes>) -> Result<()> {
        let all = stream::iter(calls).map(|call| self.make(call, bodies));
        all.buffer_unordered(limits::API_REQUESTS_MAX).try_collect().await
    }

    async fn make(&self, call: &Call, bodies: &BTreeMap<String, Bytes>) -> Result<()> {
        let uri = call.uri.as_str();
        let accept = (header::ACCEPT, "application/json");
        let request = if call.is_apply {
            let body = bodies.get(path(uri)).with_context(|| format!("nothing is known of {uri}"))?;
            let request = Request::patch(uri).header(header::CONTENT_TYPE, "application/apply-patch+yaml");
            request.header(accept.0, accept.1).body(body.to_vec())?
        } else {
            Request::get(uri).header(accept.0, accept.1).body(Vec::new())?
        };
        match self.client.request_text(request).await {
            Ok(_) => Ok(()),
            // A spoke looks whether an object is there before it makes it.
            Err(kube::Error::Api(status)) if status.code == 404 && !call.is_apply => Ok(()),
            Err(error) => Err(error).with_context(|| format!("{uri} is refused")),
        }
    }
}

/// Reads a watch to its end.
async fn read(client: &Client, uri: &str) -> Result<()> {
    let path = path(uri);
    // Of these a spoke watches whole objects.
    let whole = KINDS[1..4].iter().any(|kind| path.ends_with(kind.plural));
    let accept =
        if whole { "application/json" } else { "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1" };
    let request = Request::get(uri).header(header::ACCEPT, accept).body(Vec::new())?;
    let events = client.request_stream(request).await?;
    futures::io::copy(events, &mut futures::io::sink()).await?;
    Ok(())
}

/// A client of the API server of a kubeconfig that calls itself so.
///
/// # Errors
/// The file cannot be read.
pub(super) async fn client(kubeconfig: &Path, agent: &'static str) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).context("the kubeconfig cannot be read")?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.headers.push((header::USER_AGENT, HeaderValue::from_static(agent)));
    Ok(Client::try_from(config)?)
}
