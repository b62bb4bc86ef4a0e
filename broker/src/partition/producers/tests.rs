use super::*;

mod forgotten;
mod model;

const SOON: Timestamp = Timestamp(1000);

fn batch(producer: i64, epoch: i16, base: i32, count: i32) -> Sequenced {
    Sequenced::from_header(producer, epoch, base, count)
        .unwrap()
        .unwrap()
}

fn restored(producers: &Producers) -> Result<Producers, ProducersError> {
    Producers::restore(&producers.snapshot(), &producers.forgotten())
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
    assert_eq!(producers.judge(&batch(7, 3, 0, 10), SOON), Judgement::Fresh);
    let later = producers.judge(&batch(7, 3, 1, 10), SOON);
    assert_eq!(later, Judgement::Unknown);
}

#[test]
fn the_last_five_batches_are_recognised_with_their_place() {
    let producers = applied(&[(0, 1), (1, 2), (3, 3), (6, 1), (7, 2), (9, 1), (10, 5)]);
    assert_eq!(producers.judge(&batch(7, 0, 15, 1), SOON), Judgement::Fresh);
    assert_eq!(producers.judge(&batch(7, 0, 10, 5), SOON), duplicate(600));
    assert_eq!(producers.judge(&batch(7, 0, 3, 3), SOON), duplicate(200));
    // Older than five batches.
    assert_eq!(
        producers.judge(&batch(7, 0, 1, 2), SOON),
        Judgement::OldDuplicate
    );
    assert_eq!(
        producers.judge(&batch(7, 0, 0, 1), SOON),
        Judgement::OldDuplicate
    );
    // Other bounds than the batch had: the records are there, their place is not one place.
    assert_eq!(
        producers.judge(&batch(7, 0, 9, 3), SOON),
        Judgement::OldDuplicate
    );
}

#[test]
fn a_gap_and_a_batch_that_is_partly_new_name_the_sequence_expected() {
    let producers = applied(&[(0, 10)]);
    assert_eq!(producers.judge(&batch(7, 0, 11, 1), SOON), gap(10));
    assert_eq!(producers.judge(&batch(7, 0, 5, 10), SOON), gap(10));
    // Never sent, and so not called a duplicate, although it is "behind" by wrapping.
    assert_eq!(producers.judge(&batch(7, 0, i32::MAX, 1), SOON), gap(10));
}

#[test]
fn a_higher_epoch_begins_at_zero_and_fences_the_lower_ones() {
    let mut producers = applied(&[(0, 10)]);
    assert_eq!(producers.judge(&batch(7, 2, 10, 1), SOON), gap(0));
    assert_eq!(producers.judge(&batch(7, 2, 0, 1), SOON), Judgement::Fresh);
    producers.propose(batch(7, 2, 0, 1), Proposal(1));
    assert_eq!(producers.judge(&batch(7, 0, 10, 1), SOON), fenced(2));
    producers.applied(&batch(7, 2, 0, 1), Offset(100), SOON);
    assert_eq!(producers.judge(&batch(7, 0, 0, 10), SOON), fenced(2));
    assert_eq!(producers.judge(&batch(7, 2, 0, 1), SOON), duplicate(100));
    assert_eq!(producers.judge(&batch(7, 2, 5, 1), SOON), gap(1));
}

#[test]
fn what_is_in_flight_is_judged_as_if_it_were_applied() {
    let mut producers = applied(&[(0, 10)]);
    producers.propose(batch(7, 0, 10, 5), Proposal(1));
    producers.propose(batch(7, 0, 15, 5), Proposal(2));
    assert_eq!(producers.judge(&batch(7, 0, 20, 1), SOON), Judgement::Fresh);
    assert_eq!(
        producers.judge(&batch(7, 0, 10, 5), SOON),
        Judgement::DuplicateInFlight(Proposal(1))
    );
    // Its records are not in the log yet, and nobody may be told that they are.
    assert_eq!(producers.judge(&batch(7, 0, 10, 4), SOON), gap(20));
    assert_eq!(producers.judge(&batch(7, 0, 9, 2), SOON), gap(20));
    assert_eq!(producers.judge(&batch(7, 0, 0, 10), SOON), duplicate(0));

    producers.applied(&batch(7, 0, 10, 5), Offset(10), SOON);
    assert_eq!(producers.judge(&batch(7, 0, 10, 5), SOON), duplicate(10));
    producers.reset_in_flight();
    assert_eq!(producers.judge(&batch(7, 0, 15, 5), SOON), Judgement::Fresh);
}

#[test]
fn an_entry_of_another_leader_ends_what_was_in_flight() {
    let mut producers = applied(&[(0, 10)]);
    producers.propose(batch(7, 0, 10, 5), Proposal(1));
    producers.propose(batch(7, 0, 15, 5), Proposal(2));
    producers.applied(&batch(7, 0, 10, 3), Offset(10), SOON);
    assert_eq!(producers.judge(&batch(7, 0, 13, 1), SOON), Judgement::Fresh);
    assert!(producers.in_flight.is_empty());
}

#[test]
fn sequences_wrap_and_stay_recognised() {
    let half = 1 << 30;
    let mut producers = applied(&[(0, half), (half, half - 2)]);
    let across = batch(7, 0, i32::MAX - 1, 4);
    assert_eq!(producers.judge(&across, SOON), Judgement::Fresh);
    producers.applied(&across, Offset(500), SOON);
    assert_eq!(producers.judge(&across, SOON), duplicate(500));
    assert_eq!(producers.judge(&batch(7, 0, 2, 9), SOON), Judgement::Fresh);
    assert_eq!(
        producers.judge(&batch(7, 0, 0, 2), SOON),
        Judgement::OldDuplicate
    );
    assert_eq!(
        producers.judge(&batch(7, 0, i32::MAX - 5, 2), SOON),
        Judgement::OldDuplicate
    );
    // Half of the number space away it is ahead.
    assert_eq!(producers.judge(&batch(7, 0, 3, 1), SOON), gap(2));
}

