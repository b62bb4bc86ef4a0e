//! A line becomes a record. The value is the line's bytes; only the key is looked for.

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How a line is taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InputForm {
    /// The line is the value; there is no key.
    Line,
    /// Key, separator, value.
    KeyValue {
        /// What stands between them; the first occurrence counts. Never empty.
        separator: Vec<u8>,
    },
    /// The line is JSON and the value; the key is the text of a field.
    Json {
        /// The field of the outermost object that is the key.
        key_field: Option<String>,
    },
}

/// Key and value of a record to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyedValue {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Bytes,
}

/// Why a line is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InputError {
    /// No separator in the line.
    #[error("no separator {0:?} in the line; key and value cannot be told apart")]
    NoSeparator(String),
    /// The line does not parse as JSON.
    #[error("the line is not JSON: {0}")]
    NotJson(String),
    /// The line is JSON but has no fields.
    #[error("the line is not a JSON object, so it has no field {0:?} to take as the key")]
    NotObject(String),
    /// The object has no such field.
    #[error("the object has no field {0:?} to take as the key")]
    NoKey(String),
    /// The field is there and cannot be a key.
    #[error("the field {field:?} is {kind}; a key is a string, a number or a boolean")]
    BadKey { field: String, kind: &'static str },
}

impl InputForm {
    /// The record of `line`.
    pub(crate) fn record(&self, line: Bytes) -> Result<KeyedValue, InputError> {
        match self {
            Self::Line => Ok(KeyedValue {
                key: None,
                value: line,
            }),
            Self::KeyValue { separator } => key_value(line, separator),
            Self::Json { key_field } => {
                let text = std::str::from_utf8(&line)
                    .map_err(|error| InputError::NotJson(error.to_string()))?;
                let key = match key_field {
                    Some(field) => Some(json_key(text, field)?),
                    None => {
                        serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
                        None
                    }
                };
                Ok(KeyedValue { key, value: line })
            }
        }
    }
}

fn key_value(line: Bytes, separator: &[u8]) -> Result<KeyedValue, InputError> {
    let at = line
        .windows(separator.len().max(1))
        .position(|window| window == separator)
        .ok_or_else(|| InputError::NoSeparator(String::from_utf8_lossy(separator).into_owned()))?;
    Ok(KeyedValue {
        key: Some(line.slice(..at)),
        value: line.slice(at + separator.len()..),
    })
}

/// The line number in the error of serde_json is always 1 and would mislead.
fn not_json(error: serde_json::Error) -> InputError {
    let column = error.column();
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    InputError::NotJson(format!("{what}, at column {column}"))
}

fn json_key(text: &str, field: &str) -> Result<Bytes, InputError> {
    if !text.trim_start().starts_with('{') {
        serde_json::from_str::<IgnoredAny>(text).map_err(not_json)?;
        return Err(InputError::NotObject(field.to_owned()));
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    let found = parser
        .deserialize_map(FieldText { field })
        .map_err(not_json)?;
    parser.end().map_err(not_json)?;
    let raw = found.ok_or_else(|| InputError::NoKey(field.to_owned()))?;
    let bad = |kind| InputError::BadKey {
        field: field.to_owned(),
        kind,
    };
    match raw.as_bytes().first() {
        Some(b'"') => {
            let key: String = serde_json::from_str(raw).map_err(not_json)?;
            Ok(Bytes::from(key))
        }
        Some(b'n') => Err(bad("null")),
        Some(b'{') => Err(bad("an object")),
        Some(b'[') => Err(bad("an array")),
        _ => Ok(Bytes::copy_from_slice(raw.as_bytes())),
    }
}

/// Finds the JSON text of one field and checks the rest without keeping it. Of several fields of
/// this name the last counts.
struct FieldText<'a> {
    field: &'a str,
}

