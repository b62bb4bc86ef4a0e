//! LZ4 in its frame format: one frame of independent 64 KiB blocks, as Kafka's clients write it.

use std::io::{self, BufRead, Write};

use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};

use super::{Failure, broken};

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let info = FrameInfo::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records)?;
    encoder.finish().map(drop).map_err(broken)
}

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    let mut decoder = FrameDecoder::new(input);
    let mut out = Vec::new();
    loop {
        let block = decoder.fill_buf().map_err(Failure::malformed)?;
        if block.is_empty() {
            break;
        }
        if block.len() > limit.saturating_sub(out.len()) {
            return Err(Failure::Bomb);
        }
        out.extend_from_slice(block);
        let len = block.len();
        decoder.consume(len);
    }
    match decoder.get_ref().len() {
        0 => Ok(out),
        left => Err(Failure::malformed(format!("{left} bytes follow the frame"))),
    }
}
