//! The documents that go down to single values: where variables come from, and what of a bundle differs. They are held
//! to the same rules as those of `document`.

use proto_wire::control as wire;
use schemars::JsonSchema;
use serde::Serialize;

use super::time::rfc3339;
use crate::view;

/// Where a variable's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Variable {
    /// Full name of the bundle that binds it.
    pub bundle: String,
    /// Its name.
    pub name: String,
    /// Its value, as text; null: nothing gives it one.
    pub value: Option<String>,
    /// What kind of place gives the value: default, VariableSet NAME, override N, Cluster NAME or the cluster itself;
    /// null: none.
    pub origin: Option<String>,
    /// The file where the value stands, relative to the source's path; null: none.
    pub file: Option<String>,
    /// Its line, from 1; null: none.
    pub line: Option<u32>,
    /// Values that it stands over, the highest first.
    pub overridden: Vec<VariableValue>,
}

/// A value that another one stands over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct VariableValue {
    /// The value, as text.
    pub value: String,
    /// What kind of place gives it.
    pub origin: String,
    /// The file where it stands, relative to the source's path; null: none.
    pub file: Option<String>,
    /// Its line, from 1; null: none.
    pub line: Option<u32>,
}

/// Somebody wants a bundle to be left alone for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Suspension {
    /// Where it was made: hub or cluster.
    pub at: String,
    /// Of the cluster as a whole; false as well where that is unknown.
    pub whole_cluster: bool,
    /// When it ends; null: the message alone says it.
    pub until: Option<String>,
    /// Who made it; null: the message alone says it.
    pub by: Option<String>,
    /// Why; null: the message alone says it, or nobody did.
    pub reason: Option<String>,
    /// All of it, for people, with how it is ended.
    pub message: String,
}

impl From<&view::Suspension> for Suspension {
    fn from(one: &view::Suspension) -> Self {
        Self {
            at: if one.at_hub { "hub" } else { "cluster" }.into(),
            whole_cluster: one.whole_cluster,
            until: one.until_unix_millis.and_then(rfc3339),
            by: one.by.clone(),
            reason: one.reason.clone(),
            message: one.message.clone(),
        }
    }
}

/// `drover diff`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diff {
    /// The cluster.
    pub cluster: String,
    /// Full name of the bundle, source/bundle.
    pub bundle: String,
    /// The generation in which the cluster got what was compared.
    pub generation: u64,
    /// SHA-256 of what was compared, in hexadecimal; null: the bundle goes away.
    pub variant: Option<String>,
    /// What is not as bound.
    pub objects: Vec<DiffObject>,
    /// Objects that are as bound.
    pub same: u64,
    /// Objects that were not looked at: too many, or not in time.
    pub unseen: u64,
}

/// An object that is not as bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiffObject {
    /// Kind, namespace and name.
    pub object: String,
    /// missing, unwanted, fields or unknown.
    pub change: String,
    /// What an apply would change.
    pub fields: Vec<DiffField>,
    /// Fields beyond those listed.
    pub fields_more: u64,
    /// Why it cannot be told; null: it can.
    pub message: Option<String>,
}

/// A field that an apply would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DiffField {
    /// JSON pointer.
    pub pointer: String,
    /// What is live, as JSON in a text, cut at 512 bytes; *** in Secrets; null: nothing.
    pub live: Option<String>,
    /// What it would be; null: nothing.
    pub bound: Option<String>,
}

impl From<&view::Variable> for Variable {
    fn from(variable: &view::Variable) -> Self {
        let first = variable.values.first();
        Self {
            bundle: variable.bundle.clone(),
            name: variable.name.clone(),
            value: first.map(|one| one.value.clone()),
            origin: first.map(|one| one.origin.clone()),
            file: first.and_then(|one| one.file.clone()),
            line: first.and_then(|one| one.line),
            overridden: variable.values.iter().skip(1).map(VariableValue::from).collect(),
        }
    }
}

impl From<&view::Given> for VariableValue {
    fn from(given: &view::Given) -> Self {
        Self { value: given.value.clone(), origin: given.origin.clone(), file: given.file.clone(), line: given.line }
    }
}

impl Diff {
    /// From what the hub answers.
    #[must_use]
    pub fn of(cluster: String, bundle: String, answer: wire::DiffResponse) -> Self {
        Self {
            cluster,
            bundle,
            generation: answer.generation,
            variant: Some(answer.variant).filter(|variant| !variant.is_empty()),
            objects: answer.objects.into_iter().map(DiffObject::from).collect(),
            same: answer.same,
            unseen: answer.unseen,
        }
    }
}

impl From<wire::ObjectDiff> for DiffObject {
    fn from(found: wire::ObjectDiff) -> Self {
        use wire::object_diff::Kind;
        let change = match found.kind() {
            Kind::Missing => "missing",
            Kind::Unwanted => "unwanted",
            Kind::Fields => "fields",
            // What a later hub says is not understood here.
            Kind::Unknown | Kind::Unspecified => "unknown",
        };
        let field = |one: wire::FieldDiff| DiffField { pointer: one.pointer, live: one.live, bound: one.bound };
        Self {
            object: found.object,
            change: change.into(),
            fields: found.fields.into_iter().map(field).collect(),
            fields_more: found.fields_more,
            message: Some(found.message).filter(|message| !message.is_empty()),
        }
    }
}
