//! Hands off for a while, as a hub tells its spokes: what is suspended in a cluster, and for how long.

use std::collections::BTreeMap;

/// Version of these words; a spoke that heeds them says it in its Hello.
pub const VERSION: u32 = 1;

/// The scope of a suspension of the whole cluster, beside names of bundles.
pub const CLUSTER: &str = "*";

/// How a spoke begins to say in a report that a bundle is left alone since somebody at the cluster said so.
pub const WORDS_HERE: &str = "is suspended until ";

/// As [`WORDS_HERE`], where the hub said so.
pub const WORDS_HUB: &str = "is suspended at the hub until ";

/// What a hub has suspended in a cluster, by scope: a full bundle name or [`CLUSTER`].
pub type Suspensions = BTreeMap<String, Suspension>;

/// One suspension. Clocks may differ, so that it says how much is left of it and not when it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// Names it among all that the hub ever made in this scope.
    pub id: u64,
    /// What was left of it when this was said, in milliseconds.
    pub left_millis: u64,
    /// Why, in the words of who asked for it.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
}
