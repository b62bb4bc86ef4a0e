//! gzip: one or more members.

use std::io::{self, Write};

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::{Failure, read_within};

pub(super) fn compress(records: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let mut encoder = GzEncoder::new(out, Compression::default());
    encoder.write_all(records)?;
    encoder.finish().map(drop)
}

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, Failure> {
    read_within(MultiGzDecoder::new(input), limit)
}
