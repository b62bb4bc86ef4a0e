use highwater_proto::Reason;

use super::*;

fn parts(value: &[u8]) -> Parts<'_> {
    Parts {
        timestamp: Timestamp(1000),
        key: None,
        value: Some(value),
        headers: &[],
        bytes: value.len() + 20,
    }
}

fn accumulator(limit: usize) -> Accumulator {
    Accumulator::new(PartitionIndex(0), limit, Arc::new(Buffers::new(0)))
}

fn ready(now: Instant, linger_ms: u64, idle: bool) -> Readiness {
    Readiness {
        now,
        linger: Duration::from_millis(linger_ms),
        idle,
        awaited: false,
    }
}

fn records(taken: Taken) -> u32 {
    match taken {
        Taken::Batch(batch) => batch.builder.record_count(),
        other => panic!("no batch: {other:?}"),
    }
}

#[test]
fn the_first_record_is_announced_and_the_next_ones_are_not() {
    let mut acc = accumulator(1000);
    let now = Instant::now();
    assert!(acc.push(parts(b"a"), || now).unwrap().announce);
    let second = acc.push(parts(b"b"), || now).unwrap();
    assert!(!second.announce && !second.sealed);
    assert_eq!(second.index, 1);
    assert_eq!(records(acc.take(ready(now, 0, true))), 2);
    assert!(!acc.push(parts(b"c"), || now).unwrap().announce);
    assert_eq!(records(acc.take(ready(now, 0, true))), 1);
    assert!(matches!(acc.take(ready(now, 0, true)), Taken::Nothing));
    assert!(acc.push(parts(b"d"), || now).unwrap().announce);
}

#[test]
fn without_linger_an_open_batch_waits_only_while_others_are_on_their_way() {
    let mut acc = accumulator(1000);
    let now = Instant::now();
    acc.push(parts(b"a"), || now).unwrap();
    assert!(matches!(acc.take(ready(now, 0, false)), Taken::Later(None)));
    assert_eq!(records(acc.take(ready(now, 0, true))), 1);
}

#[test]
fn linger_holds_an_open_batch_until_its_time_and_no_longer() {
    let mut acc = accumulator(1000);
    let now = Instant::now();
    let due = now + Duration::from_millis(5);
    acc.push(parts(b"a"), || now).unwrap();
    match acc.take(ready(now, 5, true)) {
        Taken::Later(Some(at)) => assert_eq!(at, due),
        other => panic!("{other:?}"),
    }
    assert_eq!(records(acc.take(ready(due, 5, false))), 1);
}

#[test]
fn linger_holds_no_batch_whose_space_is_waited_for_unless_others_will_give_theirs() {
    let mut acc = accumulator(1000);
    let now = Instant::now();
    acc.push(parts(b"a"), || now).unwrap();
    let awaited = |idle| Readiness {
        awaited: true,
        ..ready(now, 5, idle)
    };
    assert!(matches!(acc.take(awaited(false)), Taken::Later(Some(_))));
    assert_eq!(records(acc.take(awaited(true))), 1);
}

#[test]
fn a_full_batch_goes_at_once_and_the_record_that_did_not_fit_opens_the_next() {
    let mut acc = accumulator(200);
    let now = Instant::now();
    let value = [7; 60];
    assert!(!acc.push(parts(&value), || now).unwrap().sealed);
    let second = acc.push(parts(&value), || now).unwrap();
    assert!(second.sealed);
    assert_eq!(second.index, 0);
    assert_eq!(records(acc.take(ready(now, 9999, false))), 1);
    assert!(matches!(acc.take(ready(now, 9999, false)), Taken::Later(_)));
}

