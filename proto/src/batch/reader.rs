//! A cursor over encoded records that can end but never panic.

use super::error::{Expected, FaultKind, RecordFault, RecordField};
use super::varint::{MAX_VARINT, MAX_VARLONG, unzigzag, unzigzag32};

/// The bytes not yet read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The bytes that are left.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One signed byte.
    #[inline]
    pub(super) fn byte(&mut self, field: RecordField) -> Result<i8, RecordFault> {
        let Some((first, rest)) = self.rest.split_first() else {
            return Err(RecordFault {
                field,
                kind: FaultKind::Ends,
            });
        };
        self.rest = rest;
        Ok(first.cast_signed())
    }

    /// A 32-bit zig-zag varint.
    #[inline]
    pub(super) fn varint(&mut self, field: RecordField) -> Result<i32, RecordFault> {
        match *self.rest {
            [low, ref rest @ ..] if low < 0x80 => {
                self.rest = rest;
                Ok(unzigzag32(u32::from(low)))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Ok(unzigzag32(u32::from(low & 0x7f) | u32::from(high) << 7))
            }
            _ => {
                let coded = self.long_varint(field, MAX_VARINT)?;
                let coded = u32::try_from(coded);
                Ok(unzigzag32(coded.map_err(|_| RecordFault {
                    field,
                    kind: FaultKind::Varint,
                })?))
            }
        }
    }

    /// A 64-bit zig-zag varint.
    #[inline]
    pub(super) fn varlong(&mut self, field: RecordField) -> Result<i64, RecordFault> {
        match *self.rest {
            [low, ref rest @ ..] if low < 0x80 => {
                self.rest = rest;
                Ok(unzigzag(u64::from(low)))
            }
            _ => Ok(unzigzag(self.long_varint(field, MAX_VARLONG)?)),
        }
    }

    /// The coded number of a varint of at most `most` bytes.
    fn long_varint(&mut self, field: RecordField, most: usize) -> Result<u64, RecordFault> {
        let mut coded = 0_u64;
        let mut rest = self.rest;
        for place in 0..most {
            let Some((byte, after)) = rest.split_first() else {
                return Err(RecordFault {
                    field,
                    kind: FaultKind::Ends,
                });
            };
            rest = after;
            let bits = u64::from(byte & 0x7f);
            let shifted = bits << (7 * place);
            if shifted >> (7 * place) != bits {
                break;
            }
            coded |= shifted;
            if *byte < 0x80 {
                self.rest = rest;
                return Ok(coded);
            }
        }
        Err(RecordFault {
            field,
            kind: FaultKind::Varint,
        })
    }

    /// Exactly `len` bytes as a reader of their own; `field` is where `len` was read.
    #[inline]
    pub(super) fn sub(&mut self, field: RecordField, len: i32) -> Result<Self, RecordFault> {
        self.take(field, len, 0).map(Self::new)
    }

    /// A varint length and that many bytes; `None` where the length is -1.
    #[inline]
    pub(super) fn nullable(&mut self, field: RecordField) -> Result<Option<&'a [u8]>, RecordFault> {
        match self.varint(field)? {
            -1 => Ok(None),
            len => self.take(field, len, -1).map(Some),
        }
    }

    /// A varint length and that many bytes.
    #[inline]
    pub(super) fn bytes(&mut self, field: RecordField) -> Result<&'a [u8], RecordFault> {
        let len = self.varint(field)?;
        self.take(field, len, 0)
    }

    #[inline]
    fn take(&mut self, field: RecordField, len: i32, least: i64) -> Result<&'a [u8], RecordFault> {
        let Ok(size) = usize::try_from(len) else {
            return Err(RecordFault::value(
                field,
                i64::from(len),
                Expected::AtLeast(least),
            ));
        };
        let Some((taken, rest)) = self.rest.split_at_checked(size) else {
            let expected = Expected::at_most_len(self.rest.len());
            return Err(RecordFault::value(field, i64::from(len), expected));
        };
        self.rest = rest;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::super::varint;
    use super::*;

    const FIELD: RecordField = RecordField::TimestampDelta;

    #[test]
    fn what_is_written_is_read() {
        for value in [
            0,
            -1,
            63,
            64,
            -65,
            8191,
            8192,
            1 << 20,
            i64::from(i32::MAX),
            i64::from(i32::MIN),
        ] {
            let mut out = Vec::new();
            varint::put(&mut out, value);
            assert_eq!(Reader::new(&out).varlong(FIELD), Ok(value));
            assert_eq!(Reader::new(&out).varint(FIELD).map(i64::from), Ok(value));
        }
        for value in [i64::MAX, i64::MIN, 1 << 40] {
            let mut out = Vec::new();
            varint::put(&mut out, value);
            assert_eq!(Reader::new(&out).varlong(FIELD), Ok(value));
            assert_eq!(
                Reader::new(&out).varint(FIELD).unwrap_err().kind,
                FaultKind::Varint
            );
        }
    }

    #[test]
    fn cut_varints_end_and_overlong_ones_are_faults() {
        for len in 0..10 {
            let cut = vec![0xff; len];
            assert_eq!(
                Reader::new(&cut).varlong(FIELD).unwrap_err().kind,
                FaultKind::Ends
            );
        }
        let endless = [0xff; 32];
        assert_eq!(
            Reader::new(&endless).varlong(FIELD).unwrap_err().kind,
            FaultKind::Varint
        );
        assert_eq!(
            Reader::new(&endless).varint(FIELD).unwrap_err().kind,
            FaultKind::Varint
        );
        let too_large = [0xff, 0xff, 0xff, 0xff, 0x10];
        assert_eq!(
            Reader::new(&too_large).varint(FIELD).unwrap_err().kind,
            FaultKind::Varint
        );
        let mut too_large = [0xff; 10];
        too_large[9] = 2;
        assert_eq!(
            Reader::new(&too_large).varlong(FIELD).unwrap_err().kind,
            FaultKind::Varint
        );
    }

    #[test]
    fn lengths_are_compared_with_what_is_left() {
        let lying = [20, b'a', b'b'];
        let fault = Reader::new(&lying)
            .bytes(RecordField::KeyLength)
            .unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the key length is 10, expected at most 2"
        );
        let negative = [3];
        let fault = Reader::new(&negative)
            .nullable(RecordField::KeyLength)
            .unwrap_err();
        assert_eq!(
            fault.to_string(),
            "the key length is -2, expected at least -1"
        );
    }
}
