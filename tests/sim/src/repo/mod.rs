//! The model of a Git repository: what it declares at its head, and how a random commit changes it.
//!
//! It knows nothing of how Drover renders: bundles are lists of items, and [`Repo::head`] says
//! which variant and variables every cluster should end up with.

mod commit;
mod item;

use std::collections::{BTreeMap, BTreeSet};

use hub_core::catalog::{Guard, GuardSpec};
use hub_core::command::Pair;
use hub_core::publish;
use proto_model::variant::{APPLY_RULES, Adopt, Binds, Dependency, Drift, Ignore, OnRemoval, Until};
use proto_model::{Digest, Settings, Value, Variables, Wishes};
use roaring::RoaringBitmap;
use serde_json::Value as Json;

use crate::bodies::Bodies;
use crate::rng::Rng;
use item::KEPT_NAMESPACE;
pub(crate) use item::{CONTENT_MARKER, Item, Key, SECRET_MARKER, Sort};

/// Labels of a cluster.
pub(crate) type Labels = BTreeMap<String, String>;

/// The name of the one source.
pub(crate) const SOURCE: &str = "main";

/// What the head declares.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Content {
    pub(crate) clusters: BTreeMap<String, Labels>,
    pub(crate) bundles: BTreeMap<String, Bundle>,
    /// Per cluster: the value that texts bind, and the one that names bind.
    pub(crate) variables: BTreeMap<String, (u64, u64)>,
}

/// A bundle.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Bundle {
    pub(crate) items: BTreeMap<Key, Item>,
    /// Clusters with this label `tier`; `None` for all.
    pub(crate) tier: Option<String>,
    pub(crate) depends_on: Option<String>,
    pub(crate) guard: GuardSpec,
    /// Whether clusters of tier `b` get a variant of their own.
    pub(crate) is_overridden: bool,
    /// Whether it takes over what others made.
    pub(crate) adopt: Adopt,
    /// Whether its objects stay when it goes.
    pub(crate) orphans: bool,
    /// Whether it leaves the text of its ConfigMaps alone once they are there.
    pub(crate) ignores: bool,
    /// Names of bundles whose objects it takes over.
    pub(crate) replaces: Vec<String>,
}

/// The repository.
#[derive(Debug)]
pub(crate) struct Repo {
    pub(crate) content: Content,
    /// Earlier contents, for reverts.
    past: Vec<Content>,
    commits: u64,
    counter: u64,
}

/// What a cluster may be given, as the hub knows it.
pub(crate) struct Member {
    pub(crate) number: u32,
    pub(crate) name: String,
    pub(crate) labels: Labels,
}

impl Repo {
    pub(crate) fn new(rng: &mut Rng, clusters: u64) -> Self {
        let content = Content::default();
        let mut repo = Self { content, past: Vec::new(), commits: 0, counter: 0 };
        for n in 0..clusters {
            let name = format!("c{n}");
            let tier = if n % 2 == 0 { "a" } else { "b" };
            let labels = Labels::from([("tier".to_owned(), tier.to_owned())]);
            repo.content.clusters.insert(name.clone(), labels);
            repo.content.variables.insert(name, (n, n));
        }
        for _ in 0..3 {
            repo.add_bundle(rng);
        }
        repo.tidy();
        repo
    }

    /// The commit at the head.
    pub(crate) fn commit_id(&self) -> String {
        format!("{:040x}", self.commits)
    }

    /// Which commit it is, as a number.
    pub(crate) fn commit_number(&self) -> u64 {
        self.commits
    }

    /// The guard of each bundle at the head, by full name.
    pub(crate) fn guards(&self) -> BTreeMap<String, Guard> {
        let guard = |bundle: &Bundle| Guard::default().tightened(&bundle.guard);
        self.content.bundles.iter().map(|(name, one)| (full(name), guard(one))).collect()
    }

    /// What the head wants of each bundle in each of these clusters. New bodies are put into the
    /// store.
    pub(crate) fn head(&self, members: &[Member], bodies: &mut Bodies) -> publish::Head {
        let mut wanted = BTreeMap::new();
        for (name, bundle) in &self.content.bundles {
            let mut goal: BTreeMap<Pair, RoaringBitmap> = BTreeMap::new();
            for member in members {
                let tier = member.labels.get("tier");
                if bundle.tier.is_some() && bundle.tier.as_ref() != tier {
                    continue;
                }
                let is_b = bundle.is_overridden && tier.is_some_and(|tier| tier == "b");
                let pair = Pair {
                    variant: render(bundle, is_b, bodies),
                    variables: self.variables(bundle, &member.name, bodies),
                };
                goal.entry(pair).or_default().insert(member.number);
            }
            let one = publish::Wanted {
                path: name.clone(),
                guard: Guard::default().tightened(&bundle.guard),
                goal: goal.into_iter().collect(),
            };
            wanted.insert(full(name), one);
        }
        let commit = self.commit_id();
        publish::Head {
            source: SOURCE.into(),
            catalog: Digest::of(commit.as_bytes()),
            commit,
            bundles: wanted,
            ..publish::Head::default()
        }
    }

