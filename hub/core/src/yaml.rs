//! YAML and JSON as kubectl reads them, with the line of every node.
//!
//! kubectl reads YAML 1.1 through go-yaml 2: `yes` and `on` are booleans, `0644` is octal, `1_000`
//! is a number. A reader for YAML 1.2 would send something else than `kubectl apply` does. Two
//! things are stricter here: a key that occurs twice and a key that is a fraction are errors.

mod de;
mod json;
mod parse;
mod scalar;
mod text;

use proto_model::limits;
use serde_json::Value as Json;

pub use de::{DeError, from_node, unknown};

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Line of its first node, from 1.
    pub line: u32,
    /// What it holds; [`Data::Null`] for an empty document.
    pub root: Node,
}

/// A node, and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Line, from 1.
    pub line: u32,
    /// What it holds.
    pub data: Data,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Nothing.
    Null,
    /// A boolean, and how it is spelled.
    Bool(bool, String),
    /// A number, and how it is spelled.
    Number(serde_json::Number, String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file. Keys are distinct.
    Map(Vec<(Key, Node)>),
}

/// A key of a map, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Line, from 1.
    pub line: u32,
    /// The key, as kubectl reads it: `on` is `true`, `0644` is `420`.
    pub text: String,
    /// The key, as it is written: what declarations mean, which kubectl never reads.
    pub written: String,
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Line, from 1.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl Error {
    fn new(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}

/// Reads all documents of a file, empty ones included.
///
/// # Errors
/// The first thing that is wrong. Documents before it are lost with it: which of them are meant
/// cannot be known from half a file.
pub fn read(bytes: &[u8]) -> Result<Vec<Document>, Error> {
    let text = text::of(bytes)?;
    let text = &*text;
    if text.trim_start().starts_with('{')
        && let Ok(documents) = json::read(text)
    {
        return documents;
    }
    parse::read(text)
}

impl Node {
    /// The value under a key of a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        match &self.data {
            Data::Map(entries) => entries.iter().find(|(name, _)| name.text == key).map(|(_, node)| node),
            _ => None,
        }
    }

    /// What it comes to in bytes, roughly, with what its aliases stand for.
    #[must_use]
    pub fn length(&self) -> usize {
        match &self.data {
            Data::Null => 4,
            Data::Bool(_, text) | Data::Number(_, text) | Data::Text(text) => text.len() + 2,
            Data::List(items) => items.iter().map(|item| item.length() + 1).sum(),
            Data::Map(entries) => entries.iter().map(|(key, node)| key.text.len() + node.length() + 4).sum(),
        }
    }

    /// The node at a path of keys; numbers pick from lists.
    #[must_use]
    pub fn at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> Option<&Self> {
        let mut node = self;
        for step in path {
            node = match &node.data {
                Data::List(items) => items.get(step.parse::<usize>().ok()?)?,
                _ => node.get(step)?,
            };
        }
        Some(node)
    }

    /// The line of the key that leads to a path, or of the last node on the way that exists.
    #[must_use]
    pub fn line_at<'a>(&self, path: impl IntoIterator<Item = &'a str>) -> u32 {
        let (mut node, mut line) = (self, self.line);
        for step in path {
            let next = match &node.data {
                Data::List(items) => {
                    step.parse::<usize>().ok().and_then(|at| items.get(at)).map(|item| (item.line, item))
                }
                Data::Map(entries) => entries
                    .iter()
                    .find(|(key, _)| key.text == step || key.written == step)
                    .map(|(key, value)| (key.line, value)),
                _ => None,
            };
            let Some(next) = next else { return line };
            (line, node) = next;
        }
        line
    }

    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.data == Data::Null
    }

    /// The node as JSON.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match &self.data {
            Data::Null => Json::Null,
            Data::Bool(value, _) => Json::Bool(*value),
            Data::Number(number, _) => Json::Number(number.clone()),
            Data::Text(text) => Json::String(text.clone()),
            Data::List(items) => items.iter().map(Self::to_json).collect(),
            Data::Map(entries) => entries
                .iter()
                .map(|(key, value)| (key.text.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        }
    }
}

/// Counts nodes against the limit, so that aliases of aliases end.
struct Budget {
    nodes: usize,
}

impl Budget {
    fn new() -> Self {
        Self { nodes: limits::YAML_NODES_MAX }
    }

    fn take(&mut self, nodes: usize, line: u32) -> Result<(), Error> {
        self.nodes = self
            .nodes
            .checked_sub(nodes)
            .ok_or_else(|| Error::new(line, format!("has more than {} nodes", limits::YAML_NODES_MAX)))?;
        Ok(())
    }
}

fn check_depth(depth: usize, line: u32) -> Result<(), Error> {
    if depth <= limits::DOCUMENT_DEPTH_MAX {
        return Ok(());
    }
    Err(Error::new(line, format!("is nested deeper than {} levels", limits::DOCUMENT_DEPTH_MAX)))
}

fn twice(key: &str, line: u32, first: u32) -> Error {
    Error::new(line, format!("key {key:?} occurs twice, first in line {first}"))
}

#[cfg(test)]
#[path = "yaml/tests.rs"]
mod tests;
