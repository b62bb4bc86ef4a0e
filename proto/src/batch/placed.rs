//! A record as the places of its parts: small, and without a counted reference of its own.

use super::record::RecordView;
use super::record_headers::HeaderViews;
use crate::{Offset, Timestamp};

/// A record as [`RecordView`], with places in [`Records::data`](super::Records::data) for slices: it
/// may be kept beside one counted reference to these bytes, and tells its parts when it is given them.
/// Given other bytes it tells any part of them or none.
#[derive(Debug, Clone, Copy)]
pub struct PlacedRecord {
    /// Its place in the partition.
    pub offset: Offset,
    /// Its time: the producer's, or that of the append where the batch says so.
    pub timestamp: Timestamp,
    key: Place,
    value: Place,
    headers: u32,
    header_count: i32,
}

/// Where a part of a record lies. 32 bits are enough: the length of a batch has as many, and no batch
/// unpacks to more.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    len: u32,
}

impl PlacedRecord {
    /// The record whose parts lie in `data`.
    #[inline]
    pub(super) fn of(record: &RecordView<'_>, data: &[u8]) -> Self {
        let (header_count, headers) = record.headers.parts();
        Self {
            offset: record.offset,
            timestamp: record.timestamp,
            key: Place::of(record.key, data),
            value: Place::of(record.value, data),
            headers: distance(data, headers),
            header_count,
        }
    }

    /// The key, if it has one.
    #[inline]
    pub fn key<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        self.key.find(data)
    }

    /// The value, if it has one.
    #[inline]
    pub fn value<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        self.value.find(data)
    }

    /// The headers, in the producer's order.
    #[inline]
    pub fn headers<'a>(&self, data: &'a [u8]) -> HeaderViews<'a> {
        let start = usize::try_from(self.headers).ok();
        let rest = start.and_then(|start| data.get(start..));
        HeaderViews::new(self.header_count, rest.unwrap_or_default())
    }
}

impl Place {
    /// Where there is nothing: no data reaches so far.
    const NONE: Self = Self {
        start: u32::MAX,
        len: 0,
    };

    #[inline]
    fn of(part: Option<&[u8]>, data: &[u8]) -> Self {
        part.map_or(Self::NONE, |part| Self {
            start: distance(data, part),
            len: narrow(part.len()),
        })
    }

    #[inline]
    fn find(self, data: &[u8]) -> Option<&[u8]> {
        let start = usize::try_from(self.start).ok()?;
        let len = usize::try_from(self.len).ok()?;
        data.get(start..)?.get(..len)
    }
}

/// How far `part` begins behind the beginning of `data`, in which it lies.
#[inline]
fn distance(data: &[u8], part: &[u8]) -> u32 {
    narrow(part.as_ptr().addr().wrapping_sub(data.as_ptr().addr()))
}

/// The number, or one that is beyond the end of any data.
#[inline]
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
