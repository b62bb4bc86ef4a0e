//! Compression of a batch's records. Compressing is the producer's, decompressing the consumer's;
//! the broker does neither.

mod gzip;
mod lz4;
mod snappy;
mod zstd;

use std::io::{self, Read};

use bytes::Bytes;

use super::MAX_RECORDS_BYTES;
use super::attributes::Codec;
use super::error::BatchError;
use super::header::HEADER_LEN;

/// Why a decompressor gave up.
#[derive(Debug)]
enum Failure {
    /// More bytes than the limit came out.
    Bomb,
    /// The input is not what the codec makes.
    Malformed(String),
}

impl Failure {
    fn malformed(why: impl ToString) -> Self {
        Self::Malformed(why.to_string())
    }
}

/// The batch with its records, which follow the header, compressed; the header's bytes are room for
/// one still to be written.
pub(super) fn compress(codec: Codec, batch: Vec<u8>) -> Result<Vec<u8>, BatchError> {
    let records = batch.get(HEADER_LEN..).unwrap_or_default();
    let mut out = Vec::with_capacity(HEADER_LEN + records.len() / 2);
    out.resize(HEADER_LEN, 0);
    let done = match codec {
        Codec::None => return Ok(batch),
        Codec::Gzip => gzip::compress(records, &mut out),
        Codec::Snappy => snappy::compress(records, &mut out),
        Codec::Lz4 => lz4::compress(records, &mut out),
        Codec::Zstd => zstd::compress(records, &mut out),
    };
    done.map_err(|error| BatchError::Compress {
        codec,
        why: error.to_string(),
    })?;
    Ok(out)
}

/// The records, decompressed. Allocates as bytes come out, never by what the input claims, and
/// stops at [`MAX_RECORDS_BYTES`].
pub(super) fn decompress(codec: Codec, records: &Bytes) -> Result<Bytes, BatchError> {
    decompress_within(codec, records, MAX_RECORDS_BYTES)
}

fn decompress_within(codec: Codec, records: &Bytes, limit: usize) -> Result<Bytes, BatchError> {
    let out = match codec {
        Codec::None => return Ok(records.clone()),
        Codec::Gzip => gzip::decompress(records, limit),
        Codec::Snappy => snappy::decompress(records, limit),
        Codec::Lz4 => lz4::decompress(records, limit),
        Codec::Zstd => zstd::decompress(records, limit),
    };
    let mut out = out.map_err(|failure| match failure {
        Failure::Bomb => BatchError::Bomb { codec, limit },
        Failure::Malformed(why) => BatchError::Decompress { codec, why },
    })?;
    // Records may live long and keep all of this in memory; but most do not, and moving costs.
    if out.capacity() / 2 > out.len() {
        out.shrink_to_fit();
    }
    Ok(Bytes::from(out))
}

/// Refuses records that do not begin as those of the codec do: most likely they are of another one,
/// and nobody could read them. Looks at a few bytes only.
pub(super) fn check_beginning(codec: Codec, records: &[u8]) -> Result<(), BatchError> {
    let begins = match codec {
        Codec::None => true,
        // Two bytes of magic, and the only method there is.
        Codec::Gzip => records.starts_with(&[0x1f, 0x8b, 8]),
        Codec::Snappy => snappy::begins(records),
        Codec::Lz4 => records.starts_with(&0x184d_2204_u32.to_le_bytes()),
        Codec::Zstd => records.starts_with(&0xfd2f_b528_u32.to_le_bytes()),
    };
    if begins {
        return Ok(());
    }
    let why = "they do not begin as such; is the codec in the attributes the right one?".to_owned();
    Err(BatchError::Decompress { codec, why })
}

/// Reads to the end of `input`, which must come before `limit`.
fn read_within(input: impl Read, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    input
        .take(most)
        .read_to_end(&mut out)
        .map_err(Failure::malformed)?;
    if out.len() > limit {
        Err(Failure::Bomb)
    } else {
        Ok(out)
    }
}

/// An error that a compressor has for what cannot happen with a growing buffer.
fn broken(why: impl ToString) -> io::Error {
    io::Error::other(why.to_string())
}

#[cfg(test)]
mod tests;
