//! From a commit to a head that can be published: read, parse, render what is new, store the
//! bodies. What was rendered before, by any leader, is not rendered again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hub_core::catalog::{self, Catalog, Defect};
use hub_core::fleet::Fleet;
use hub_core::release::{self, ClusterFacts, Clusters, Common, Recipe, RenderInput, Renderings, Rules, Tools, Turns};
use hub_core::select::Index;
use hub_core::snapshot::{Snapshot, is_declaration};
use hub_store::Kind;
use proto_model::{Digest, limits};
use tokio::task::spawn_blocking;

use super::batch::first_within;
use super::renders::{Renders, sizes};
use super::{Spec, panicked};
use crate::bodies::Bodies;
use crate::hub::Hub;
use crate::leader::{Prepared, assignable};

/// What is kept from one commit of a source to the next.
pub(super) struct Preparer {
    hub: Arc<Hub>,
    spec: Spec,
    mirror: PathBuf,
    /// The last catalog: what is defective keeps its last good form.
    last: Option<Arc<Catalog>>,
    cache: catalog::Cache,
    renders: Renders,
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
    /// What its clusters need rendered, each with its bundle.
    inputs: Vec<(Digest, String)>,
}

impl Preparer {
    pub(super) fn new(hub: Arc<Hub>, spec: Spec, mirror: PathBuf) -> Self {
        let renders = Renders::new(Arc::clone(&hub), spec.name.clone(), mirror.clone());
        Self { hub, spec, mirror, last: None, cache: catalog::Cache::default(), renders, head: None }
    }

    pub(super) fn mirror(&self) -> &Path {
        &self.mirror
    }

