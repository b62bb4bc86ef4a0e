use super::*;

mod model;

const SOON: Timestamp = Timestamp(1000);

fn batch(producer: i64, epoch: i16, base: i32, count: i32) -> Sequenced {
    Sequenced::from_header(producer, epoch, base, count)
        .unwrap()
        .unwrap()
}

/// A table that applied these batches of producer 7 in epoch 0, each beginning at the offset that
/// equals its position times 100.
fn applied(batches: &[(i32, i32)]) -> Producers {
    let mut producers = Producers::new();
    for (position, (base, count)) in (0..).zip(batches) {
        producers.applied(&batch(7, 0, *base, *count), Offset(position * 100), SOON);
    }
    producers
}

fn duplicate(base_offset: u64) -> Judgement {
    Judgement::Duplicate {
        base_offset: Offset(base_offset),
        append_time: SOON,
    }
}

fn gap(expected: i32) -> Judgement {
    Judgement::Gap {
        expected: Sequence(expected),
    }
}

#[test]
fn an_unknown_producer_begins_at_zero() {
    let producers = Producers::new();
    assert_eq!(producers.judge(&batch(7, 3, 0, 10)), Judgement::Fresh);
    assert_eq!(producers.judge(&batch(7, 3, 1, 10)), gap(0));
}

#[test]
fn the_last_five_batches_are_recognised_with_their_place() {
    let producers = applied(&[(0, 1), (1, 2), (3, 3), (6, 1), (7, 2), (9, 1), (10, 5)]);
    assert_eq!(producers.judge(&batch(7, 0, 15, 1)), Judgement::Fresh);
    assert_eq!(producers.judge(&batch(7, 0, 10, 5)), duplicate(600));
    assert_eq!(producers.judge(&batch(7, 0, 3, 3)), duplicate(200));
    // Older than five batches.
    assert_eq!(producers.judge(&batch(7, 0, 1, 2)), Judgement::OldDuplicate);
    assert_eq!(producers.judge(&batch(7, 0, 0, 1)), Judgement::OldDuplicate);
    // Other bounds than the batch had: the records are there, their place is not one place.
    assert_eq!(producers.judge(&batch(7, 0, 9, 3)), Judgement::OldDuplicate);
}

#[test]
fn a_gap_and_a_batch_that_is_partly_new_name_the_sequence_expected() {
    let producers = applied(&[(0, 10)]);
    assert_eq!(producers.judge(&batch(7, 0, 11, 1)), gap(10));
    assert_eq!(producers.judge(&batch(7, 0, 5, 10)), gap(10));
    // Never sent, and so not called a duplicate, although it is "behind" by wrapping.
    assert_eq!(producers.judge(&batch(7, 0, i32::MAX, 1)), gap(10));
}

#[test]
fn a_higher_epoch_begins_at_zero_and_fences_the_lower_ones() {
    let mut producers = applied(&[(0, 10)]);
    assert_eq!(producers.judge(&batch(7, 2, 10, 1)), gap(0));
    assert_eq!(producers.judge(&batch(7, 2, 0, 1)), Judgement::Fresh);
    let fenced = Judgement::Fenced {
        current: ProducerEpoch(2),
    };
    producers.propose(batch(7, 2, 0, 1), Proposal(1));
    assert_eq!(producers.judge(&batch(7, 0, 10, 1)), fenced);
    producers.applied(&batch(7, 2, 0, 1), Offset(100), SOON);
    assert_eq!(producers.judge(&batch(7, 0, 0, 10)), fenced);
    assert_eq!(producers.judge(&batch(7, 2, 0, 1)), duplicate(100));
    assert_eq!(producers.judge(&batch(7, 2, 5, 1)), gap(1));
}

#[test]
fn what_is_in_flight_is_judged_as_if_it_were_applied() {
    let mut producers = applied(&[(0, 10)]);
    producers.propose(batch(7, 0, 10, 5), Proposal(1));
    producers.propose(batch(7, 0, 15, 5), Proposal(2));
    assert_eq!(producers.judge(&batch(7, 0, 20, 1)), Judgement::Fresh);
    assert_eq!(
        producers.judge(&batch(7, 0, 10, 5)),
        Judgement::DuplicateInFlight(Proposal(1))
    );
    // Its records are not in the log yet, and nobody may be told that they are.
    assert_eq!(producers.judge(&batch(7, 0, 10, 4)), gap(20));
    assert_eq!(producers.judge(&batch(7, 0, 9, 2)), gap(20));
    assert_eq!(producers.judge(&batch(7, 0, 0, 10)), duplicate(0));

    producers.applied(&batch(7, 0, 10, 5), Offset(10), SOON);
    assert_eq!(producers.judge(&batch(7, 0, 10, 5)), duplicate(10));
    producers.reset_in_flight();
    assert_eq!(producers.judge(&batch(7, 0, 15, 5)), Judgement::Fresh);
}

