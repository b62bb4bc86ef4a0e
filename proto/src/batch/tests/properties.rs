//! What holds for all records and for all bytes.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

fn some_bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..=most).prop_map(Bytes::from),
        (any::<u8>(), 0..=most).prop_map(|(byte, len)| Bytes::from(vec![byte; len])),
    ]
}

fn some_header() -> impl Strategy<Value = RecordHeader> {
    let name = "\\PC{0,12}".prop_map(Bytes::from);
    (name, option::of(some_bytes(40))).prop_map(|(name, value)| RecordHeader { name, value })
}

fn some_record() -> impl Strategy<Value = Record> {
    let timestamp = prop_oneof![
        -1_000_000..1_000_000_i64,
        0..1_i64 << 45,
        -(1_i64 << 61)..1 << 61
    ];
    let parts = (
        timestamp,
        option::of(some_bytes(70)),
        option::of(some_bytes(9000)),
        vec(some_header(), 0..4),
    );
    parts.prop_map(|(timestamp, key, value, headers)| Record {
        offset: Offset::ZERO,
        timestamp: Timestamp(timestamp),
        key,
        value,
        headers,
    })
}

/// Records with the offsets they get in a batch that begins at 0.
fn some_records(most: usize) -> impl Strategy<Value = Vec<Record>> {
    vec(some_record(), 1..=most).prop_map(|mut records| {
        for (offset, record) in (0..).zip(&mut records) {
            record.offset = Offset(offset);
        }
        records
    })
}

fn some_codec() -> impl Strategy<Value = Codec> {
    select(&Codec::ALL[..])
}

/// A way to damage bytes.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Extend(Vec<u8>),
    Insert(Index, u8),
    Remove(Index),
}

fn some_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        4 => (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => vec(any::<u8>(), 1..20).prop_map(Damage::Extend),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        1 => any::<Index>().prop_map(Damage::Remove),
    ]
}

impl Damage {
    /// Damages `bytes` from `from` on.
    fn apply(&self, bytes: &mut Vec<u8>, from: usize) {
        let place = |at: &Index, bytes: &[u8]| from + at.index(bytes.len() - from);
        if bytes.len() <= from {
            return;
        }
        match self {
            Self::Set(at, byte) => {
                let at = place(at, bytes);
                bytes[at] = *byte;
            }
            Self::Flip(at, bit) => {
                let at = place(at, bytes);
                bytes[at] ^= 1 << bit;
            }
            Self::Cut(at) => bytes.truncate(place(at, bytes)),
            Self::Extend(more) => bytes.extend_from_slice(more),
            Self::Insert(at, byte) => bytes.insert(place(at, bytes), *byte),
            Self::Remove(at) => {
                let at = place(at, bytes);
                bytes.remove(at);
            }
        }
    }
}

/// Reads `bytes` in every way there is; what is accepted must keep its promises.
fn read_in_every_way(bytes: Bytes) {
    for batch in batches(&bytes) {
        let Ok((header, batch)) = batch else { break };
        assert_eq!(header.total_len(), batch.len());
    }
    let accepted = RecordBatch::parse(bytes.clone(), DEFAULT_MAX_BATCH_BYTES);
    if let Ok(stored) = StoredBatch::decode(bytes)
        && let Ok(records) = stored.records()
    {
        let claimed = u64::try_from(stored.header().record_count).unwrap();
        assert_eq!(placed(records.clone()), records.clone().collect::<Vec<_>>());
        let read: Result<Vec<_>, _> = records.collect();
        assert!(read.as_ref().map_or(0, Vec::len) as u64 <= claimed);
        if let Ok(read) = &read {
            assert_eq!(read.len() as u64, claimed);
            assert!(read.windows(2).all(|pair| pair[0].offset < pair[1].offset));
            assert!(
                read.iter()
                    .all(|record| record.offset <= stored.last_offset())
            );
        }
        if let Ok(accepted) = &accepted
            && accepted.header().attributes.codec() == Ok(Codec::None)
        {
            assert_eq!(
                read.unwrap().len() as u64,
                u64::from(accepted.record_count())
            );
        }
    }
}

/// Makes damaged bytes look whole: length and CRC are those of the bytes.
fn reseal(bytes: &mut [u8]) {
    if bytes.len() >= HEADER_LEN {
        let length = i32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let crc = crc32c(&bytes[CRC_END..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn records_survive_every_codec(records in some_records(12), codec in some_codec(), base in 0..1_u64 << 62) {
        let built = build(&records, codec, None).unwrap();
        let batch = RecordBatch::parse(built, MAX_BATCH_BYTES).unwrap();
        let found = stamped(&batch, base).records().unwrap();
        let placed: Vec<_> = placed(found.clone()).into_iter().map(Result::unwrap).collect();
        let found: Vec<_> = found.map(Result::unwrap).collect();
        prop_assert_eq!(&placed, &found);
        let expected = records.into_iter().map(|record| Record { offset: record.offset.plus(base), ..record });
        prop_assert_eq!(found, expected.collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_byte_never_passes(records in some_records(4), codec in some_codec(), at: Index, bit in 0..8_u8) {
        let built = build(&records, codec, None).unwrap();
        let mut bytes = built.to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let stamped_by_the_broker = at < 8 || (12..16).contains(&at);
        let parsed = RecordBatch::parse(Bytes::from(bytes), MAX_BATCH_BYTES);
        prop_assert_eq!(parsed.is_ok(), stamped_by_the_broker);
    }

    #[test]
    fn restamping_changes_the_producer_only(records in some_records(4), codec in some_codec(), id in 0..1_u64 << 62, sequence in 0..i32::MAX) {
        let built = build(&records, codec, None).unwrap();
        let stamp = ProducerStamp { id: ProducerId(id), epoch: ProducerEpoch(1), base_sequence: Sequence(sequence) };
        let direct = build(&records, codec, Some(stamp)).unwrap();
        let kept = built.clone();
        prop_assert_eq!(restamped(built, stamp).unwrap(), direct);
        prop_assert!(RecordBatch::parse(kept, MAX_BATCH_BYTES).unwrap().header().producer().is_none());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn damaged_bytes_are_an_error_or_a_batch(
        records in some_records(4),
        codec in some_codec(),
        damages in vec(some_damage(), 1..4),
        from in select(&[0, CRC_END, HEADER_LEN][..]),
        looks_whole: bool,
    ) {
        let mut bytes = build(&records, codec, None).unwrap().to_vec();
        for damage in &damages {
            damage.apply(&mut bytes, from);
        }
        if looks_whole {
            reseal(&mut bytes);
        }
        read_in_every_way(Bytes::from(bytes));
    }

    #[test]
    fn random_bytes_are_an_error_or_a_batch(mut bytes in vec(any::<u8>(), 0..400), attributes in 0..8_u8, looks_whole: bool) {
        if looks_whole && bytes.len() >= HEADER_LEN {
            bytes[16] = 2;
            bytes[21..23].copy_from_slice(&[0, attributes]);
            bytes[23..27].copy_from_slice(&[0, 0, 0, 1]);
            bytes[57..61].copy_from_slice(&[0, 0, 0, 2]);
            reseal(&mut bytes);
        }
        read_in_every_way(Bytes::from(bytes));
    }
}
