//! From what sources want to the commands that say so: declarations first, since goals name
//! clusters by number, then goals. It runs again when a source has a new head, and when clusters
//! join, leave or get other labels.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use hub_core::catalog::{Catalog, Defect, Guard};
use hub_core::command::{Command, Entry, Pair};
use hub_core::fleet::{Cluster, Fleet};
use hub_core::publish::{self, Head};
use hub_core::release::{self, ClusterFacts, Common, Goals, Inputs, RenderInput, Renderings, Tools};
use hub_store::Kind;
use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use proto_model::{Digest, limits};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use super::Refused;
use super::defects::{Defects, Noted};
use crate::bodies::Bodies;
use crate::log::State;
use crate::metrics::Metrics;
use crate::node::{Node, unix_millis};
use crate::source::ROOT;

/// A source's head, read and rendered. Its bodies are durable.
#[derive(Clone)]
pub struct Prepared {
    /// Name of the source.
    pub source: String,
    /// The commit.
    pub commit: String,
    /// What it declares.
    pub catalog: Arc<Catalog>,
    /// Digest of the catalog's body.
    pub catalog_digest: Digest,
    /// What its bundles are rendered from.
    pub wanted: Arc<release::Wanted>,
    /// What was rendered.
    pub renderings: Renderings,
    /// The programs that rendered.
    pub tools: Tools,
    /// What is wrong with it, as far as no cluster plays a part.
    pub defects: Vec<Defect>,
    /// What is worth knowing of its renderings.
    pub notes: Vec<Noted>,
}

/// What goals need beside what was rendered, by source.
pub type Missing = BTreeMap<String, Asked>;

/// What the goals of one head need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// Its commit.
    pub commit: String,
    /// What else is to be rendered.
    pub inputs: Arc<Vec<RenderInput>>,
}

/// Renderings of one command, so that it stays far below the limit of an entry.
const RENDERINGS_PER_COMMAND: usize = 400;
const _: () = assert!(RENDERINGS_PER_COMMAND * 2 * 40 < limits::ENTRY_BYTES_MAX);

/// Brings heads and clusters together.
pub(super) struct Publisher {
    bodies: Arc<Bodies>,
    node: Arc<Node>,
    metrics: Arc<Metrics>,
    guard: Guard,
    heads: BTreeMap<String, Arc<Prepared>>,
    dirty: BTreeSet<String>,
    /// Sources of which the head could not be published; they are tried again.
    failed: BTreeSet<String>,
    /// The source that had its turn last.
    turn: String,
    /// The clusters that the last goals were made for.
    clusters: OrdMap<String, Cluster>,
    /// Commands on their way, and the source that they speak of.
    under_way: Option<(String, usize)>,
    /// What the goals on their way were made from.
    pending: Option<(String, Arc<Made>)>,
    /// What the goals of each source were made from that are in Fleet.
    last: BTreeMap<String, Arc<Made>>,
    /// Tells those who follow sources what else to render.
    missing: watch::Sender<Missing>,
}

impl Publisher {
    pub(super) fn new(
        bodies: Arc<Bodies>,
        node: Arc<Node>,
        metrics: Arc<Metrics>,
        guard: Guard,
        missing: watch::Sender<Missing>,
    ) -> Self {
        Self {
            bodies,
            node,
            metrics,
            guard,
            heads: BTreeMap::new(),
            dirty: BTreeSet::new(),
            failed: BTreeSet::new(),
            turn: String::new(),
            clusters: OrdMap::new(),
            under_way: None,
            pending: None,
            last: BTreeMap::new(),
            missing,
        }
    }

    /// A source has a new head.
    pub(super) fn prepared(&mut self, prepared: Arc<Prepared>) {
        let source = prepared.source.clone();
        if source != ROOT && !self.heads.contains_key(ROOT) {
            // Its followers say why it was not, where they know.
            let reason = format!("it waits for {ROOT}, which says what clusters there are, to be read");
            self.node.source(&source, |state| state.unpublished = Some(reason));
        }
        let before = self.heads.insert(source.clone(), Arc::clone(&prepared));
        let is_same = |before: &Prepared| {
            before.catalog.clusters == prepared.catalog.clusters
                && before.catalog.variable_sets == prepared.catalog.variable_sets
                && before.catalog.health_checks == prepared.catalog.health_checks
        };
        // What one source says of clusters counts for the bundles of all.
        if before.is_some_and(|before| is_same(&before)) {
            self.dirty.insert(source);
        } else {
            self.dirty.extend(self.heads.keys().cloned());
        }
    }

    /// A source lies elsewhere now, or is gone: its head of before counts no more.
    pub(super) fn forget(&mut self, source: &str) {
        self.heads.remove(source);
        self.last.remove(source);
        self.dirty.remove(source);
        self.failed.remove(source);
        self.metrics.forget(source);
    }

