//! Zstandard. Its contexts are large and slow to make, so each thread keeps one of each.

use std::cell::RefCell;
use std::io;

use zstd::zstd_safe::{CCtx, DCtx, compress_bound, get_error_name, get_frame_content_size};

use super::{Failure, broken};

/// Zstandard's own default.
const LEVEL: i32 = 3;

/// The most bytes one block makes, and the fewest bytes a block has.
const MAX_BLOCK: usize = 128 << 10;
const MIN_BLOCK: usize = 3;

/// The code of `ZSTD_error_dstSize_tooSmall` (70), as functions return it; codes of errors are
/// part of the library's stable interface.
const OUTPUT_TOO_SMALL: usize = 70_usize.wrapping_neg();

thread_local! {
    static COMPRESSOR: RefCell<CCtx<'static>> = RefCell::new(CCtx::create());
    static DECOMPRESSOR: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut compressed = Vec::with_capacity(compress_bound(records.len()));
    COMPRESSOR
        .with_borrow_mut(|context| context.compress(&mut compressed, records, LEVEL))
        .map_err(|code| broken(get_error_name(code)))?;
    out.extend_from_slice(&compressed);
    Ok(())
}

/// Frames may or may not say how much they hold. The room is what the first one says, or a guess
/// that grows, and never more than the input's blocks could fill.
pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let possible = (input.len() / MIN_BLOCK + 1).saturating_mul(MAX_BLOCK);
    let most = possible.min(limit);
    let claimed = get_frame_content_size(input).map_err(Failure::malformed)?;
    let claimed = claimed.map(|size| usize::try_from(size).unwrap_or(usize::MAX));
    if claimed.is_some_and(|size| size > limit) {
        return Err(Failure::Bomb);
    }
    let mut room = claimed.unwrap_or(input.len().saturating_mul(4)).min(most);
    loop {
        let mut out = Vec::with_capacity(room);
        match DECOMPRESSOR.with_borrow_mut(|context| context.decompress(&mut out, input)) {
            Ok(_) => return Ok(out),
            Err(OUTPUT_TOO_SMALL) if room < most => {
                room = room.saturating_mul(4).max(MAX_BLOCK).min(most);
            }
            Err(OUTPUT_TOO_SMALL) if room == limit => return Err(Failure::Bomb),
            Err(code) => return Err(Failure::malformed(get_error_name(code))),
        }
    }
}
