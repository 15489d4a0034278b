//! How the live objects of a file are doing, as a running spoke would say.

mod checks;

use proto_model::{Health, limits, object};
use serde::Serialize;
use serde_json::Value as Json;
use spoke_core::health::{self, Assessment};

pub use checks::{BadCheck, checks};
pub use spoke_core::health::Checks;

/// How one object is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Verdict {
    /// Kind with group, namespace and name: `Deployment.apps shop/web`.
    pub object: String,
    /// `Progressing`, `Healthy`, `Degraded` or `Unknown`.
    pub health: String,
    /// Why it is not Healthy, naming the condition. Empty where it is, save where nothing is known but that it has no
    /// status.
    pub reason: String,
}

/// Why a text holds no objects to judge.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// Not YAML.
    #[error("is not YAML: {0}")]
    NotYaml(String),
    /// One of the documents is no object.
    #[error("object {number} {error}; it must look as `kubectl get -o yaml` prints it")]
    NotAnObject {
        /// Which one, from 1.
        number: usize,
        /// What is wrong.
        error: object::BadObject,
    },
}

/// Judges each object of a text, in order: YAML documents, JSON, or a `List` of objects.
///
/// # Errors
/// The text is no YAML, or holds something that is no object.
pub fn verdicts(text: &str, checks: &Checks) -> Result<Vec<Verdict>, BadFile> {
    let mut objects = Vec::new();
    documents(text).map_err(BadFile::NotYaml)?.into_iter().for_each(|document| flatten(document, &mut objects));
    (1..).zip(&objects).map(|(number, object)| judge(number, object, checks)).collect()
}

/// The documents of a text, or what is wrong with it.
fn documents(text: &str) -> Result<Vec<Json>, String> {
    // A dump of a cluster is as large as it is; the limits on aliases stay.
    let options = serde_saphyr::options! { budget: None, with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())
}

/// A list is what it holds; an empty document is nothing.
fn flatten(document: Json, into: &mut Vec<Json>) {
    match document {
        Json::Null => {}
        Json::Object(mut map)
            if map.get("kind").and_then(Json::as_str).is_some_and(|kind| kind.ends_with("List"))
                && map.get("items").is_some_and(Json::is_array) =>
        {
            if let Some(Json::Array(items)) = map.remove("items") {
                items.into_iter().for_each(|item| flatten(item, into));
            }
        }
        other => into.push(other),
    }
}

fn judge(number: usize, object: &Json, checks: &Checks) -> Result<Verdict, BadFile> {
    let identity = object::identity(object).map_err(|error| BadFile::NotAnObject { number, error })?;
    let Assessment { health, message, lacks_status, .. } = health::assess(&identity.kind, object, checks);
    let secs = limits::STATUS_WAIT_MILLIS / 1000;
    let (health, reason) = if !lacks_status {
        (health, message)
    } else if health::gets_status(&identity.kind) {
        (Health::Progressing, format!("has no status yet; a spoke waits {secs} s for it"))
    } else {
        (health, format!("has no status; where its kind has one, a spoke waits {secs} s for it"))
    };
    Ok(Verdict { object: identity.to_string(), health: health.to_string(), reason })
}

/// The verdicts as a table, for people.
#[must_use]
pub fn table(verdicts: &[Verdict]) -> String {
    let width = |text: fn(&Verdict) -> &str, title: &str| {
        verdicts.iter().map(|one| text(one).chars().count()).chain([title.len()]).max().unwrap_or_default()
    };
    let (object, health) = (width(|one| &one.object, "OBJECT"), width(|one| &one.health, "HEALTH"));
    let line = |cells: [&str; 3]| {
        let line = format!("{:object$}  {:health$}  {}", cells[0], cells[1], cells[2].replace('\n', " "));
        format!("{}\n", line.trim_end())
    };
    let rows = verdicts.iter().map(|one| line([&one.object, &one.health, &one.reason]));
    std::iter::once(line(["OBJECT", "HEALTH", "REASON"])).chain(rows).collect()
}

#[cfg(test)]
#[path = "verdict/tests.rs"]
mod tests;
