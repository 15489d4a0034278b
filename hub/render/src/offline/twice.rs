//! Objects that two bundles of this source would own in one cluster: there the second of them is held. It is a
//! note, since which of them comes first is known in the cluster alone.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::catalog::Defect;
use proto_model::Identity;
use roaring::RoaringBitmap;

use super::Offline;

impl Offline {
    pub(super) fn owned_twice(&self, found: &mut BTreeSet<Defect>) {
        let mut owners: BTreeMap<Identity, Vec<(&str, RoaringBitmap)>> = BTreeMap::new();
        for (full, identities, clusters) in self.owned() {
            for identity in identities.into_iter().filter(|identity| !identity.kind.is_shared()) {
                owners.entry(identity).or_default().push((full, clusters.clone()));
            }
        }
        // One note for each two bundles, with the first of the objects.
        let mut told: BTreeMap<(&str, &str), (&Identity, usize)> = BTreeMap::new();
        for (identity, all) in &owners {
            for (at, (one, clusters)) in all.iter().enumerate() {
                for (other, others) in all.iter().skip(at + 1).filter(|(other, _)| other != one) {
                    if !clusters.is_disjoint(others) {
                        told.entry((*one, *other)).or_insert((identity, 0)).1 += 1;
                    }
                }
            }
        }
        for ((one, other), (identity, count)) in told {
            let Some(item) = self.catalog.bundles.get(other) else { continue };
            let objects = match count {
                1 => format!("{identity} is"),
                more => format!("{identity} and {} more are", more - 1),
            };
            let message =
                format!("{objects} in bundle {one} too, for the same cluster, where only one of them can have it");
            found.insert(item.defect("", &message).as_note());
        }
    }

    /// The objects of each bundle, and where it has them.
    pub(super) fn owned(&self) -> Vec<(&str, Vec<Identity>, RoaringBitmap)> {
        let mut all = Vec::new();
        for (full, goal) in &self.goals.bundles {
            let mut fixed: BTreeMap<_, RoaringBitmap> = BTreeMap::new();
            for (content, clusters) in &goal.pairs {
                let Some(rendered) = self.rendered(full, &content.variant) else { continue };
                if !rendered.meta.binds_identities() {
                    *fixed.entry(content.variant).or_default() |= clusters;
                } else if let Ok(identities) = rendered.meta.identities(&content.variables) {
                    all.push((full.as_str(), identities, clusters.clone()));
                }
            }
            for (variant, clusters) in fixed {
                let Some(rendered) = self.rendered(full, &variant) else { continue };
                let identities = rendered.meta.objects.iter().map(|object| object.identity.clone()).collect();
                all.push((full.as_str(), identities, clusters));
            }
        }
        all
    }
}
