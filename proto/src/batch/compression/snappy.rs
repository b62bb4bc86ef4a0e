//! Snappy, which has no framing of its own. Kafka's clients write the framing of the Java library
//! (xerial): a magic, two version numbers, then blocks with their compressed length in front. Some
//! write one bare block; both are read.

use std::io;

use snap::raw::{Decoder, Encoder, decompress_len};

use super::{Failure, broken};

/// No bare block can begin so: it would be a copy of bytes before the first.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];

/// The version of the framing, and the oldest one that can read it.
const VERSION: [u8; 4] = 1_i32.to_be_bytes();

/// Uncompressed bytes a block, as the Java library cuts them.
const BLOCK: usize = 32 << 10;

/// A block never expands by more: its densest element makes 64 bytes of 3.
const MAX_RATIO: usize = 22;

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = Encoder::new();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION);
    out.extend_from_slice(&VERSION);
    for block in records.chunks(BLOCK) {
        let compressed = encoder.compress_vec(block).map_err(broken)?;
        let len = i32::try_from(compressed.len()).map_err(broken)?;
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let Some(framed) = input.strip_prefix(&MAGIC) else {
        decompress_block(input, &mut out, limit)?;
        return Ok(out);
    };
    let Some((_versions, mut rest)) = framed.split_first_chunk::<8>() else {
        return Err(Failure::malformed(
            "the bytes end inside the versions of the framing",
        ));
    };
    while !rest.is_empty() {
        let Some((len, after)) = rest.split_first_chunk::<4>() else {
            return Err(Failure::malformed(
                "the bytes end inside the length of a block",
            ));
        };
        let len = i32::from_be_bytes(*len);
        let split = usize::try_from(len)
            .ok()
            .and_then(|len| after.split_at_checked(len));
        let Some((block, after)) = split else {
            let left = after.len();
            return Err(Failure::malformed(format!(
                "a block of {len} bytes, of which {left} follow"
            )));
        };
        decompress_block(block, &mut out, limit)?;
        rest = after;
    }
    Ok(out)
}

/// Whether the bytes begin as framed blocks do, or could be one bare block: its length fits to
/// theirs, and its first element is not a copy.
pub(super) fn begins(input: &[u8]) -> bool {
    if input.starts_with(&MAGIC) {
        return true;
    }
    let Ok(claimed) = decompress_len(input) else {
        return false;
    };
    // The length is a varint of at most five bytes.
    let length = input.iter().take(5).position(|byte| byte & 0x80 == 0);
    let first = length.and_then(|last| input.get(last + 1));
    let literal = first.is_some_and(|tag| tag & 0b11 == 0);
    let fits = claimed <= input.len().saturating_mul(MAX_RATIO);
    let worst = snap::raw::max_compress_len(claimed);
    literal && fits && claimed > 0 && input.len() <= worst
}

/// Appends the contents of `block` to `out`. The length that the block claims is believed only
/// where its bytes could make so many.
fn decompress_block(block: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), Failure> {
    let claimed = decompress_len(block).map_err(Failure::malformed)?;
    let start = out.len();
    if claimed > limit.saturating_sub(start) {
        return Err(Failure::Bomb);
    }
    if claimed > block.len().saturating_mul(MAX_RATIO) {
        let len = block.len();
        return Err(Failure::malformed(format!(
            "a block of {len} bytes claims to hold {claimed}"
        )));
    }
    out.resize(start + claimed, 0);
    let room = out.get_mut(start..).unwrap_or_default();
    let written = Decoder::new()
        .decompress(block, room)
        .map_err(Failure::malformed)?;
    out.truncate(start + written);
    Ok(())
}
