//! JSON files, as kubectl reads them: one value after another. Lines are those of each value's
//! beginning, since the JSON reader knows no others.

use std::collections::BTreeSet;
use std::fmt;

use proto_model::limits;
use serde::de::{self, Deserialize, Deserializer};

use super::{Data, Document, Error, Key, Node, scalar};

/// The outer error: this is no JSON at all, and may be YAML.
pub(super) fn read(text: &str) -> Result<Result<Vec<Document>, Error>, serde_json::Error> {
    let mut documents = Vec::new();
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Loose>();
    loop {
        let offset = stream.byte_offset();
        let start = text.len() - text[offset..].trim_start().len();
        let line = 1 + text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count();
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        match stream.next() {
            None => return Ok(Ok(documents)),
            Some(Err(error)) if error.is_data() => {
                let line = u32::try_from(error.line()).unwrap_or(line);
                let message = error.to_string();
                let message = message.rsplit_once(" at line ").map_or(&*message, |(text, _)| text);
                return Ok(Err(Error::new(line, message)));
            }
            Some(Err(error)) => return Err(error),
            Some(Ok(Loose(data))) => {
                let mut root = Node { line, data };
                set_lines(&mut root, line);
                documents.push(Document { line, root });
            }
        }
    }
}

fn set_lines(node: &mut Node, line: u32) {
    node.line = line;
    match &mut node.data {
        Data::List(items) => items.iter_mut().for_each(|item| set_lines(item, line)),
        Data::Map(entries) => {
            for (key, value) in entries {
                key.line = line;
                set_lines(value, line);
            }
        }
        _ => {}
    }
}

/// A value whose lines are not known yet.
struct Loose(Data);

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor { depth: 0 }).map(Self)
    }
}

#[derive(Clone, Copy)]
struct Visitor {
    depth: usize,
}

impl<'de> de::DeserializeSeed<'de> for Visitor {
    type Value = Data;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Data, D::Error> {
        if self.depth > limits::DOCUMENT_DEPTH_MAX {
            let max = limits::DOCUMENT_DEPTH_MAX;
            return Err(de::Error::custom(format_args!("is nested deeper than {max} levels")));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> de::Visitor<'de> for Visitor {
    type Value = Data;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Data, E> {
        Ok(Data::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Data, E> {
        Ok(Data::Bool(value, value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Data, E> {
        Ok(Data::Number(value.into(), value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Data, E> {
        Ok(Data::Number(value.into(), value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Data, E> {
        let number = scalar::from_f64(value).ok_or_else(|| E::custom("number without a value"))?;
        Ok(Data::Number(number, value.to_string()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Data, E> {
        Ok(Data::Text(text.into()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Data, A::Error> {
        let mut list = Vec::new();
        while let Some(data) = items.next_element_seed(Self { depth: self.depth + 1 })? {
            list.push(Node { line: 0, data });
        }
        Ok(Data::List(list))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
        let (mut entries, mut seen) = (Vec::new(), BTreeSet::new());
        while let Some(text) = map.next_key::<String>()? {
            if !seen.insert(text.clone()) {
                return Err(de::Error::custom(format_args!("key {text:?} occurs twice")));
            }
            let data = map.next_value_seed(Self { depth: self.depth + 1 })?;
            let written = text.clone();
            entries.push((Key { line: 0, text, written }, Node { line: 0, data }));
        }
        Ok(Data::Map(entries))
    }
}
