//! The record batch: Kafka's RecordBatch v2, the unit of everything.
//!
//! A producer encodes records with [`BatchBuilder`]; a broker checks what it received with
//! [`RecordBatch::parse`], stamps the first 16 bytes ([`stamped_prefix`]) and stores the rest as it
//! came; a consumer reads with [`StoredBatch`]. All numbers are big-endian:
//!
//! ```text
//!  0 baseOffset i64          17 crc u32               43 producerId i64
//!  8 batchLength i32         21 attributes i16        51 producerEpoch i16
//! 12 partitionLeaderEpoch    23 lastOffsetDelta i32   53 baseSequence i32
//! 16 magic i8 = 2            27 baseTimestamp i64     57 recordsCount i32
//!                            35 maxTimestamp i64      61 records
//! ```
//!
//! `batchLength` counts the bytes after itself. The CRC-32C covers everything from byte 21 to the
//! end, so what the broker stamps (bytes 0-7 and 12-15) is outside of it.
//!
//! Nothing here panics on any input, and nothing allocates more than the input justifies: lengths
//! are compared with the bytes that are there before they are believed, and decompression stops at
//! [`MAX_RECORDS_BYTES`].

mod attributes;
mod builder;
mod compression;
mod error;
mod frames;
mod header;
mod parse;
mod placed;
mod reader;
mod record;
mod record_headers;
mod records;
mod stamp;
mod stored;
mod varint;

pub use attributes::{Attributes, Codec, UnknownCodec};
pub use builder::BatchBuilder;
pub use error::{BatchError, Expected, FaultKind, HeaderField, RecordFault, RecordField};
pub use frames::{Batches, batches};
pub use header::{BatchHeader, CRC_END, HEADER_LEN};
pub use parse::RecordBatch;
pub use placed::PlacedRecord;
pub use record::{Record, RecordView};
pub use record_headers::{HeaderViews, RecordHeader};
pub use records::{RecordViews, Records};
pub use stamp::{ProducerStamp, restamped, stamped_prefix};
pub use stored::StoredBatch;

/// The largest batch any topic may allow, header included, as sent.
pub const MAX_BATCH_BYTES: usize = 3 << 20;

/// The largest batch a topic allows unless configured otherwise.
pub const DEFAULT_MAX_BATCH_BYTES: usize = 1 << 20;

/// The most bytes the records of one batch may have before compression. A batch that decompresses
/// to more is an error, whatever it claims: this bounds the memory a reader spends on one batch.
pub const MAX_RECORDS_BYTES: usize = 32 << 20;

/// The most headers one record may have: decoded, a header takes far more memory than the two
/// bytes it may take in a batch.
pub const MAX_RECORD_HEADERS: usize = 1 << 16;

/// The fewest bytes a record can have: an offset count that the bytes cannot hold is a lie.
const MIN_RECORD_BYTES: usize = 7;

/// CRC-32C (Castagnoli), as it stands in the batch header.
fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

#[cfg(test)]
mod tests;
