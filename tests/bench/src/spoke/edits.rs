//! Somebody else changes an object, and the spoke puts it right: how long that takes, as a watch tells it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::bare::client;
use super::content::{KINDS, Kind, LABEL, NAMESPACE, Size, name};
use crate::stats::Times;

/// What somebody else calls himself.
const AGENT: &str = "somebody-else/1";
/// What he writes.
const EDITED: &str = "edited";
/// Longest wait for a correction.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two edits, so that each is alone.
const SPACING: Duration = Duration::from_millis(300);

/// Something that a watch told.
enum Told {
    /// All objects of one kind have been told.
    Listed,
    /// The label of an object.
    Label { kind: &'static str, name: String, value: String, at: Instant },
}

/// What edits and their corrections took.
#[derive(Default)]
pub(super) struct Took {
    /// From the watch telling of the edit to the watch telling of its correction.
    pub(super) seen: Times,
    /// From sending the edit, so its own request included.
    pub(super) sent: Times,
}

/// Edits some objects one after another, each of them once.
///
/// # Errors
/// An edit is refused, or never put right.
pub(super) async fn run(kubeconfig: &Path, size: Size, edits: usize) -> Result<Took> {
    let client = client(kubeconfig, AGENT).await?;
    let (sender, mut told) = unbounded_channel();
    let mut watches = JoinSet::new();
    for kind in &KINDS[..size.kinds] {
        watches.spawn(follow(client.clone(), *kind, sender.clone()));
    }
    for _ in 0..size.kinds {
        while !matches!(next(&mut told).await?, Told::Listed) {}
    }
    let mut took = Took::default();
    let step = (size.objects / edits).max(1);
    for number in (0..size.objects).step_by(step).take(edits) {
        let kind = size.kind(number);
        let sent = Instant::now();
        edit(&client, kind, &name(number)).await.with_context(|| format!("{} {}", kind.kind, name(number)))?;
        let edited = until(&mut told, kind, &name(number), EDITED).await?;
        let corrected = until(&mut told, kind, &name(number), LABEL.1).await?;
        took.seen.push(corrected.duration_since(edited));
        took.sent.push(corrected.duration_since(sent));
        tokio::time::sleep(SPACING).await;
    }
    Ok(took)
}

async fn edit(client: &Client, kind: Kind, name: &str) -> Result<()> {
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), NAMESPACE, &resource(kind));
    let patch = json!({"metadata": {"labels": {(LABEL.0): EDITED}}});
    api.patch_metadata(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// When a watch told that an object has a label.
async fn until(told: &mut UnboundedReceiver<Told>, of: Kind, object: &str, wanted: &str) -> Result<Instant> {
    loop {
        match next(told).await.with_context(|| format!("{} {object} never became {wanted}", of.kind))? {
            Told::Label { kind, name, value, at } if kind == of.kind && name == object && value == wanted => {
                return Ok(at);
            }
            _ => {}
        }
    }
}

async fn next(told: &mut UnboundedReceiver<Told>) -> Result<Told> {
    tokio::time::timeout(PATIENCE, told.recv()).await.context("the watches tell nothing")?.context("the watches ended")
}

/// Tells what happens to the objects of a kind.
async fn follow(client: Client, kind: Kind, told: UnboundedSender<Told>) -> Result<()> {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::namespaced_with(client, NAMESPACE, &resource(kind));
    let mut events = std::pin::pin!(watcher(api, watcher::Config::default()));
    while let Some(event) = events.next().await {
        let at = Instant::now();
        match event? {
            Event::InitDone => told.send(Told::Listed)?,
            Event::Apply(object) => {
                let value = object.metadata.labels.and_then(|mut labels| labels.remove(LABEL.0)).unwrap_or_default();
                let name = object.metadata.name.unwrap_or_default();
                told.send(Told::Label { kind: kind.kind, name, value, at })?;
            }
            _ => {}
        }
    }
    bail!("the watch of {} ended", kind.kind)
}

fn resource(kind: Kind) -> ApiResource {
    ApiResource {
        group: kind.group.to_owned(),
        version: kind.version.to_owned(),
        api_version: kind.api_version(),
        kind: kind.kind.to_owned(),
        plural: kind.plural.to_owned(),
    }
}
