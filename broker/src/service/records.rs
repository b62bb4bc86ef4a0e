//! Records in the form for people and thin clients, to and from batches.
//!
//! A produce of records becomes one uncompressed batch without a producer. A read gives text where
//! the bytes are UTF-8, and bytes elsewhere. JSON values are stored as compact JSON text whose
//! object members are sorted by name: the order that they were sent in is not part of the message.

use std::str;

use bytes::Bytes;
use highwater_proto::batch::{BatchBuilder, BatchError, Codec, RecordBatch, RecordView};
use highwater_proto::pb::v1::header::Content;
use highwater_proto::pb::v1::record::{KeyContent, ValueContent};
use highwater_proto::pb::v1::{Header, Record};
use highwater_proto::{Reason, Timestamp};

mod json;
mod page;

pub use json::JsonError;
pub use page::{Opened, Page, Unreadable};

/// Why records are not a batch that the topic takes.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// A value is not JSON.
    #[error("record {index}: its value_json {why}")]
    Json {
        /// The record's position in the request, from 0.
        index: usize,
        /// What is wrong with it.
        why: JsonError,
    },
    /// The records do not make a batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
}

impl RecordsError {
    /// The reason of the public API.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Json { .. } | Self::Batch(BatchError::Empty) => Reason::InvalidRequest,
            Self::Batch(error) => error.reason(),
        }
    }
}

/// One batch of all `records`, of at most `max_bytes`. A record without a timestamp gets `now`.
pub fn to_batch(
    records: &[Record],
    now: Timestamp,
    max_bytes: usize,
) -> Result<RecordBatch, RecordsError> {
    let mut builder = BatchBuilder::new();
    for (index, record) in records.iter().enumerate() {
        let timestamp = match record.timestamp {
            0 => now,
            given => Timestamp(given),
        };
        let json = match &record.value_content {
            Some(ValueContent::ValueJson(value)) => {
                Some(json::compact(value).map_err(|why| RecordsError::Json { index, why })?)
            }
            _ => None,
        };
        let value = json.as_deref().or_else(|| value_bytes(record));
        let headers: Vec<_> = record.headers.iter().map(header_bytes).collect();
        builder.push(timestamp, key_bytes(record), value, &headers);
        let found = builder.estimated_len();
        if found > max_bytes {
            let limit = max_bytes;
            return Err(BatchError::TooLarge { found, limit }.into());
        }
    }
    let bytes = builder.build(Codec::None, None)?;
    Ok(RecordBatch::parse(bytes, max_bytes)?)
}

/// The key that chooses the partition of a record; `None` without a key.
pub fn key_bytes(record: &Record) -> Option<&[u8]> {
    match record.key_content.as_ref()? {
        KeyContent::Key(bytes) => Some(bytes),
        KeyContent::KeyText(text) => Some(text.as_bytes()),
    }
}

fn value_bytes(record: &Record) -> Option<&[u8]> {
    match record.value_content.as_ref()? {
        ValueContent::Value(bytes) => Some(bytes),
        ValueContent::ValueText(text) => Some(text.as_bytes()),
        ValueContent::ValueJson(_) => None,
    }
}

fn header_bytes(header: &Header) -> (&str, Option<&[u8]>) {
    let value = header.content.as_ref().map(|content| match content {
        Content::Value(bytes) => bytes.as_ref(),
        Content::ValueText(text) => text.as_bytes(),
    });
    (&header.name, value)
}

fn friendly(view: RecordView<'_>) -> Record {
    Record {
        offset: view.offset.to_i64(),
        timestamp: view.timestamp.0,
        key_content: view.key.map(|key| match str::from_utf8(key) {
            Ok(text) => KeyContent::KeyText(text.to_owned()),
            Err(_) => KeyContent::Key(Bytes::copy_from_slice(key)),
        }),
        value_content: view.value.map(|value| match str::from_utf8(value) {
            Ok(text) => ValueContent::ValueText(text.to_owned()),
            Err(_) => ValueContent::Value(Bytes::copy_from_slice(value)),
        }),
        headers: view.headers.map(friendly_header).collect(),
    }
}

fn friendly_header((name, value): (&[u8], Option<&[u8]>)) -> Header {
    Header {
        name: String::from_utf8_lossy(name).into_owned(),
        content: value.map(|value| match str::from_utf8(value) {
            Ok(text) => Content::ValueText(text.to_owned()),
            Err(_) => Content::Value(Bytes::copy_from_slice(value)),
        }),
    }
}

#[cfg(test)]
mod tests;
