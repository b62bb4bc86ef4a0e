//! Which partition a keyed record belongs to: Kafka's murmur2, so that a key lands where Kafka's
//! own clients would put it.
//!
//! Source: Austin Appleby's MurmurHash2 (32 bit, public domain) with the seed and the masking of
//! the sign bit that Apache Kafka's default partitioner uses.

use crate::PartitionIndex;

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;

/// The partition of `key` among `partitions` (at least 1).
pub fn partition_for_key(key: &[u8], partitions: u32) -> PartitionIndex {
    PartitionIndex((murmur2(key) & 0x7fff_ffff) % partitions.max(1))
}

fn murmur2(data: &[u8]) -> u32 {
    let mut h = SEED ^ (data.len() as u32);
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let k = u32::from_le_bytes(*word).wrapping_mul(M);
        let k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    for (i, byte) in tail.iter().enumerate() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !tail.is_empty() {
        h = h.wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that Apache Kafka's own unit test of `Utils.murmur2` lists.
    #[test]
    fn hashes_equal_those_of_kafka() {
        let cases: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (
                b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key) as i32, hash, "{key:?}");
        }
    }
}
