//! PURE. A segment file as it is found in a log's directory.

use bytes::Bytes;

use super::segment_header::{HeaderFault, Owner, SegmentHeader};

/// A file found in the directory.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) number: u32,
    pub(super) header: Result<SegmentHeader, HeaderFault>,
    /// What a whole header says of a file that is shorter than that. A file never changes its size:
    /// its end is lost, whatever was there.
    pub(super) short: Option<SegmentHeader>,
    pub(super) bytes: Bytes,
    /// The first byte that the disk cannot give, if one was found: what stands there was never written.
    pub(super) unreadable: Option<u64>,
}

impl FoundFile {
    /// File `number` of `owner`'s log. An error: it is another log's, or of a later version.
    pub(super) fn read(
        bytes: Bytes,
        unreadable: Option<u64>,
        owner: &Owner,
        number: u32,
    ) -> Result<Self, HeaderFault> {
        let len = bytes.len() as u64;
        let (header, short) = match SegmentHeader::read(&bytes, owner, number) {
            Err(fault @ (HeaderFault::Version(_) | HeaderFault::Foreign(_))) => return Err(fault),
            Ok(header) if header.file_len == len => (Ok(header), None),
            Ok(header) => {
                let short = header.file_len > len;
                (Err(HeaderFault::Damaged), short.then_some(header))
            }
            Err(fault) => (Err(fault), None),
        };
        Ok(Self {
            number,
            header,
            short,
            bytes,
            unreadable,
        })
    }

    /// The header, if that is whole.
    pub(super) fn known(&self) -> Option<&SegmentHeader> {
        self.header.as_ref().ok().or(self.short.as_ref())
    }

    /// How many bytes of frames can have been written and not synced.
    pub(super) fn reach(&self, max_unsynced: u64) -> u64 {
        let known = self.known().map_or(0, |header| header.max_unsynced);
        known.max(max_unsynced)
    }
}
