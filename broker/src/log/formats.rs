//! The versions of the file formats, for those who ask what this program reads and writes.

use super::{frame, hard_state, index, segment_header, small_file};

/// Each kind of file, and the version that is written; others are refused.
pub const FORMATS: [(&str, u32); 5] = [
    ("segment", segment_header::FORMAT_VERSION),
    ("frame", frame::VERSION as u32),
    ("index", index::INDEX_VERSION),
    ("hard state", hard_state::wal::VERSION),
    ("state", small_file::VERSION),
];