    fn variables(&self, bundle: &Bundle, cluster: &str, bodies: &mut Bodies) -> Digest {
        let (site, shard) = self.content.variables.get(cluster).copied().unwrap_or_default();
        let text = |value: String| Value::Text(value);
        let mut table = Vec::new();
        if bundle.items.values().any(|item| item.binds) {
            table.push(("site".to_owned(), text(format!("site-{site}"))));
        }
        if bundle.items.keys().any(|key| key.is_sharded) {
            table.push(("shard".to_owned(), text(format!("s{shard}"))));
        }
        bodies.add_variables(Variables::from_iter(table))
    }

    /// Takes away what would never settle: objects in namespaces and of kinds that their own
    /// bundle no longer brings, dependencies on bundles that are not everywhere.
    fn tidy(&mut self) {
        let everywhere: BTreeSet<String> = self
            .content
            .bundles
            .iter()
            .filter(|(_, bundle)| bundle.tier.is_none())
            .map(|(name, _)| name.clone())
            .collect();
        let names: BTreeSet<String> = self.content.bundles.keys().cloned().collect();
        for (name, bundle) in &mut self.content.bundles {
            // What it replaces is declared no more.
            bundle.replaces.retain(|one| !names.contains(one));
            let brought: BTreeSet<String> =
                bundle.items.keys().filter(|key| key.sort == Sort::Namespace).map(|key| key.name.clone()).collect();
            let defines = bundle.items.keys().any(|key| key.sort == Sort::Definition);
            bundle.items.retain(|key, _| {
                (!key.namespace.starts_with("team-") || brought.contains(&key.namespace))
                    && (key.sort != Sort::Widget || defines)
            });
            let is_possible = |other: &String| other < name && everywhere.contains(other);
            bundle.depends_on = bundle.depends_on.take().filter(is_possible);
        }
    }

    /// ConfigMaps and Secrets that the head declares under one name everywhere, as their bundles have them.
    pub(crate) fn plain_objects(&self) -> Vec<Json> {
        let is_plain = |key: &&Key| matches!(key.sort, Sort::ConfigMap | Sort::Secret) && !key.is_sharded;
        let items = self.content.bundles.values().flat_map(|bundle| &bundle.items);
        items.filter(|(key, _)| is_plain(key)).map(|(key, item)| item.manifest(key, false)).collect()
    }

    /// Identities that more than one bundle names, for which the last bundle gives way.
    pub(crate) fn resolve_doubles(&mut self) {
        let mut seen = BTreeSet::new();
        for bundle in self.content.bundles.values_mut() {
            bundle.items.retain(|key, _| key.sort.is_shared() || seen.insert(key.clone()));
        }
        self.tidy();
        self.commits += 1;
    }
}

/// The full name of a bundle.
pub(crate) fn full(name: &str) -> String {
    format!("{SOURCE}/{name}")
}

fn render(bundle: &Bundle, is_b: bool, bodies: &mut Bodies) -> Digest {
    let mut binds = BTreeMap::new();
    if bundle.items.values().any(|item| item.binds) {
        binds.insert("site".to_owned(), Binds { identity: false });
    }
    if bundle.items.keys().any(|key| key.is_sharded) {
        binds.insert("shard".to_owned(), Binds { identity: true });
    }
    let depends_on = bundle.depends_on.iter().map(|name| Dependency { bundle: full(name), until: Until::Installed });
    let text = Ignore { kind: Some("ConfigMap".into()), fields: vec!["/data/text".into()], ..Ignore::default() };
    let asks = |(key, item): (&Key, &Item)| item.wishes != Wishes::default() || key.name == KEPT_NAMESPACE;
    let settings = Settings {
        namespace: Some("shop".into()),
        binds,
        depends_on: depends_on.collect(),
        drift: Drift::Correct,
        ignore: if bundle.ignores { vec![text] } else { Vec::new() },
        adopt: bundle.adopt,
        on_removal: if bundle.orphans { OnRemoval::Orphan } else { OnRemoval::Delete },
        replaces: bundle.replaces.iter().map(|name| full(name)).collect(),
        apply_rules: if bundle.items.iter().any(asks) { APPLY_RULES } else { 0 },
        ..Settings::default()
    };
    let manifests = bundle.items.iter().map(|(key, item)| item.manifest(key, is_b));
    bodies.add_variant(settings, manifests.collect())
}
