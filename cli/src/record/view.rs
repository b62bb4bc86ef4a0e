//! A consumed record as the commands see it, and its JSON: a contract of `docs/cli.md`.

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use super::base64;

/// A record that was read, borrowed from the batch that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordView<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// Milliseconds since 1970.
    pub(crate) timestamp: i64,
    /// When the leader appended it, in milliseconds since 1970.
    pub(crate) append_time: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Vec<HeaderView<'a>>,
}

/// A header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeaderView<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// `{"topic","partition","offset","timestamp","key","value","headers"}`.
impl Serialize for RecordView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(7))?;
        map.serialize_entry("topic", self.topic)?;
        map.serialize_entry("partition", &self.partition)?;
        map.serialize_entry("offset", &self.offset)?;
        map.serialize_entry("timestamp", &self.timestamp)?;
        bytes_entry(&mut map, ["key", "key_base64"], self.key)?;
        bytes_entry(&mut map, ["value", "value_base64"], self.value)?;
        map.serialize_entry("headers", &Headers(&self.headers))?;
        map.end()
    }
}

struct Headers<'a>(&'a [HeaderView<'a>]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for header in self.0 {
            list.serialize_element(header)?;
        }
        list.end()
    }
}

impl Serialize for HeaderView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        bytes_entry(&mut map, ["name", "name_base64"], Some(self.name))?;
        bytes_entry(&mut map, ["value", "value_base64"], self.value)?;
        map.end()
    }
}

/// UTF-8 as a string under the first name, other bytes in base64 under the second, none as null.
fn bytes_entry<M: SerializeMap>(
    map: &mut M,
    [text_name, base64_name]: [&'static str; 2],
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => map.serialize_entry(text_name, &()),
        Some((_, Ok(text))) => map.serialize_entry(text_name, text),
        Some((bytes, Err(_))) => map.serialize_entry(base64_name, &base64::encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> RecordView<'a> {
        RecordView {
            topic: "t",
            partition: 2,
            offset: 7,
            timestamp: 1_370_565_812_000,
            append_time: 1_370_565_812_042,
            key,
            value,
            headers: Vec::new(),
        }
    }

    #[test]
    fn text_is_a_string_and_nothing_is_null() {
        let json = serde_json::to_string(&record(None, Some(b"{\"a\":1}"))).unwrap();
        let expected = r#"{"topic":"t","partition":2,"offset":7,"timestamp":1370565812000,"key":null,"value":"{\"a\":1}","headers":[]}"#;
        assert_eq!(json, expected);
    }

    #[test]
    fn other_bytes_are_base64_under_another_name() {
        let mut record = record(Some(&[0xff]), None);
        record.headers.push(HeaderView {
            name: b"h",
            value: Some(&[0xfe, 0xff]),
        });
        record.headers.push(HeaderView {
            name: b"i",
            value: None,
        });
        let json: serde_json::Value = serde_json::to_value(&record).unwrap();
        assert_eq!(json["key_base64"], "/w==");
        assert!(json.get("key").is_none() && json["value"].is_null());
        assert_eq!(json["headers"][0]["value_base64"], "/v8=");
        assert_eq!(
            json["headers"][1],
            serde_json::json!({"name": "i", "value": null})
        );
    }

    #[test]
    fn a_record_is_one_line_whatever_it_holds() {
        let json = serde_json::to_string(&record(Some(b"a\nb"), Some(b"\r\n"))).unwrap();
        assert!(!json.contains('\n'), "{json}");
    }
}
