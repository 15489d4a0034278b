//! Which bundle names an object in a cluster, before a change and after it: what goes over from one to another is no
//! deletion.

use std::collections::BTreeMap;

use hub_core::check::{Identities, Loss};
use proto_model::Identity;
use roaring::RoaringBitmap;

use super::super::Offline;

/// The bundles that name objects in the clusters of one tree.
pub(super) struct Owners<'a> {
    numbers: BTreeMap<&'a str, u32>,
    by_object: BTreeMap<Identity, Vec<(&'a str, RoaringBitmap)>>,
}

impl<'a> Owners<'a> {
    pub(super) fn of(tree: &'a Offline) -> Self {
        let mut by_object: BTreeMap<Identity, Vec<(&str, RoaringBitmap)>> = BTreeMap::new();
        for (full, identities, clusters) in tree.owned() {
            for identity in identities {
                by_object.entry(identity).or_default().push((full, clusters.clone()));
            }
        }
        let numbers = tree.clusters.iter().map(|one| (&*one.name, one.number)).collect();
        Self { numbers, by_object }
    }

    /// Another bundle that names an object in a cluster.
    pub(super) fn other(&self, object: &Identity, cluster: &str, than: &str) -> Option<&'a str> {
        let number = *self.numbers.get(cluster)?;
        let all = self.by_object.get(object)?.iter();
        all.filter(|(bundle, _)| *bundle != than).find(|(_, on)| on.contains(number)).map(|(bundle, _)| *bundle)
    }

    /// What a cluster loses of a bundle where what others name goes over to them.
    pub(super) fn loss(&self, bundle: &str, cluster: &str, before: &Identities, after: Option<&Identities>) -> Loss {
        let gone = before.objects.keys().filter(|id| after.is_none_or(|after| !after.objects.contains_key(id)));
        let mut handed: BTreeMap<String, Vec<Identity>> = BTreeMap::new();
        for id in gone {
            if let Some(to) = self.other(id, cluster, bundle) {
                handed.entry(to.to_owned()).or_default().push(id.clone());
            }
        }
        Loss::handing(before, after, handed, std::collections::BTreeSet::new())
    }
}
