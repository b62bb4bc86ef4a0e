//! What a broker checks before it accepts a batch.

use bytes::Bytes;

use super::attributes::Codec;
use super::compression;
use super::error::RecordFault;
use super::error::{BatchError, Expected, HeaderField, RecordField};
use super::header::{BatchHeader, HEADER_LEN, wrong};
use super::reader::Reader;
use super::record::Encoded;
use super::{MAX_RECORDS_BYTES, MIN_RECORD_BYTES};

/// A batch a producer sent, fully checked and immutable. Its base offset and leader epoch are
/// whatever the producer wrote: the broker stamps them when it appends.
#[derive(Debug, Clone)]
pub struct RecordBatch {
    header: BatchHeader,
    bytes: Bytes,
    record_count: u32,
}

impl RecordBatch {
    /// Checks that `bytes` are one whole batch of at most `max_bytes` that a producer may send:
    /// size, magic, length, CRC, attributes, record count, producer fields and times. The records
    /// themselves are walked if they are not compressed; compressed ones are never decompressed, only
    /// seen to begin as their codec does.
    pub fn parse(bytes: Bytes, max_bytes: usize) -> Result<Self, BatchError> {
        if bytes.len() > max_bytes {
            return Err(BatchError::TooLarge {
                found: bytes.len(),
                limit: max_bytes,
            });
        }
        let header = BatchHeader::decode(&bytes)?;
        header.check_len(&bytes)?;
        header.check_crc(&bytes)?;
        let codec = header.attributes.check_produced()?;
        let record_count = check_count(&header)?;
        check_producer(&header)?;
        let records = bytes.get(HEADER_LEN..).unwrap_or_default();
        check_room(&header, record_count, records.len(), codec)?;
        if header.max_timestamp < header.base_timestamp {
            let expected = Expected::AtLeast(header.base_timestamp);
            return Err(wrong(
                HeaderField::MaxTimestamp,
                header.max_timestamp,
                expected,
            ));
        }
        match codec {
            Codec::None => check_records(&header, records)?,
            codec => compression::check_beginning(codec, records)?,
        }
        Ok(Self {
            header,
            bytes,
            record_count,
        })
    }

    /// The header, as the producer sent it.
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The whole batch.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The size of the batch in bytes, header included. A batch is never empty.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a batch has a header and at least one record"
    )]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How many records the batch holds, and so how many offsets it takes. At least 1.
    pub fn record_count(&self) -> u32 {
        self.record_count
    }
}

/// Offsets are dense: as many records as offsets, and at least one.
fn check_count(header: &BatchHeader) -> Result<u32, BatchError> {
    let delta = header.last_offset_delta;
    if delta < 0 {
        return Err(wrong(
            HeaderField::LastOffsetDelta,
            delta,
            Expected::AtLeast(0),
        ));
    }
    let expected = i64::from(delta) + 1;
    if i64::from(header.record_count) != expected {
        let expected = Expected::Exactly(expected);
        return Err(wrong(
            HeaderField::RecordCount,
            header.record_count,
            expected,
        ));
    }
    u32::try_from(header.record_count).map_err(|_| {
        wrong(
            HeaderField::RecordCount,
            header.record_count,
            Expected::AtLeast(1),
        )
    })
}

/// All three producer fields, or none.
fn check_producer(header: &BatchHeader) -> Result<(), BatchError> {
    if header.producer_id < -1 {
        return Err(wrong(
            HeaderField::ProducerId,
            header.producer_id,
            Expected::AtLeast(-1),
        ));
    }
    let (epoch, sequence) = (header.producer_epoch, header.base_sequence);
    let (fits, expected): (fn(i32) -> bool, _) = match header.producer_id {
        -1 => (|field| field == -1, Expected::Exactly(-1)),
        _ => (|field| field >= 0, Expected::AtLeast(0)),
    };
    if !fits(i32::from(epoch)) {
        return Err(wrong(HeaderField::ProducerEpoch, epoch, expected));
    }
    if !fits(sequence) {
        return Err(wrong(HeaderField::BaseSequence, sequence, expected));
    }
    Ok(())
}

/// No batch claims more records than its bytes, decompressed at most, can hold.
fn check_room(
    header: &BatchHeader,
    record_count: u32,
    records_len: usize,
    codec: Codec,
) -> Result<(), BatchError> {
    let most = match codec {
        Codec::None => records_len / MIN_RECORD_BYTES,
        _ => MAX_RECORDS_BYTES / MIN_RECORD_BYTES,
    };
    if usize::try_from(record_count).is_ok_and(|count| count <= most) {
        return Ok(());
    }
    Err(wrong(
        HeaderField::RecordCount,
        header.record_count,
        Expected::at_most_len(most),
    ))
}

/// Walks the records: each as long as it says, offset deltas 0, 1, 2 …, times that exist, the
/// greatest of them the batch's `maxTimestamp`, and nothing after the last.
fn check_records(header: &BatchHeader, records: &[u8]) -> Result<(), BatchError> {
    let mut reader = Reader::new(records);
    let mut max_timestamp = i64::MIN;
    for index in 0..header.record_count {
        let record = Encoded::read(&mut reader).map_err(|fault| fault.at(index))?;
        if record.offset_delta != index {
            let expected = Expected::Exactly(i64::from(index));
            let found = i64::from(record.offset_delta);
            return Err(RecordFault::value(RecordField::OffsetDelta, found, expected).at(index));
        }
        if record.attributes != 0 {
            let found = i64::from(record.attributes);
            let fault = RecordFault::value(RecordField::Attributes, found, Expected::Exactly(0));
            return Err(fault.at(index));
        }
        let timestamp = record
            .timestamp(header.base_timestamp)
            .map_err(|fault| fault.at(index))?;
        max_timestamp = max_timestamp.max(timestamp);
    }
    match reader.left() {
        0 => {}
        found => return Err(BatchError::LeftOver { found }),
    }
    if header.max_timestamp != max_timestamp {
        let expected = Expected::Exactly(max_timestamp);
        return Err(wrong(
            HeaderField::MaxTimestamp,
            header.max_timestamp,
            expected,
        ));
    }
    Ok(())
}