#[test]
fn a_record_larger_than_a_batch_has_one_of_its_own() {
    let mut acc = accumulator(100);
    let now = Instant::now();
    acc.push(parts(b"a"), || now).unwrap();
    acc.push(parts(&[1; 500]), || now).unwrap();
    acc.push(parts(b"b"), || now).unwrap();
    let counts: Vec<u32> = (0..3)
        .map(|_| records(acc.take(ready(now, 0, true))))
        .collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[test]
fn times_too_far_apart_for_one_batch_get_two() {
    let mut acc = accumulator(1000);
    let now = Instant::now();
    let at = |time| Parts {
        timestamp: Timestamp(time),
        ..parts(b"a")
    };
    acc.push(at(i64::MIN), || now).unwrap();
    assert!(acc.push(at(i64::MAX), || now).unwrap().sealed);
}

#[test]
fn a_closed_partition_refuses_records_and_keeps_those_it_has() {
    let mut acc = accumulator(1000);
    let now = Instant::now();
    acc.push(parts(b"a"), || now).unwrap();
    acc.close(Error::new(Reason::NotReady, "closed"));
    assert!(acc.push(parts(b"b"), || now).is_err());
    assert_eq!(acc.oldest(), Some(now));
    assert_eq!(acc.drain().len(), 1);
    assert_eq!(acc.oldest(), None);
}

#[test]
fn a_batch_is_charged_for_each_of_its_records() {
    let mut acc = accumulator(1000);
    let now = Instant::now();
    acc.push(parts(b"abc"), || now).unwrap();
    acc.push(parts(b"d"), || now).unwrap();
    let batch = acc.drain().pop_front().unwrap();
    assert_eq!(batch.charge, 23 + 21);
}

#[test]
fn what_comes_after_a_flush_is_in_a_batch_of_its_own_and_belongs_to_it() {
    let mut acc = accumulator(1000);
    let now = Instant::now();
    let era = |acc: &mut Accumulator| acc.push(parts(b"a"), || now).unwrap().slot.era();
    assert_eq!(era(&mut acc), 0);
    assert!(acc.seal_for(2));
    assert_eq!(era(&mut acc), 2);
    // An earlier flush may pass later: its partitions were passed in another order.
    assert!(acc.seal_for(1));
    assert_eq!(era(&mut acc), 2);
}

/// Pays for records of 100 bytes as long as that works; how many were paid for.
fn paid(acc: &mut Accumulator, payment: Payment, budget: &Budget) -> usize {
    let value = [0; 80];
    let pays = || acc.pay(payment, 100, budget) && acc.push(parts(&value), Instant::now).is_ok();
    std::iter::repeat_with(pays)
        .take_while(|paid| *paid)
        .count()
}

#[test]
fn small_records_are_paid_for_by_the_step_and_the_last_ones_one_by_one() {
    let mut acc = accumulator(1 << 20);
    let budget = Budget::new(64 * 1050, 1);
    assert_eq!(paid(&mut acc, Payment::Credit, &budget), 0);
    assert!(acc.pay(Payment::Room, 100, &budget));
    assert_eq!(budget.used(), 1050);
    assert_eq!(paid(&mut acc, Payment::Credit, &budget), 10);
    assert_eq!(budget.used(), 1050, "nobody asked");
    assert_eq!(paid(&mut acc, Payment::Room, &budget), 672 - 10);
    assert_eq!(budget.used(), 64 * 1050);
}

#[test]
fn what_is_left_of_a_step_is_for_the_next_batch_and_nothing_is_left_behind() {
    let mut acc = accumulator(1000);
    let budget = Budget::new(1 << 20, 1);
    for _ in 0..100 {
        assert!(acc.pay(Payment::Room, 100, &budget));
        acc.push(parts(&[0; 80]), Instant::now).unwrap();
        assert_eq!(acc.unused(), 0, "a batch is open");
    }
    assert!(
        budget.used() <= 100 * 100 + budget.step(),
        "{} bytes for 10,000",
        budget.used()
    );
    let large = 20 << 10;
    assert!(acc.pay(Payment::Room, large, &budget));
    acc.push(parts(&vec![0; large - 20]), Instant::now).unwrap();
    assert!(budget.try_take(50));
    assert!(acc.pay(Payment::Taken, 50, &budget));
    acc.push(parts(&[0; 30]), Instant::now).unwrap();
    let batches = acc.drain();
    assert!(batches.len() > 10);
    let charged: usize = batches.iter().map(|batch| batch.charge).sum();
    assert_eq!(charged, 100 * 100 + large + 50);
    assert_eq!(charged + acc.unused(), budget.used());
    assert!(!acc.pay(Payment::Credit, 1, &budget), "it was given back");
}

#[test]
fn a_batch_that_goes_before_it_is_full_leaves_what_is_left_of_its_step_to_be_given_back() {
    let now = Instant::now();
    let budget = Budget::new(1 << 20, 1);
    for close in [
        |acc: &mut Accumulator, now| records(acc.take(ready(now, 0, true))),
        |acc: &mut Accumulator, _| u32::from(acc.seal_for(1)),
        |acc: &mut Accumulator, _| acc.drain().len() as u32,
    ] {
        let mut acc = accumulator(1000);
        assert!(acc.pay(Payment::Room, 100, &budget));
        acc.push(parts(&[0; 80]), || now).unwrap();
        assert_eq!(close(&mut acc, now), 1);
        assert_eq!(acc.unused(), budget.step() - 100);
        assert_eq!(acc.unused(), 0, "once");
    }
}

#[tokio::test]
async fn whoever_waits_for_room_is_not_overtaken_by_records_that_have_credit() {
    let mut acc = accumulator(1 << 20);
    let budget = Budget::new(64 << 10, 1);
    assert!(acc.pay(Payment::Room, 100, &budget));
    let mut waits = std::pin::pin!(budget.take(64 << 10));
    assert!(futures_util::poll!(&mut waits).is_pending());
    assert!(!acc.pay(Payment::Credit, 100, &budget));
    assert!(!acc.pay(Payment::Room, 100, &budget));
}
