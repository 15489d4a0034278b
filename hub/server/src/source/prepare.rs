//! From a commit to a head that can be published: read, parse, render what is new, store the
//! bodies. What was rendered before, by any leader, is not rendered again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hub_core::catalog::{self, Catalog, Defect};
use hub_core::fleet::Fleet;
use hub_core::release::{
    self, ClusterFacts, Clusters, Common, Recipe, RenderInput, Rendering, Renderings, Rules, Tools, Turns,
};
use hub_core::select::Index;
use hub_core::snapshot::{Snapshot, is_declaration};
use hub_store::Kind;
use proto_model::{Digest, limits};
use tokio::task::spawn_blocking;

use super::Spec;
use super::batch::{Batch, batches, first_within};
use super::render::{Became, Round, render_all};
use super::waiting::Waiting;
use crate::bodies::Bodies;
use crate::hub::Hub;
use crate::leader::{Defects, Noted, Prepared, assignable};

/// What is kept from one commit of a source to the next.
pub(super) struct Preparer {
    hub: Arc<Hub>,
    spec: Spec,
    mirror: PathBuf,
    /// The last catalog: what is defective keeps its last good form.
    last: Option<Arc<Catalog>>,
    cache: catalog::Cache,
    /// What is wrong with renderings, by the digest of their inputs.
    failed: BTreeMap<Digest, Vec<Defect>>,
    /// What is tried again.
    waiting: Waiting,
    /// What is worth knowing of renderings, by the digest of their inputs.
    noted: BTreeMap<Digest, Vec<Defect>>,
    /// The head that was prepared last.
    head: Option<Head>,
}

/// A head that was prepared.
struct Head {
    prepared: Arc<Prepared>,
    /// Its files without their content.
    snapshot: Snapshot,
    /// What is wrong with it beside its renderings.
    defects: Vec<Defect>,
}

impl Preparer {
    pub(super) fn new(hub: Arc<Hub>, spec: Spec, mirror: PathBuf) -> Self {
        let (cache, failed) = (catalog::Cache::default(), BTreeMap::new());
        let (waiting, noted) = (Waiting::default(), BTreeMap::new());
        Self { hub, spec, mirror, last: None, cache, failed, waiting, noted, head: None }
    }

    pub(super) fn mirror(&self) -> &Path {
        &self.mirror
    }

