//! Values of variables as they stand in declarations.

use std::borrow::Cow;
use std::fmt;

use proto_model::Value;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, de};

/// Under this name a `yaml::Node` gives a scalar in the form that is stored, with its spelling.
pub const SCALAR: &str = "drover.dev/scalar";

/// A string, number or boolean, in the spelling of its author.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Scalar(pub Value);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, number or boolean")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, d: D) -> Result<Scalar, D::Error> {
                Value::deserialize(d).map(Scalar)
            }
        }
        deserializer.deserialize_newtype_struct(SCALAR, Visitor)
    }
}

impl JsonSchema for Scalar {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A string, number or boolean, kept in its spelling.",
            "type": ["string", "number", "boolean"],
        })
    }
}
