//! Variables: per-cluster values that are bound into objects late, at the spoke.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::Digest;

/// A variable's value: a string, number or boolean, kept as the text in which it was written, with
/// its type. In JSON it is the plain scalar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number, in the spelling of its author.
    Number(String),
    /// A boolean.
    Bool(bool),
}

impl Value {
    /// The value as the text that `${name}` gives.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Number(text) => text,
            Self::Bool(true) => "true",
            Self::Bool(false) => "false",
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

// The form that is stored and digested: a tag and the text, so that a number's spelling survives.
#[derive(Serialize, Deserialize)]
enum Stored {
    #[serde(rename = "s")]
    Text(String),
    #[serde(rename = "n")]
    Number(String),
    #[serde(rename = "b")]
    Bool(bool),
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.clone() {
            Self::Text(text) => Stored::Text(text),
            Self::Number(text) => Stored::Number(text),
            Self::Bool(value) => Stored::Bool(value),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Text(text) => Self::Text(text),
            Stored::Number(text) if text.len() <= 64 => Self::Number(text),
            Stored::Number(_) => return Err(de::Error::custom("number of more than 64 digits")),
            Stored::Bool(value) => Self::Bool(value),
        })
    }
}

/// The variables of one cluster for one bundle: only names that the bundle binds, and
/// `cluster.name` or `cluster.labels.x` where its objects use them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Variables(pub BTreeMap<String, Value>);

impl Variables {
    /// The digest of the table.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// The bytes that are stored and digested.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing a map of texts to memory has no way to fail; an empty result would not decode.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads what [`Variables::encode`] wrote.
    ///
    /// # Errors
    /// The bytes are not a table of variables.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

impl FromIterator<(String, Value)> for Variables {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(items: I) -> Self {
        Self(items.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_survives_and_types_differ() {
        let table = |value| Variables::from_iter([("a".to_owned(), value)]);
        let number = table(Value::Number("1.10".into()));
        assert_eq!(Variables::decode(&number.encode()).ok(), Some(number.clone()));
        assert_ne!(number.digest(), table(Value::Text("1.10".into())).digest());
    }
}