#[test]
fn the_producer_that_appended_longest_ago_is_evicted() {
    let mut producers = Producers::with_capacity(2, MAX_FORGOTTEN);
    for (producer, time) in [(1, 10), (2, 20), (1, 30), (3, 30)] {
        let base = if time == 30 && producer == 1 { 1 } else { 0 };
        producers.applied(&batch(producer, 0, base, 1), Offset(0), Timestamp(time));
    }
    assert_eq!(producers.len(), 2);
    let evicted = producers.judge(&batch(2, 0, 1, 1), SOON);
    assert_eq!(evicted, Judgement::Unknown);
    assert_eq!(producers.judge(&batch(1, 0, 2, 1), SOON), Judgement::Fresh);
    assert_eq!(producers.judge(&batch(3, 0, 1, 1), SOON), Judgement::Fresh);
}

#[test]
fn an_evicted_producer_that_had_more_in_flight_begins_anew_from_there() {
    let mut producers = Producers::with_capacity(1, MAX_FORGOTTEN);
    producers.applied(&batch(1, 0, 0, 5), Offset(0), SOON);
    producers.applied(&batch(2, 0, 0, 5), Offset(5), SOON);
    producers.applied(&batch(1, 0, 5, 5), Offset(10), SOON);
    assert_eq!(producers.judge(&batch(1, 0, 10, 1), SOON), Judgement::Fresh);
    // What came before the eviction is not known any more, so it is not called a duplicate.
    assert_eq!(producers.judge(&batch(1, 0, 0, 5), SOON), gap(10));
}

fn fenced(current: u16) -> Judgement {
    Judgement::Fenced {
        current: ProducerEpoch(current),
    }
}

#[test]
fn a_fence_ends_lower_epochs_where_the_new_one_has_not_written_yet() {
    let mut producers = applied(&[(0, 10)]);
    let (id, epoch) = (ProducerId(7), ProducerEpoch(3));
    assert!(!producers.is_fenced(id, epoch));
    producers.propose_fence(id, epoch);
    assert_eq!(producers.judge(&batch(7, 0, 10, 1), SOON), fenced(3));
    assert!(!producers.is_fenced(id, epoch), "it may not be committed");
    producers.fenced(id, epoch, SOON);
    assert!(producers.is_fenced(id, epoch));
    assert!(producers.in_flight.is_empty());
    assert_eq!(producers.judge(&batch(7, 0, 10, 1), SOON), fenced(3));
    assert_eq!(producers.judge(&batch(7, 3, 0, 1), SOON), Judgement::Fresh);
    assert_eq!(producers.judge(&batch(7, 3, 1, 1), SOON), gap(0));
    let restored = restored(&producers).unwrap();
    assert_eq!(restored.judge(&batch(7, 0, 10, 1), SOON), fenced(3));
    assert_eq!(restored.snapshot(), producers.snapshot());
}

#[test]
fn a_fence_that_comes_late_ends_nothing() {
    let mut producers = applied(&[(0, 10)]);
    producers.applied(&batch(7, 4, 0, 3), Offset(10), SOON);
    producers.propose(batch(7, 4, 3, 1), Proposal(1));
    producers.propose_fence(ProducerId(7), ProducerEpoch(2));
    producers.fenced(ProducerId(7), ProducerEpoch(2), SOON);
    assert_eq!(producers.judge(&batch(7, 4, 4, 1), SOON), Judgement::Fresh);
    let repeated = producers.judge(&batch(7, 4, 3, 1), SOON);
    assert_eq!(repeated, Judgement::DuplicateInFlight(Proposal(1)));
}

#[test]
fn a_producer_is_forgotten_seven_days_after_its_last_append() {
    let mut producers = applied(&[(0, 10)]);
    producers.fenced(ProducerId(8), ProducerEpoch(1), SOON);
    let week = 7 * 24 * 60 * 60 * 1000;
    let (kept, over) = (Timestamp(SOON.0 + week), Timestamp(SOON.0 + week + 1));
    assert_eq!(producers.judge(&batch(7, 0, 10, 1), kept), Judgement::Fresh);
    let late = producers.judge(&batch(7, 0, 10, 1), over);
    assert_eq!(late, Judgement::Unknown);
    // Its first batch may be in the log, too.
    let late = producers.judge(&batch(7, 0, 0, 10), over);
    assert_eq!(late, Judgement::Unknown);
    assert_eq!(producers.judge(&batch(8, 0, 0, 1), kept), fenced(1));
    // The table changes by the time of entries alone.
    assert_eq!(producers.len(), 2);
    producers.applied(&batch(9, 0, 0, 1), Offset(10), over);
    let late = producers.judge(&batch(7, 0, 0, 10), over);
    assert_eq!(late, Judgement::Unknown);
    assert_eq!(producers.len(), 1);
    assert_eq!(producers.ages.len(), 1);
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
    assert_eq!(restored(&producers).unwrap().snapshot(), sound);

    type State = highwater_proto::pb::peer::ProducerState;
    let damages: [fn(&mut Vec<State>); 8] = [
        |m| m[1].producer_id = 7,
        |m| m[0].epoch = 65_536,
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
        let none = highwater_proto::pb::peer::ForgottenProducers::default();
        assert!(
            Producers::restore(&damaged, &none).is_err(),
            "damage {number}"
        );
    }
}
