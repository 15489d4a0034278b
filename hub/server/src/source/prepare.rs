//! From a commit to a head that can be published: read, parse, render what is new, store the
//! bodies. What was rendered before, by any leader, is not rendered again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hub_core::catalog::{self, Catalog, Defect};
use hub_core::fleet::Fleet;
use hub_core::release::{self, RenderInput, Rendering};
use hub_core::snapshot::{Snapshot, is_declaration};
use hub_render::{Rendered, render};
use hub_store::Kind;
use proto_model::{Digest, Object};
use tokio::task::spawn_blocking;

use super::Spec;
use crate::bodies::Bodies;
use crate::hub::Hub;
use crate::leader::Prepared;
use crate::metrics::Metrics;

/// What is kept from one commit of a source to the next.
pub(super) struct Preparer {
    hub: Arc<Hub>,
    spec: Spec,
    mirror: PathBuf,
    /// The last catalog: what is defective keeps its last good form.
    last: Option<Catalog>,
    cache: catalog::Cache,
    /// What is wrong with renderings, by the digest of their inputs.
    failed: BTreeMap<Digest, Vec<Defect>>,
}

impl Preparer {
    pub(super) fn new(hub: Arc<Hub>, spec: Spec, mirror: PathBuf) -> Self {
        let (last, cache, failed) = (None, catalog::Cache::default(), BTreeMap::new());
        Self { hub, spec, mirror, last, cache, failed }
    }

    pub(super) fn mirror(&self) -> &Path {
        &self.mirror
    }

    /// Reads a commit that lies in the mirror. The bodies are durable on return.
    pub(super) async fn prepare(&mut self, commit: &str) -> Result<Prepared, String> {
        let state = self.hub.state();
        if self.last.is_none() {
            self.last = last_good(state.fleet(), &self.spec.name, &self.hub.bodies);
        }
        let tree = self.read(commit, is_declaration).await?;
        let (snapshot, parsed) = self.parse(tree.snapshot).await?;
        let wanted = release::wanted(&parsed.catalog, &snapshot);
        let (mut renderings, mut missing) = (BTreeMap::new(), Vec::new());
        for input in wanted.inputs.values() {
            match known(state.fleet(), &self.hub.bodies, input) {
                Some(rendering) => {
                    renderings.insert(input.digest, rendering);
                }
                None if self.failed.contains_key(&input.digest) => {}
                None => missing.push(input.clone()),
            }
        }
        if !missing.is_empty() {
            self.render(commit, missing, &mut renderings).await?;
        }
        let current: BTreeSet<Digest> = wanted.inputs.values().map(|input| input.digest).collect();
        self.failed.retain(|input, _| current.contains(input));
        let mut defects = tree.defects;
        defects.extend(parsed.defects);
        defects.extend(wanted.defects.iter().cloned());
        defects.extend(self.failed.values().flatten().cloned());
        let catalog_digest = self.store_catalog(&parsed.catalog).await?;
        self.last = Some(parsed.catalog.clone());
        let wrong = defects.iter().filter(|defect| !defect.note).count();
        self.hub.metrics.defects.set(i64::try_from(wrong).unwrap_or(i64::MAX));
        Ok(Prepared {
            source: self.spec.name.clone(),
            commit: commit.to_owned(),
            catalog: parsed.catalog,
            catalog_digest,
            wanted,
            renderings,
            defects,
        })
    }

    async fn read(&self, commit: &str, want: impl Fn(&str) -> bool + Send + 'static) -> Result<hub_git::Tree, String> {
        hub_git::read(&self.mirror, commit, &self.spec.path, move |path, _| want(path))
            .await
            .map_err(|error| error.to_string())
    }

    async fn parse(&mut self, snapshot: Snapshot) -> Result<(Snapshot, catalog::Parsed), String> {
        let (name, last) = (self.spec.name.clone(), self.last.take());
        let mut cache = std::mem::take(&mut self.cache);
        let parsing = spawn_blocking(move || {
            let parsed = catalog::parse(&snapshot, &name, last.as_ref(), &mut cache);
            (snapshot, parsed, cache, last)
        });
        let (snapshot, parsed, cache, last) = parsing.await.map_err(|_| panicked("parsing"))?;
        (self.cache, self.last) = (cache, last);
        Ok((snapshot, parsed))
    }

    async fn render(
        &mut self,
        commit: &str,
        inputs: Vec<RenderInput>,
        renderings: &mut BTreeMap<Digest, Rendering>,
    ) -> Result<(), String> {
        let files: BTreeSet<String> =
            inputs.iter().flat_map(|input| input.files.iter().map(|file| file.path.clone())).collect();
        let tree = self.read(commit, move |path| files.contains(path)).await?;
        let (bodies, metrics) = (Arc::clone(&self.hub.bodies), Arc::clone(&self.hub.metrics));
        let rendering = spawn_blocking(move || render_all(&inputs, &tree.snapshot, &bodies, &metrics));
        let (done, failed) = rendering.await.map_err(|_| panicked("rendering"))??;
        renderings.extend(done);
        self.failed.extend(failed);
        Ok(())
    }

    async fn store_catalog(&self, catalog: &Catalog) -> Result<Digest, String> {
        let body = catalog.encode();
        let digest = Digest::of(&body);
        let bodies = Arc::clone(&self.hub.bodies);
        let put = spawn_blocking(move || bodies.put(&[(digest, Kind::Catalog, &body)]));
        put.await.map_err(|_| panicked("storing"))?.map_err(|error| error.to_string())?;
        Ok(digest)
    }
}

type Results = (BTreeMap<Digest, Rendering>, BTreeMap<Digest, Vec<Defect>>);

fn render_all(
    inputs: &[RenderInput],
    snapshot: &Snapshot,
    bodies: &Bodies,
    metrics: &Metrics,
) -> Result<Results, String> {
    let (mut done, mut failed) = (BTreeMap::new(), BTreeMap::new());
    for input in inputs {
        metrics.renderings.inc();
        match render(input, |path| snapshot.read(path).cloned()) {
            Ok(rendered) => {
                done.insert(input.digest, store(rendered, bodies)?);
            }
            Err(defects) => {
                failed.insert(input.digest, defects);
            }
        }
    }
    Ok((done, failed))
}

fn store(rendered: Rendered, bodies: &Bodies) -> Result<Rendering, String> {
    let list = rendered.variant.encode();
    let variant = Digest::of(&list);
    let mut put: Vec<(Digest, Kind, &[u8])> = rendered
        .objects
        .iter()
        .zip(&rendered.meta.objects)
        .map(|(object, meta): (&Object, _)| {
            let is_secret = meta.identity.kind.is("", "Secret");
            (object.digest, if is_secret { Kind::Secret } else { Kind::Object }, &*object.body)
        })
        .collect();
    put.push((variant, Kind::Variant, &list));
    bodies.put(&put).map_err(|error| error.to_string())?;
    Ok(Rendering { variant, meta: Arc::new(rendered.meta) })
}

/// What was rendered from these inputs before, if its bodies are here.
fn known(fleet: &Fleet, bodies: &Bodies, input: &RenderInput) -> Option<Rendering> {
    let variant = *fleet.renderings.get(&input.digest)?;
    Some(Rendering { variant, meta: bodies.meta(&variant)? })
}

fn last_good(fleet: &Fleet, source: &str, bodies: &Bodies) -> Option<Catalog> {
    let head = fleet.sources.get(source)?.head.as_ref()?;
    Catalog::decode(&bodies.get(&head.catalog)?).ok()
}

fn panicked(what: &str) -> String {
    format!("{what} panicked: this is a defect of drover-hub; its log says where")
}
