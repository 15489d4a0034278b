//! What the snapshots declare: clusters, variable sets, bundles, rollout policies, health checks and
//! further sources.
//!
//! [`parse`] reads the declarations of one snapshot. A document that is wrong never affects
//! another one, and never replaces what was there before: the last good form stays, and where it
//! is a bundle, the bundle is held.
//!
//! **Invariant:** nothing that is written is ignored in silence. A field that is unknown is a
//! defect; a field that is known and not carried out yet is a note where it only paces, and a
//! defect of its bundle where it restricts what Drover does.

mod across;
mod amount;
mod check;
mod circles;
mod document;
mod guard;
mod may;
mod parse;
mod policy_spec;
mod scalar;
mod schema;
mod source_spec;
pub mod spec;

use std::collections::{BTreeMap, BTreeSet};

use proto_model::variant::ServiceAccount;
use proto_model::{limits, name};
use serde::{Deserialize, Serialize};

pub use amount::{Amount, Span};
pub use check::url as check_url;
pub use guard::{Allowance, Guard, GuardSpec};
pub(crate) use parse::directory;
pub use parse::{Cache, Parsed, parse, parse_within};
pub use scalar::{SCALAR, Scalar};
pub use schema::schemas;

use spec::{BundleSpec, ClusterSpec, HealthCheckSpec, May, RolloutPolicySpec, SourceSpec, VariableSetSpec};

/// The `apiVersion` of everything that Drover reads.
pub const API_VERSION: &str = "drover.dev/v1alpha1";

/// What the snapshots declare. Full names are `source/name`; clusters have one name for all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// By name.
    pub clusters: BTreeMap<String, Declared<ClusterSpec>>,
    /// In the order of their files; later ones win.
    pub variable_sets: Vec<Declared<VariableSetSpec>>,
    /// In the order of their files; later ones win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health_checks: Vec<Declared<HealthCheckSpec>>,
    /// By full name. One that is in `held` too is the last good form.
    pub bundles: BTreeMap<String, Declared<BundleSpec>>,
    /// By full name.
    pub policies: BTreeMap<String, Declared<RolloutPolicySpec>>,
    /// Further sources, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, Declared<SourceSpec>>,
    /// What this source may do, where the root source says it; `None` is the root source itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may: Option<May>,
    /// Bundles, by full name, of which the declaration is defective, and why: their goal stays
    /// what it was. Those without a last good form are in no other list.
    pub held: BTreeMap<String, String>,
    /// Policies, by full name, that ask for what is not carried out yet and restricts: the bundles
    /// that use them are held.
    pub held_policies: BTreeSet<String>,
    /// Directories of bundles that are declared and cannot be read: no other bundle's files lie
    /// there.
    pub boundaries: BTreeSet<String>,
}

/// One declaration, and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared<S> {
    /// The source that declares it.
    pub source: String,
    /// Its own name, without the source.
    pub name: String,
    /// The file, relative to the source's path.
    pub file: String,
    /// The line of the document, from 1.
    pub line: u32,
    /// The labels of its metadata.
    pub labels: BTreeMap<String, String>,
    /// Lines of its fields, by path: `spec.rollout`, `spec.dependsOn.0`.
    pub lines: BTreeMap<String, u32>,
    /// What it says.
    pub spec: S,
}

/// Something wrong with what a source declares, or, as a note, worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defect {
    /// The file, relative to the source's path; empty for the source as a whole.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// What is wrong and what to do, for people. Never object content.
    pub message: String,
    /// The bundle that is held for it, by full name.
    pub bundle: Option<String>,
    /// Whether it is a note, which holds nothing.
    pub note: bool,
}

impl Catalog {
    /// The bytes that are stored and digested.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing plain maps to memory has no way to fail; an empty result would not decode.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Catalog::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are no catalog of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Whether a cluster with these labels exists for the source's bundles.
    #[must_use]
    pub fn sees(&self, labels: &BTreeMap<String, String>) -> bool {
        self.may.as_ref().is_none_or(|may| may.sees(labels))
    }

