//! A protobuf JSON value as compact JSON text.

use prost_types::Value;
use prost_types::value::Kind;
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

/// The value has no JSON form.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(#[from] serde_json::Error);

/// Whole numbers up to here are exact in a double and are written without a fraction.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The text. The nesting is bounded where the message was decoded.
pub(super) fn compact(value: &Value) -> Result<Vec<u8>, JsonError> {
    Ok(serde_json::to_vec(&Json(value))?)
}

struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0.kind {
            None => Err(S::Error::custom(
                "has a part of no kind; give null, a number, …",
            )),
            Some(Kind::NullValue(_)) => serializer.serialize_unit(),
            Some(Kind::BoolValue(value)) => serializer.serialize_bool(*value),
            Some(Kind::StringValue(text)) => serializer.serialize_str(text),
            Some(Kind::NumberValue(number)) => serialize_number(*number, serializer),
            Some(Kind::ListValue(list)) => {
                let mut seq = serializer.serialize_seq(Some(list.values.len()))?;
                for value in &list.values {
                    seq.serialize_element(&Json(value))?;
                }
                seq.end()
            }
            Some(Kind::StructValue(object)) => {
                let mut map = serializer.serialize_map(Some(object.fields.len()))?;
                for (name, value) in &object.fields {
                    map.serialize_entry(name, &Json(value))?;
                }
                map.end()
            }
        }
    }
}

fn serialize_number<S: Serializer>(number: f64, serializer: S) -> Result<S::Ok, S::Error> {
    if !number.is_finite() {
        return Err(S::Error::custom(format!(
            "has the number {number}, which JSON has not"
        )));
    }
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return serializer.serialize_i64(number as i64);
    }
    serializer.serialize_f64(number)
}