    /// Tries again what could not be published.
    pub(super) fn retry(&mut self) {
        self.dirty.append(&mut self.failed);
    }

    /// The commands to bring into the log now, if any.
    pub(super) async fn next(&mut self, state: &State) -> Result<Option<Vec<Command>>, String> {
        if self.under_way.is_some() {
            return Ok(None);
        }
        self.look_at(&state.fleet().clusters);
        // One that has nothing to say must not keep the others waiting.
        while let Some(source) = self.ready() {
            self.turn.clone_from(&source);
            let made = self.commands_of(source, state).await?;
            if made.is_some() {
                return Ok(made);
            }
        }
        Ok(None)
    }

    /// A source to look at. What the root says of clusters counts for the bundles of all: without
    /// it, others would get wrong variables.
    fn ready(&self) -> Option<String> {
        let is_ready = |source: &&String| *source == ROOT || self.heads.contains_key(ROOT);
        in_turn(&self.dirty, &self.turn).find(is_ready).cloned()
    }

    /// What one source has to say; it is dirty no more, but where clusters must be declared first.
    async fn commands_of(&mut self, source: String, state: &State) -> Result<Option<Vec<Command>>, String> {
        let Some(head) = self.heads.get(&source).cloned() else {
            self.dirty.remove(&source);
            return Ok(None);
        };
        let (bodies, guard, work) = (Arc::clone(&self.bodies), self.guard.clone(), state.clone());
        let (all, last) = (self.catalogs(), self.last.get(&source).cloned());
        let made = spawn_blocking(move || say(work.fleet(), head, all, &bodies, &guard, last.as_deref())).await;
        let made = made.map_err(|_| "publishing panicked: this is a defect of drover-hub".to_owned())?;
        match made {
            Ok(Said::Declaration(command)) => {
                // The goals come once the clusters have their numbers.
                self.under_way = Some((source, 1));
                Ok(Some(vec![command]))
            }
            Ok(Said::Goals { mut commands, missing, made }) => {
                self.dirty.remove(&source);
                self.metrics.defects(&source, made.wrong);
                self.ask_for(&source, Asked { commit: made.head.commit.clone(), inputs: Arc::new(missing) });
                self.pending = Some((source.clone(), made));
                commands.extend(self.collect(state.fleet()));
                if commands.is_empty() {
                    self.took_effect(&source);
                    self.published(&source);
                    return Ok(None);
                }
                info!(source, commands = commands.len(), "publishing");
                self.under_way = Some((source, commands.len()));
                Ok(Some(commands))
            }
            Err(reason) => {
                self.dirty.remove(&source);
                self.failed(&source, &reason);
                Ok(None)
            }
        }
    }

    /// An entry was answered.
    pub(super) fn settled(&mut self, entry: &Entry, error: Option<&Refused>) {
        let ours = entry.commands.iter().filter(|command| is_ours(command)).count();
        let Some((source, left)) = self.under_way.take() else { return };
        let left = left.saturating_sub(ours);
        if let Some(refused) = error.filter(|_| ours > 0) {
            self.dirty.remove(&source);
            self.failed(&source, &refused.to_string());
        } else if left == 0 {
            self.took_effect(&source);
        }
        if left == 0 && !self.dirty.contains(&source) && !self.failed.contains(&source) {
            self.published(&source);
        }
        self.under_way = (left > 0).then_some((source, left));
    }

    /// The catalogs of all sources, the root's first.
    fn catalogs(&self) -> Vec<Arc<Catalog>> {
        let (root, others): (Vec<_>, Vec<_>) = self.heads.iter().partition(|(name, _)| *name == ROOT);
        root.into_iter().chain(others).map(|(_, head)| Arc::clone(&head.catalog)).collect()
    }

    fn ask_for(&self, source: &str, asked: Asked) {
        self.missing.send_if_modified(|all| {
            let before = all.remove(source);
            if asked.inputs.is_empty() {
                return false;
            }
            let is_new = before.is_none_or(|before| before != asked);
            all.insert(source.to_owned(), asked);
            is_new
        });
    }

    fn failed(&mut self, source: &str, reason: &str) {
        // What is in Fleet now, nobody knows.
        self.last.remove(source);
        self.pending = None;
        error!(source, reason, "the head could not be published; it is tried again");
        self.failed.insert(source.to_owned());
        let reason = format!("its head could not be published: {reason}");
        self.node.source(source, |state| state.unpublished = Some(reason));
    }

    /// What was on its way is in Fleet, whatever came meanwhile.
    fn took_effect(&mut self, source: &str) {
        if let Some((_, made)) = self.pending.take_if(|(pending, _)| pending == source) {
            self.last.insert(source.to_owned(), made);
        }
    }

