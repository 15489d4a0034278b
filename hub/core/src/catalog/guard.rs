//! The deletion guard: how much may go at once without an operator's word.

use std::collections::BTreeSet;

use proto_model::{GroupKind, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Amount;

/// How much may go from a bundle at once. The hub has one, and a policy can only tighten it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Objects that may go, per bundle and cluster.
    pub max_deleted_objects: Allowance,
    /// Clusters that may be left with nothing, per bundle.
    pub max_emptied_clusters: Allowance,
    /// Kinds of which no object may go: `Kind`, of any group, or `Kind.group`.
    pub protected_kinds: BTreeSet<String>,
}

/// A share and a number; both hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowance {
    /// Share in percent.
    pub percent: Option<u32>,
    /// Number.
    pub count: Option<u64>,
}

/// The guard of a policy, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuardSpec {
    /// Objects that may go at once, per bundle and cluster: an integer, or a percentage with a
    /// floor of 5 objects. Left out: the hub's own guard, `10%` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_deleted_objects: Option<Amount>,
    /// Clusters that may be left without any object of the bundle. Left out: the hub's own guard,
    /// `0` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_emptied_clusters: Option<Amount>,
    /// Kinds of which no object may go, as `Kind` or `Kind.group`, beside those of the hub's own
    /// guard: Namespace, CustomResourceDefinition and PersistentVolumeClaim by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protected_kinds: Option<BTreeSet<String>>,
}

impl Default for Guard {
    /// The hub's own guard where nothing else is said.
    fn default() -> Self {
        Self {
            max_deleted_objects: Allowance { percent: Some(10), count: None },
            max_emptied_clusters: Allowance { percent: None, count: Some(0) },
            protected_kinds: ["Namespace", "CustomResourceDefinition", "PersistentVolumeClaim"]
                .map(str::to_owned)
                .into(),
        }
    }
}

impl Guard {
    /// This guard, with what a policy adds to it. Nothing becomes looser.
    #[must_use]
    pub fn tightened(&self, policy: &GuardSpec) -> Self {
        Self {
            max_deleted_objects: self.max_deleted_objects.tightened(policy.max_deleted_objects),
            max_emptied_clusters: self.max_emptied_clusters.tightened(policy.max_emptied_clusters),
            protected_kinds: self
                .protected_kinds
                .iter()
                .chain(policy.protected_kinds.iter().flatten())
                .cloned()
                .collect(),
        }
    }

    /// How many of `total` objects of one bundle in one cluster may go. A percentage has a floor
    /// of `limits::GUARD_FLOOR_OBJECTS`, a number has none.
    #[must_use]
    pub fn deletions_allowed(&self, total: u64) -> u64 {
        let share = self.max_deleted_objects.share(total);
        let share = share.map(|share| share.max(limits::GUARD_FLOOR_OBJECTS));
        smaller(share, self.max_deleted_objects.count).unwrap_or(total)
    }

    /// How many of the `total` clusters that have objects of the bundle may be left with none.
    #[must_use]
    pub fn emptied_allowed(&self, total: u64) -> u64 {
        let share = self.max_emptied_clusters.share(total);
        smaller(share, self.max_emptied_clusters.count).unwrap_or(total)
    }

    /// Whether no object of the kind may go.
    #[must_use]
    pub fn protects(&self, kind: &GroupKind) -> bool {
        self.protected_kinds.contains(&kind.kind) || self.protected_kinds.contains(&kind.to_string())
    }
}

impl Allowance {
    fn tightened(self, amount: Option<Amount>) -> Self {
        match amount {
            None => self,
            Some(Amount::Percent(percent)) => Self { percent: smaller(self.percent, Some(percent)), ..self },
            Some(Amount::Count(count)) => Self { count: smaller(self.count, Some(count)), ..self },
        }
    }

    fn share(self, total: u64) -> Option<u64> {
        self.percent.map(|percent| Amount::Percent(percent).of(total))
    }
}

fn smaller<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_only_tightens() {
        let hub = Guard::default();
        let loose = hub.tightened(&GuardSpec {
            max_deleted_objects: Some(Amount::Percent(50)),
            max_emptied_clusters: Some(Amount::Count(9)),
            protected_kinds: Some(BTreeSet::new()),
        });
        assert_eq!(loose, hub);
        let tight = hub.tightened(&GuardSpec {
            max_deleted_objects: Some(Amount::Count(2)),
            protected_kinds: Some(["Widget.example.com".to_owned()].into()),
            ..GuardSpec::default()
        });
        assert_eq!(tight.deletions_allowed(100), 2);
        assert!(tight.protects(&GroupKind::of("example.com/v1", "Widget")));
        assert!(!tight.protects(&GroupKind::of("other.io/v1", "Widget")));
        assert!(tight.protects(&GroupKind::of("v1", "Namespace")));
    }

    #[test]
    fn a_percentage_has_a_floor_and_a_number_has_none() {
        let hub = Guard::default();
        assert_eq!(hub.deletions_allowed(3), limits::GUARD_FLOOR_OBJECTS);
        assert_eq!(hub.deletions_allowed(99), 9);
        assert_eq!(hub.emptied_allowed(1000), 0);
    }
}
