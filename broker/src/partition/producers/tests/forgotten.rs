//! What is left of producers that are forgotten.

use highwater_proto::pb::peer::{ForgottenProducer, ForgottenProducers};

use super::*;

const NAMED: i64 = 1 << 62;

/// A table of one producer, to which each of these appended its first batch in this epoch.
fn written(batches: &[(i64, i16)]) -> Producers {
    let mut producers = Producers::with_capacity(1, 2);
    for (number, (id, epoch)) in (0..).zip(batches) {
        producers.applied(&batch(*id, *epoch, 0, 1), Offset(number), SOON);
    }
    producers
}

#[test]
fn a_first_batch_is_not_fresh_again_when_as_many_others_came_since() {
    const PRODUCERS: i64 = 5_000;
    let mut producers = Producers::new();
    for id in 0..PRODUCERS {
        let first = batch(id, 0, 0, 3);
        assert_eq!(producers.judge(&first, SOON), Judgement::Fresh);
        producers.applied(&first, Offset(id.unsigned_abs() * 3), SOON);
    }
    assert_eq!(producers.len(), MAX_PRODUCERS);
    for producers in [restored(&producers).unwrap(), producers] {
        for id in 0..PRODUCERS {
            let again = producers.judge(&batch(id, 0, 0, 3), SOON);
            match id < PRODUCERS - 4096 {
                true => assert_eq!(again, Judgement::Unknown),
                false => assert_eq!(again, duplicate(id.unsigned_abs() * 3)),
            }
        }
        let next = producers.judge(&batch(PRODUCERS, 0, 0, 3), SOON);
        assert_eq!(next, Judgement::Fresh);
    }
}

#[test]
fn an_id_below_a_forgotten_one_takes_another() {
    let producers = written(&[(7, 0), (8, 0)]);
    let late = producers.judge(&batch(3, 0, 0, 1), SOON);
    assert_eq!(late, Judgement::Unknown);
    assert_eq!(producers.judge(&batch(9, 0, 0, 1), SOON), Judgement::Fresh);
}

#[test]
fn a_forgotten_name_goes_on_in_its_next_epoch() {
    let mut producers = written(&[(NAMED + 5, 3), (8, 0)]);
    let judge = |producers: &Producers, id, epoch| producers.judge(&batch(id, epoch, 0, 1), SOON);
    assert_eq!(judge(&producers, NAMED + 5, 2), fenced(3));
    assert_eq!(judge(&producers, NAMED + 5, 3), Judgement::Unknown);
    assert_eq!(judge(&producers, NAMED + 5, 4), Judgement::Fresh);
    let other = judge(&producers, NAMED + 4, 0);
    assert_eq!(
        other,
        Judgement::Fresh,
        "names do not stand in each other's way"
    );
    let unnamed = judge(&producers, 7, 0);
    assert_eq!(unnamed, Judgement::Fresh, "nor in that of others");

    // A fence that comes again, or late, makes nothing fresh that was written.
    let (id, epoch) = (ProducerId(NAMED.unsigned_abs() + 5), ProducerEpoch(3));
    assert!(producers.is_fenced(id, epoch));
    producers.propose_fence(id, epoch);
    assert!(producers.in_flight.is_empty());
    producers.fenced(id, epoch, SOON);
    assert_eq!(judge(&producers, NAMED + 5, 3), Judgement::Unknown);
    assert!(!producers.is_fenced(id, ProducerEpoch(4)));
    producers.fenced(id, ProducerEpoch(4), SOON);
    assert_eq!(judge(&producers, NAMED + 5, 3), fenced(4));
    assert_eq!(judge(&producers, NAMED + 5, 4), Judgement::Fresh);
}

#[test]
fn of_more_names_than_are_kept_the_lowest_ids_begin_only_behind_a_fence() {
    let ids = [1, 2, 3, 4].map(|number| (NAMED + number, 0));
    let mut producers = written(&ids);
    assert_eq!(producers.forgotten.named.len(), 2);
    for number in [0, 1] {
        for epoch in [0, 1] {
            let early = producers.judge(&batch(NAMED + number, epoch, 0, 1), SOON);
            assert_eq!(early, Judgement::Unknown);
        }
    }
    let (id, epoch) = (ProducerId(NAMED.unsigned_abs() + 1), ProducerEpoch(1));
    assert!(!producers.is_fenced(id, epoch));
    producers.fenced(id, epoch, SOON);
    let next = producers.judge(&batch(NAMED + 1, 1, 0, 1), SOON);
    assert_eq!(next, Judgement::Fresh);
    assert_eq!(producers.forgotten.named.len(), 2);
    assert_eq!(
        restored(&producers).unwrap().forgotten(),
        producers.forgotten()
    );
}

#[test]
fn what_is_left_is_refused_when_it_is_damaged() {
    let producers = written(&[
        (NAMED + 1, 0),
        (NAMED + 2, 0),
        (NAMED + 3, 0),
        (9, 0),
        (10, 0),
    ]);
    let sound = producers.forgotten();
    assert_eq!(
        (sound.below, sound.named_below),
        (10, NAMED.unsigned_abs() + 2)
    );
    let damages: [fn(&mut ForgottenProducers); 6] = [
        |m| m.below = NAMED.unsigned_abs() + 1,
        |m| m.named_below = NAMED.unsigned_abs(),
        |m| m.named[0].producer_id = 7,
        |m| m.named[0].epoch = 65_536,
        |m| m.named[0] = m.named[1],
        |m| m.named = vec![ForgottenProducer::default(); MAX_FORGOTTEN + 1],
    ];
    for (number, damage) in damages.iter().enumerate() {
        let mut damaged = sound.clone();
        damage(&mut damaged);
        assert!(
            Producers::restore(&[], &damaged).is_err(),
            "damage {number}"
        );
    }
}
