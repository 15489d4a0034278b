//! Where in a manifest variables are used.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;

use super::{Problem, kind_of};
use crate::variant::Binds;

/// The name by which a bundle lists `cluster.name` and `cluster.labels.x`.
pub const CLUSTER: &str = "cluster";

const CLUSTER_NAME: &str = "cluster.name";
const CLUSTER_LABELS: &str = "cluster.labels.";

/// The type that a reference gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// `${n}`: text, also as part of a longer one.
    Text,
    /// `${n|int}`: a whole number.
    Int,
    /// `${n|bool}`: true or false.
    Bool,
    /// `${n|json}`: any JSON value.
    Json,
}

impl Form {
    const TYPED: [Self; 3] = [Self::Int, Self::Bool, Self::Json];

    /// The word after the bar; `text` for none.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "int",
            Self::Bool => "bool",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Checks a name that a bundle lists: a letter or `_`, then letters, digits, `_`, `-` and `.`; not
/// below `cluster.`, which is Drover's own.
///
/// # Errors
/// The rule that the name breaks, as the end of a sentence.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        return Err("must begin with a letter or _");
    }
    if !name.bytes().all(|byte| is_name_byte(byte) && byte != b'/') {
        return Err("may hold only letters, digits, '_', '-' and '.'");
    }
    if name.starts_with("cluster.") {
        return Err("is Drover's own: list `cluster` instead");
    }
    Ok(())
}

// Label names are part of names, so `/` is too.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-./".contains(&byte)
}

/// A reference to a listed name in a text.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) range: Range<usize>,
    pub(super) name: String,
    pub(super) form: Form,
}

/// A scalar with at least one reference.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) pointer: String,
    /// What was scanned: the scalar's text, or what it encodes.
    pub(super) text: Vec<u8>,
    /// Whether the scalar is base64 of `text`.
    pub(super) encoded: bool,
    /// Whether it is the object's name or namespace.
    pub(super) identity: bool,
    pub(super) refs: Vec<Reference>,
}

/// Every scalar of a manifest in which something is to be bound; where one is wrong, its pointer.
pub(super) fn sites(manifest: &Json, binds: &BTreeMap<String, Binds>) -> Result<Vec<Site>, (String, Problem)> {
    let is_secret = kind_of(manifest).is("", "Secret");
    let mut walk = Walk { binds, is_secret, pointer: String::new(), sites: Vec::new() };
    walk.value(manifest)?;
    Ok(walk.sites)
}

struct Walk<'a> {
    binds: &'a BTreeMap<String, Binds>,
    is_secret: bool,
    pointer: String,
    sites: Vec<Site>,
}

impl Walk<'_> {
    fn value(&mut self, value: &Json) -> Result<(), (String, Problem)> {
        match value {
            Json::String(text) => {
                let site = self.scalar(text).map_err(|problem| (self.pointer.clone(), problem))?;
                self.sites.extend(site);
            }
            Json::Array(items) => {
                for (n, item) in items.iter().enumerate() {
                    self.member(&n.to_string(), item)?;
                }
            }
            Json::Object(map) => {
                for (key, member) in map {
                    self.member(key, member)?;
                }
            }
            Json::Null | Json::Bool(_) | Json::Number(_) => {}
        }
        Ok(())
    }

    fn member(&mut self, key: &str, value: &Json) -> Result<(), (String, Problem)> {
        let length = self.pointer.len();
        self.pointer.push('/');
        for letter in key.chars() {
            match letter {
                '~' => self.pointer.push_str("~0"),
                '/' => self.pointer.push_str("~1"),
                other => self.pointer.push(other),
            }
        }
        self.value(value)?;
        self.pointer.truncate(length);
        Ok(())
    }

    fn scalar(&self, text: &str) -> Result<Option<Site>, Problem> {
        let pointer = self.pointer.as_str();
        if pointer == "/apiVersion" || pointer == "/kind" {
            return Ok(None);
        }
        let in_data = pointer.strip_prefix("/data/").is_some_and(|key| !key.contains('/'));
        let encoded = self.is_secret && in_data;
        let scanned = if encoded {
            match decode(text) {
                Some(decoded) => decoded,
                None if references(text.as_bytes(), self.binds).is_empty() => return Ok(None),
                None => return Err(Problem::NotBase64),
            }
        } else if text.contains("${") {
            text.as_bytes().to_vec()
        } else {
            return Ok(None);
        };
        let refs = references(&scanned, self.binds);
        if refs.is_empty() {
            return Ok(None);
        }
        let identity = pointer == "/metadata/name" || pointer == "/metadata/namespace";
        for reference in &refs {
            self.check(reference, identity, scanned.len())?;
        }
        Ok(Some(Site { pointer: pointer.to_owned(), text: scanned, encoded, identity, refs }))
    }

    fn check(&self, reference: &Reference, identity: bool, length: usize) -> Result<(), Problem> {
        let Reference { range, name, form } = reference;
        if *form != Form::Text && *range != (0..length) {
            return Err(Problem::NotAlone { name: name.clone(), form: *form });
        }
        let shapes_names = name == CLUSTER_NAME || self.binds.get(name).is_some_and(|binds| binds.identity);
        if identity && !shapes_names {
            return Err(Problem::NotIdentity(name.clone()));
        }
        if identity && *form != Form::Text {
            return Err(Problem::TypedIdentity(name.clone()));
        }
        Ok(())
    }
}

// As the API server reads it: line ends do not count.
fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.contains(['\n', '\r']) {
        return STANDARD.decode(text).ok();
    }
    STANDARD.decode(text.replace(['\n', '\r'], "")).ok()
}

/// The references to listed names, in order. Takes time in proportion to the text.
fn references(text: &[u8], binds: &BTreeMap<String, Binds>) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = text[at..].windows(2).position(|pair| pair == b"${") {
        let start = at + offset;
        at = start + 2;
        if let Some(reference) = reference(text, start, binds) {
            at = reference.range.end;
            found.push(reference);
        }
    }
    found
}

// The reference that begins at `start`, if it is one and its name is listed.
fn reference(text: &[u8], start: usize, binds: &BTreeMap<String, Binds>) -> Option<Reference> {
    let rest = &text[start + 2..];
    let length = rest.iter().position(|byte| !is_name_byte(*byte))?;
    let (name, after) = rest.split_at(length);
    let (form, tail) = if after.starts_with(b"}") {
        (Form::Text, 1)
    } else {
        let word = after.strip_prefix(b"|")?;
        let closes =
            |form: &Form| word.strip_prefix(form.as_str().as_bytes()).is_some_and(|rest| rest.starts_with(b"}"));
        let form = Form::TYPED.into_iter().find(closes)?;
        (form, form.as_str().len() + 2)
    };
    let name = std::str::from_utf8(name).ok()?;
    let range = start..start + 2 + length + tail;
    is_listed(name, binds).then(|| Reference { range, name: name.to_owned(), form })
}

fn is_listed(name: &str, binds: &BTreeMap<String, Binds>) -> bool {
    let of_cluster = name == CLUSTER_NAME || name.strip_prefix(CLUSTER_LABELS).is_some_and(|label| !label.is_empty());
    if of_cluster { binds.contains_key(CLUSTER) } else { name != CLUSTER && binds.contains_key(name) }
}
