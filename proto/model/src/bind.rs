//! Binding variables into objects, at the spoke, after parsing: a value can never become syntax.
//!
//! `${name}` gives text. `${name|int}`, `${name|bool}` and `${name|json}`, alone in a scalar, give
//! that type. Only names that the bundle lists are bound, and `cluster.name` and
//! `cluster.labels.x` where it lists `cluster`; every other `${…}` stays as it is, byte for byte.
//! Bound text is not scanned again.
//!
//! Never bound: `apiVersion`, `kind`, map keys, CRDs, objects annotated
//! `drover.dev/bind: disabled`. `metadata.name` and `metadata.namespace` take only `cluster.name`
//! and variables marked `identity: true`. `data` of a Secret is bound after decoding.

mod scan;
mod stamp;

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use crate::object::{self, annotation};
use crate::variant::Binds;
use crate::{GroupKind, Value, Variables};

pub use scan::{CLUSTER, Form, check_name};
use scan::{Site, sites};
pub use stamp::{STAMP_ANNOTATION, stamp};

/// Annotation by which an object asks to be left alone, with the value `disabled`.
pub const BIND_ANNOTATION: &str = "drover.dev/bind";

/// One use of a variable in an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Use {
    /// The name, as the table of variables has it: `storeId`, `cluster.name`, `cluster.labels.x`.
    pub name: String,
    /// The type that it must give.
    pub form: Form,
    /// Whether it is part of the object's name or namespace.
    pub identity: bool,
    /// JSON pointer to the scalar.
    pub pointer: String,
}

/// Why an object cannot be bound. Names the object and the field, never a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object}: {pointer}: {problem}")]
pub struct BindError {
    /// Kind, namespace and name before binding.
    pub object: String,
    /// JSON pointer to the scalar.
    pub pointer: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with one use of a variable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The table has no such name.
    #[error("variable {0} has no value for this cluster; give it one, or a default in the bundle")]
    Missing(String),
    /// The value does not give the type.
    #[error("variable {name} {bad}")]
    BadValue {
        /// The variable.
        name: String,
        /// In which way.
        bad: BadValue,
    },
    /// A typed form with other text around it.
    #[error("${{{name}|{form}}} must stand alone in its scalar; use ${{{name}}} to make it part of a text")]
    NotAlone {
        /// The variable.
        name: String,
        /// The form.
        form: Form,
    },
    /// A variable that may not shape names, in a name.
    #[error(
        "names and namespaces are bound only with cluster.name and variables marked \
         `identity: true`, which {0} is not"
    )]
    NotIdentity(String),
    /// A typed form in a name.
    #[error("names and namespaces are text: write ${{{0}}}")]
    TypedIdentity(String),
    /// A reference in `data` of a Secret that is not encoded.
    #[error("is not base64; put the text under stringData, or encode it")]
    NotBase64,
}

/// Why a value does not give a type. Never holds the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no {form}: {wanted}")]
pub struct BadValue {
    /// The type.
    pub form: Form,
    /// What would do.
    pub wanted: &'static str,
}

/// Whether a value gives what a form asks for.
///
/// # Errors
/// It does not; says what would.
pub fn check_value(form: Form, value: &Value) -> Result<(), BadValue> {
    typed(form, value).map(|_| ())
}

fn typed(form: Form, value: &Value) -> Result<Json, BadValue> {
    let text = value.text();
    let (given, wanted) = match form {
        Form::Text => return Ok(Json::from(text)),
        // One spelling for one number: `0644` and `+1` mean different things to different readers.
        Form::Int => {
            let signed = text.parse::<i64>().ok().map(Json::from);
            let number = signed.or_else(|| text.parse::<u64>().ok().map(Json::from));
            let plain = number.filter(|number| {
                let spelled = number.to_string();
                spelled == text
            });
            (plain, "it must be a whole decimal number within 64 bits, without leading zeros or +")
        }
        Form::Bool => {
            let given = match text {
                "true" => Some(Json::Bool(true)),
                "false" => Some(Json::Bool(false)),
                _ => None,
            };
            (given, "it must be true or false")
        }
        Form::Json => (serde_json::from_str(text).ok(), "it must be one JSON value"),
    };
    given.ok_or(BadValue { form, wanted })
}

/// Binds variables into a manifest.
///
/// # Errors
/// A variable is missing, does not give the type that is asked for, or stands where it may not.
pub fn bind(manifest: &Json, variables: &Variables, binds: &BTreeMap<String, Binds>) -> Result<Json, BindError> {
    let mut bound = manifest.clone();
    for site in sites_of(manifest, binds)? {
        let value = replacement(&site, variables).map_err(|problem| error(manifest, &site.pointer, problem))?;
        if let Some(scalar) = bound.pointer_mut(&site.pointer) {
            *scalar = value;
        }
    }
    Ok(bound)
}

/// Every use of a variable in a manifest.
///
/// # Errors
/// One of them stands where it may not.
pub fn uses(manifest: &Json, binds: &BTreeMap<String, Binds>) -> Result<BTreeSet<Use>, BindError> {
    let mut found = BTreeSet::new();
    for site in sites_of(manifest, binds)? {
        let (pointer, identity) = (site.pointer, site.identity);
        found.extend(site.refs.into_iter().map(|reference| Use {
            name: reference.name,
            form: reference.form,
            identity,
            pointer: pointer.clone(),
        }));
    }
    Ok(found)
}

fn sites_of(manifest: &Json, binds: &BTreeMap<String, Binds>) -> Result<Vec<Site>, BindError> {
    if binds.is_empty() || is_left_alone(manifest) {
        return Ok(Vec::new());
    }
    sites(manifest, binds).map_err(|(pointer, problem)| error(manifest, &pointer, problem))
}

fn is_left_alone(manifest: &Json) -> bool {
    kind_of(manifest).is("apiextensions.k8s.io", "CustomResourceDefinition")
        || annotation(manifest, BIND_ANNOTATION) == Some("disabled")
}

fn kind_of(manifest: &Json) -> GroupKind {
    let text = |key| manifest.get(key).and_then(Json::as_str).unwrap_or_default();
    GroupKind::of(text("apiVersion"), text("kind"))
}

fn error(manifest: &Json, pointer: &str, problem: Problem) -> BindError {
    let object =
        object::identity(manifest).map_or_else(|_| kind_of(manifest).to_string(), |identity| identity.to_string());
    BindError { object, pointer: pointer.to_owned(), problem }
}

// What a scalar becomes.
fn replacement(site: &Site, variables: &Variables) -> Result<Json, Problem> {
    let mut out = Vec::with_capacity(site.text.len());
    let mut from = 0;
    for reference in &site.refs {
        let name = &reference.name;
        let value = variables.0.get(name).ok_or_else(|| Problem::Missing(name.clone()))?;
        let given = typed(reference.form, value).map_err(|bad| Problem::BadValue { name: name.clone(), bad })?;
        if reference.form != Form::Text && !site.encoded {
            return Ok(given);
        }
        out.extend_from_slice(&site.text[from..reference.range.start]);
        out.extend_from_slice(value.text().as_bytes());
        from = reference.range.end;
    }
    out.extend_from_slice(&site.text[from..]);
    if site.encoded {
        return Ok(STANDARD.encode(out).into());
    }
    // References are cut out at ASCII characters, so what was text stays text.
    Ok(String::from_utf8_lossy(&out).into_owned().into())
}
