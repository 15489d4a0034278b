//! What one move takes away: which objects go, which stay, and which go over to another bundle.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::wishes::Prune;
use proto_model::{GroupKind, Identity, Permit, assign};

use crate::catalog::Guard;

/// What a pair gives a cluster, after binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// The objects, and what becomes of each that is named no more.
    pub objects: BTreeMap<Identity, Prune>,
    /// Whether all of them stay when the bundle goes.
    pub orphans: bool,
}

impl FromIterator<Identity> for Identities {
    /// Objects that go when they are named no more.
    fn from_iter<T: IntoIterator<Item = Identity>>(all: T) -> Self {
        Self { objects: all.into_iter().map(|one| (one, Prune::default())).collect(), orphans: false }
    }
}

/// What a move takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    /// Objects that go, in order.
    pub objects: Vec<Identity>,
    /// Objects that the bundle names no more and that stay, owned by nobody: they, or the bundle that goes, ask for it.
    pub kept: Vec<Identity>,
    /// Objects that another bundle names, by its full name: they go over to it.
    pub handed: BTreeMap<String, Vec<Identity>>,
    /// Those of these bundles that are not there yet: the move must not come before theirs.
    pub waits: BTreeSet<String>,
    /// How many of `objects` the guard counts: generated ConfigMaps and Secrets whose successor
    /// arrives with the same move don't.
    pub counted: u64,
    /// How many of `objects` ask for somebody's word first.
    pub confirms: u64,
    /// Whether nothing remains where there was something.
    pub empties: bool,
    /// Whether the bundle goes and what it has stays.
    pub orphans: bool,
    /// Objects that were there before.
    pub before: u64,
}

impl Loss {
    /// What goes on the way from what was there, as that has it, to what shall be; `None` where the bundle goes.
    #[must_use]
    pub fn between(before: &Identities, after: Option<&Identities>) -> Self {
        Self::handing(before, after, BTreeMap::new(), BTreeSet::new())
    }

    /// The same where other bundles take objects over, some of which are not there yet.
    #[must_use]
    pub fn handing(
        before: &Identities,
        after: Option<&Identities>,
        handed: BTreeMap<String, Vec<Identity>>,
        waits: BTreeSet<String>,
    ) -> Self {
        let none = BTreeMap::new();
        let named = after.map_or(&none, |after| &after.objects);
        let orphans = after.is_none() && before.orphans;
        let stems: BTreeSet<(&GroupKind, &str, &str)> =
            named.keys().filter_map(|id| Some((&id.kind, &*id.namespace, stem(id)?))).collect();
        let over: BTreeSet<&Identity> = handed.values().flatten().collect();
        let mut loss = Self { before: before.objects.len() as u64, orphans, ..Self::default() };
        for (id, prune) in before.objects.iter().filter(|(id, _)| !named.contains_key(id) && !over.contains(id)) {
            if orphans || *prune == Prune::Keep {
                loss.kept.push(id.clone());
                continue;
            }
            loss.confirms += u64::from(*prune == Prune::Confirm);
            let has_successor = stem(id).is_some_and(|stem| stems.contains(&(&id.kind, &*id.namespace, stem)));
            loss.counted += u64::from(!has_successor);
            loss.objects.push(id.clone());
        }
        let stays = !loss.kept.is_empty() || !handed.is_empty();
        loss.empties = named.is_empty() && !stays && !before.objects.is_empty();
        Self { handed, waits, ..loss }
    }

    /// The permit that lets exactly this go.
    #[must_use]
    pub fn permit(&self, guard: &Guard) -> Permit {
        let protected = self.objects.iter().map(|id| &id.kind);
        Permit {
            deletions: self.objects.len() as u64,
            protected: protected.filter(|kind| assign::is_protected(kind) || guard.protects(kind)).cloned().collect(),
            // Without somebody's word the guard holds the move.
            confirmed: self.confirms > 0,
            orphan: self.orphans,
        }
    }

    /// Whether what goes needs somebody's word, however little it is: a protected kind, or an object that asks for it.
    #[must_use]
    pub fn is_protected(&self, guard: &Guard) -> bool {
        self.confirms > 0 || self.objects.iter().any(|id| guard.protects(&id.kind))
    }

