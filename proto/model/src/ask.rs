//! What a hub asks a spoke on demand, through the sync stream, and what it answers.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::{Digest, Identity, difference, limits};

/// Stands for a value that is not told.
pub const MASK: &str = "***";

/// Version of the asks that this crate knows, which a spoke names in its Hello: a hub asks only what the spoke can answer.
pub const VERSION: u32 = 1;

/// The answer to one ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The ask that it answers.
    pub id: u64,
    /// What came of it; else why not, for people.
    pub outcome: Result<BundleDiff, String>,
}

/// One bundle in a cluster: what is live against what is bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BundleDiff {
    /// The generation with which it got its assignment.
    pub generation: u64,
    /// The variant that was compared; `None` where the bundle goes away.
    pub variant: Option<Digest>,
    /// What is not as it should be.
    pub objects: Vec<ObjectDiff>,
    /// Objects that are as they should be.
    pub same: u64,
    /// Objects that were not looked at, since there are too many or time ran out.
    pub unseen: u64,
}

/// One object that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDiff {
    /// Which.
    pub object: Identity,
    /// How it differs.
    pub change: Change,
}

/// How an object differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not there: it would be made.
    Missing,
    /// It is no longer wanted: it would go.
    Unwanted,
    /// An apply would change these fields.
    Fields {
        /// Which, in order of their pointers.
        fields: Vec<FieldDiff>,
        /// Fields beyond those.
        more: u64,
    },
    /// It can't be told, and why. Never content of the object.
    Unknown(String),
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDiff {
    /// JSON pointer.
    pub pointer: String,
    /// What is live, as JSON, cut at [`limits::ASK_VALUE_BYTES_MAX`]; `None`: nothing.
    pub live: Option<String>,
    /// What an apply would make of it; `None`: nothing.
    pub bound: Option<String>,
}

/// Fields that an apply would change: `live` is the object as it is, `bound` as it would be. What API servers keep for
/// themselves is left out, and no value of a Secret is told.
#[must_use]
pub fn compare(live: &Json, bound: &Json) -> Change {
    let is = |field: &str, text: &str| bound.get(field).and_then(Json::as_str) == Some(text);
    let mut compared = Compared { is_secret: is("apiVersion", "v1") && is("kind", "Secret"), ..Compared::default() };
    compared.walk(&mut String::new(), Some(live), Some(bound));
    let more = compared.fields.len().saturating_sub(limits::ASK_FIELDS_MAX);
    let fields: Vec<FieldDiff> = compared.fields.into_values().take(limits::ASK_FIELDS_MAX).collect();
    Change::Fields { fields, more: more as u64 }
}

/// What API servers write at each request, and who owns which field.
const KEPT_BY_SERVERS: [&str; 4] =
    ["/metadata/managedFields", "/metadata/resourceVersion", "/metadata/generation", "/status"];

#[derive(Default)]
struct Compared {
    is_secret: bool,
    fields: BTreeMap<String, FieldDiff>,
}

impl Compared {
    fn walk(&mut self, pointer: &mut String, live: Option<&Json>, bound: Option<&Json>) {
        if live == bound || KEPT_BY_SERVERS.contains(&pointer.as_str()) {
            return;
        }
        let depth = pointer.len();
        match (live, bound) {
            (Some(Json::Object(live)), Some(Json::Object(bound))) => {
                let new = bound.keys().filter(|key| !live.contains_key(*key));
                for key in live.keys().chain(new) {
                    pointer.push('/');
                    pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                    self.walk(pointer, live.get(key), bound.get(key));
                    pointer.truncate(depth);
                }
            }
            (Some(Json::Array(live)), Some(Json::Array(bound))) => {
                for at in 0..live.len().max(bound.len()) {
                    pointer.push_str(&format!("/{at}"));
                    self.walk(pointer, live.get(at), bound.get(at));
                    pointer.truncate(depth);
                }
            }
            _ => self.differs(pointer, live, bound),
        }
    }

