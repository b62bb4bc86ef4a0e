//! Bodies of one or more whole batches.

use bytes::Bytes;

use super::error::BatchError;
use super::header::BatchHeader;

/// The whole batches of `body`, one after another, by their `batchLength` only: neither their CRC
/// nor their records are looked at. Ends after the first error.
pub fn batches(body: &Bytes) -> Batches {
    Batches { rest: body.clone() }
}

/// Iterator of [`batches`]: each batch's header and its bytes, a slice of the body.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Iterator for Batches {
    type Item = Result<(BatchHeader, Bytes), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let rest = std::mem::take(&mut self.rest);
        Some(split_first(rest).map(|(header, batch, rest)| {
            self.rest = rest;
            (header, batch)
        }))
    }
}

fn split_first(mut body: Bytes) -> Result<(BatchHeader, Bytes, Bytes), BatchError> {
    let header = BatchHeader::decode(&body)?;
    let expected = header.total_len();
    if body.len() < expected {
        return Err(BatchError::Short {
            found: body.len(),
            expected,
        });
    }
    let batch = body.split_to(expected);
    Ok((header, batch, body))
}

#[cfg(test)]
mod tests {
    use super::super::{BatchBuilder, Codec};
    use super::*;
    use crate::Timestamp;

    fn batch(value: &[u8]) -> Bytes {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(7), None, Some(value), &[]);
        builder.build(Codec::None, None).unwrap()
    }

    #[test]
    fn a_body_gives_its_batches_as_slices_of_itself() {
        let (first, second) = (batch(b"first"), batch(b"second, longer"));
        let body = Bytes::from([&first[..], &second[..]].concat());
        let found: Vec<_> = batches(&body).map(|batch| batch.unwrap().1).collect();
        assert_eq!(found, [first, second]);
        assert_eq!(found[0].as_ptr(), body.as_ptr());
        assert_eq!(batches(&Bytes::new()).count(), 0);
    }

    #[test]
    fn a_cut_body_is_an_error_after_its_whole_batches() {
        let whole = batch(b"value");
        let body = Bytes::from([&whole[..], &whole[..whole.len() - 1]].concat());
        let mut walk = batches(&body);
        assert!(walk.next().unwrap().is_ok());
        let expected = BatchError::Short {
            found: whole.len() - 1,
            expected: whole.len(),
        };
        assert_eq!(walk.next(), Some(Err(expected)));
        assert_eq!(walk.next(), None);
    }
}