    fn published(&self, source: &str) {
        if self.node.is_unpublished(source) {
            self.node.source(source, |state| state.unpublished = None);
        }
    }

    /// Forgets renderings once there are far more than the present heads need. While a head was
    /// not read yet, nobody knows what it needs.
    fn collect(&self, fleet: &Fleet) -> Vec<Command> {
        if fleet.sources.keys().any(|source| !self.heads.contains_key(source)) {
            return Vec::new();
        }
        let needed: BTreeSet<Digest> =
            self.heads.values().flat_map(|head| head.renderings.done.keys().copied()).collect();
        if fleet.renderings.len() <= needed.len() + limits::RENDERINGS_SPARE_MAX {
            return Vec::new();
        }
        let old: Vec<Digest> = fleet.renderings.keys().filter(|input| !needed.contains(*input)).copied().collect();
        let parts = old.chunks(2 * RENDERINGS_PER_COMMAND);
        parts.map(|part| Command::Collect { renderings: part.to_vec() }).collect()
    }

    /// All goals are worked out again where a change of clusters can change them.
    fn look_at(&mut self, clusters: &OrdMap<String, Cluster>) {
        let changed = self.clusters.diff(clusters).any(|change| match change {
            DiffItem::Add(_, one) | DiffItem::Remove(_, one) => facts(one).is_some(),
            DiffItem::Update { old: (_, old), new: (_, new) } => facts(old) != facts(new),
        });
        self.clusters = clusters.clone();
        if changed {
            self.dirty.extend(self.heads.keys().cloned());
        }
    }
}

/// The sources after the one that had its turn last, and then from the first: one that always has news
/// keeps nobody else waiting.
fn in_turn<'a>(sources: &'a BTreeSet<String>, last: &'a str) -> impl Iterator<Item = &'a String> {
    let after = (Bound::Excluded(last), Bound::Unbounded);
    sources.range::<str, _>(after).chain(sources.range::<str, _>((Bound::Unbounded, Bound::Included(last))))
}

fn is_ours(command: &Command) -> bool {
    use Command::{Collect, Declare, Goal, Heads, Publish, Rendered};
    matches!(command, Declare { .. } | Rendered { .. } | Collect { .. } | Heads(_) | Goal(_) | Publish(_))
}

/// What of a cluster selectors see; `None` where nothing may be assigned to it.
fn facts(cluster: &Cluster) -> Option<(u32, BTreeMap<String, String>)> {
    let counts = cluster.is_assignable() && !cluster.declaration_removed;
    counts.then(|| (cluster.number, cluster.labels()))
}

/// The clusters that anything may be assigned to.
pub fn assignable(fleet: &Fleet) -> impl Iterator<Item = ClusterFacts> {
    fleet.clusters.iter().filter_map(|(name, cluster)| {
        let (number, labels) = facts(cluster)?;
        Some(ClusterFacts { number, name: name.clone(), labels })
    })
}

/// What the goals of a source were made from.
#[derive(Clone)]
struct Made {
    head: Arc<Prepared>,
    all: Vec<Arc<Catalog>>,
    clusters: Vec<ClusterFacts>,
    /// The bundles that have them.
    bundles: BTreeSet<String>,
    /// Defects of the head, without notes.
    wrong: usize,
}

/// What a source has to say.
enum Said {
    Declaration(Command),
    /// With what is to be rendered before these are whole.
    Goals {
        commands: Vec<Command>,
        missing: Vec<RenderInput>,
        made: Arc<Made>,
    },
}

fn say(
    fleet: &Fleet,
    head: Arc<Prepared>,
    all: Vec<Arc<Catalog>>,
    bodies: &Bodies,
    guard: &Guard,
    last: Option<&Made>,
) -> Result<Said, String> {
    let declared = head.catalog.clusters.iter().map(|(name, cluster)| (name.clone(), cluster.labels.clone())).collect();
    if let Some(command) = publish::declare(fleet, &head.source, &declared) {
        return Ok(Said::Declaration(command));
    }
    // Whether a cluster has room is told from all bundles together, where there are that many.
    let fresh = head.catalog.bundles.keys().filter(|name| !fleet.bundles.contains_key(*name)).count();
    let is_roomy = fleet.bundles.len() + fresh <= limits::BUNDLES_PER_CLUSTER_MAX;
    let mut made = Made { head, all, clusters: assignable(fleet).collect(), bundles: BTreeSet::new(), wrong: 0 };
    let common = made.common();
    let before = last.filter(|_| is_roomy).map(|last| (last, last.common()));
    let last =
        before.as_ref().map(|(last, common)| release::Last { inputs: last.inputs(common), bundles: &last.bundles });
    let mut goals = release::goals_after(made.inputs(&common), guard, last);
    let missing = std::mem::take(&mut goals.missing);
    if !is_roomy {
        hold_crowded(fleet, &made.head.catalog, &mut goals);
    }
    let bundles = goals.bundles.keys().chain(&goals.same).cloned().collect();
    let known = fleet.sources.get(&made.head.source).and_then(|source| source.head.as_ref());
    let before = known.and_then(|head| serde_json::from_slice(&bodies.get(&head.defects)?).ok());
    let mut defects = made.head.defects.clone();
    defects.append(&mut goals.defects);
    defects.sort();
    defects.dedup();
    let wrong = defects.iter().filter(|defect| !defect.note).count();
    let defects = Defects::of(defects, before.as_ref(), unix_millis()).with_notes(made.head.notes.clone());
    let wanted = store(&made.head, goals, &defects, bodies).map_err(|error| error.to_string())?;
    let mut commands = rendered(fleet, &made.head);
    commands.extend(publish::publish(fleet, &wanted));
    drop(common);
    (made.bundles, made.wrong) = (bundles, wrong);
    Ok(Said::Goals { commands, missing, made: Arc::new(made) })
}

