//! Random commits.

use hub_core::catalog::{Amount, GuardSpec};
use proto_model::Wishes;
use proto_model::variant::Adopt;
use proto_model::wishes::{Prune, Replace};

use super::{Bundle, Item, Key, Labels, Repo, Sort};
use crate::counts::{Counts, Event};
use crate::rng::Rng;

const BUNDLES_MAX: u64 = 5;
const ITEMS_MAX: usize = 9;

impl Repo {
    /// Somebody commits something; says what.
    pub(crate) fn commit(&mut self, rng: &mut Rng, counts: &mut Counts) -> Event {
        let before = self.content.clone();
        let event = self.change(rng);
        self.tidy();
        self.commits += 1;
        self.past.push(before);
        if self.past.len() > 3 {
            self.past.remove(0);
        }
        counts.event(event);
        event
    }

    fn change(&mut self, rng: &mut Rng) -> Event {
        match rng.below(100) {
            0..=13 => self.with_bundle(rng, Event::ObjectAdded, add_item),
            14..=37 => self.with_bundle(rng, Event::ObjectChanged, change_item),
            38..=47 => self.with_bundle(rng, Event::ObjectRemoved, |_, bundle, rng| {
                let keys: Vec<Key> = bundle.items.keys().cloned().collect();
                if let Some(key) = rng.pick(&keys) {
                    bundle.items.remove(key);
                }
            }),
            48..=53 => self.move_item(rng, false),
            54..=55 => self.move_item(rng, true),
            56..=60 => {
                self.add_bundle(rng);
                Event::BundleAdded
            }
            61..=63 => {
                if let Some(name) = self.some_bundle(rng) {
                    self.content.bundles.remove(&name);
                }
                Event::BundleRemoved
            }
            64..=65 => self.with_bundle(rng, Event::BundleEmptied, |_, bundle, _| {
                bundle.items.clear();
            }),
            66..=69 => self.with_cluster(rng, Event::VariableChanged, |repo, name, rng| {
                repo.content.variables.entry(name.into()).or_default().0 = rng.below(50);
            }),
            70..=72 => self.with_cluster(rng, Event::IdentityVariableChanged, |repo, name, rng| {
                repo.content.variables.entry(name.into()).or_default().1 = rng.below(50);
            }),
            73..=76 => self.with_bundle(rng, Event::GuardChanged, |_, bundle, rng| {
                let objects = rng.chance(600).then(|| Amount::Count(rng.below(6)));
                bundle.guard = GuardSpec { max_deleted_objects: objects, ..GuardSpec::default() };
            }),
            77..=79 => self.with_bundle(rng, Event::SettingsChanged, |_, bundle, rng| {
                let all = [Adopt::Always, Adopt::IfNoDiff, Adopt::Never];
                match rng.below(3) {
                    0 => bundle.adopt = rng.pick(&all).copied().unwrap_or_default(),
                    1 => bundle.orphans = !bundle.orphans,
                    _ => bundle.ignores = !bundle.ignores,
                }
            }),
            80..=82 => self.rename_bundle(rng),
            83..=90 => {
                if let Some(content) = rng.pick(&self.past) {
                    self.content = content.clone();
                }
                Event::Reverted
            }
            91..=96 => self.with_cluster(rng, Event::LabelsChanged, |repo, name, rng| {
                let tier = if rng.chance(500) { "a" } else { "b" };
                let labels = Labels::from([("tier".to_owned(), tier.to_owned())]);
                repo.content.clusters.insert(name.into(), labels);
            }),
            _ => self.with_cluster(rng, Event::ClusterUndeclared, |repo, name, _| {
                if repo.content.clusters.len() > 2 {
                    repo.content.clusters.remove(name);
                }
            }),
        }
    }

    fn with_bundle(&mut self, rng: &mut Rng, event: Event, act: impl FnOnce(&mut u64, &mut Bundle, &mut Rng)) -> Event {
        if let Some(name) = self.some_bundle(rng)
            && let Some(bundle) = self.content.bundles.get_mut(&name)
        {
            act(&mut self.counter, bundle, rng);
        }
        event
    }

    fn with_cluster(&mut self, rng: &mut Rng, event: Event, act: impl FnOnce(&mut Self, &str, &mut Rng)) -> Event {
        let names: Vec<String> = self.content.clusters.keys().cloned().collect();
        if let Some(name) = rng.pick(&names) {
            act(self, name, rng);
        }
        event
    }

    fn some_bundle(&self, rng: &mut Rng) -> Option<String> {
        let names: Vec<String> = self.content.bundles.keys().cloned().collect();
        rng.pick(&names).cloned()
    }

    fn move_item(&mut self, rng: &mut Rng, is_doubled: bool) -> Event {
        let event = if is_doubled { Event::ObjectDoubled } else { Event::ObjectMoved };
        let (Some(from), Some(to)) = (self.some_bundle(rng), self.some_bundle(rng)) else {
            return event;
        };
        let Some(source) = self.content.bundles.get_mut(&from) else { return event };
        let movable = |key: &&Key| !key.sort.is_shared() && key.sort != Sort::Widget;
        let keys: Vec<Key> = source.items.keys().filter(movable).cloned().collect();
        let Some(key) = rng.pick(&keys).filter(|_| from != to) else { return event };
        let item = source.items.get(key).copied().unwrap_or_default();
        if !is_doubled {
            source.items.remove(key);
        }
        if let Some(target) = self.content.bundles.get_mut(&to) {
            target.items.insert(key.clone(), item);
        }
        event
    }

