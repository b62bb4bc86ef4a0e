//! Why bytes are not a batch: the field, the value found, the value expected.

use std::fmt;

use super::Codec;
use crate::Reason;

/// Why bytes are not a batch, or records cannot be made one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// The bytes end before the batch does.
    #[error("the batch ends after {found} bytes, expected {expected}")]
    Short {
        /// The bytes that are there.
        found: usize,
        /// The bytes that the header, or `batchLength`, asks for.
        expected: usize,
    },
    /// The bytes go on after the batch's end.
    #[error("{found} bytes are there, but the batch ends after {expected}")]
    Trailing {
        /// The bytes that are there.
        found: usize,
        /// The bytes the batch has by its `batchLength`.
        expected: usize,
    },
    /// The batch is larger than allowed.
    #[error("the batch has {found} bytes, expected at most {limit}")]
    TooLarge {
        /// The size of the batch, in bytes.
        found: usize,
        /// The largest size allowed, in bytes.
        limit: usize,
    },
    /// A field of the header has a value it cannot have.
    #[error("the {field} is {found}, expected {expected}")]
    Header {
        /// The field.
        field: HeaderField,
        /// Its value.
        found: i64,
        /// What it may be.
        expected: Expected,
    },
    /// The bytes are not those the CRC was made of.
    #[error("the crc is {found:#010x}, expected {expected:#010x} for these bytes")]
    Crc {
        /// The CRC in the header.
        found: u32,
        /// The CRC of the bytes.
        expected: u32,
    },
    /// An attribute bit is set that a producer may not set.
    #[error("the attributes are {found:#06x}, expected no bit outside of {allowed:#06x}")]
    Attributes {
        /// The attributes.
        found: i16,
        /// The bits that may be set.
        allowed: i16,
    },
    /// A record is malformed, or cannot be encoded.
    #[error("record {index}: {fault}")]
    Record {
        /// The record's place in the batch, from 0.
        index: i32,
        /// What is wrong with it.
        fault: RecordFault,
    },
    /// Bytes follow the last record.
    #[error("{found} bytes are left over after the last record, expected none")]
    LeftOver {
        /// How many.
        found: usize,
    },
    /// The compressed records cannot be decompressed.
    #[error("the records are not valid {codec}: {why}")]
    Decompress {
        /// The codec the attributes name.
        codec: Codec,
        /// What the decompressor says.
        why: String,
    },
    /// The compressed records decompress to more than a reader accepts.
    #[error("the {codec} records have more than {limit} bytes when decompressed")]
    Bomb {
        /// The codec the attributes name.
        codec: Codec,
        /// The most bytes accepted.
        limit: usize,
    },
    /// The compressor failed.
    #[error("the records cannot be compressed as {codec}: {why}")]
    Compress {
        /// The codec asked for.
        codec: Codec,
        /// What the compressor says.
        why: String,
    },
    /// A batch without records was to be built.
    #[error("the batch has no records, expected at least one")]
    Empty,
}

impl BatchError {
    /// The reason a broker gives when it refuses a batch for this.
    pub fn reason(&self) -> Reason {
        match self {
            Self::TooLarge { .. } => Reason::BatchTooLarge,
            _ => Reason::BadBatch,
        }
    }
}

/// What a value should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// This value and no other.
    Exactly(i64),
    /// This value or a greater one.
    AtLeast(i64),
    /// This value or a smaller one.
    AtMost(i64),
}

impl Expected {
    /// At most this many; for lengths, which always fit.
    pub(super) fn at_most_len(len: usize) -> Self {
        Self::AtMost(i64::try_from(len).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(value) => write!(f, "{value}"),
            Self::AtLeast(value) => write!(f, "at least {value}"),
            Self::AtMost(value) => write!(f, "at most {value}"),
        }
    }
}

macro_rules! fields {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$field_doc])* $field,)+
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$field => $text,)+ })
            }
        }
    };
}

fields! {
    /// A field of the batch header.
    HeaderField {
        /// Bytes 0-7.
        BaseOffset = "baseOffset",
        /// Bytes 8-11.
        BatchLength = "batchLength",
        /// Byte 16.
        Magic = "magic",
        /// Bits 0-2 of the attributes.
        Codec = "codec",
        /// Bytes 23-26.
        LastOffsetDelta = "lastOffsetDelta",
        /// Bytes 35-42.
        MaxTimestamp = "maxTimestamp",
        /// Bytes 43-50.
        ProducerId = "producerId",
        /// Bytes 51-52.
        ProducerEpoch = "producerEpoch",
        /// Bytes 53-56.
        BaseSequence = "baseSequence",
        /// Bytes 57-60.
        RecordCount = "recordsCount",
    }
}

fields! {
    /// A field of a record.
    RecordField {
        /// The record's length.
        Length = "length",
        /// The attributes, always 0.
        Attributes = "attribute byte",
        /// The time, which must be near enough to that of the first record.
        Timestamp = "timestamp",
        /// The time, relative to `baseTimestamp`.
        TimestampDelta = "timestampDelta",
        /// The offset, relative to `baseOffset`.
        OffsetDelta = "offsetDelta",
        /// The length of the key, -1 without one.
        KeyLength = "key length",
        /// The length of the value, -1 without one.
        ValueLength = "value length",
        /// The number of headers.
        HeaderCount = "header count",
        /// The length of a header's name.
        HeaderNameLength = "header name length",
        /// The length of a header's value, -1 without one.
        HeaderValueLength = "header value length",
        /// What follows the last header inside the record's length: nothing.
        Rest = "number of bytes after the last header",
    }
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFault {
    /// The field at fault.
    pub field: RecordField,
    /// The fault.
    pub kind: FaultKind,
}

/// How a field of a record is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The bytes end inside the field.
    Ends,
    /// The varint does not end within the bytes it may have, or names a number too large.
    Varint,
    /// The value is not one the field can have.
    Value {
        /// The value.
        found: i64,
        /// What it may be.
        expected: Expected,
    },
}

impl RecordFault {
    /// A field with a value it cannot have.
    #[cold]
    pub(super) fn value(field: RecordField, found: i64, expected: Expected) -> Self {
        Self {
            field,
            kind: FaultKind::Value { found, expected },
        }
    }

    /// The fault as that of the record at `index`.
    #[cold]
    pub(super) fn at(self, index: i32) -> BatchError {
        BatchError::Record { index, fault: self }
    }
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, kind } = self;
        match kind {
            FaultKind::Ends => write!(f, "the bytes end inside the {field}, expected more"),
            FaultKind::Varint => {
                write!(
                    f,
                    "the varint of the {field} is too long or too large, expected 32 bits (64 for times)"
                )
            }
            FaultKind::Value { found, expected } => {
                write!(f, "the {field} is {found}, expected {expected}")
            }
        }
    }
}
