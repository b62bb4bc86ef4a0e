use proptest::prelude::*;

use super::*;
use crate::partition::producers::Judgement;

fn entry(term: u64, index: u64) -> EntryId {
    EntryId {
        term: Term(term),
        index: LogIndex(index),
    }
}

fn plain(record_count: u32) -> BatchFacts {
    BatchFacts::Plain(record_count)
}

fn body(base_offset: u64, time: i64, batches: &[BatchFacts]) -> Body<'_> {
    Body::Batches {
        base_offset: Offset(base_offset),
        append_time: Timestamp(time),
        max_timestamp: Timestamp(time - 10),
        batches,
    }
}

#[test]
fn offsets_count_records_and_raft_entries_take_none() {
    let mut state = PartitionState::new();
    assert_eq!(state.high_watermark().offset(), Offset(0));
    assert_eq!(state.next_index(), None);
    state.apply(entry(1, 1), Body::Membership).unwrap();
    state.apply(entry(1, 2), Body::Blank).unwrap();
    let first = state.apply(entry(1, 3), body(0, 50, &[plain(3)])).unwrap();
    assert_eq!((first.base_offset, first.record_count), (Offset(0), 3));
    state.apply(entry(2, 4), Body::Blank).unwrap();
    let second = state
        .apply(entry(2, 5), body(3, 50, &[plain(1), plain(5)]))
        .unwrap();
    assert_eq!((second.base_offset, second.record_count), (Offset(3), 6));
    assert_eq!(second.high_watermark.offset(), Offset(9));
    assert_eq!(state.high_watermark(), second.high_watermark);
    assert_eq!(state.applied(), Some(entry(2, 5)));
    assert_eq!(state.next_index(), Some(LogIndex(6)));
    assert_eq!(state.last_append_time(), Some(Timestamp(50)));
    assert_eq!(state.max_timestamp(), Some(Timestamp(40)));
}

#[test]
fn a_term_begins_where_its_first_record_is() {
    let mut state = PartitionState::new();
    state.apply(entry(1, 1), body(0, 0, &[plain(2)])).unwrap();
    state.apply(entry(2, 2), Body::Blank).unwrap();
    state.apply(entry(4, 3), Body::Blank).unwrap();
    state.apply(entry(4, 4), body(2, 0, &[plain(2)])).unwrap();
    state.apply(entry(4, 5), body(4, 0, &[plain(2)])).unwrap();
    let starts = state
        .term_starts()
        .iter()
        .map(|term| (term.term.0, term.start.0));
    assert_eq!(starts.collect::<Vec<_>>(), [(1, 0), (4, 2)]);
}

#[test]
fn the_log_start_moves_forward_and_never_beyond_the_high_watermark() {
    let mut state = PartitionState::new();
    state.apply(entry(1, 1), body(0, 0, &[plain(10)])).unwrap();
    for (index, offset, expected) in [(2, 4, 4), (3, 2, 4), (4, 11, 4), (5, 10, 10)] {
        let set = Body::SetLogStart(Offset(offset));
        let applied = state.apply(entry(1, index), set).unwrap();
        assert_eq!((applied.base_offset, applied.record_count), (Offset(10), 0));
        assert_eq!(state.log_start(), Offset(expected), "after {offset}");
    }
    let restored = PartitionState::restore(&state.snapshot()).unwrap();
    assert_eq!(restored.log_start(), Offset(10));
    assert_eq!(restored.snapshot(), state.snapshot());
}

#[test]
fn a_saved_state_that_begins_behind_its_end_is_refused() {
    use highwater_proto::pb::peer::PartitionSnapshot;
    use prost::Message;
    let saved = PartitionState::new().snapshot();
    let mut message = PartitionSnapshot::decode(saved).unwrap();
    message.log_start_offset = 1;
    let refused = PartitionState::restore(&message.encode_to_vec());
    assert!(matches!(refused, Err(SnapshotError::LogStart(..))));
}

#[test]
fn a_state_saved_before_forgotten_producers_were_kept_is_read() {
    use highwater_proto::pb::peer::PartitionSnapshot;
    use prost::Message;
    let first = Sequenced::from_header(7, 0, 0, 2).unwrap().unwrap();
    let mut state = PartitionState::new();
    let batches = [BatchFacts::Sequenced(first)];
    state.apply(entry(1, 1), body(0, 9, &batches)).unwrap();
    let mut old = PartitionSnapshot::decode(state.snapshot()).unwrap();
    assert_eq!(old.version, 2);
    old.version = 1;
    old.forgotten_producers = None;
    let restored = PartitionState::restore(&old.encode_to_vec()).unwrap();
    assert_eq!(restored.snapshot(), state.snapshot());
}

#[test]
fn the_oldest_terms_are_forgotten_first() {
    let mut state = PartitionState::new();
    let last = MAX_TERM_STARTS as u64 + 3;
    for n in 1..=last {
        state
            .apply(entry(n, n), body(n - 1, 0, &[plain(1)]))
            .unwrap();
    }
    assert_eq!(state.term_starts().len(), MAX_TERM_STARTS);
    assert_eq!(state.term_starts()[0].term, Term(4));
    assert!(PartitionState::restore(&state.snapshot()).is_ok());
}

#[test]
fn every_batch_of_an_entry_is_remembered_at_its_own_offset() {
    let repeated = Sequenced::from_header(7, 0, 0, 2).unwrap().unwrap();
    let sequenced = BatchFacts::Sequenced(repeated);
    let mut state = PartitionState::new();
    state
        .apply(entry(1, 1), body(0, 9, &[plain(5), sequenced]))
        .unwrap();
    let judgement = state.producers().judge(&repeated, Timestamp(9));
    let expected = Judgement::Duplicate {
        base_offset: Offset(5),
        append_time: Timestamp(9),
    };
    assert_eq!(judgement, expected);
}