    fn differs(&mut self, pointer: &str, live: Option<&Json>, bound: Option<&Json>) {
        // A tool's notes in an annotation may hold the whole Secret; where all of its data comes or goes, the names
        // of its keys go without saying.
        let say = |value: &Json| match self.is_secret && !difference::is_told(pointer) {
            true => MASK.to_owned(),
            false => cut_at(value.to_string(), limits::ASK_VALUE_BYTES_MAX),
        };
        let shown = cut_at(pointer.to_owned(), limits::ASK_POINTER_BYTES_MAX);
        let field = FieldDiff { pointer: shown, live: live.map(say), bound: bound.map(say) };
        self.fields.insert(pointer.to_owned(), field);
    }
}

fn cut_at(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max - "…".len()).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

impl ObjectDiff {
    /// About how many bytes it takes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let Identity { kind, namespace, name } = &self.object;
        let own = kind.group.len() + kind.kind.len() + namespace.len() + name.len() + 64;
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        own + match &self.change {
            Change::Missing | Change::Unwanted => 0,
            Change::Unknown(why) => why.len(),
            Change::Fields { fields, .. } => {
                fields.iter().map(|one| one.pointer.len() + text(&one.live) + text(&one.bound) + 32).sum()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(live: &Json, bound: &Json) -> Vec<(String, Option<String>, Option<String>)> {
        match compare(live, bound) {
            Change::Fields { fields, more: 0 } => {
                fields.into_iter().map(|one| (one.pointer, one.live, one.bound)).collect()
            }
            other => vec![(format!("{other:?}"), None, None)],
        }
    }

    fn line(pointer: &str, live: Option<&str>, bound: Option<&str>) -> (String, Option<String>, Option<String>) {
        (pointer.into(), live.map(Into::into), bound.map(Into::into))
    }

    #[test]
    fn what_an_apply_would_change_is_told_field_by_field() {
        let live = json!({"metadata": {"name": "a", "resourceVersion": "1", "managedFields": [1], "labels": {"x/y~": "1"}},
            "spec": {"list": [1, {"a": 1}], "gone": {"deep": true}}, "status": {"ready": 1}});
        let bound = json!({"metadata": {"name": "a", "resourceVersion": "2", "labels": {"x/y~": "2"}},
            "spec": {"list": [1, {"a": 2}, 3]}, "status": {"ready": 2}});
        assert_eq!(
            fields(&live, &bound),
            [
                line("/metadata/labels/x~1y~0", Some("\"1\""), Some("\"2\"")),
                line("/spec/gone", Some("{\"deep\":true}"), None),
                line("/spec/list/1/a", Some("1"), Some("2")),
                line("/spec/list/2", None, Some("3")),
            ]
        );
        assert_eq!(fields(&live, &live), []);
    }

    #[test]
    fn no_value_of_a_secret_is_told() {
        let secret = |data: Json, note: &str, tier: &str| {
            json!({"apiVersion": "v1", "kind": "Secret", "data": data,
                "metadata": {"annotations": {"note": note}, "labels": {"tier": tier}}})
        };
        let live = secret(json!({"key": "b25l", "gone": "eA=="}), "one", "a");
        let bound = secret(json!({"key": "dHdv", "new": "eQ=="}), "two", "b");
        let told = [
            line("/data/gone", Some(MASK), None),
            line("/data/key", Some(MASK), Some(MASK)),
            line("/data/new", None, Some(MASK)),
            line("/metadata/annotations/note", Some(MASK), Some(MASK)),
            line("/metadata/labels/tier", Some("\"a\""), Some("\"b\"")),
        ];
        assert_eq!(fields(&live, &bound), told);
        let none = secret(Json::Null, "two", "b");
        assert_eq!(fields(&none, &bound), [line("/data", Some(MASK), Some(MASK))]);
    }

    #[test]
    fn long_values_and_many_fields_are_cut() {
        let long = json!({"a": "ü".repeat(limits::ASK_VALUE_BYTES_MAX)});
        let told = fields(&long, &json!({}));
        let value = told[0].1.as_ref().map(|text| (text.len() <= limits::ASK_VALUE_BYTES_MAX, text.ends_with('…')));
        assert_eq!(value, Some((true, true)));
        let many: serde_json::Map<String, Json> =
            (0..limits::ASK_FIELDS_MAX + 3).map(|n| (format!("f{n:05}"), json!(1))).collect();
        assert!(matches!(compare(&Json::Object(many), &json!({})), Change::Fields { fields, more: 3 }
            if fields.len() == limits::ASK_FIELDS_MAX));
    }
}