    /// Objects that the bundle has no more and that do not go.
    #[must_use]
    pub fn stay(&self) -> u64 {
        (self.kept.len() + self.handed.values().map(Vec::len).sum::<usize>()) as u64
    }
}

/// The name of a generated ConfigMap or Secret without its suffix, as Kustomize makes them: a dash
/// and ten letters or digits.
fn stem(identity: &Identity) -> Option<&str> {
    let generated = identity.kind.is("", "ConfigMap") || identity.kind.is("", "Secret");
    let (stem, hash) = identity.name.rsplit_once('-')?;
    let is_hash = hash.len() == 10
        && hash.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        && hash.bytes().any(|byte| byte.is_ascii_digit());
    (generated && is_hash).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config_map(name: &str) -> Identity {
        Identity { kind: GroupKind::of("v1", "ConfigMap"), namespace: "shop".into(), name: name.into() }
    }

    fn config_maps(names: &[&str]) -> Identities {
        names.iter().map(|name| config_map(name)).collect()
    }

    fn asking(asks: &[(&str, Prune)]) -> Identities {
        Identities { objects: asks.iter().map(|(name, prune)| (config_map(name), *prune)).collect(), orphans: false }
    }

    #[test]
    fn generated_names_with_a_successor_do_not_count() {
        let loss =
            Loss::between(&config_maps(&["web-5h2k9d8fct", "plain-name"]), Some(&config_maps(&["web-7k4m2h9t6b"])));
        assert_eq!((loss.objects.len(), loss.counted, loss.empties), (2, 1, false));
    }

    #[test]
    fn nothing_left_is_emptied() {
        assert!(Loss::between(&config_maps(&["a"]), None).empties);
        assert!(Loss::between(&config_maps(&["a"]), Some(&config_maps(&[]))).empties);
        assert!(!Loss::between(&config_maps(&[]), None).empties);
    }

    #[test]
    fn what_asks_to_be_kept_does_not_go() {
        let before = asking(&[("a", Prune::Keep), ("b", Prune::Delete), ("c", Prune::First)]);
        let loss = Loss::between(&before, None);
        assert_eq!((loss.objects.len(), loss.counted, loss.kept.len(), loss.before), (2, 2, 1, 3));
        assert!(!loss.empties, "something stays");
        assert_eq!(loss.permit(&Guard::default()).deletions, 2);
        let all = Loss::between(&asking(&[("a", Prune::Keep)]), None);
        assert_eq!((all.objects.len(), all.empties, all.permit(&Guard::default())), (0, false, Permit::default()));
    }

    #[test]
    fn what_asks_for_a_word_needs_one_and_its_permit_says_so() {
        let loss = Loss::between(&asking(&[("a", Prune::Confirm), ("b", Prune::Delete)]), Some(&config_maps(&["b"])));
        assert!(loss.is_protected(&Guard::default()));
        let permit = loss.permit(&Guard::default());
        assert!(permit.confirmed && permit.deletions == 1, "{permit:?}");
        // What goes on as it was asks nobody.
        assert!(
            !Loss::between(&asking(&[("a", Prune::Confirm)]), Some(&config_maps(&["a"])))
                .is_protected(&Guard::default())
        );
    }

    #[test]
    fn a_bundle_that_orphans_takes_nothing_along() {
        let before = Identities { orphans: true, ..asking(&[("a", Prune::Confirm), ("b", Prune::Delete)]) };
        let loss = Loss::between(&before, None);
        assert_eq!((loss.objects.len(), loss.kept.len(), loss.empties), (0, 2, false));
        let permit = loss.permit(&Guard::default());
        assert_eq!(permit, Permit { orphan: true, ..Permit::default() });
        // While it stays, what it names no more goes.
        let less = Loss::between(&before, Some(&config_maps(&["a"])));
        assert_eq!((less.objects.len(), less.orphans), (1, false));
    }

    #[test]
    fn what_goes_over_to_another_bundle_is_no_loss() {
        let handed: BTreeMap<String, Vec<Identity>> = [("main/new".to_owned(), vec![config_map("a")])].into();
        let loss = Loss::handing(&config_maps(&["a", "b"]), None, handed, BTreeSet::new());
        assert_eq!((loss.objects, loss.counted, loss.empties), (vec![config_map("b")], 1, false));
    }
}