#[test]
fn facts_are_read_from_the_header_of_a_batch() {
    use highwater_proto::batch::{BatchBuilder, BatchHeader, Codec, ProducerStamp};
    use highwater_proto::{ProducerEpoch, ProducerId, Sequence};

    let facts = |producer| {
        let mut builder = BatchBuilder::new();
        builder.push(Timestamp(1), None, None, &[]);
        builder.push(Timestamp(2), None, None, &[]);
        let bytes = builder.build(Codec::None, producer).unwrap();
        BatchFacts::of(&BatchHeader::decode(&bytes).unwrap()).unwrap()
    };
    assert_eq!(facts(None), plain(2));
    let stamp = ProducerStamp {
        id: ProducerId(7),
        epoch: ProducerEpoch(1),
        base_sequence: Sequence(40),
    };
    let sequenced = Sequenced::from_header(7, 1, 40, 2).unwrap().unwrap();
    assert_eq!(facts(Some(stamp)), BatchFacts::Sequenced(sequenced));
}

#[test]
fn an_entry_that_does_not_follow_changes_nothing() {
    let mut state = PartitionState::new();
    state
        .apply(entry(3, 10), body(0, 100, &[plain(4)]))
        .unwrap();
    let before = state.snapshot();
    let one = [plain(1)];
    let huge = [plain(u32::MAX), plain(1)];
    let empty = [plain(1), plain(0)];
    let wrong = [
        (entry(3, 10), body(4, 100, &one)),
        (entry(3, 12), body(4, 100, &one)),
        (entry(2, 11), body(4, 100, &one)),
        (entry(3, 12), Body::Blank),
        (entry(3, 11), body(3, 100, &one)),
        (entry(3, 11), body(5, 100, &one)),
        (entry(3, 11), body(4, 99, &one)),
        (entry(3, 11), body(4, 100, &[])),
        (entry(3, 11), body(4, 100, &empty)),
        (entry(3, 11), body(4, 100, &huge)),
    ];
    for (entry, body) in wrong {
        let error = state.apply(entry, body).unwrap_err();
        assert!(error.to_string().starts_with("entry "), "{error}");
        assert_eq!(state.snapshot(), before);
    }
    state.apply(entry(3, 11), body(4, 100, &one)).unwrap();
}

#[test]
fn damaged_and_newer_snapshots_are_refused() {
    use highwater_proto::pb::peer::PartitionSnapshot;
    use prost::Message;

    let mut state = PartitionState::new();
    state.apply(entry(1, 1), body(0, 0, &[plain(2)])).unwrap();
    state.apply(entry(2, 2), body(2, 0, &[plain(2)])).unwrap();
    let sound = PartitionSnapshot::decode(state.snapshot()).unwrap();
    let damages: [fn(&mut PartitionSnapshot); 6] = [
        |m| m.version = 3,
        |m| m.version = 0,
        |m| m.applied = None,
        |m| m.next_offset = 2,
        |m| m.term_starts.reverse(),
        |m| m.term_starts[1].term = 3,
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut damaged = sound.clone();
        damage(&mut damaged);
        let restored = PartitionState::restore(&damaged.encode_to_vec());
        assert!(restored.is_err(), "damage {number}");
    }
    assert!(PartitionState::restore(&[0xff; 9]).is_err());
    assert!(PartitionState::restore(&[]).is_err());
}

/// One batch of an entry: how many records, and of which producer if any.
type Plan = (u32, Option<u8>);

/// Applies a log of batches, in which every producer counts on.
fn apply_planned(state: &mut PartitionState, plan: &[Vec<Plan>], from: usize) {
    let mut next = [0_i32; 3];
    let mut offset = 0;
    for (position, batches) in plan.iter().enumerate() {
        let mut facts = Vec::new();
        let base_offset = offset;
        for (count, producer) in batches {
            let sequenced = producer.and_then(|producer| {
                let next = &mut next[usize::from(producer)];
                let base = *next;
                *next += *count as i32;
                Sequenced::from_header(producer.into(), 0, base, *count as i32).unwrap()
            });
            facts.push(sequenced.map_or(plain(*count), BatchFacts::Sequenced));
            offset += u64::from(*count);
        }
        if position < from {
            continue;
        }
        let index = position as u64;
        let entry = entry(index / 4, index);
        let body = match facts.is_empty() {
            true if index % 2 == 1 => Body::Fence {
                producer: ProducerId(index % 3),
                epoch: ProducerEpoch(1),
                append_time: Timestamp(index as i64),
            },
            true => Body::Blank,
            false => body(base_offset, index as i64, &facts),
        };
        state.apply(entry, body).unwrap();
    }
}

proptest! {
    #[test]
    fn a_state_restored_anywhere_goes_on_to_the_same_end(
        plan in prop::collection::vec(
            prop::collection::vec((1_u32..5, prop::option::of(0_u8..3)), 0..4), 1..40),
        at in 0_usize..40,
    ) {
        let at = at.min(plan.len());
        let mut whole = PartitionState::new();
        apply_planned(&mut whole, &plan, 0);

        let mut first = PartitionState::new();
        apply_planned(&mut first, &plan[..at], 0);
        let mut second = PartitionState::restore(&first.snapshot()).unwrap();
        prop_assert_eq!(second.high_watermark(), first.high_watermark());
        apply_planned(&mut second, &plan, at);
        prop_assert_eq!(second.snapshot(), whole.snapshot());
    }
}
