//! The records of the bench. A value says whose it is and carries content that only depends on
//! its number, so that a reader can tell a sound record from a damaged one and from a stranger's.
//!
//! Little-endian: 0 magic · 4 check of what follows and of the length · 8 run · 16 client u32 ·
//! 20 zero u32 · 24 sequence · 32 time · 40 content.

/// The bytes before the content; the smallest record.
pub(super) const HEADER_LEN: usize = 40;

/// The time of a record that only warms up connections.
pub(super) const WARM_UP: u64 = u64::MAX;

const MAGIC: [u8; 4] = *b"HWb1";
const BLOCK: usize = 64 << 10;

/// What a record says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The run of the bench that sent it.
    pub(super) run: u64,
    /// Who of the run sent it.
    pub(super) client: u32,
    /// Its number among those that the client sent to the partition, from 0.
    pub(super) sequence: u64,
    /// When it was due, in nanoseconds since the begin of the run, or [`WARM_UP`].
    pub(super) time: u64,
}

/// The part of a record's check that is the same for all records of a client.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source(u64);

/// Why a value is not a sound record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// No bench wrote it.
    Foreign,
    /// It is not as it was written.
    Broken,
}

/// The content of all records: incompressible, the same in every run.
#[derive(Debug)]
pub(super) struct Content {
    block: Box<[u8]>,
}

impl Content {
    pub(super) fn new() -> Self {
        let mut block = vec![0; BLOCK].into_boxed_slice();
        for (word, index) in block.chunks_exact_mut(8).zip(0..) {
            word.copy_from_slice(&mix(index).to_le_bytes());
        }
        Self { block }
    }

    /// Writes the record over the whole of `value`, which has at least [`HEADER_LEN`] bytes. `source`
    /// is that of the stamp and the length.
    #[inline]
    pub(super) fn write(&self, source: Source, stamp: Stamp, value: &mut [u8]) {
        let check = stamp.check(source);
        let (header, mut content) = value.split_at_mut(HEADER_LEN);
        header[..4].copy_from_slice(&MAGIC);
        header[4..8].copy_from_slice(&check.to_le_bytes());
        header[8..16].copy_from_slice(&stamp.run.to_le_bytes());
        header[16..24].copy_from_slice(&u64::from(stamp.client).to_le_bytes());
        header[24..32].copy_from_slice(&stamp.sequence.to_le_bytes());
        header[32..40].copy_from_slice(&stamp.time.to_le_bytes());
        let mut at = stamp.place();
        while !content.is_empty() {
            let len = content.len().min(BLOCK - at);
            let (now, rest) = content.split_at_mut(len);
            now.copy_from_slice(&self.block[at..at + len]);
            content = rest;
            at = 0;
        }
    }

    /// Reads a record and compares its content with what was written.
    #[inline]
    pub(super) fn read(&self, value: &[u8]) -> Result<Stamp, Flaw> {
        let Some((header, mut content)) = value.split_at_checked(HEADER_LEN) else {
            return Err(Flaw::Foreign);
        };
        if header[..4] != MAGIC {
            return Err(Flaw::Foreign);
        }
        let word = |at: usize| {
            let bytes = header[at..at + 8].try_into();
            bytes.map_or(0, u64::from_le_bytes)
        };
        let stamp = Stamp {
            run: word(8),
            client: u32::try_from(word(16)).map_err(|_| Flaw::Broken)?,
            sequence: word(24),
            time: word(32),
        };
        if header[4..8] != stamp.check(stamp.source(value.len())).to_le_bytes() {
            return Err(Flaw::Broken);
        }
        let mut at = stamp.place();
        while !content.is_empty() {
            let len = content.len().min(BLOCK - at);
            let (now, rest) = content.split_at(len);
            if *now != self.block[at..at + len] {
                return Err(Flaw::Broken);
            }
            content = rest;
            at = 0;
        }
        Ok(stamp)
    }
}

impl Stamp {
    /// What the check of all records of this run, client and length begins with.
    #[inline]
    pub(super) fn source(&self, len: usize) -> Source {
        let sum = mix(self.run ^ len as u64);
        Source(mix(sum ^ u64::from(self.client)))
    }

    /// A check of the header and the length.
    #[inline]
    fn check(&self, source: Source) -> u32 {
        let sum = mix(source.0 ^ self.sequence);
        (mix(sum ^ self.time) >> 32) as u32
    }

    /// Where in the block the content begins.
    #[inline]
    fn place(&self) -> usize {
        let mixed = mix(self.sequence ^ u64::from(self.client) << 48);
        mixed as usize % BLOCK
    }
}

/// Spreads every bit over all others (the finisher of SplitMix64).
#[inline]
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        run: 7,
        client: 3,
        sequence: 41,
        time: 1_000_000,
    };

    #[test]
    fn what_is_written_is_read_at_any_length() {
        let content = Content::new();
        for len in [HEADER_LEN, 41, 100, 1 << 10, 3 * BLOCK] {
            let mut value = vec![0; len];
            content.write(STAMP.source(len), STAMP, &mut value);
            assert_eq!(content.read(&value), Ok(STAMP), "{len}");
        }
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let content = Content::new();
        let mut value = vec![0; 100];
        content.write(STAMP.source(100), STAMP, &mut value);
        for at in 0..value.len() {
            let mut broken = value.clone();
            broken[at] ^= 0x40;
            let flaw = content.read(&broken).unwrap_err();
            let expected = if at < 4 { Flaw::Foreign } else { Flaw::Broken };
            assert_eq!(flaw, expected, "byte {at}");
        }
        assert_eq!(content.read(&value[..99]), Err(Flaw::Broken));
        value.push(0);
        assert_eq!(content.read(&value), Err(Flaw::Broken));
    }

    #[test]
    fn what_no_bench_wrote_is_foreign() {
        let content = Content::new();
        for value in [&b""[..], b"hello", &[0; 100]] {
            assert_eq!(content.read(value), Err(Flaw::Foreign));
        }
    }

    #[test]
    fn records_differ_by_number_and_client() {
        let content = Content::new();
        let body = |client, sequence| {
            let stamp = Stamp {
                client,
                sequence,
                ..STAMP
            };
            let mut value = vec![0; 100];
            content.write(stamp.source(100), stamp, &mut value);
            value.split_off(HEADER_LEN)
        };
        assert_ne!(body(0, 0), body(0, 1));
        assert_ne!(body(0, 0), body(1, 0));
    }
}