    /// When there is something to render again; `None` where nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.renders.due()
    }

    /// Whether this commit is the head that was prepared last.
    pub(super) fn is_at(&self, commit: &str) -> bool {
        self.head.as_ref().is_some_and(|head| head.prepared.commit == commit)
    }

    /// Renderings of the head that are under way.
    pub(super) fn under_way(&self) -> usize {
        self.head.iter().flat_map(|head| &head.inputs).filter(|(input, _)| self.renders.is_under_way(input)).count()
    }

    /// Waits until more of the head was rendered than was handed over.
    pub(super) async fn came(&mut self) {
        match self.head {
            Some(_) => self.renders.came().await,
            // There is nothing that it would be more of.
            None => std::future::pending().await,
        }
    }

    /// Reads a commit that lies in the mirror. The bodies are durable on return.
    pub(super) async fn prepare(&mut self, commit: &str) -> Result<Arc<Prepared>, String> {
        let state = self.hub.state();
        if self.last.is_none() {
            self.last = last_good(state.fleet(), &self.spec.name, &self.hub.bodies).map(Arc::new);
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
        // Before anything that the head before still needs is given up.
        let catalog_digest = self.store_catalog(&catalog).await?;
        let current: BTreeSet<Digest> = inputs.iter().map(|input| input.digest).collect();
        let before = self.head.as_ref().map(|head| &*head.prepared);
        self.renders.only(&current, before.map(|before| &*before.notes));
        let needed = named(&inputs);
        let mut renderings = Renderings::default();
        self.renders.render(inputs, &snapshot, before.map(|before| &before.renderings), &mut renderings).await?;
        let mut defects = tree.defects;
        defects.extend(parsed.defects);
        defects.extend(wanted.defects.iter().cloned());
        self.last = Some(Arc::clone(&catalog));
        let (source, commit, wanted) = (self.spec.name.clone(), commit.to_owned(), Arc::new(wanted));
        let (kept, notes) = (defects.clone(), Vec::new());
        let prepared = Prepared { source, commit, catalog, catalog_digest, wanted, renderings, tools, defects, notes };
        Ok(self.keep(prepared, snapshot, kept, needed))
    }

    /// The same head, after what failed for a reason that may pass was tried again.
    pub(super) async fn again(&mut self) -> Result<Option<Arc<Prepared>>, String> {
        let again = self.try_due().await;
        self.renders.put_off();
        again
    }

    async fn try_due(&mut self) -> Result<Option<Arc<Prepared>>, String> {
        let Some(head) = &self.head else { return Ok(None) };
        let (commit, tools) = (head.prepared.commit.clone(), head.prepared.tools.clone());
        if self.tools().await? != tools {
            // Another program renders now, so everything has another address.
            return self.prepare(&commit).await.map(Some);
        }
        let due = self.renders.due_now();
        self.prepare_more(&due).await
    }

    /// The versions of the programs; they may have to be asked.
    async fn tools(&self) -> Result<Tools, String> {
        let renderer = Arc::clone(&self.hub.renderer);
        spawn_blocking(move || renderer.tools())
            .await
            .map_err(|_| panicked("asking helm and kustomize for their versions"))
    }

    /// The same head with more renderings: clusters came that use other combinations, or some of it came late.
    pub(super) async fn prepare_more(&mut self, missing: &[RenderInput]) -> Result<Option<Arc<Prepared>>, String> {
        let Some(Head { prepared: last, snapshot, defects, mut inputs }) = self.head.take() else { return Ok(None) };
        let mut prepared = Prepared { defects: defects.clone(), ..Prepared::clone(&last) };
        // The files are those of this head, so what was asked for of another one is not there.
        let known = |input: &RenderInput| {
            input.files.iter().all(|file| snapshot.files.get(&file.path).is_some_and(|found| found.id == file.id))
        };
        let missing: Vec<RenderInput> = missing.iter().filter(|input| known(input)).cloned().collect();
        self.renders.also(&missing);
        inputs.extend(named(&missing));
        inputs.sort();
        inputs.dedup();
        let rendered = self.renders.render(missing, &snapshot, Some(&last.renderings), &mut prepared.renderings).await;
        match rendered {
            Ok(()) => Ok(Some(self.keep(prepared, snapshot, defects, inputs))),
            Err(reason) => {
                self.head = Some(Head { prepared: last, snapshot, defects, inputs });
                Err(reason)
            }
        }
    }

    /// `defects` are those beside what is wrong with renderings.
    fn keep(
        &mut self,
        mut prepared: Prepared,
        snapshot: Snapshot,
        defects: Vec<Defect>,
        inputs: Vec<(Digest, String)>,
    ) -> Arc<Prepared> {
        prepared.defects.extend(self.renders.defects(&inputs));
        prepared.defects.extend(self.late(&prepared.catalog, &inputs));
        prepared.defects.sort();
        prepared.defects.dedup();
        prepared.notes = self.renders.notes(&inputs);
        let prepared = Arc::new(prepared);
        self.head = Some(Head { prepared: Arc::clone(&prepared), snapshot, defects, inputs });
        prepared
    }

    /// What is to be said of bundles of which something is still under way.
    fn late(&self, catalog: &Catalog, inputs: &[(Digest, String)]) -> BTreeSet<Defect> {
        let late = inputs.iter().filter(|(input, _)| self.renders.is_under_way(input));
        let message = "is still being rendered";
        let defect =
            |bundle: &String| Some(catalog.bundles.get(bundle)?.defect("spec.render", message).holding(bundle));
        late.filter_map(|(_, bundle)| defect(bundle)).collect()
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
            let sizes = sizes(&self.mirror, snapshot, &wanted.asks).await?;
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

/// What these inputs are, and for which bundles.
fn named(inputs: &[RenderInput]) -> Vec<(Digest, String)> {
    inputs.iter().map(|input| (input.digest, input.bundle.clone())).collect()
}

fn last_good(fleet: &Fleet, source: &str, bodies: &Bodies) -> Option<Catalog> {
    let head = fleet.sources.get(source)?.head.as_ref()?;
    Catalog::decode(&bodies.get(&head.catalog)?).ok()
}
