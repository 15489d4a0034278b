//! JSON as CEL sees it. Texts are borrowed, so that a value is cheap to copy within an expression. CEL visits the keys
//! of a map in no order; an expression that depends on one is its author's mistake.

use cel::common::types::{CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt};
use cel::common::value::Val;
use serde_json::{Number, Value as Json};

/// The CEL value of a JSON value.
pub(super) fn of(json: &Json) -> Box<dyn Val + '_> {
    match json {
        Json::Null => Box::new(CelNull),
        Json::Bool(value) => Box::new(CelBool::from(*value)),
        Json::Number(number) => of_number(number),
        Json::String(text) => Box::new(CelString::from(text.as_str())),
        Json::Array(items) => Box::new(CelList::from(items.iter().map(of).collect::<Vec<_>>())),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (CelMapKey::from(key.as_str()), of(value)));
            let mut map = CelMap::default().into_inner();
            map.extend(fields);
            Box::new(CelMap::from(map))
        }
    }
}

/// How long a JSON value is, roughly, in bytes.
pub(super) fn bytes(json: &Json) -> usize {
    match json {
        Json::Null | Json::Bool(_) | Json::Number(_) => 8,
        Json::String(text) => text.len(),
        Json::Array(items) => items.iter().map(bytes).sum(),
        Json::Object(fields) => fields.iter().map(|(key, value)| key.len() + bytes(value)).sum(),
    }
}

fn of_number(number: &Number) -> Box<dyn Val> {
    match (number.as_i64(), number.as_u64()) {
        (Some(value), _) => Box::new(CelInt::from(value)),
        (None, Some(value)) => Box::new(CelUInt::from(value)),
        (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
    }
}
