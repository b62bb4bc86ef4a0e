//! The headers of one record.

use std::borrow::Cow;

use bytes::Bytes;

use super::MAX_RECORD_HEADERS;
use super::error::{Expected, RecordFault, RecordField};
use super::reader::Reader;

/// A name and a value beside a record's key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordHeader {
    /// The name: UTF-8 from every well-behaved producer. Names may repeat within a record.
    pub name: Bytes,
    /// The value, if it has one.
    pub value: Option<Bytes>,
}

impl RecordHeader {
    /// The name as text; bytes that are not UTF-8 become U+FFFD.
    pub fn name_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.name)
    }
}

/// The headers of a record inside its encoded bytes, known to be well formed: names and values.
#[derive(Debug, Clone)]
pub struct HeaderViews<'a> {
    left: i32,
    reader: Reader<'a>,
}

impl<'a> HeaderViews<'a> {
    /// Reads the headers' count and passes over them.
    #[inline]
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, RecordFault> {
        let left = body.varint(RecordField::HeaderCount)?;
        let headers = Self {
            left,
            reader: *body,
        };
        if left != 0 {
            headers.clone().check(body)?;
        }
        Ok(headers)
    }

    /// So many headers, which are encoded from the beginning of `rest` on.
    #[inline]
    pub(super) fn new(count: i32, rest: &'a [u8]) -> Self {
        Self {
            left: count,
            reader: Reader::new(rest),
        }
    }

    /// How many headers there are, and the bytes that begin with the first: what
    /// [`HeaderViews::new`] takes.
    #[inline]
    pub(super) fn parts(&self) -> (i32, &'a [u8]) {
        (self.left, self.reader.rest())
    }

    /// Whether there are no more headers.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The headers as slices of `data`, in which these lie.
    pub(super) fn to_headers(&self, data: &Bytes) -> Vec<RecordHeader> {
        let header = |(name, value): (_, Option<_>)| RecordHeader {
            name: data.slice_ref(name),
            value: value.map(|value| data.slice_ref(value)),
        };
        self.clone().map(header).collect()
    }

    fn check(mut self, body: &mut Reader<'a>) -> Result<(), RecordFault> {
        let (field, found) = (RecordField::HeaderCount, i64::from(self.left));
        let most = MAX_RECORD_HEADERS.min(self.reader.left() / 2);
        match usize::try_from(self.left) {
            Ok(count) if count <= most => {}
            Ok(_) => {
                return Err(RecordFault::value(
                    field,
                    found,
                    Expected::at_most_len(most),
                ));
            }
            Err(_) => return Err(RecordFault::value(field, found, Expected::AtLeast(0))),
        }
        while let Some(header) = self.advance() {
            header?;
        }
        *body = self.reader;
        Ok(())
    }

    #[expect(
        clippy::type_complexity,
        reason = "a name and a value, either may be at fault"
    )]
    fn advance(&mut self) -> Option<Result<(&'a [u8], Option<&'a [u8]>), RecordFault>> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let name = self.reader.bytes(RecordField::HeaderNameLength);
        let value = self.reader.nullable(RecordField::HeaderValueLength);
        Some(name.and_then(|name| Ok((name, value?))))
    }
}

impl<'a> Iterator for HeaderViews<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.advance()?.ok()
    }
}