    /// When there is something to render again; `None` where nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.next()
    }

    /// Reads a commit that lies in the mirror. The bodies are durable on return.
    pub(super) async fn prepare(&mut self, commit: &str) -> Result<Arc<Prepared>, String> {
        let state = self.hub.state();
        if self.last.is_none() {
            self.last = last_good(state.fleet(), &self.spec.name, &self.hub.bodies).map(Arc::new);
            self.noted = noted_before(state.fleet(), &self.spec.name, &self.hub.bodies);
        }
        let tree = hub_git::read(&self.mirror, commit, &self.spec.path, |path, _| is_declaration(path));
        let tree = tree.await.map_err(|error| error.to_string())?;
        let (mut snapshot, parsed) = self.parse(tree.snapshot).await?;
        let catalog = Arc::new(parsed.catalog);
        let wanted = self.wanted(&catalog, &mut snapshot).await?;
        // Each rendering reads its own.
        empty(&mut snapshot);
        let tools = self.tools().await?;
        let clusters = expected(state.fleet(), &catalog);
        let inputs = inputs(&catalog, &wanted.recipes, &clusters, &tools);
        let current: BTreeSet<Digest> = inputs.iter().map(|input| input.digest).collect();
        self.failed.retain(|input, _| current.contains(input));
        // Those of the head before too: clusters may ask for the same renderings again in a moment.
        if let Some(Head { prepared: before, .. }) = &self.head {
            let before: BTreeSet<Digest> = before.notes.iter().map(|noted| noted.rendering).collect();
            self.noted.retain(|input, _| current.contains(input) || before.contains(input));
        }
        self.waiting.retain(&current);
        let mut renderings = Renderings::default();
        let notes = self.render(inputs, &mut snapshot, &mut renderings).await?;
        let mut defects = tree.defects;
        defects.extend(parsed.defects);
        defects.extend(wanted.defects.iter().cloned());
        let catalog_digest = self.store_catalog(&catalog).await?;
        self.last = Some(Arc::clone(&catalog));
        let (source, commit, wanted) = (self.spec.name.clone(), commit.to_owned(), Arc::new(wanted));
        let kept = defects.clone();
        let prepared = Prepared { source, commit, catalog, catalog_digest, wanted, renderings, tools, defects, notes };
        Ok(self.keep(prepared, snapshot, kept))
    }

    /// The same head, after what failed for a reason that may pass was tried again.
    pub(super) async fn again(&mut self) -> Result<Option<Arc<Prepared>>, String> {
        let again = self.try_due().await;
        self.waiting.put_off(Instant::now());
        again
    }

    async fn try_due(&mut self) -> Result<Option<Arc<Prepared>>, String> {
        let Some(head) = &self.head else { return Ok(None) };
        let (commit, tools) = (head.prepared.commit.clone(), head.prepared.tools.clone());
        if self.tools().await? != tools {
            // Another program renders now, so everything has another address.
            return self.prepare(&commit).await.map(Some);
        }
        let due = self.waiting.due(Instant::now());
        self.prepare_more(&due).await
    }

    /// The versions of the programs; they may have to be asked.
    async fn tools(&self) -> Result<Tools, String> {
        let renderer = Arc::clone(&self.hub.renderer);
        spawn_blocking(move || renderer.tools())
            .await
            .map_err(|_| panicked("asking helm and kustomize for their versions"))
    }

    /// The same head with more renderings: clusters came that use other combinations.
    pub(super) async fn prepare_more(&mut self, missing: &[RenderInput]) -> Result<Option<Arc<Prepared>>, String> {
        let Some(Head { prepared: last, mut snapshot, defects }) = self.head.take() else { return Ok(None) };
        let mut prepared = Prepared { defects: defects.clone(), ..Prepared::clone(&last) };
        // The files are those of this head, so what was asked for of another one is not there.
        let known = |input: &RenderInput| {
            input.files.iter().all(|file| snapshot.files.get(&file.path).is_some_and(|found| found.id == file.id))
        };
        let inputs: Vec<RenderInput> = missing.iter().filter(|input| known(input)).cloned().collect();
        match self.render(inputs, &mut snapshot, &mut prepared.renderings).await {
            Ok(notes) => {
                prepared.notes.extend(notes);
                Ok(Some(self.keep(prepared, snapshot, defects)))
            }
            Err(reason) => {
                empty(&mut snapshot);
                self.head = Some(Head { prepared: last, snapshot, defects });
                Err(reason)
            }
        }
    }

    /// `defects` are those beside what is wrong with renderings.
    fn keep(&mut self, mut prepared: Prepared, mut snapshot: Snapshot, defects: Vec<Defect>) -> Arc<Prepared> {
        let failed = prepared.renderings.failed.iter().filter_map(|input| self.failed.get(input));
        prepared.defects.extend(failed.flatten().chain(self.waiting.defects()).cloned());
        prepared.defects.sort();
        prepared.defects.dedup();
        empty(&mut snapshot);
        let prepared = Arc::new(prepared);
        self.head = Some(Head { prepared: Arc::clone(&prepared), snapshot, defects });
        prepared
    }

    async fn parse(&mut self, snapshot: Snapshot) -> Result<(Snapshot, catalog::Parsed), String> {
        let (name, may, last) = (self.spec.name.clone(), self.spec.may.clone(), self.last.clone());
        let mut cache = std::mem::take(&mut self.cache);
        let parsing = spawn_blocking(move || {
            let parsed = catalog::parse_within(&snapshot, &name, may.as_ref(), last.as_deref(), &mut cache);
            (snapshot, parsed, cache)
        });
        let (snapshot, parsed, cache) = parsing.await.map_err(|_| panicked("parsing"))?;
        self.cache = cache;
        Ok((snapshot, parsed))
    }

    /// The recipes; whatever files they follow from are read on the way.
    async fn wanted(&self, catalog: &Arc<Catalog>, snapshot: &mut Snapshot) -> Result<release::Wanted, String> {
        let mut room = limits::FOLLOWED_BYTES_MAX as u64;
        // A file names the next, as deep as charts and kustomizations may go: there are no more turns.
        let mut turns = Turns::default();
        loop {
            let (known, catalog) = (std::mem::take(snapshot), Arc::clone(catalog));
            let (renderer, is_local) = (Arc::clone(&self.hub.renderer), self.is_local());
            let work = spawn_blocking(move || {
                let rules = Rules { kube_version: &renderer.kube_version, is_local };
                let wanted = turns.next(&catalog, &known, rules);
                (known, wanted, turns)
            });
            let (known, wanted, after) = work.await.map_err(|_| panicked("working out what to render"))?;
            (*snapshot, turns) = (known, after);
            if wanted.asks.is_empty() {
                return Ok(wanted);
            }
            // What was asked for and has no content is too large, and whoever needs it says so.
            snapshot.asked.extend(wanted.asks.iter().cloned());
            let sizes = self.sizes(snapshot, &wanted.asks).await?;
            let (paths, left) = first_within(wanted.asks, &sizes, room);
            room = left;
            self.fill(snapshot, &paths).await?;
        }
    }

    /// Whether whoever writes to the root source has this machine anyway.
    fn is_local(&self) -> bool {
        let state = self.hub.state();
        state.fleet().sources.get(super::ROOT).is_some_and(|root| super::is_local(&root.url))
    }

    async fn fill(&self, snapshot: &mut Snapshot, paths: &BTreeSet<String>) -> Result<(), String> {
        hub_git::fill(&self.mirror, snapshot, paths).await.map(drop).map_err(|error| error.to_string())
    }

    /// The sizes of the files among these that are small enough to be read.
    async fn sizes(&self, snapshot: &Snapshot, paths: &BTreeSet<String>) -> Result<BTreeMap<String, u64>, String> {
        let sizes = hub_git::sizes(&self.mirror, snapshot, paths).await.map_err(|error| error.to_string())?;
        Ok(sizes.into_iter().filter(|(_, size)| *size <= limits::FILE_BYTES_MAX as u64).collect())
    }

    /// Renders what is not known yet; gives what is worth knowing of all of it.
    async fn render(
        &mut self,
        inputs: Vec<RenderInput>,
        snapshot: &mut Snapshot,
        renderings: &mut Renderings,
    ) -> Result<Vec<Noted>, String> {
        let bundles: Vec<(Digest, String)> = inputs.iter().map(|one| (one.digest, one.bundle.clone())).collect();
        self.render_missing(inputs, snapshot, renderings).await?;
        let noted = |(rendering, bundle): &(Digest, String)| {
            let notes = self.noted.get(rendering).into_iter().flatten();
            let note = |note: &Defect| Noted { note: note.clone().holding(bundle), rendering: *rendering };
            notes.map(note).collect::<Vec<_>>()
        };
        Ok(bundles.iter().flat_map(noted).collect())
    }

    async fn render_missing(
        &mut self,
        inputs: Vec<RenderInput>,
        snapshot: &mut Snapshot,
        renderings: &mut Renderings,
    ) -> Result<(), String> {
        let (state, now) = (self.hub.state(), Instant::now());
        // What the head before needed is at hand: its bodies are not read again.
        let before = self.head.as_ref().map(|head| Arc::clone(&head.prepared));
        let before = |input: &RenderInput| before.as_ref()?.renderings.done.get(&input.digest).cloned();
        let mut missing = Vec::new();
        for input in inputs {
            if self.failed.contains_key(&input.digest) || self.waiting.is_early(&input.digest, now) {
                renderings.failed.insert(input.digest);
            } else if let Some(rendering) = known(state.fleet(), &self.hub.bodies, &input, before(&input)) {
                renderings.done.insert(input.digest, rendering);
            } else {
                missing.push(input);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let files = missing.iter().flat_map(|input| input.files.iter().map(|file| file.path.clone())).collect();
        let sizes = self.sizes(snapshot, &files).await?;
        let round = Arc::new(Round::default());
        for batch in batches(missing, &sizes, limits::BUNDLE_BYTES_MAX as u64, limits::RENDER_BATCH_BYTES_MAX as u64) {
            self.render_batch(batch, &round, snapshot, renderings).await?;
        }
        Ok(())
    }

    /// Renders a part; its files are in memory only meanwhile.
    async fn render_batch(
        &mut self,
        batch: Batch,
        round: &Arc<Round>,
        snapshot: &mut Snapshot,
        renderings: &mut Renderings,
    ) -> Result<(), String> {
        let Batch { inputs, paths, bytes, .. } = batch;
        // Other sources have files in memory, too. What there is room for is more than one part.
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = self.hub.rendering.acquire_many(kib.min(limits::RENDER_BATCHES_KIB_MAX)).await;
        self.fill(snapshot, &paths).await?;
        let (hub, round, all) = (Arc::clone(&self.hub), Arc::clone(round), std::mem::take(snapshot));
        let work = spawn_blocking(move || {
            let results = render_all(&inputs, &all, &hub, &round);
            (all, inputs, results)
        });
        let (all, inputs, results) = work.await.map_err(|_| panicked("rendering"))?;
        *snapshot = all;
        empty(snapshot);
        drop(room);
        let now = Instant::now();
        for (at, result) in results {
            let Some(input) = inputs.get(at) else { continue };
            let digest = input.digest;
            match result? {
                Became::Rendered(rendering, notes) => {
                    self.waiting.settled(&digest);
                    renderings.failed.remove(&digest);
                    if !notes.is_empty() {
                        self.noted.insert(digest, notes);
                    }
                    renderings.done.insert(digest, rendering);
                    continue;
                }
                Became::Defective(defects) => {
                    self.waiting.settled(&digest);
                    self.failed.insert(digest, defects);
                }
                Became::Passing(defects) => self.waiting.failed(input.clone(), defects, now),
            }
            renderings.failed.insert(digest);
        }
        Ok(())
    }

    async fn store_catalog(&self, catalog: &Catalog) -> Result<Digest, String> {
        let body = catalog.encode();
        if body.len() > limits::BODY_BYTES_MAX {
            return Err(format!(
                "its declarations come to {} bytes, more than {}: split it into several sources",
                body.len(),
                limits::BODY_BYTES_MAX
            ));
        }
        let digest = Digest::of(&body);
        let bodies = Arc::clone(&self.hub.bodies);
        let put = spawn_blocking(move || bodies.put(&[(digest, Kind::Catalog, &body)]));
        put.await.map_err(|_| panicked("storing"))?.map_err(|error| error.to_string())?;
        Ok(digest)
    }
}

/// Lets go of all content.
fn empty(snapshot: &mut Snapshot) {
    for file in snapshot.files.values_mut() {
        file.bytes = None;
    }
}

/// The clusters as they will be once this catalog counts: declared ones have its labels.
fn expected(fleet: &Fleet, catalog: &Catalog) -> Vec<ClusterFacts> {
    let mut clusters: BTreeMap<String, ClusterFacts> =
        assignable(fleet).map(|cluster| (cluster.name.clone(), cluster)).collect();
    let free = (0..=u32::MAX).rev();
    for (number, (name, item)) in free.zip(&catalog.clusters) {
        let known = fleet.clusters.get(name);
        let mut labels = known.map(|known| known.token_labels.clone()).unwrap_or_default();
        labels.extend(item.labels.clone());
        let number = known.map_or(number, |known| known.number);
        clusters.insert(name.clone(), ClusterFacts { number, name: name.clone(), labels });
    }
    clusters.into_values().filter(|one| catalog.sees(&one.labels)).collect()
}

/// What these clusters need rendered. What a bundle lacks for it is said when goals are made.
fn inputs(
    catalog: &Catalog,
    recipes: &BTreeMap<String, Recipe>,
    clusters: &[ClusterFacts],
    tools: &Tools,
) -> Vec<RenderInput> {
    let index: Index = clusters.iter().map(|one| (one.number, &one.labels)).collect();
    let by_number = clusters.iter().map(|one| (one.number, one)).collect();
    let clusters = Clusters { index: &index, by_number: &by_number };
    let common = Common::of([catalog]);
    let of_one = |(full, recipe): (&String, &Recipe)| {
        recipe.combinations(catalog.bundles.get(full)?, &common, clusters, tools).ok()
    };
    recipes.iter().filter_map(of_one).flatten().map(|one| one.input).collect()
}

/// What was rendered from these inputs before, if its bodies are here.
fn known(fleet: &Fleet, bodies: &Bodies, input: &RenderInput, before: Option<Rendering>) -> Option<Rendering> {
    let variant = *fleet.renderings.get(&input.digest)?;
    if let Some(before) = before.filter(|before| before.variant == variant) {
        return Some(before);
    }
    Some(Rendering { variant, meta: bodies.meta(&variant)? })
}

fn last_good(fleet: &Fleet, source: &str, bodies: &Bodies) -> Option<Catalog> {
    let head = fleet.sources.get(source)?.head.as_ref()?;
    Catalog::decode(&bodies.get(&head.catalog)?).ok()
}

/// What was noted on the renderings of the head before, by the digest of their inputs.
fn noted_before(fleet: &Fleet, source: &str, bodies: &Bodies) -> BTreeMap<Digest, Vec<Defect>> {
    let head = fleet.sources.get(source).and_then(|source| source.head.as_ref());
    let stored = head.and_then(|head| serde_json::from_slice::<Defects>(&bodies.get(&head.defects)?).ok());
    let mut noted: BTreeMap<Digest, Vec<Defect>> = BTreeMap::new();
    for Noted { note, rendering } in stored.unwrap_or_default().notes {
        let notes = noted.entry(rendering).or_default();
        // Bundles that share a rendering each have its notes.
        let note = Defect { bundle: None, ..note };
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    noted
}

fn panicked(what: &str) -> String {
    format!("{what} panicked: this is a defect of drover-hub; its log says where")
}
