//! Sets of fields, as `managedFields` keeps them: a tree whose nodes are fields of maps, items of
//! lists by key, and items of sets by value.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Elem {
    /// A field of a map.
    Field(String),
    /// An item of a list, by the canonical JSON of its keys.
    Key(String),
    /// An item of a set, by its canonical JSON.
    Value(String),
}

/// A set of fields. A node that is no member and has no children does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields {
    /// Whether the node itself belongs to the set.
    pub(crate) member: bool,
    /// What lies below it.
    pub(crate) children: BTreeMap<Elem, Fields>,
}

impl Fields {
    /// The set that holds the node itself alone.
    pub(crate) fn leaf() -> Self {
        Self { member: true, children: BTreeMap::new() }
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }

    /// Puts a set below `elem`; an empty one leaves no trace.
    pub(crate) fn put(&mut self, elem: Elem, below: Self) {
        if !below.is_empty() {
            self.children.entry(elem).or_default().extend(&below);
        }
    }

    /// Takes in everything of `other`.
    pub(crate) fn extend(&mut self, other: &Self) {
        self.member |= other.member;
        for (elem, below) in &other.children {
            self.children.entry(elem.clone()).or_default().extend(below);
        }
    }

    /// Drops everything that is in `other`.
    pub(crate) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        for (elem, below) in &other.children {
            if let Some(mine) = self.children.get_mut(elem) {
                mine.subtract(below);
                if mine.is_empty() {
                    self.children.remove(elem);
                }
            }
        }
    }

    /// As `fieldsV1` writes it.
    pub(crate) fn to_json(&self) -> Json {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".into(), Json::Object(Map::new()));
        }
        for (elem, below) in &self.children {
            let key = match elem {
                Elem::Field(name) => format!("f:{name}"),
                Elem::Key(keys) => format!("k:{keys}"),
                Elem::Value(value) => format!("v:{value}"),
            };
            map.insert(key, below.to_json());
        }
        Json::Object(map)
    }

    /// Reads `fieldsV1`; what it does not know is left out.
    pub(crate) fn from_json(json: &Json) -> Self {
        let mut root = Self::read(json);
        root.member = false;
        root
    }

    fn read(json: &Json) -> Self {
        let Some(map) = json.as_object() else {
            return Self::leaf();
        };
        let mut out = Self { member: map.is_empty(), children: BTreeMap::new() };
        for (key, below) in map {
            let elem = match key.split_once(':') {
                Some(("f", name)) => Elem::Field(name.into()),
                Some(("k", keys)) => Elem::Key(keys.into()),
                Some(("v", value)) => Elem::Value(value.into()),
                _ => {
                    out.member |= key == ".";
                    continue;
                }
            };
            out.children.insert(elem, Self::read(below));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_round_trip() {
        let json = json!({"f:spec": {"f:ports": {"k:{\"port\":1}": {".": {}, "f:port": {}}}, "f:x": {}}});
        assert_eq!(Fields::from_json(&json).to_json(), json);
    }

    #[test]
    fn subtracting_leaves_no_empty_nodes() {
        let mut all = Fields::from_json(&json!({"f:a": {"f:b": {}, "f:c": {}}, "f:d": {}}));
        all.subtract(&Fields::from_json(&json!({"f:a": {"f:b": {}, "f:c": {}}})));
        assert_eq!(all.to_json(), json!({"f:d": {}}));
    }
}