impl Made {
    fn common(&self) -> Common<'_> {
        Common::of(self.all.iter().map(|catalog| &**catalog))
    }

    fn inputs<'a>(&'a self, common: &'a Common<'a>) -> Inputs<'a> {
        let Prepared { catalog, wanted, renderings, tools, .. } = &*self.head;
        Inputs { catalog, common, wanted, clusters: &self.clusters, renderings, tools }
    }
}

/// Holds the bundles for which a cluster that they select has no room.
fn hold_crowded(fleet: &Fleet, catalog: &Catalog, goals: &mut Goals) {
    for name in publish::crowded(fleet, goals) {
        let max = limits::BUNDLES_PER_CLUSTER_MAX;
        let message = format!("a cluster that it selects would run more than {max} bundles; select fewer clusters");
        if let Some(item) = catalog.bundles.get(&name) {
            goals.defects.push(item.defect("spec.targets", message.clone()).holding(&name));
        }
        goals.bundles.remove(&name);
        goals.held.insert(name, message);
    }
    goals.await_successors(catalog);
}

/// What was rendered and the log does not know yet.
fn rendered(fleet: &Fleet, prepared: &Prepared) -> Vec<Command> {
    let fresh: Vec<(Digest, Digest)> = prepared
        .renderings
        .done
        .iter()
        .filter(|(input, rendering)| fleet.renderings.get(*input) != Some(&rendering.variant))
        .map(|(input, rendering)| (*input, rendering.variant))
        .collect();
    fresh.chunks(RENDERINGS_PER_COMMAND).map(|chunk| Command::Rendered { renderings: chunk.to_vec() }).collect()
}

/// Stores the bodies that the goals name, and gives what to publish.
fn store(prepared: &Prepared, goals: Goals, defects: &Defects, bodies: &Bodies) -> Result<Head, hub_store::StoreError> {
    // Writing plain lists to memory has no way to fail; an empty body would not decode.
    let defects = serde_json::to_vec(defects).unwrap_or_default();
    let defects_digest = Digest::of(&defects);
    let mut put = vec![(defects_digest, Kind::Catalog, defects)];
    let mut bundles = BTreeMap::new();
    for (name, goal) in goals.bundles {
        let checked = goal.checked.iter().map(|(digest, one)| (*digest, Kind::Variant, one.variant.encode()));
        put.extend(checked);
        let mut pairs = Vec::with_capacity(goal.pairs.len());
        for (content, clusters) in goal.pairs {
            let table = content.variables.encode();
            let variables = Digest::of(&table);
            put.push((variables, Kind::Variables, table));
            pairs.push((Pair { variant: content.variant, variables }, clusters));
        }
        let wanted = publish::Wanted { path: goal.path, guard: goal.guard, goal: pairs };
        bundles.insert(name, wanted);
    }
    let put: Vec<(Digest, Kind, &[u8])> = put.iter().map(|(digest, kind, body)| (*digest, *kind, &**body)).collect();
    bodies.put(&put)?;
    Ok(Head {
        source: prepared.source.clone(),
        commit: prepared.commit.clone(),
        catalog: prepared.catalog_digest,
        defects: defects_digest,
        bundles,
        // What is the same stays what it is as well.
        held: goals.held.into_keys().chain(goals.same).chain(goals.awaited.into_keys()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_source_has_its_turn() {
        let sources: BTreeSet<String> = ["a", "b", "main"].map(str::to_owned).into();
        let turns = |last: &str| in_turn(&sources, last).map(|name| &**name).collect::<Vec<_>>().join(" ");
        assert_eq!(turns(""), "a b main");
        assert_eq!(turns("a"), "b main a");
        assert_eq!(turns("main"), "a b main");
        assert_eq!(turns("gone"), "main a b");
    }
}
