//! The documents of `drover get tokens` and `drover get audit`. Their shapes are fixed, as those of the others.

use schemars::JsonSchema;
use serde::Serialize;

use super::time::rfc3339;

/// `drover get tokens`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tokens {
    /// The entry of the hub's log that this shows.
    pub applied_index: u64,
    /// Join tokens, by id.
    pub tokens: Vec<Token>,
}

/// A join token; its secret is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// Globs of the cluster names that it admits.
    pub names: Vec<String>,
    /// Labels of the clusters that join with it.
    pub labels: std::collections::BTreeMap<String, String>,
    /// Clusters that joined with it.
    pub used: u32,
    /// How many more may.
    pub uses_left: u32,
    /// When it runs out; null: never.
    pub expires: Option<String>,
    /// For relative times.
    #[serde(skip)]
    pub expires_unix_millis: u64,
}

/// `drover get audit`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct AuditTrail {
    /// The entry of the hub's log that this shows.
    pub applied_index: u64,
    /// What operators did, oldest first.
    pub audit: Vec<Audit>,
}

/// One act of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Audit {
    /// When.
    pub at: Option<String>,
    /// Who: the name in the operator's certificate.
    pub who: String,
    /// What.
    pub what: String,
    /// Why, in the operator's words; null: nothing was said.
    pub why: Option<String>,
    /// For relative times.
    #[serde(skip)]
    pub unix_millis: u64,
}

impl From<proto_wire::control::Token> for Token {
    fn from(token: proto_wire::control::Token) -> Self {
        Self {
            id: token.id,
            names: token.names,
            labels: token.labels.into_iter().collect(),
            used: token.used,
            uses_left: token.uses_left,
            expires: rfc3339(token.expires_unix_millis),
            expires_unix_millis: token.expires_unix_millis,
        }
    }
}

impl From<proto_wire::control::Audit> for Audit {
    fn from(line: proto_wire::control::Audit) -> Self {
        Self {
            at: rfc3339(line.unix_millis),
            who: line.who,
            what: line.what,
            why: Some(line.why).filter(|why| !why.is_empty()),
            unix_millis: line.unix_millis,
        }
    }
}