    /// A bundle goes on under another name, and takes over what it had under the old one.
    fn rename_bundle(&mut self, rng: &mut Rng) -> Event {
        let to = format!("b{}", rng.below(BUNDLES_MAX));
        if let Some(from) = self.some_bundle(rng)
            && !self.content.bundles.contains_key(&to)
            && let Some(mut bundle) = self.content.bundles.remove(&from)
        {
            bundle.replaces = vec![from];
            self.content.bundles.insert(to, bundle);
        }
        Event::BundleRenamed
    }

    pub(super) fn add_bundle(&mut self, rng: &mut Rng) {
        let name = format!("b{}", rng.below(BUNDLES_MAX));
        if self.content.bundles.contains_key(&name) {
            return;
        }
        let tier = ["a", "b"].get(rng.place(5)).map(|tier| (*tier).to_owned());
        let depends_on = rng.chance(250).then(|| format!("b{}", rng.below(BUNDLES_MAX)));
        let is_overridden = rng.chance(250);
        let adopt = match rng.below(100) {
            0..=24 => Adopt::Always,
            25..=69 => Adopt::IfNoDiff,
            _ => Adopt::Never,
        };
        let (orphans, ignores) = (rng.chance(150), rng.chance(200));
        let mut bundle = Bundle { tier, depends_on, is_overridden, adopt, orphans, ignores, ..Bundle::default() };
        for _ in 0..rng.between(1, 6) {
            add_item(&mut self.counter, &mut bundle, rng);
        }
        self.content.bundles.insert(name, bundle);
    }
}

fn add_item(counter: &mut u64, bundle: &mut Bundle, rng: &mut Rng) {
    if bundle.items.len() >= ITEMS_MAX {
        return;
    }
    *counter += 1;
    let sort = match rng.below(100) {
        0..=39 => Sort::ConfigMap,
        40..=54 => Sort::Secret,
        55..=69 => Sort::Deployment,
        70..=76 => Sort::Job,
        77..=81 => Sort::Claim,
        82..=86 => Sort::ClusterRole,
        87..=93 => Sort::Namespace,
        94..=95 => Sort::Definition,
        _ => Sort::Widget,
    };
    let name = match sort {
        Sort::Namespace => format!("team-{}", rng.below(3)),
        Sort::Definition => "widgets.sim.test".to_owned(),
        _ => format!("o{counter}"),
    };
    let namespaces: Vec<String> = bundle
        .items
        .keys()
        .filter(|key| key.sort == Sort::Namespace)
        .map(|key| key.name.clone())
        .chain(["shop".to_owned(), "shop".to_owned(), "default".to_owned()])
        .collect();
    let namespace = match sort {
        _ if sort.is_cluster_wide() => String::new(),
        _ => rng.pick(&namespaces).cloned().unwrap_or_default(),
    };
    if sort == Sort::Widget {
        let definition = Key {
            sort: Sort::Definition,
            namespace: String::new(),
            name: "widgets.sim.test".into(),
            is_sharded: false,
        };
        bundle.items.entry(definition).or_default();
    }
    let key = Key { sort, namespace, name, is_sharded: !sort.is_shared() && rng.chance(150) };
    let item = Item {
        revision: *counter,
        binds: !sort.is_shared() && rng.chance(300),
        order: if !sort.is_shared() && rng.chance(150) { 1 } else { 0 },
        wishes: wishes(sort, rng),
        form: 0,
    };
    bundle.items.insert(key, item);
}

/// What an object asks for: mostly nothing.
fn wishes(sort: Sort, rng: &mut Rng) -> Wishes {
    let mut wishes = Wishes::default();
    match (sort, rng.below(100)) {
        (Sort::Namespace | Sort::Definition | Sort::Widget, _) => {}
        // What is made anew must be free to go.
        (Sort::Deployment, 0..=14) => wishes.replace = Some(Replace::Recreate),
        (Sort::Deployment, 15..=24) => wishes.replace = Some(Replace::Orphan),
        (_, 0..=29) if sort == Sort::Job || sort == Sort::Deployment => {}
        (_, 0..=6) => wishes.prune = Prune::Keep,
        (_, 7..=12) => wishes.prune = Prune::Confirm,
        (_, 13..=19) => wishes.prune = Prune::First,
        (_, 20..=25) => wishes.create_only = true,
        _ => {}
    }
    if sort == Sort::Job && rng.chance(100) {
        wishes.prune = Prune::First;
    }
    wishes
}

fn change_item(counter: &mut u64, bundle: &mut Bundle, rng: &mut Rng) {
    *counter += 1;
    let at = rng.place(bundle.items.len());
    if let Some(item) = bundle.items.values_mut().nth(at) {
        item.revision = *counter;
        if item.wishes.replace.is_some() && rng.chance(400) {
            item.form = *counter;
        }
    }
}
