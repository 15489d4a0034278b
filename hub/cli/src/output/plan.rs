//! The document of `drover plan`. Its shape is fixed as those of [`super::document`] are.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::document::SourceDefect;

/// `drover plan`
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    /// The commit that it is compared with, in full.
    pub against: String,
    /// The commit that is compared; null: the working tree.
    pub commit: Option<String>,
    /// What differs, by bundle; clusters with the same differences stand together.
    pub changes: Vec<Change>,
    /// What the deletion guard would hold.
    pub holds: Vec<GuardHold>,
    /// Bundles that stay as they are because something is wrong with them.
    pub held: Vec<Held>,
    /// What is wrong and was not wrong before.
    pub defects: Vec<SourceDefect>,
    /// Clusters that are declared now and were not before.
    pub clusters_added: Vec<String>,
    /// Clusters that are declared no more: they keep what they have.
    pub clusters_removed: Vec<String>,
}

/// The same differences of one bundle in some clusters.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// Full name of the bundle.
    pub bundle: String,
    /// Names of the clusters.
    pub clusters: Vec<String>,
    /// What differs.
    pub objects: Vec<Object>,
}

/// One object.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Object {
    /// added, changed, removed, kept (it stays, owned by nobody) or handedOver (another bundle takes it over).
    pub change: String,
    /// Kind, namespace and name.
    pub object: String,
    /// The bundle that it goes over to, or, of an added one, comes from; null: none.
    pub other: Option<String>,
    /// Whether it goes once somebody says so, and not before.
    pub confirm: bool,
    /// The fields that differ, where it is changed.
    pub fields: Vec<Field>,
}

/// One field that differs; values of Secrets are masked.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Field {
    /// Where it stands.
    pub path: String,
    /// What it was; null: it was not there.
    pub before: Option<Json>,
    /// What it becomes; null: it goes.
    pub after: Option<Json>,
}

/// A removal that would wait for an operator's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GuardHold {
    /// Full name of the bundle.
    pub bundle: String,
    /// Names of the clusters.
    pub clusters: Vec<String>,
    /// The most objects that would go from one of them.
    pub objects: usize,
    /// Whether nothing would remain there.
    pub empties: bool,
}

/// A bundle that stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Held {
    /// Its full name.
    pub bundle: String,
    /// What is wrong with it.
    pub why: String,
}