impl<'de> Visitor<'de> for FieldText<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsField(self.field))? {
            if is_it {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a field's name without allocating it.
struct IsField<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for IsField<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsField<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(field: &str, line: &'static str) -> Result<KeyedValue, InputError> {
        let form = InputForm::Json {
            key_field: Some(field.to_owned()),
        };
        form.record(Bytes::from_static(line.as_bytes()))
    }

    fn key(field: &str, line: &'static str) -> String {
        let record = json(field, line).unwrap();
        assert_eq!(record.value, line, "the value is the line, unchanged");
        String::from_utf8(record.key.unwrap().to_vec()).unwrap()
    }

    #[test]
    fn a_line_is_its_value() {
        let line = Bytes::from_static(b"\xff anything\r");
        let record = InputForm::Line.record(line.clone()).unwrap();
        assert_eq!(
            record,
            KeyedValue {
                key: None,
                value: line
            }
        );
    }

    #[test]
    fn key_and_value_are_split_at_the_first_separator() {
        let form = InputForm::KeyValue {
            separator: b"::".to_vec(),
        };
        let split = |line: &'static [u8]| form.record(Bytes::from_static(line));
        let record = split(b"k:::v::w").unwrap();
        assert_eq!(record.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(record.value, &b":v::w"[..]);
        let empty = split(b"::").unwrap();
        assert_eq!(
            (empty.key.as_deref(), &empty.value[..]),
            (Some(&b""[..]), &b""[..])
        );
        assert_eq!(split(b"k:v"), Err(InputError::NoSeparator("::".to_owned())));
        assert!(split(b"").is_err());
    }

    #[test]
    fn the_key_is_the_text_of_the_field() {
        assert_eq!(key("path", r#"{"path":"a.go","n":1}"#), "a.go");
        assert_eq!(
            key("path", r#"{"n":{"path":1},"path":"a\"\u00e9"}"#),
            "a\"é"
        );
        assert_eq!(key("n", r#" {"n": 1.50e3 } "#), "1.50e3");
        assert_eq!(key("b", r#"{"b":true}"#), "true");
        assert_eq!(key("k", r#"{"k":1,"k":2}"#), "2");
        assert_eq!(key("a b", r#"{"a\u0020b":"x"}"#), "x");
    }

    #[test]
    fn a_field_that_cannot_be_a_key_is_refused() {
        assert_eq!(
            json("x", r#"{"path":1}"#),
            Err(InputError::NoKey("x".to_owned()))
        );
        for (line, kind) in [
            (r#"{"k":null}"#, "null"),
            (r#"{"k":{}}"#, "an object"),
            (r#"{"k":[1]}"#, "an array"),
        ] {
            assert_eq!(
                json("k", line),
                Err(InputError::BadKey {
                    field: "k".to_owned(),
                    kind
                })
            );
        }
        assert_eq!(json("k", "[1]"), Err(InputError::NotObject("k".to_owned())));
        assert_eq!(json("k", "7"), Err(InputError::NotObject("k".to_owned())));
    }

    #[test]
    fn a_line_that_is_not_json_is_refused_with_and_without_a_key() {
        let plain = InputForm::Json { key_field: None };
        for line in [
            "",
            "{",
            r#"{"k":1"#,
            r#"{"k":1} x"#,
            "nope",
            r#"{"k":01}"#,
            "\u{feff}{}",
        ] {
            assert!(
                matches!(json("k", line), Err(InputError::NotJson(_))),
                "{line:?}"
            );
            let line = Bytes::from_static(line.as_bytes());
            assert!(matches!(plain.record(line), Err(InputError::NotJson(_))));
        }
        let not_utf8 = plain.record(Bytes::from_static(b"\"\xff\""));
        assert!(matches!(not_utf8, Err(InputError::NotJson(_))));
    }

    #[test]
    fn the_error_names_the_column_and_no_line() {
        let error = json("k", r#"{"k" 1}"#).unwrap_err().to_string();
        assert_eq!(error, "the line is not JSON: expected `:`, at column 6");
    }

    #[test]
    fn any_json_is_a_value_without_a_key_field() {
        let plain = InputForm::Json { key_field: None };
        for line in ["1", "null", "[]", r#""x""#, " { } "] {
            let record = plain.record(Bytes::from_static(line.as_bytes())).unwrap();
            assert_eq!(record.value, line);
            assert_eq!(record.key, None);
        }
    }
}
