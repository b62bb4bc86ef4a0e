//! The attribute bits of a batch: 0-2 codec, 3 timestamp type, 4 transactional, 5 control.

use std::fmt;
use std::str::FromStr;

use super::error::{BatchError, Expected, HeaderField};

const CODEC_MASK: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const KNOWN: i16 = CODEC_MASK | LOG_APPEND_TIME | TRANSACTIONAL | CONTROL;

/// How the records of a batch are compressed, with Kafka's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Not compressed.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// Snappy, in the xerial framing.
    Snappy = 2,
    /// LZ4, in its frame format.
    Lz4 = 3,
    /// Zstandard.
    Zstd = 4,
}

impl Codec {
    /// Every codec, in the order of its number.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The name, as configurations and the command line spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no codec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a codec; use none, gzip, snappy, lz4 or zstd")]
pub struct UnknownCodec(pub String);

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|codec| codec.as_str() == text);
        found.ok_or_else(|| UnknownCodec(text.to_owned()))
    }
}

/// The attributes of a batch, as they stand in its header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub i16);

impl Attributes {
    /// The attributes of a producer's batch with this codec.
    pub fn of(codec: Codec) -> Self {
        Self(match codec {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        })
    }

    /// How the records are compressed; an error for the numbers 5 to 7, which mean nothing.
    pub fn codec(self) -> Result<Codec, BatchError> {
        match self.0 & CODEC_MASK {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            number => Err(BatchError::Header {
                field: HeaderField::Codec,
                found: i64::from(number),
                expected: Expected::AtMost(4),
            }),
        }
    }

    /// Whether every record has the batch's `maxTimestamp` instead of its own time.
    pub fn log_append_time(self) -> bool {
        self.0 & LOG_APPEND_TIME != 0
    }

    /// Whether the batch belongs to a transaction.
    pub fn transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    /// Whether the batch holds markers of a transaction instead of a producer's records.
    pub fn control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// The bits that are set and have no meaning here; 0 when there are none.
    pub fn unknown(self) -> i16 {
        self.0 & !KNOWN
    }

    /// Refuses every bit that a producer may not set: all but the codec.
    pub(super) fn check_produced(self) -> Result<Codec, BatchError> {
        if self.0 & !CODEC_MASK != 0 {
            return Err(BatchError::Attributes {
                found: self.0,
                allowed: CODEC_MASK,
            });
        }
        self.codec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_parses_from_its_name_and_keeps_its_number() {
        for (number, codec) in Codec::ALL.into_iter().enumerate() {
            assert_eq!(codec.to_string().parse(), Ok(codec));
            assert_eq!(Attributes::of(codec).codec(), Ok(codec));
            assert_eq!(Attributes::of(codec).0, i16::try_from(number).unwrap());
        }
        assert!("brotli".parse::<Codec>().is_err());
    }

    #[test]
    fn codec_numbers_without_meaning_are_errors() {
        for number in 5..8 {
            let message = Attributes(number).codec().unwrap_err().to_string();
            assert_eq!(
                message,
                format!("the codec is {number}, expected at most 4")
            );
        }
    }

    #[test]
    fn producers_may_set_nothing_but_the_codec() {
        for bit in 3..16 {
            let refused = Attributes(1 << bit).check_produced();
            assert!(
                matches!(refused, Err(BatchError::Attributes { .. })),
                "bit {bit}"
            );
        }
        assert_eq!(Attributes(1 << 6).unknown(), 1 << 6);
        assert_eq!(Attributes(0b11_1100).unknown(), 0);
    }
}
