//! From nodes to types, with the line of whatever does not fit and the nearest known name.

use std::fmt;

use serde::de::value::{MapAccessDeserializer, MapDeserializer, StrDeserializer};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::{Data, Key, Node};
use crate::catalog::SCALAR;

/// What does not fit, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeError {
    /// Line, from 1; 0 while it is not known yet.
    pub line: u32,
    /// What is wrong.
    pub message: String,
}

impl std::error::Error for DeError {}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl DeError {
    fn at(mut self, line: u32) -> Self {
        if self.line == 0 {
            self.line = line;
        }
        self
    }
}

impl de::Error for DeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { line: 0, message: message.to_string() }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(unknown("field", field, expected))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(unknown("value", variant, expected))
    }
}

/// Known names that a message lists.
const KNOWN_SHOWN_MAX: usize = 40;

/// Says that a name is unknown, with the nearest known one, or all where none is near.
#[must_use]
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase()), known))
        .filter(|(distance, known)| *distance <= known.len() / 3 + usize::from(known.len() < 6))
        .min();
    match near {
        Some((_, near)) => format!("unknown {what} {name:?}; did you mean {near:?}?"),
        None if known.is_empty() => format!("unknown {what} {name:?}; there is none here"),
        None if known.len() > KNOWN_SHOWN_MAX => {
            let (shown, more) = known.split_at(KNOWN_SHOWN_MAX);
            format!("unknown {what} {name:?}; known are {} and {} more", shown.join(", "), more.len())
        }
        None => format!("unknown {what} {name:?}; known are {}", known.join(", ")),
    }
}

/// Reads a type from a node.
///
/// # Errors
/// What does not fit, with its line.
pub fn from_node<'de, T: Deserialize<'de>>(node: &'de Node) -> Result<T, DeError> {
    T::deserialize(node).map_err(|error| error.at(node.line))
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let result = match &self.data {
            Data::Null => visitor.visit_unit(),
            Data::Bool(value, _) => visitor.visit_bool(*value),
            Data::Number(number, _) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(value), _, _) => visitor.visit_u64(value),
                (_, Some(value), _) => visitor.visit_i64(value),
                (_, _, value) => visitor.visit_f64(value.unwrap_or_default()),
            },
            Data::Text(text) => visitor.visit_borrowed_str(text),
            Data::List(items) => visitor.visit_seq(Items(items.iter())),
            Data::Map(entries) => visitor.visit_map(Fields { rest: entries.iter(), value: None }),
        };
        result.map_err(|mut error: DeError| {
            let misread = matches!(self.data, Data::Bool(..) | Data::Number(..));
            if misread && error.message.ends_with("expected a string") {
                error.message.push_str("; quote it");
            }
            error.at(self.line)
        })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self.data {
            Data::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, DeError> {
        if name != SCALAR {
            return visitor.visit_newtype_struct(self);
        }
        let (tag, text) = match &self.data {
            Data::Text(text) => ("s", text),
            Data::Number(_, text) => ("n", text),
            // The country code of Norway is not a boolean, whatever YAML 1.1 says.
            Data::Bool(_, text) if text == "true" || text == "false" => {
                let map = MapDeserializer::new(std::iter::once(("b", text == "true")));
                return visitor.visit_newtype_struct(MapAccessDeserializer::new(map));
            }
            Data::Bool(_, text) => {
                let message = format!("{text} is a boolean to kubectl; quote it, or write true or false");
                return Err(DeError { line: self.line, message });
            }
            _ => {
                return Err(de::Error::custom("a variable is a string, number or boolean"))
                    .map_err(|error: DeError| error.at(self.line));
            }
        };
        let map = MapDeserializer::new(std::iter::once((tag, text.as_str())));
        visitor.visit_newtype_struct(MapAccessDeserializer::new(map)).map_err(|error: DeError| error.at(self.line))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let Data::Text(text) = &self.data else {
            return self
                .deserialize_any(Words { name, variants })
                .and_then(|never: String| Err(de::Error::unknown_variant(&never, variants)));
        };
        let word: StrDeserializer<'_, DeError> = text.as_str().into_deserializer();
        visitor.visit_enum(word).map_err(|error| error.at(self.line))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// Says which words were expected, where something else than a word stands.
struct Words {
    name: &'static str,
    variants: &'static [&'static str],
}

impl Visitor<'_> for Words {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a word for {}: {}", self.name, self.variants.join(" or "))
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> de::SeqAccess<'de> for Items<'de> {
    type Error = DeError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, DeError> {
        let Some(node) = self.0.next() else {
            return Ok(None);
        };
        seed.deserialize(node).map(Some).map_err(|error| error.at(node.line))
    }
}

struct Fields<'de> {
    rest: std::slice::Iter<'de, (Key, Node)>,
    value: Option<(&'de Key, &'de Node)>,
}

impl<'de> de::MapAccess<'de> for Fields<'de> {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DeError> {
        let Some((key, node)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some((key, node));
        let name: StrDeserializer<'_, DeError> = key.written.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.at(key.line))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, DeError> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value without a key"));
        };
        seed.deserialize(node).map_err(|error| {
            let DeError { line, message } = error.at(node.line);
            let message = match message.strip_prefix("in ") {
                _ if message.starts_with("unknown ") => message,
                Some(inner) => format!("in {}.{inner}", key.written),
                None => format!("in {}: {message}", key.written),
            };
            DeError { line, message }
        })
    }
}