    /// The rollout policy that a bundle names, if it is known.
    #[must_use]
    pub fn policy_of(&self, bundle: &Declared<BundleSpec>) -> Option<&Declared<RolloutPolicySpec>> {
        self.policies.get(&full_name(&bundle.source, bundle.spec.rollout.as_deref()?))
    }
}

impl<S> Declared<S> {
    /// Its full name, `source/name`.
    #[must_use]
    pub fn full_name(&self) -> String {
        full_name(&self.source, &self.name)
    }

    /// The line of a field, or of the document where the field is left out.
    #[must_use]
    pub fn line_of(&self, path: &str) -> u32 {
        self.lines.get(path).copied().unwrap_or(self.line)
    }

    /// A defect at one of its fields.
    #[must_use]
    pub fn defect(&self, path: &str, message: impl Into<String>) -> Defect {
        Defect { file: self.file.clone(), line: self.line_of(path), message: message.into(), bundle: None, note: false }
    }
}

impl Defect {
    /// The same defect, which holds a bundle.
    #[must_use]
    pub fn holding(self, bundle: &str) -> Self {
        Self { bundle: Some(bundle.into()), ..self }
    }

    /// The same defect as it is kept and shown: on one line, without control characters, and of a length
    /// that can be read, whatever the file says that it quotes.
    #[must_use]
    pub fn shown(mut self) -> Self {
        const MAX: usize = limits::DEFECT_BYTES_MAX;
        (self.file, self.message) = (shown(&self.file, MAX), shown(&self.message, MAX));
        self.bundle = self.bundle.map(|bundle| shown(&bundle, MAX));
        self
    }

    /// The same words as a note.
    #[must_use]
    pub fn as_note(self) -> Self {
        Self { note: true, ..self }
    }
}

impl std::fmt::Display for Defect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.note { "note" } else { "defect" };
        match (self.file.as_str(), self.line) {
            ("", _) => write!(f, "{kind}: {}", self.message),
            (file, 0) => write!(f, "{file}: {kind}: {}", self.message),
            (file, line) => write!(f, "{file}:{line}: {kind}: {}", self.message),
        }
    }
}

/// A text for people: without control characters, and cut in its middle where it is longer than so many
/// bytes, since what matters stands at either end.
#[must_use]
pub fn shown(text: &str, bytes_max: usize) -> String {
    const CUT: &str = " … ";
    let clean = |part: &str| part.replace(char::is_control, " ");
    if text.len() <= bytes_max {
        return clean(text);
    }
    let half = bytes_max.saturating_sub(CUT.len()) / 2;
    let (head, tail) = (text.floor_char_boundary(half), text.ceil_char_boundary(text.len() - half));
    format!("{}{CUT}{}", clean(&text[..head]), clean(&text[tail..]))
}

/// A full name from a source and a name that may itself be full.
#[must_use]
pub fn full_name(source: &str, name: &str) -> String {
    if name.contains('/') { name.into() } else { format!("{source}/{name}") }
}

/// The service account that a bundle names: `name`, in the bundle's namespace, or `namespace/name`.
///
/// # Errors
/// It names none, as a sentence.
pub fn service_account(text: &str, namespace: Option<&str>) -> Result<ServiceAccount, String> {
    let (namespace, name) = match (text.split_once('/'), namespace) {
        (Some((namespace, name)), _) => (namespace, name),
        (None, Some(namespace)) => (namespace, text),
        (None, None) => {
            return Err(format!(
                "the bundle has no namespace in which {text:?} could lie: give it one, or write NAMESPACE/{text}"
            ));
        }
    };
    name::check_label("namespace", namespace, 63).map_err(|error| error.to_string())?;
    // Names of service accounts may have dots.
    if name.len() > 253 {
        return Err("the name of the service account is longer than 253 bytes".into());
    }
    for part in name.split('.') {
        name::check_label("service account", part, 253).map_err(|error| error.to_string())?;
    }
    Ok(ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
#[path = "catalog/source_tests.rs"]
mod source_tests;
#[cfg(test)]
#[path = "catalog/tests.rs"]
mod tests;