#[test]
fn an_entry_of_another_leader_ends_what_was_in_flight() {
    let mut producers = applied(&[(0, 10)]);
    producers.propose(batch(7, 0, 10, 5), Proposal(1));
    producers.propose(batch(7, 0, 15, 5), Proposal(2));
    producers.applied(&batch(7, 0, 10, 3), Offset(10), SOON);
    assert_eq!(producers.judge(&batch(7, 0, 13, 1)), Judgement::Fresh);
    assert!(producers.in_flight.is_empty());
}

#[test]
fn sequences_wrap_and_stay_recognised() {
    let half = 1 << 30;
    let mut producers = applied(&[(0, half), (half, half - 2)]);
    let across = batch(7, 0, i32::MAX - 1, 4);
    assert_eq!(producers.judge(&across), Judgement::Fresh);
    producers.applied(&across, Offset(500), SOON);
    assert_eq!(producers.judge(&across), duplicate(500));
    assert_eq!(producers.judge(&batch(7, 0, 2, 9)), Judgement::Fresh);
    assert_eq!(producers.judge(&batch(7, 0, 0, 2)), Judgement::OldDuplicate);
    assert_eq!(
        producers.judge(&batch(7, 0, i32::MAX - 5, 2)),
        Judgement::OldDuplicate
    );
    // Half of the number space away it is ahead.
    assert_eq!(producers.judge(&batch(7, 0, 3, 1)), gap(2));
}

#[test]
fn the_producer_that_appended_longest_ago_is_evicted() {
    let mut producers = Producers::with_capacity(2);
    for (producer, time) in [(1, 10), (2, 20), (1, 30), (3, 30)] {
        let base = if time == 30 && producer == 1 { 1 } else { 0 };
        producers.applied(&batch(producer, 0, base, 1), Offset(0), Timestamp(time));
    }
    assert_eq!(producers.len(), 2);
    assert_eq!(producers.judge(&batch(2, 0, 1, 1)), gap(0));
    assert_eq!(producers.judge(&batch(1, 0, 2, 1)), Judgement::Fresh);
    assert_eq!(producers.judge(&batch(3, 0, 1, 1)), Judgement::Fresh);
}

#[test]
fn an_evicted_producer_that_had_more_in_flight_begins_anew_from_there() {
    let mut producers = Producers::with_capacity(1);
    producers.applied(&batch(1, 0, 0, 5), Offset(0), SOON);
    producers.applied(&batch(2, 0, 0, 5), Offset(5), SOON);
    producers.applied(&batch(1, 0, 5, 5), Offset(10), SOON);
    assert_eq!(producers.judge(&batch(1, 0, 10, 1)), Judgement::Fresh);
    // What came before the eviction is not known any more, so it is not called a duplicate.
    assert_eq!(producers.judge(&batch(1, 0, 0, 5)), gap(10));
}

#[test]
fn a_table_of_many_full_producers_stays_small() {
    assert!(size_of::<Producer>() <= 160, "{}", size_of::<Producer>());
}

#[test]
fn damaged_snapshots_are_refused() {
    let mut producers = applied(&[(0, 1), (1, 2)]);
    producers.applied(&batch(8, 1, 0, 1), Offset(9), SOON);
    let sound = producers.snapshot();
    assert_eq!(Producers::restore(&sound).unwrap().snapshot(), sound);

    type State = highwater_proto::pb::peer::ProducerState;
    let damages: [fn(&mut Vec<State>); 9] = [
        |m| m[1].producer_id = 7,
        |m| m[0].epoch = 65_536,
        |m| m[0].batches.clear(),
        |m| m[0].batches = vec![m[0].batches[0]; 6],
        |m| m[0].batches[1].base_sequence = 2,
        |m| m[0].batches[0].base_sequence = -1,
        |m| m[0].batches[0].record_count = 0,
        |m| m[0].record_count = 2,
        |m| *m = vec![m[0].clone(); MAX_PRODUCERS + 1],
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut damaged = sound.clone();
        damage(&mut damaged);
        assert!(Producers::restore(&damaged).is_err(), "damage {number}");
    }
}
